#include "daemon/tasks/functions_service.hpp"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/bridge.hpp"
#include "daemon/rpc/later_call.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/functions_proto.hpp"
#include "zsync/v1/functions.grpc.pb.h"

namespace zsync::daemon {
namespace {

constexpr int64_t kSilenceNsMin = 1'000'000'000;
constexpr int64_t kSilenceNsMax = 3600ll * 1'000'000'000;

using Context = grpc::CallbackServerContext;

absl::StatusOr<WorkerHello> hello_of(const CallContext& call, const v1::ServeRequest& first) {
  if (!first.has_open()) {
    return fault(absl::StatusCode::kInvalidArgument, "the first message has no `open`",
                 {"open", "INVALID", "", "say which function you serve", {}});
  }
  WorkerHello hello;
  hello.function = first.open().name();
  hello.window = first.open().window() ? first.open().window() : 1;
  hello.pid = call.peer.pid;
  if (first.open().has_silence()) {
    absl::StatusOr<int64_t> silence =
        to_ns(first.open().silence(), "open.silence", kSilenceNsMin, kSilenceNsMax);
    if (!silence.ok()) return silence.status();
    hello.silence_ns = *silence;
  }
  return hello;
}

void hear(TasksEngine& engine, const WorkerLinkPtr& link, const v1::ServeRequest& request) {
  std::vector<AnsweredCall> answers;
  answers.reserve(static_cast<size_t>(request.answers_size()));
  for (const v1::CallAnswer& answer : request.answers()) {
    answers.push_back({answer.call(), from_proto(answer)});
  }
  engine.hear_worker(link, std::move(answers));
  if (request.drain()) engine.drain_worker(link);
}

// What a worker is told goes out in the thread that brings it about, and an answer is taken by the
// reaction that hears it; this coroutine sees the worker in and out.
Task<absl::Status> serve(TasksEngine& engine, CallContext call, StreamReader<v1::ServeRequest>& in,
                         StreamWriter<v1::ServeReply>& out) {
  std::optional<v1::ServeRequest> first = co_await in.read();
  if (!first) co_return absl::OkStatus();
  absl::StatusOr<WorkerHello> hello = hello_of(call, *first);
  if (!hello.ok()) co_return hello.status();
  absl::StatusOr<WorkerLinkPtr> joined = co_await engine.join_worker(std::move(*hello));
  if (!joined.ok()) co_return joined.status();
  const WorkerLinkPtr link = *joined;
  const auto feed = out.feed([&engine, link, told = false](v1::ServeReply& reply) mutable {
    WorkerNews news;
    const bool any = engine.take_news(link, news);
    if (!any && told) return false;
    reply = to_proto(std::move(news));
    reply.set_serving(!std::exchange(told, true));
    return true;
  });
  in.listen([&engine, link](const v1::ServeRequest* request) {
    request ? hear(engine, link, *request) : engine.leave_worker(link);
  });
  engine.tell_worker(link, [feed] { feed->poke(); });
  std::string reason;
  try {
    reason = co_await engine.worker_gone(link);
  } catch (const Cancelled&) {
    engine.leave_worker(link);
  }
  co_await feed->finish();
  engine.tell_worker(link, nullptr);
  if (reason.empty()) co_return absl::OkStatus();
  co_return fault(
      absl::StatusCode::kAborted, reason,
      {"open.silence", "SILENT", "", "send a message more often, or name no silence", {}});
}

// What the handler said of its failure, as the status of the caller's call.
absl::Status failure_of(const FunctionResult& result) {
  return fault(absl::StatusCode::kAborted, result.error_message,
               {"call",
                "FUNCTION_FAILED",
                result.error_code.empty() ? "" : absl::StrCat("code = ", result.error_code),
                "see what the worker says",
                {}});
}

absl::StatusOr<v1::CallFunctionReply> reply_of(absl::StatusOr<FunctionResult> result) {
  if (!result.ok()) return result.status();
  if (result->failed) return failure_of(*result);
  v1::CallFunctionReply reply;
  to_proto(*result, *reply.mutable_result());
  return reply;
}

using DirectReply = LaterCall<v1::CallFunctionReply>;

void call_function(TasksEngine& engine, const CallContext& call, v1::CallFunctionRequest request,
                   const DirectReply::Ptr& caller) {
  int64_t timeout_ns = kDirectTimeoutNs;
  if (request.has_timeout()) {
    absl::StatusOr<int64_t> given = to_ns(request.timeout(), "timeout", 1, kDirectTimeoutNsMax);
    if (!given.ok()) {
      caller->answer(given.status());
      return;
    }
    timeout_ns = *given;
  }
  std::string trace =
      request.traceparent().empty() ? call.traceparent : std::move(*request.mutable_traceparent());
  absl::StatusOr<DirectPtr> direct =
      engine.call_function(from_proto(std::move(*request.mutable_call())), std::move(trace),
                           timeout_ns, [caller](absl::StatusOr<FunctionResult> result) {
                             caller->answer(reply_of(std::move(result)));
                           });
  if (!direct.ok()) {
    caller->answer(direct.status());
    return;
  }
  caller->on_gone([&engine, direct = *std::move(direct)] { engine.withdraw_call(direct); });
}

class Service final : public v1::Functions::CallbackService {
 public:
  Service(CallGate& gate, TasksEngine& engine) : gate_(gate), engine_(engine) {}

  grpc::ServerBidiReactor<v1::ServeRequest, v1::ServeReply>* Serve(Context* context) override {
    return bidi_call<v1::ServeRequest, v1::ServeReply>(
        gate_, context,
        [this](CallContext call, StreamReader<v1::ServeRequest>& in,
               StreamWriter<v1::ServeReply>& out) {
          return serve(engine_, std::move(call), in, out);
        });
  }
  grpc::ServerUnaryReactor* Call(Context* context, const v1::CallFunctionRequest* request,
                                 v1::CallFunctionReply* reply) override {
    return DirectReply::start(
        gate_, context, reply,
        [this, request](const CallContext& call, const DirectReply::Ptr& caller) {
          call_function(engine_, call, *request, caller);
        });
  }
  grpc::ServerUnaryReactor* List(Context* context, const v1::ListFunctionsRequest* request,
                                 v1::ListFunctionsReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListFunctionsRequest&) -> absl::StatusOr<v1::ListFunctionsReply> {
          v1::ListFunctionsReply functions;
          for (const FunctionRecord& record : engine_.functions()) {
            *functions.add_functions() = to_proto(record);
          }
          return functions;
        });
  }

 private:
  CallGate& gate_;
  TasksEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_functions_service(CallGate& gate, TasksEngine& engine) {
  return std::make_unique<Service>(gate, engine);
}

}  // namespace zsync::daemon
