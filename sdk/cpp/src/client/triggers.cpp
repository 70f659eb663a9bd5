#include "zsync/client/triggers.hpp"

#include "connection.hpp"
#include "zsync/v1/triggers.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Repeat;
using Stub = v1::Triggers::Stub;

template <typename Request>
Request named(const std::string& name) {
  Request request;
  request.set_name(name);
  return request;
}

}  // namespace

absl::StatusOr<v1::Trigger> Triggers::create(const v1::CreateTriggerRequest& request,
                                             const CallOptions& options) {
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::Create, request,
               options, request.replace() ? Repeat::kSafe : Repeat::kNever);
}

absl::StatusOr<v1::Trigger> Triggers::get(const std::string& name, const CallOptions& options) {
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::Get,
               named<v1::GetTriggerRequest>(name), options, Repeat::kSafe);
}

absl::StatusOr<v1::ListTriggersReply> Triggers::list(const std::string& project,
                                                     const CallOptions& options) {
  v1::ListTriggersRequest request;
  request.set_project(project);
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::List, request,
               options, Repeat::kSafe);
}

absl::StatusOr<v1::Trigger> Triggers::pause(const std::string& name, const CallOptions& options) {
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::Pause,
               named<v1::PauseTriggerRequest>(name), options, Repeat::kSafe);
}

absl::StatusOr<v1::Trigger> Triggers::resume(const std::string& name, const CallOptions& options) {
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::Resume,
               named<v1::ResumeTriggerRequest>(name), options, Repeat::kSafe);
}

absl::StatusOr<v1::Trigger> Triggers::run(const std::string& name, const CallOptions& options) {
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::Run,
               named<v1::RunTriggerRequest>(name), options, Repeat::kNever);
}

absl::Status Triggers::remove(const std::string& name, const CallOptions& options) {
  return unary(connection_, *v1::Triggers::NewStub(connection_.channel()), &Stub::Delete,
               named<v1::DeleteTriggerRequest>(name), options, Repeat::kNever)
      .status();
}

}  // namespace zsync::client
