// What callers ask of tasks that exist: wait, cancel, retry, remove, input, why, groups.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/deadlines.hpp"
#include "daemon/tasks/engine.hpp"

namespace zsync::daemon {
namespace {

std::string in_time(int64_t nano) {
  return absl::FormatDuration(absl::Milliseconds((nano + 999'999) / 1'000'000));
}

std::string ended_how(const TaskAttempt& attempt) {
  if (attempt.state == TaskState::kFailed && attempt.reason.empty()) {
    return absl::StrCat("failed with exit code ", attempt.exit_code);
  }
  return absl::StrCat("is ", state_name(attempt.state), attempt.reason.empty() ? "" : ": ",
                      attempt.reason);
}

}  // namespace

Task<absl::StatusOr<std::vector<TaskRecord>>> TasksEngine::wait(std::vector<std::string> ids) {
  std::vector<EntryPtr> entries;
  for (const std::string& id : ids) {
    rt::LockGuard guard(mutex_);
    const size_t before = entries.size();
    if (absl::StartsWith(id, kArrayIdPrefix)) {
      for (const EntryPtr& entry : tasks_) {
        const auto& array = entry->task.record.spec->array;
        if (array && array->id == id) entries.push_back(entry);
      }
    }
    if (entries.size() > before) continue;
    absl::StatusOr<EntryPtr> entry = find(id);
    if (!entry.ok()) co_return entry.status();
    entries.push_back(std::move(*entry));
  }
  std::vector<TaskRecord> records;
  for (const EntryPtr& entry : entries) {
    while (true) {
      const uint64_t seen = entry->changed.epoch();
      TaskRecord record = snapshot(entry).record;
      if (is_final(record.state)) {
        records.push_back(std::move(record));
        break;
      }
      co_await entry->changed.changed(seen);
    }
  }
  co_return records;
}

Task<absl::StatusOr<TaskRecord>> TasksEngine::cancel(std::string id, bool wait,
                                                     std::optional<uint64_t> grace_ms) {
  EntryPtr entry;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(id);
    if (!found.ok()) co_return found.status();
    entry = *found;
  }
  Permit turn = co_await entry->turn.lock();
  StoredTask task;
  {
    rt::LockGuard guard(mutex_);
    if (is_final(entry->task.record.state)) co_return entry->task.record;
    task = entry->task;
    if (task.record.state == TaskState::kQueued) {
      // Out of the queue now, so that it cannot start while the disk is asked; it may also wait for
      // a retry, and then it is in no queue. Nobody is told before the disk has it.
      take_from_queue(entry);
      task.record.state = TaskState::kCanceled;
      task.record.reason = "canceled while it was queued";
      task.record.finished_unix_nano = clock_();
    }
    task.record.cancel_requested = true;
  }
  absl::Status committed =
      co_await commit(store_, [task](Database& db) { return update_task(db, task); });
  if (!committed.ok()) {
    put_back(entry);
    co_return committed;
  }
  apply_cancel(entry, task.record, grace_ms);
  turn.release();
  if (wait) {
    while (true) {
      const uint64_t seen = entry->changed.epoch();
      TaskRecord record = snapshot(entry).record;
      if (is_final(record.state)) co_return record;
      co_await entry->changed.changed(seen);
    }
  }
  co_return current(entry);
}

void TasksEngine::take_from_queue(const EntryPtr& entry) {
  queue_.remove(entry->task.order, clock_());
  entry->canceling = true;
}

// The disk refused a cancel: all is as before, but that a retry may come sooner.
void TasksEngine::put_back(const EntryPtr& entry) {
  rt::LockGuard guard(mutex_);
  if (!std::exchange(entry->canceling, false)) return;
  enqueue(entry);
  dispatch();
}

// The disk has it: `canceled` is what was written.
void TasksEngine::apply_cancel(const EntryPtr& entry, const TaskRecord& canceled,
                               std::optional<uint64_t> grace_ms) {
  {
    Tidings tidings;
    rt::LockGuard guard(mutex_);
    TaskRecord& record = entry->task.record;
    entry->canceling = false;
    record.cancel_requested = true;
    if (grace_ms) entry->cancel_grace_ms = grace_ms;
    if (canceled.state == TaskState::kCanceled) {
      record.state = canceled.state;
      record.reason = canceled.reason;
      record.finished_unix_nano = canceled.finished_unix_nano;
      if (entry->input) entry->input->close();
      retain(record);
      announce("task.finished", record);
      queue_.ended(entry->task.order, false, clock_());
      dispatch();
    } else if (record.spec->function) {
      cancel_call(entry, tidings);
    } else if (entry->orders) {
      order_cancel(entry, *entry->orders);
    }
  }
  entry->changed.notify_all();
}

Task<absl::StatusOr<TaskRecord>> TasksEngine::retry(std::string id) {
  EntryPtr entry;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(id);
    if (!found.ok()) co_return found.status();
    entry = *found;
  }
  Permit turn = co_await entry->turn.lock();
  if (absl::Status status = check_finished(entry, "wait for it, or cancel it first"); !status.ok())
    co_return status;
  StoredTask task = snapshot(entry);
  if (absl::Status status = check_retry(task.record); !status.ok()) co_return status;
  TaskSpec spec;
  absl::Status loaded = store_.read([&](Database& db) -> absl::Status {
    absl::StatusOr<TaskSpec> stored = load_task_spec(db, task.record.id);
    if (stored.ok()) spec = std::move(*stored);
    return stored.status();
  });
  if (!loaded.ok()) co_return loaded;
  task.record.spec = std::make_shared<const TaskSpec>(std::move(spec));
  const std::optional<TaskAttempt> ended = newest_attempt(task.record);
  if (ended) task.record.attempts.push_back(*ended);
  task.record.state = TaskState::kQueued;
  task.record.not_before_unix_nano = 0;
  task.record.cancel_requested = false;
  task.record.reason.clear();
  task.record.finished_unix_nano = 0;
  task.record.result.reset();
  task.failures = 0;
  task.lost_workers = 0;
  absl::Status committed = co_await commit(store_, [task, ended](Database& db) {
    absl::Status status = update_task(db, task);
    if (status.ok() && ended) status = insert_attempt(db, task.record.id, *ended);
    if (status.ok() && task.record.spec->function) status = delete_result(db, task.record.id);
    return status;
  });
  if (!committed.ok()) co_return committed;
  {
    rt::LockGuard guard(mutex_);
    retention_.forget(entry->task.record.finished_unix_nano, task.record.id);
    entry->task = task;
    entry->cancel_grace_ms.reset();
    entry->input.reset();
    entry->input_closed = false;
    enqueue(entry);
    announce("task.queued", entry->task.record);
    dispatch();
  }
  entry->changed.notify_all();
  co_return current(entry);
}

// Errors: kFailedPrecondition with `hint` for a task that is not final; kNotFound for one that was
// removed meanwhile.
absl::Status TasksEngine::check_finished(const EntryPtr& entry, const char* hint) {
  rt::LockGuard guard(mutex_);
  const TaskRecord& record = entry->task.record;
  if (entry->removed) return not_found(record.id);
  if (is_final(record.state)) return absl::OkStatus();
  return fault(absl::StatusCode::kFailedPrecondition,
               absl::StrCat(record.id, " is ", state_name(record.state)),
               {"id", "NOT_FINISHED", "", hint, {}});
}

Task<absl::Status> TasksEngine::remove(std::string id) {
  EntryPtr entry;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(id);
    if (!found.ok()) co_return found.status();
    entry = *found;
  }
  Permit turn = co_await entry->turn.lock();
  if (absl::Status status = check_finished(entry, "cancel it first, with --wait"); !status.ok())
    co_return status;
  // Without it, a daemon that starts before the disk has what was skipped would let that run.
  while (true) {
    const uint64_t seen = entry->changed.epoch();
    {
      rt::LockGuard guard(mutex_);
      if (entry->skipping == 0) break;
    }
    co_await entry->changed.changed(seen);
  }
  const std::string whole = snapshot(entry).record.id;
  absl::Status committed =
      co_await commit(store_, [whole](Database& db) { return delete_task(db, whole); });
  if (!committed.ok()) co_return committed;
  {
    rt::LockGuard guard(mutex_);
    entry->removed = true;
    retention_.forget(entry->task.record.finished_unix_nano, whole);
    const std::string& key = entry->task.record.spec->idempotency_key;
    if (auto known = by_key_.find(key); known != by_key_.end() && known->second == whole) {
      by_key_.erase(known);
    }
    by_order_.erase(entry->task.order);
    tasks_.erase(whole);
  }
  std::error_code error;
  std::filesystem::remove_all(absl::StrCat(options_.tasks_dir, "/", whole), error);
  events_.append("task.removed", whole);
  co_return absl::OkStatus();
}

// What a queued task waits for, most important first.
void TasksEngine::explain_waiting(const StoredTask& task, std::vector<std::string>& reasons) {
  const TaskRecord& record = task.record;
  if (record.not_before_unix_nano > clock_()) {
    const std::string when = in_time(record.not_before_unix_nano - clock_());
    if (!record.attempts.empty() && task.failures > 0) {
      const TaskAttempt& last = record.attempts.back();
      reasons.push_back(absl::StrCat("attempt ", record.attempt + 1, " of at most ",
                                     record.attempt + attempts_max(*record.spec) - task.failures,
                                     " comes in ", when, ": attempt ", last.attempt, " ",
                                     ended_how(last)));
    } else {
      reasons.push_back(absl::StrCat("it starts in ", when, " at the earliest"));
    }
  }
  const std::optional<TaskWaiting> waiting = queue_.explain(task.order, clock_());
  if (!waiting) {
    reasons.push_back("it is on its way into or out of the queue");
    return;
  }
  explain_needs(*waiting, group_of(*record.spec), reasons);
  explain_group(*waiting, group_of(*record.spec), reasons);
}

absl::StatusOr<std::vector<std::string>> TasksEngine::why(const std::string& id) {
  rt::LockGuard guard(mutex_);
  absl::StatusOr<EntryPtr> found = find(id);
  if (!found.ok()) return found.status();
  const StoredTask& task = (*found)->task;
  const TaskRecord& record = task.record;
  std::vector<std::string> reasons;
  if (is_final(record.state)) {
    reasons.push_back(absl::StrCat("it waits for nothing: it is ", state_name(record.state),
                                   record.reason.empty() ? "" : ": ", record.reason));
  } else if (record.state == TaskState::kRunning) {
    if (record.cancel_requested) {
      reasons.push_back(record.spec->function
                            ? "it was canceled: its worker has until the end of the grace"
                            : "it was canceled: its processes have until the end of the grace");
    }
    if (record.paused_unix_nano != 0) {
      reasons.push_back(absl::StrCat("it was paused ", in_time(clock_() - record.paused_unix_nano),
                                     " ago: `tasks resume` lets it go on"));
    }
    reasons.push_back(record.pid == 0 ? "it is being started"
                      : record.spec->function
                          ? absl::StrCat("a worker of \"", record.spec->function->name,
                                         "\" has it, pid ", record.pid)
                          : absl::StrCat("it runs as pid ", record.pid));
  } else {
    explain_waiting(task, reasons);
  }
  if (std::string slack = explain_slack(record, clock_()); !slack.empty()) {
    reasons.push_back(std::move(slack));
  }
  return reasons;
}

}  // namespace zsync::daemon
