// submit-*, drain: durable submits, one at a time, many at a time, and what happens to them
// afterwards.
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <time.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include "absl/strings/str_split.h"
#include "tests/bench/client/commands.hpp"
#include "tests/bench/client/connect.hpp"
#include "tests/bench/client/disk_probe.hpp"
#include "tests/bench/client/measure.hpp"
#include "zsync/client.hpp"
#include "zsync/v1/tasks.grpc.pb.h"

namespace zsync::bench {
namespace {

constexpr int kWarmUpCalls = 50;
constexpr int kDrainPollMs = 10;

v1::TaskSpec spec_of(const std::string& group, const Words& argv = {"true"}) {
  v1::TaskSpec spec;
  for (const std::string& word : argv) spec.add_argv(word);
  spec.set_group(group);
  spec.set_cwd("/");
  return spec;
}

// `start` and `used` were taken before the first of `count` submits.
void print_rate(double count, int64_t start, const Usage& used, const Series& latency) {
  const double seconds = static_cast<double>(now_ns() - start) / 1e9;
  const Usage now = Usage::now();
  Answer()
      .number("rate", count / seconds)
      .number("client_cpu_us", (now.cpu_seconds - used.cpu_seconds) * 1e6 / count)
      .number("client_switches",
              static_cast<double>(now.voluntary_switches - used.voluntary_switches) / count)
      .series("submit", latency)
      .print();
}

}  // namespace

int submit_latency(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  DiskProbe disk(words[3]);
  if (!disk.ok()) return fail(words[3], absl::UnavailableError("cannot write there"));
  const int count = std::atoi(words[2].c_str());
  const int pages = std::atoi(words[4].c_str());
  Series submits;
  Series fsyncs;
  Usage used;
  int64_t start = 0;
  for (int i = -kWarmUpCalls; i < count; ++i) {
    if (i == 0) {
      used = Usage::now();
      start = now_ns();
    }
    const int64_t begin = now_ns();
    const auto id = (*client)->tasks().submit(spec_of(words[1]));
    const int64_t end = now_ns();
    if (!id.ok()) return fail("submit", id.status());
    const int64_t fsync = disk.append(pages);
    if (fsync < 0) return fail(words[3], absl::UnavailableError("the disk refused a write"));
    if (i < 0) continue;
    submits.add(end - begin);
    fsyncs.add(fsync);
  }
  const Usage now = Usage::now();
  Answer()
      .series("submit", submits)
      .series("fsync", fsyncs)
      .number("client_cpu_us", (now.cpu_seconds - used.cpu_seconds) * 1e6 / count)
      .number("seconds", static_cast<double>(now_ns() - start) / 1e9)
      .print();
  return 0;
}

int start_latency(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  const int count = std::atoi(words[1].c_str());
  Series starts;
  for (int i = -kWarmUpCalls; i < count; ++i) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);  // what a supervisor's times are of
    const int64_t begin = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    const auto id = (*client)->tasks().submit(spec_of(""));
    if (!id.ok()) return fail("submit", id.status());
    const auto ended = (*client)->tasks().wait({*id});
    if (!ended.ok()) return fail("wait", ended.status());
    if (i >= 0) starts.add(ended->tasks(0).started_unix_nano() - begin);
  }
  Answer().series("start", starts).print();
  return 0;
}

