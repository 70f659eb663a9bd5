// functions: calls through one worker, direct and as tasks.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include "tests/bench/client/commands.hpp"
#include "tests/bench/client/connect.hpp"
#include "tests/bench/client/measure.hpp"
#include "zsync/client.hpp"
#include "zsync/v1/functions.grpc.pb.h"

namespace zsync::bench {
namespace {

constexpr char kFunction[] = "echo";
constexpr size_t kPayloadBytes = 100;
constexpr int kWarmUpCalls = 200;
constexpr int kLatencyCalls = 3000;
constexpr int kBatch = 1000;

v1::FunctionCall echo_call() {
  v1::FunctionCall call;
  call.set_name(kFunction);
  call.set_payload(std::string(kPayloadBytes, 'x'));
  call.set_wait_for_worker(true);
  return call;
}

// One of the direct calls that are on the way.
struct Call {
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::CallFunctionReply>> reader;
  v1::CallFunctionReply reply;
  grpc::Status status;
};

void begin_call(Call& call, v1::Functions::Stub& stub, const v1::CallFunctionRequest& request,
                grpc::CompletionQueue& queue) {
  call.context = std::make_unique<grpc::ClientContext>();
  call.reader = stub.AsyncCall(call.context.get(), request, &queue);
  call.reader->Finish(&call.reply, &call.status, &call);
}

absl::StatusOr<double> direct_rate(const std::string& socket, int count, int in_flight) {
  const auto channel = grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials());
  const auto stub = v1::Functions::NewStub(channel);
  v1::CallFunctionRequest request;
  *request.mutable_call() = echo_call();
  grpc::CompletionQueue queue;
  std::vector<Call> calls(static_cast<size_t>(in_flight));
  const int64_t start = now_ns();
  int begun = 0;
  for (Call& call : calls) {
    begin_call(call, *stub, request, queue);
    ++begun;
  }
  for (int ended = 0; ended < count; ++ended) {
    void* tag = nullptr;
    bool ok = false;
    if (!queue.Next(&tag, &ok)) return absl::InternalError("the queue ended");
    Call& call = *static_cast<Call*>(tag);
    if (!call.status.ok()) return absl::InternalError(call.status.error_message());
    if (begun < count) {
      begin_call(call, *stub, request, queue);
      ++begun;
    }
  }
  return count / (static_cast<double>(now_ns() - start) / 1e9);
}

absl::StatusOr<double> task_rate(client::Client& client, int count) {
  v1::SubmitTasksRequest request;
  for (int i = 0; i < kBatch; ++i) *request.add_specs()->mutable_function() = echo_call();
  std::vector<std::string> ids;
  const int64_t start = now_ns();
  for (int sent = 0; sent < count; sent += kBatch) {
    const auto reply = client.tasks().submit(request);
    if (!reply.ok()) return reply.status();
    ids.insert(ids.end(), reply->ids().begin(), reply->ids().end());
  }
  for (size_t at = 0; at < ids.size(); at += kBatch) {
    const auto ended = client.tasks().wait({ids.begin() + at, ids.begin() + at + kBatch});
    if (!ended.ok()) return ended.status();
    for (const v1::Task& task : ended->tasks()) {
      if (task.result().payload().size() != kPayloadBytes) {
        return absl::InternalError("a call without its result: " + task.reason());
      }
    }
  }
  return static_cast<double>(ids.size()) / (static_cast<double>(now_ns() - start) / 1e9);
}

}  // namespace

int functions(const Words& words) {
  const int count = std::atoi(words[1].c_str());
  auto caller = connect(words[0]);
  auto worker = connect(words[0]);
  if (!caller.ok() || !worker.ok()) return fail("connect", caller.status());
  client::StopSource stop;
  client::ServeOptions options;
  options.window = static_cast<uint32_t>(std::atoi(words[3].c_str()));
  std::thread serving([&] {
    const absl::Status served = (*worker)->functions().serve(kFunction,
                                                             [](const client::ServedCall& call) {
                                                               v1::FunctionResult result;
                                                               result.set_payload(call.payload());
                                                               return result;
                                                             },
                                                             options, {std::nullopt, &stop});
    if (!served.ok()) (void)fail("serve", served);
  });
  Series direct;
  absl::Status failed;
  for (int i = -kWarmUpCalls; i < kLatencyCalls && failed.ok(); ++i) {
    const int64_t begin = now_ns();
    failed = (*caller)->functions().call(echo_call()).status();
    if (i >= 0) direct.add(now_ns() - begin);
  }
  const absl::StatusOr<double> rate =
      failed.ok() ? direct_rate(words[0], count, std::atoi(words[2].c_str())) : failed;
  const absl::StatusOr<double> tasks = rate.ok() ? task_rate(**caller, count) : rate;
  stop.cancel();
  serving.join();
  if (!tasks.ok()) return fail("call", tasks.status());
  Answer()
      .series("direct", direct)
      .number("direct_rate", *rate)
      .number("task_rate", *tasks)
      .print();
  return 0;
}

}  // namespace zsync::bench
