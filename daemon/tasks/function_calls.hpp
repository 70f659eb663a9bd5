// What TasksEngine keeps of functions: who serves them, what is on its way to each worker, and the
// direct calls, which no disk ever sees.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "daemon/tasks/function_call.hpp"
#include "daemon/tasks/task_entry.hpp"
#include "daemon/tasks/worker_pool.hpp"
#include "zsync/notify.hpp"

namespace zsync::daemon {

// A call as its worker gets it.
struct HandedCall {
  uint64_t call = 0;
  std::string task_id;  // empty: direct
  uint32_t attempt = 0;
  std::shared_ptr<const FunctionCall> what;  // its task's, or its caller's: a payload is kept once
  int64_t deadline_unix_nano = 0;
  std::string traceparent;
};

struct AnsweredCall {
  uint64_t call = 0;
  FunctionResult result;
};

struct RefusedAnswer {
  uint64_t call = 0;
  std::string reason;
};

// What a worker is told next.
struct WorkerNews {
  std::vector<HandedCall> calls;
  std::vector<uint64_t> canceled;
  std::vector<RefusedAnswer> refused;
  bool drained = false;
  bool gone = false;        // it counts as gone
  std::string gone_reason;  // empty: it has left by itself
};

// One worker's stream. Guarded by the engine's mutex but for what guards itself.
struct WorkerLink {
  uint64_t worker = 0;
  std::string function;
  int32_t pid = 0;
  std::deque<HandedCall> calls;
  WorkerNews news;             // but for the calls
  std::function<void()> tell;  // there is news; any thread, no lock held
  Notify ended;                // it counts as gone
};
using WorkerLinkPtr = std::shared_ptr<WorkerLink>;

struct WorkerHello {
  std::string function;
  uint32_t window = 1;
  int64_t silence_ns = 0;  // 0: none
  int32_t pid = 0;
};

struct FunctionRecord {
  std::string name;
  WorkerPool::Counts counts;
  uint32_t queued = 0;
  uint32_t waiting = 0;
  int64_t served_unix_nano = 0;
};

// A call without a task.
struct DirectCall {
  uint64_t id = 0;
  std::shared_ptr<const FunctionCall> what;
  std::string traceparent;
  int64_t until = 0;  // by the wall clock, as every deadline
  uint64_t call = 0;  // 0: it waits
  uint32_t lost_workers = 0;
  std::function<void(absl::StatusOr<FunctionResult>)> settled;  // once; any thread, no lock held
};
using DirectPtr = std::shared_ptr<DirectCall>;

// What comes about for workers and callers while the engine's lock is held, and is told when it is
// free: made before the lock is taken, so that it ends after it.
class Tidings {
 public:
  Tidings() = default;
  Tidings(const Tidings&) = delete;
  Tidings& operator=(const Tidings&) = delete;
  ~Tidings();

  void news_for(const WorkerLink& link);
  void settle(DirectCall& direct, absl::StatusOr<FunctionResult> answer);

 private:
  struct Settled {
    std::function<void(absl::StatusOr<FunctionResult>)> tell;
    absl::StatusOr<FunctionResult> answer;
  };
  std::vector<Settled> settled_;
  std::vector<std::pair<uint64_t, std::function<void()>>> links_;  // by worker
};

// How an attempt at a worker ends.
struct CallEnding {
  enum class How : uint8_t { kAnswered, kTimedOut, kDeadline, kCanceled, kLostWorker, kLostDaemon };
  std::shared_ptr<TaskEntry> entry;
  How how = How::kAnswered;
  std::string reason;
  std::shared_ptr<const FunctionResult> result;  // of an answer
};

struct FunctionState {
  struct Known {
    int64_t served_unix_nano = 0;           // 0: never
    std::map<uint64_t, DirectPtr> waiting;  // by their age
  };
  WorkerPool pool;
  std::map<std::string, Known> known;
  absl::flat_hash_map<uint64_t, WorkerLinkPtr> links;  // by worker
  absl::flat_hash_map<uint64_t, DirectPtr> directs;    // waiting and handed over
  std::set<std::pair<int64_t, uint64_t>> direct_ends;  // until, id: of all of them
  std::vector<std::shared_ptr<TaskEntry>> starting;    // that the queue has let start just now
  uint64_t next_direct = 1;
  bool group_made = false;
  bool closing = false;  // the daemon stops: workers that leave are not to blame
};

}  // namespace zsync::daemon
