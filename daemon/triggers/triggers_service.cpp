#include "daemon/triggers/triggers_service.hpp"

#include <string>
#include <utility>

#include "daemon/rpc/bridge.hpp"
#include "daemon/triggers/engine.hpp"
#include "daemon/triggers/triggers_proto.hpp"
#include "zsync/v1/triggers.grpc.pb.h"

namespace zsync::daemon {
namespace {

using Context = grpc::CallbackServerContext;

absl::StatusOr<v1::Trigger> shown(const absl::StatusOr<TriggerView>& view) {
  if (!view.ok()) return view.status();
  return to_proto(*view);
}

Task<absl::StatusOr<v1::Trigger>> create(TriggersEngine& engine, CallContext call,
                                         v1::CreateTriggerRequest request) {
  absl::StatusOr<TriggerSpec> spec = from_proto(std::move(*request.mutable_spec()));
  if (!spec.ok()) co_return spec.status();
  co_return shown(
      co_await engine.create(*std::move(spec), request.replace(), {call.peer.uid, call.peer.pid}));
}

Task<absl::StatusOr<v1::Trigger>> set_paused(TriggersEngine& engine, CallContext call,
                                             std::string name, bool paused) {
  co_return shown(
      co_await engine.set_paused(std::move(name), paused, {call.peer.uid, call.peer.pid}));
}

Task<absl::StatusOr<v1::Trigger>> run(TriggersEngine& engine, std::string name) {
  co_return shown(co_await engine.run(std::move(name)));
}

Task<absl::StatusOr<v1::DeleteTriggerReply>> remove(TriggersEngine& engine, std::string name) {
  absl::Status status = co_await engine.remove(std::move(name));
  if (!status.ok()) co_return status;
  co_return v1::DeleteTriggerReply();
}

class Service final : public v1::Triggers::CallbackService {
 public:
  Service(CallGate& gate, TriggersEngine& engine) : gate_(gate), engine_(engine) {}

  grpc::ServerUnaryReactor* Create(Context* context, const v1::CreateTriggerRequest* request,
                                   v1::Trigger* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::CreateTriggerRequest asked) {
                        return create(engine_, std::move(call), std::move(asked));
                      });
  }
  grpc::ServerUnaryReactor* Get(Context* context, const v1::GetTriggerRequest* request,
                                v1::Trigger* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::GetTriggerRequest& asked) -> absl::StatusOr<v1::Trigger> {
          return shown(engine_.get(asked.name()));
        });
  }
  grpc::ServerUnaryReactor* List(Context* context, const v1::ListTriggersRequest* request,
                                 v1::ListTriggersReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListTriggersRequest& asked) -> absl::StatusOr<v1::ListTriggersReply> {
          v1::ListTriggersReply triggers;
          for (const TriggerView& view : engine_.list(asked.project())) {
            v1::TaskSpec& task =
                *(*triggers.add_triggers() = to_proto(view)).mutable_spec()->mutable_task();
            task.clear_env();
            task.clear_stdin();
          }
          return triggers;
        });
  }
  grpc::ServerUnaryReactor* Pause(Context* context, const v1::PauseTriggerRequest* request,
                                  v1::Trigger* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::PauseTriggerRequest asked) {
                        return set_paused(engine_, std::move(call), asked.name(), true);
                      });
  }
  grpc::ServerUnaryReactor* Resume(Context* context, const v1::ResumeTriggerRequest* request,
                                   v1::Trigger* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::ResumeTriggerRequest asked) {
                        return set_paused(engine_, std::move(call), asked.name(), false);
                      });
  }
  grpc::ServerUnaryReactor* Delete(Context* context, const v1::DeleteTriggerRequest* request,
                                   v1::DeleteTriggerReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::DeleteTriggerRequest asked) {
                        return remove(engine_, asked.name());
                      });
  }
  grpc::ServerUnaryReactor* Run(Context* context, const v1::RunTriggerRequest* request,
                                v1::Trigger* reply) override {
    return unary_call(
        gate_, context, request, reply,
        [this](CallContext, v1::RunTriggerRequest asked) { return run(engine_, asked.name()); });
  }

 private:
  CallGate& gate_;
  TriggersEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_triggers_service(CallGate& gate, TriggersEngine& engine) {
  return std::make_unique<Service>(gate, engine);
}

}  // namespace zsync::daemon
