#include "tests/chaos/traffic.hpp"

#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/chaos/worker_output.hpp"
#include "zsync/client.hpp"

namespace zsync::chaos {
namespace {

constexpr std::chrono::seconds kPatience{90};
constexpr int kBatchMax = 3;  // tasks in one submit
constexpr uint64_t kSmallBytes = 20'000;
constexpr uint64_t kLargeBytes = 1'000'000;
constexpr int kReconnectMs = 2;
constexpr int kBurst = 8;  // submits of one task each, one after the other

using Random = std::mt19937_64;

bool one_in(Random& random, unsigned n) { return random() % n == 0; }

class Traffic {
 public:
  Traffic(int client, uint64_t seed, const TrafficOptions& options, Ledgers& ledgers)
      : number_(client), options_(options), ledgers_(ledgers), random_(seed) {}

  void run(const std::atomic<bool>& stop) {
    if (!connect()) return;
    while (!stop.load()) {
      round();
      burst();
    }
  }

 private:
  struct Mine {
    std::string id;
    Promise promise;
    bool cancelled = false;
  };

  bool connect();
  void round();
  void burst();
  Promise make_promise();
  v1::TaskSpec spec_of(const Promise& promise) const;
  std::vector<Mine> submit(std::vector<Promise> promises);
  void follow(Mine& task);
  void cancel(Mine& task);
  void check_end(const Mine& task, const v1::Task& record);
  void fault(const std::string& id, const std::string& text) {
    ledgers_.fault(absl::StrCat("client ", number_, ": ", id, ": ", text));
  }

  const int number_;
  const TrafficOptions& options_;
  Ledgers& ledgers_;
  Random random_;
  uint64_t made_ = 0;
  client::CallOptions patient_{kPatience, nullptr};
  std::unique_ptr<client::Client> client_;  // comes back after every kill
  std::unique_ptr<client::Client> plain_;   // tells of every broken call
};

bool Traffic::connect() {
  client::Options options;
  options.socket = options_.socket;
  options.timeout = kPatience;
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < give_up) {
    options.resume = true;
    auto resuming = client::Client::connect(options);
    options.resume = false;
    auto plain = client::Client::connect(options);
    if (resuming.ok() && plain.ok()) {
      client_ = *std::move(resuming);
      plain_ = *std::move(plain);
      return true;
    }
    poll(nullptr, 0, kReconnectMs);
  }
  ledgers_.fault(absl::StrCat("client ", number_, " could not connect"));
  return false;
}

Promise Traffic::make_promise() {
  Promise promise;
  promise.name = absl::StrCat("c", number_, "-", made_++);
  promise.seed = random_();
  promise.bytes = 1 + random_() % (one_in(random_, 20) ? kLargeBytes : kSmallBytes);
  promise.kind = "plain";
  switch (random_() % 10) {
    case 0:
      promise.exit_code = 7;
      break;
    case 1:
      promise.kind = "child";
      break;
    case 2:
      promise.kind = "daemon";
      break;
    case 3:
    case 4:
      promise.kind = "hang";
      promise.cancels = true;
      break;
    case 5:
    case 6:
      promise.kind = "slow";
      break;
    default:
      break;
  }
  if (promise.exit_code != 0 && one_in(random_, 3)) promise.retries = 1;
  return promise;
}

v1::TaskSpec Traffic::spec_of(const Promise& promise) const {
  v1::TaskSpec spec;
  for (const std::string& word :
       {options_.worker, options_.ledger, absl::StrCat(promise.seed), absl::StrCat(promise.bytes),
        promise.kind, absl::StrCat(promise.exit_code)}) {
    spec.add_argv(word);
  }
  spec.set_name(promise.name);
  spec.set_idempotency_key(promise.name);
  spec.set_group("chaos");
  spec.set_cwd("/");
  spec.set_retries(promise.retries);
  spec.mutable_kill_grace()->set_nanos(50'000'000);
  const size_t equals = options_.run_mark.find('=');
  (*spec.mutable_env())[options_.run_mark.substr(0, equals)] = options_.run_mark.substr(equals + 1);
  return spec;
}

// Repeats the submit until it is acknowledged; the keys make one task of each.
std::vector<Traffic::Mine> Traffic::submit(std::vector<Promise> promises) {
  v1::SubmitTasksRequest request;
  std::vector<std::string> names;
  for (const Promise& promise : promises) {
    *request.add_specs() = spec_of(promise);
    names.push_back(promise.name);
  }
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    ledgers_.submit_begins(number_, names);
    const auto reply = plain_->tasks().submit(request, patient_);
    ledgers_.submit_ends(number_, absl::IsUnavailable(reply.status()));
    if (reply.ok()) {
      std::vector<Mine> mine;
      for (size_t i = 0; i < promises.size(); ++i) {
        ledgers_.acknowledge(reply->ids(static_cast<int>(i)), promises[i]);
        mine.push_back({reply->ids(static_cast<int>(i)), promises[i]});
      }
      return mine;
    }
    if (!absl::IsUnavailable(reply.status()) || std::chrono::steady_clock::now() > give_up) {
      fault(names[0], absl::StrCat("submit: ", reply.status().ToString()));
      return {};
    }
    poll(nullptr, 0, kReconnectMs);
    auto fresh = client::Client::connect({options_.socket});
    if (fresh.ok()) plain_ = *std::move(fresh);
  }
}

