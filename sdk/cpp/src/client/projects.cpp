#include "zsync/client/projects.hpp"

#include "connection.hpp"
#include "zsync/v1/projects.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Repeat;
using internal::Try;
using Stub = v1::Projects::Stub;

}  // namespace

absl::StatusOr<v1::CheckProjectReply> Projects::check(const std::string& text,
                                                      const CallOptions& options) {
  v1::CheckProjectRequest request;
  request.set_text(text);
  return unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::Check, request,
               options, Repeat::kSafe);
}

absl::StatusOr<v1::Project> Projects::up(const v1::UpProjectRequest& request,
                                         const CallOptions& options) {
  return unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::Up, request,
               options, Repeat::kSafe);
}

absl::StatusOr<v1::Project> Projects::down(const std::string& project,
                                           const std::vector<std::string>& units, bool wait,
                                           const CallOptions& options) {
  v1::DownProjectRequest request;
  request.set_project(project);
  for (const std::string& unit : units) request.add_units(unit);
  request.set_wait(wait);
  return unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::Down, request,
               options, Repeat::kSafe);
}

absl::StatusOr<v1::Project> Projects::restart(const std::string& project, const std::string& unit,
                                              const CallOptions& options) {
  v1::RestartProjectRequest request;
  request.set_project(project);
  request.set_unit(unit);
  return unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::Restart, request,
               options, Repeat::kNever);
}

absl::StatusOr<v1::Project> Projects::get(const std::string& project, const CallOptions& options) {
  v1::GetProjectRequest request;
  request.set_project(project);
  return unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::Get, request,
               options, Repeat::kSafe);
}

absl::StatusOr<std::vector<v1::Project>> Projects::list(const CallOptions& options) {
  absl::StatusOr<v1::ListProjectsReply> reply =
      unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::List,
            v1::ListProjectsRequest(), options, Repeat::kSafe);
  if (!reply.ok()) return reply.status();
  return std::vector<v1::Project>(reply->projects().begin(), reply->projects().end());
}

absl::Status Projects::follow(const std::string& project, const FollowCallback& callback,
                              const CallOptions& options) {
  const auto stub = v1::Projects::NewStub(connection_.channel());
  const internal::Bounds bounds = connection_.bounds(options);
  v1::FollowProjectRequest request;
  request.set_project(project);
  return connection_.resuming(bounds, [&](bool& progressed) {
    Try call(bounds);
    const auto reader = stub->Follow(&call.context(), request);
    return internal::read_all<grpc::ClientReader<v1::Project>, v1::Project>(
        call, *reader, [&](const v1::Project& now) {
          progressed = true;
          return callback(now);
        });
  });
}

absl::Status Projects::remove(const std::string& project, const CallOptions& options) {
  v1::RemoveProjectRequest request;
  request.set_project(project);
  return unary(connection_, *v1::Projects::NewStub(connection_.channel()), &Stub::Remove, request,
               options, Repeat::kNever)
      .status();
}

}  // namespace zsync::client