int submit_threads(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  const int count = std::atoi(words[2].c_str());
  const auto threads = static_cast<size_t>(std::atoi(words[3].c_str()));
  std::atomic<int> left{count};
  std::atomic<int> failed{0};
  std::vector<Series> parts(threads);
  std::vector<std::thread> workers;
  (void)(*client)->tasks().submit(spec_of(words[1]));
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  for (size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      while (left.fetch_sub(1) > 0) {
        const int64_t begin = now_ns();
        if (!(*client)->tasks().submit(spec_of(words[1])).ok()) failed.fetch_add(1);
        parts[i].add(now_ns() - begin);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  if (failed > 0) return fail("submit", absl::InternalError("calls failed"));
  // The time of a thread's calls stands for all of them: they compete for the same daemon.
  print_rate(count, start, used, parts[0]);
  return 0;
}

namespace {

// One of the calls that are on the way.
struct Call {
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::SubmitTasksReply>> reader;
  v1::SubmitTasksReply reply;
  grpc::Status status;
  int64_t begin = 0;
};

void begin_call(Call& call, v1::Tasks::Stub& stub, const v1::SubmitTasksRequest& request,
                grpc::CompletionQueue& queue) {
  call.context = std::make_unique<grpc::ClientContext>();
  call.begin = now_ns();
  call.reader = stub.AsyncSubmit(call.context.get(), request, &queue);
  call.reader->Finish(&call.reply, &call.status, &call);
}

}  // namespace

int submit_async(const Words& words) {
  const int count = std::atoi(words[2].c_str());
  const int in_flight = std::atoi(words[3].c_str());
  const auto channel = grpc::CreateChannel("unix:" + words[0], grpc::InsecureChannelCredentials());
  const auto stub = v1::Tasks::NewStub(channel);
  v1::SubmitTasksRequest request;
  *request.add_specs() = spec_of(words[1]);
  {
    grpc::ClientContext context;
    v1::SubmitTasksReply reply;
    const grpc::Status status = stub->Submit(&context, request, &reply);
    if (!status.ok()) return fail("submit", absl::UnavailableError(status.error_message()));
  }
  grpc::CompletionQueue queue;
  std::vector<Call> calls(static_cast<size_t>(in_flight));
  Series latency;
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  int begun = 0;
  for (Call& call : calls) {
    begin_call(call, *stub, request, queue);
    ++begun;
  }
  for (int ended = 0; ended < count; ++ended) {
    void* tag = nullptr;
    bool ok = false;
    if (!queue.Next(&tag, &ok)) return fail("submit", absl::InternalError("the queue ended"));
    Call& call = *static_cast<Call*>(tag);
    if (!call.status.ok()) {
      return fail("submit", absl::InternalError(call.status.error_message()));
    }
    latency.add(now_ns() - call.begin);
    if (begun < count) {
      begin_call(call, *stub, request, queue);
      ++begun;
    }
  }
  print_rate(count, start, used, latency);
  return 0;
}

int submit_batch(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  const int count = std::atoi(words[2].c_str());
  const int batch = std::atoi(words[3].c_str());
  v1::SubmitTasksRequest request;
  for (int i = 0; i < batch; ++i) {
    *request.add_specs() = spec_of(words[1], Words(words.begin() + 4, words.end()));
  }
  Series latency;
  const Usage used = Usage::now();
  const int64_t start = now_ns();
  for (int sent = 0; sent < count; sent += batch) {
    const int64_t begin = now_ns();
    const auto reply = (*client)->tasks().submit(request);
    if (!reply.ok()) return fail("submit", reply.status());
    latency.add(now_ns() - begin);
  }
  print_rate(count, start, used, latency);
  return 0;
}

int drain(const Words& words) {
  auto client = connect(words[0]);
  if (!client.ok()) return fail("connect", client.status());
  const int64_t start = now_ns();
  for (const auto& name : absl::StrSplit(words[1], ',', absl::SkipEmpty())) {
    v1::CancelTaskRequest request;
    request.set_id(std::string(name));
    const auto task = (*client)->tasks().cancel(request);
    if (!task.ok()) return fail("cancel", task.status());
  }
  while (true) {
    const auto stats = (*client)->daemon().stats();
    if (!stats.ok()) return fail("stats", stats.status());
    if (stats->tasks_queued() + stats->tasks_running() == 0) break;
    poll(nullptr, 0, kDrainPollMs);
  }
  const double seconds = static_cast<double>(now_ns() - start) / 1e9;
  v1::ListTasksRequest wrong;
  for (const v1::TaskState state : {v1::TASK_STATE_FAILED, v1::TASK_STATE_SIGNALED,
                                    v1::TASK_STATE_LOST, v1::TASK_STATE_SKIPPED}) {
    wrong.add_states(state);
  }
  const auto failed = (*client)->tasks().list(wrong);
  if (!failed.ok()) return fail("list", failed.status());
  Answer()
      .number("rate", std::atof(words[2].c_str()) / seconds)
      .number("seconds", seconds)
      .number("not_succeeded", failed->tasks_size())
      .print();
  return 0;
}

}  // namespace zsync::bench