void Traffic::round() {
  std::vector<Promise> promises;
  for (uint64_t count = 1 + random_() % kBatchMax; count > 0; --count) {
    promises.push_back(make_promise());
  }
  std::vector<Mine> tasks = submit(std::move(promises));
  std::vector<std::string> ids;
  for (Mine& task : tasks) {
    ids.push_back(task.id);
    if (task.promise.cancels && one_in(random_, 3)) cancel(task);
  }
  if (ids.empty()) return;
  const bool wait_first = std::none_of(tasks.begin(), tasks.end(),
                                       [](const Mine& task) { return task.promise.cancels; }) &&
                          one_in(random_, 3);
  if (wait_first) (void)client_->tasks().wait(ids, patient_);
  for (Mine& task : tasks) follow(task);
  const auto ended = client_->tasks().wait(ids, patient_);
  if (!ended.ok()) return fault(ids[0], absl::StrCat("wait: ", ended.status().ToString()));
  for (size_t i = 0; i < tasks.size(); ++i) {
    check_end(tasks[i], ended->tasks(static_cast<int>(i)));
    if (!one_in(random_, 8)) {
      ledgers_.removed(tasks[i].id);
      (void)client_->tasks().remove(tasks[i].id, patient_);
    }
  }
}

// Many small calls, so that kills fall into replies.
void Traffic::burst() {
  std::vector<Mine> tasks;
  std::vector<std::string> ids;
  for (int i = 0; i < kBurst; ++i) {
    Promise promise = make_promise();
    promise = {promise.name, "plain", promise.seed, 1};
    for (Mine& task : submit({promise})) {
      ids.push_back(task.id);
      tasks.push_back(std::move(task));
    }
  }
  if (ids.empty()) return;
  const auto ended = client_->tasks().wait(ids, patient_);
  if (!ended.ok()) return fault(ids[0], absl::StrCat("wait: ", ended.status().ToString()));
  for (size_t i = 0; i < tasks.size(); ++i) {
    check_end(tasks[i], ended->tasks(static_cast<int>(i)));
    ledgers_.removed(tasks[i].id);
    (void)client_->tasks().remove(tasks[i].id, patient_);
  }
}

