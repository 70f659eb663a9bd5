#include "daemon/projects/projects_service.hpp"

#include <utility>

#include "daemon/projects/engine.hpp"
#include "daemon/rpc/bridge.hpp"
#include "zsync/v1/projects.grpc.pb.h"

namespace zsync::daemon {
namespace {

using Context = grpc::CallbackServerContext;

v1::Project to_proto(const ProjectView& view) {
  v1::Project proto;
  proto.set_id(view.record.id);
  proto.set_name(view.record.name);
  proto.set_root(view.record.root);
  proto.set_file(view.record.file);
  proto.set_created_unix_nano(view.record.created_unix_nano);
  proto.set_settled(view.settled);
  proto.set_healthy(view.healthy);
  for (const std::string& name : view.channels) proto.add_channels(name);
  for (const UnitView& unit : view.units) {
    v1::ProjectUnit& out = *proto.add_units();
    out.set_name(unit.name);
    out.set_service(unit.service);
    out.set_state(static_cast<v1::UnitState>(unit.state));
    out.set_reason(unit.reason);
    out.set_task(unit.task);
    out.set_port(unit.port);
    out.set_restarts(unit.restarts);
    out.set_since_unix_nano(unit.since_unix_nano);
    for (const std::string& name : unit.after) out.add_after(name);
  }
  return proto;
}

absl::StatusOr<v1::Project> translated(const absl::StatusOr<ProjectView>& view) {
  if (!view.ok()) return view.status();
  return to_proto(*view);
}

v1::CheckProjectReply checked(const std::string& text) {
  v1::CheckProjectReply reply;
  const ParsedProject parsed = parse_project(text);
  if (const auto* spec = std::get_if<ProjectSpec>(&parsed)) {
    reply.set_name(spec->name);
    for (const UnitSpec& unit : spec->units) reply.add_units(unit.name);
    return reply;
  }
  for (const ProjectProblem& problem : std::get<1>(parsed)) {
    v1::ProjectProblem& out = *reply.add_problems();
    out.set_line(problem.line);
    out.set_column(problem.column);
    out.set_text(problem.text);
  }
  return reply;
}

Task<absl::StatusOr<v1::CheckProjectReply>> check(std::string text) {
  co_return co_await rt::call_blocking(
      [&text]() -> absl::StatusOr<v1::CheckProjectReply> { return checked(text); });
}

Task<absl::StatusOr<v1::Project>> up(ProjectsEngine& engine, CallContext call,
                                     v1::UpProjectRequest request) {
  ProjectWanted wanted;
  wanted.root = std::move(*request.mutable_root());
  if (!request.file().empty()) wanted.file = std::move(*request.mutable_file());
  wanted.text = std::move(*request.mutable_text());
  wanted.name = std::move(*request.mutable_name());
  wanted.units.assign(request.units().begin(), request.units().end());
  wanted.env.insert(request.env().begin(), request.env().end());
  co_return translated(co_await engine.up(std::move(wanted), {call.peer.uid, call.peer.pid}));
}

Task<absl::StatusOr<v1::Project>> down(ProjectsEngine& engine, v1::DownProjectRequest request) {
  co_return translated(co_await engine.down(
      request.project(), {request.units().begin(), request.units().end()}, request.wait()));
}

Task<absl::StatusOr<v1::Project>> restart(ProjectsEngine& engine,
                                          v1::RestartProjectRequest request) {
  co_return translated(co_await engine.restart(request.project(), request.unit()));
}

Task<absl::StatusOr<v1::RemoveProjectReply>> remove(ProjectsEngine& engine, std::string project) {
  absl::Status status = co_await engine.remove(std::move(project));
  if (!status.ok()) co_return status;
  co_return v1::RemoveProjectReply();
}

class Service final : public v1::Projects::CallbackService {
 public:
  Service(CallGate& gate, ProjectsEngine& engine) : gate_(gate), engine_(engine) {}

  grpc::ServerUnaryReactor* Check(Context* context, const v1::CheckProjectRequest* request,
                                  v1::CheckProjectReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [](CallContext, v1::CheckProjectRequest asked) {
                        return check(std::move(*asked.mutable_text()));
                      });
  }
  grpc::ServerUnaryReactor* Up(Context* context, const v1::UpProjectRequest* request,
                               v1::Project* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::UpProjectRequest asked) {
                        return up(engine_, std::move(call), std::move(asked));
                      });
  }
  grpc::ServerUnaryReactor* Down(Context* context, const v1::DownProjectRequest* request,
                                 v1::Project* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::DownProjectRequest asked) {
                        return down(engine_, std::move(asked));
                      });
  }
  grpc::ServerUnaryReactor* Restart(Context* context, const v1::RestartProjectRequest* request,
                                    v1::Project* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::RestartProjectRequest asked) {
                        return restart(engine_, std::move(asked));
                      });
  }
  grpc::ServerUnaryReactor* Get(Context* context, const v1::GetProjectRequest* request,
                                v1::Project* reply) override {
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::GetProjectRequest& asked) {
                            return translated(engine_.get(asked.project()));
                          });
  }
  grpc::ServerUnaryReactor* List(Context* context, const v1::ListProjectsRequest* request,
                                 v1::ListProjectsReply* reply) override {
    return immediate_call(gate_, context, request, reply, [this](const v1::ListProjectsRequest&) {
      v1::ListProjectsReply all;
      for (const ProjectView& view : engine_.list()) *all.add_projects() = to_proto(view);
      return absl::StatusOr<v1::ListProjectsReply>(std::move(all));
    });
  }
  grpc::ServerWriteReactor<v1::Project>* Follow(Context* context,
                                                const v1::FollowProjectRequest* request) override {
    return stream_call<v1::FollowProjectRequest, v1::Project>(
        gate_, context, request,
        [this](CallContext, v1::FollowProjectRequest asked, StreamWriter<v1::Project>& out) {
          return engine_.follow(std::move(*asked.mutable_project()),
                                [&out](ProjectView view) { return out.write(to_proto(view)); });
        });
  }
  grpc::ServerUnaryReactor* Remove(Context* context, const v1::RemoveProjectRequest* request,
                                   v1::RemoveProjectReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::RemoveProjectRequest asked) {
                        return remove(engine_, std::move(*asked.mutable_project()));
                      });
  }

 private:
  CallGate& gate_;
  ProjectsEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_projects_service(CallGate& gate, ProjectsEngine& engine) {
  return std::make_unique<Service>(gate, engine);
}

}  // namespace zsync::daemon
