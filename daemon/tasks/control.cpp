// What callers do to a task while it runs: pause, resume, signal.
#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/engine.hpp"

namespace zsync::daemon {

absl::StatusOr<TasksEngine::EntryPtr> TasksEngine::find_running(const std::string& id,
                                                                const char* verb) {
  absl::StatusOr<EntryPtr> found = find(id);
  if (!found.ok()) return found.status();
  const TaskRecord& record = (*found)->task.record;
  if (record.spec->function) {
    return fault(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat(record.id, " is a function call, which has no process that could be ", verb),
        {"id", "NO_PROCESS", "", "cancel it: its worker is told", {}});
  }
  if (record.state == TaskState::kRunning && (*found)->orders) return *found;
  const bool queued = record.state == TaskState::kQueued;
  return fault(absl::StatusCode::kFailedPrecondition,
               absl::StrCat(record.id, " is ", state_name(record.state), ": only a running task ",
                            "can be ", verb),
               {"id",
                "NOT_RUNNING",
                "",
                queued ? "it has no process yet: cancel it, or wait until it runs"
                       : "it has ended: `tasks retry` runs it again",
                {}});
}

// Errors: kResourceExhausted when the shim does not take what was ordered before.
absl::Status TasksEngine::order(const EntryPtr& entry, std::string frame) {
  if (entry->orders->size() >= kShimOrdersMax) {
    return fault(absl::StatusCode::kResourceExhausted,
                 absl::StrCat("the supervisor of ", entry->task.record.id, " takes no orders"),
                 {"id",
                  "LIMIT",
                  absl::StrCat("shim_orders_max = ", kShimOrdersMax),
                  "see whether it was stopped: SIGCONT lets it go on",
                  {}});
  }
  (void)entry->orders->try_send({ShimOrder::Kind::kFrame, std::move(frame)});
  return absl::OkStatus();
}

Task<absl::StatusOr<TaskRecord>> TasksEngine::pause(std::string id, bool paused) {
  EntryPtr entry;
  uint32_t attempt = 0;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find_running(id, paused ? "paused" : "resumed");
    if (!found.ok()) co_return found.status();
    entry = *found;
    const TaskRecord& record = entry->task.record;
    attempt = record.attempt;
    if (record.cancel_requested) {
      co_return fault(absl::StatusCode::kFailedPrecondition,
                      absl::StrCat(record.id, " is being canceled"),
                      {"id", "CANCELED", "", "wait for its end", {}});
    }
    const shim::FrameType what = paused ? shim::FrameType::kPause : shim::FrameType::kResume;
    absl::Status ordered = order(entry, shim::encode_frame(what));
    if (!ordered.ok()) co_return ordered;
  }
  while (true) {
    const uint64_t seen = entry->changed.epoch();
    {
      rt::LockGuard guard(mutex_);
      const TaskRecord& record = entry->task.record;
      if (entry->shim_version != 0 && entry->shim_version < shim::kPauseVersion) {
        co_return fault(
            absl::StatusCode::kFailedPrecondition,
            absl::StrCat(record.id,
                         " was started by an older zsync, whose supervisor cannot pause"),
            {"id", "OLD_SUPERVISOR", "", "send SIGSTOP with `tasks signal`, or retry it", {}});
      }
      const bool same = record.state == TaskState::kRunning && record.attempt == attempt;
      if (!same || (record.paused_unix_nano != 0) == paused) co_return record;
    }
    co_await entry->changed.changed(seen);
  }
}

absl::StatusOr<TaskRecord> TasksEngine::signal(const std::string& id, int32_t number) {
  if (number < 1 || number > SIGRTMAX) {
    return fault(absl::StatusCode::kInvalidArgument, absl::StrCat("there is no signal ", number),
                 {"signal",
                  "LIMIT",
                  absl::StrCat("signal = 1..", SIGRTMAX),
                  "give a number of signal(7)",
                  {}});
  }
  rt::LockGuard guard(mutex_);
  absl::StatusOr<EntryPtr> entry = find_running(id, "sent a signal");
  if (!entry.ok()) return entry.status();
  absl::Status ordered = order(*entry, shim::encode_frame(shim::Signal{number}));
  if (!ordered.ok()) return ordered;
  return (*entry)->task.record;
}

void TasksEngine::note_paused(const EntryPtr& entry, int64_t since) {
  TaskRecord& record = entry->task.record;
  if (record.paused_unix_nano == since) return;
  record.paused_unix_nano = since;
  announce(since != 0 ? "task.paused" : "task.resumed", record);
}

}  // namespace zsync::daemon