void Traffic::cancel(Mine& task) {
  v1::CancelTaskRequest request;
  request.set_id(task.id);
  request.set_wait(one_in(random_, 2));
  task.cancelled = true;
  const auto record = client_->tasks().cancel(request, patient_);
  if (!record.ok()) return fault(task.id, absl::StrCat("cancel: ", record.status().ToString()));
  if (client::is_final(record->state())) ledgers_.told_final(task.id);
  if (request.wait() && !client::is_final(record->state())) {
    fault(task.id, "cancel --wait came back before the end");
  }
}

// What came from one attempt.
struct Received {
  std::array<std::string, 3> streams;
  uint64_t next_seq = 1;
  uint64_t bytes = 0;
};

void Traffic::follow(Mine& task) {
  std::map<uint32_t, Received> attempts;
  std::optional<v1::Task> finished;
  auto take = [&](const v1::TaskOutputBatch& batch) {
    Received& received = attempts[batch.attempt()];
    if (batch.has_gap()) fault(task.id, absl::StrCat("a gap: ", batch.gap().ShortDebugString()));
    for (const v1::Record& record : batch.records()) {
      if (record.seq() != received.next_seq || record.offset() != received.bytes) {
        fault(task.id, absl::StrCat("attempt ", batch.attempt(), ": record ", record.seq(), " at ",
                                    record.offset(), " where ", received.next_seq, " at ",
                                    received.bytes, " was due"));
      }
      received.next_seq = record.seq() + 1;
      received.bytes += record.data().size();
      received.streams[record.stream() == v1::STREAM_STDERR ? 2 : 1] += record.data();
    }
    if (batch.has_finished()) {
      finished = batch.finished();
      if (client::is_final(finished->state())) ledgers_.told_final(task.id);
    }
    if (task.promise.cancels && !task.cancelled) cancel(task);
    return true;
  };
  const absl::Status status = client_->tasks().output(task.id, 1, true, take, patient_);
  if (!status.ok()) return fault(task.id, absl::StrCat("follow: ", status.ToString()));
  if (!finished) return fault(task.id, "the follow ended without the final record");
  const auto expected = OutputSource(task.promise.seed, task.promise.bytes).all();
  for (const auto& [attempt, received] : attempts) {
    ledgers_.followed(received.bytes);
    if (received.bytes == 0 && !task.cancelled && attempt != finished->attempt()) {
      ledgers_.saw_nothing(task.id, attempt);
      continue;
    }
    for (const size_t stream : {1, 2}) {
      const std::string& got = received.streams[stream];
      const bool whole = got == expected[stream];
      const bool beginning = task.cancelled && expected[stream].compare(0, got.size(), got) == 0;
      if (whole || beginning) continue;
      fault(task.id, absl::StrCat("attempt ", attempt, " stream ", stream, " (", task.promise.kind,
                                  "): ", got.size(), " bytes followed, ", expected[stream].size(),
                                  " written, or their content differs"));
    }
  }
  const Received& last = attempts[finished->attempt()];
  if (finished->output_bytes() != last.bytes) {
    fault(task.id, absl::StrCat("the record says ", finished->output_bytes(),
                                " bytes of output, followed were ", last.bytes));
  }
}

void Traffic::check_end(const Mine& task, const v1::Task& record) {
  ledgers_.told_final(task.id);
  const Promise& promise = task.promise;
  v1::TaskState expected = v1::TASK_STATE_SUCCEEDED;
  if (promise.exit_code != 0) expected = v1::TASK_STATE_FAILED;
  if (promise.cancels) expected = v1::TASK_STATE_CANCELED;
  if (record.state() != expected || (!promise.cancels && record.exit_code() != promise.exit_code)) {
    fault(task.id, absl::StrCat(promise.kind, " ended as ", v1::TaskState_Name(record.state()),
                                " with code ", record.exit_code(), ", attempt ", record.attempt(),
                                ": ", record.reason()));
  }
}

}  // namespace

void run_traffic(int client, uint64_t seed, const TrafficOptions& options, Ledgers& ledgers,
                 const std::atomic<bool>& stop) {
  Traffic(client, seed, options, ledgers).run(stop);
}

}  // namespace zsync::chaos
