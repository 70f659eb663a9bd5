// Running one attempt: from the committed `running` record to the committed end.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "daemon/store/commit.hpp"
#include "daemon/store/work_span.hpp"
#include "daemon/tasks/deadlines.hpp"
#include "daemon/tasks/engine.hpp"
#include "zsync/flow.hpp"
#include "zsync/rt/fd.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStorePause{1000};  // before what the disk refused is tried again

// What passes by itself: a full disk, too many open files or processes.
bool is_shortage(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnavailable(status);
}

constexpr int64_t kNanoPerMs = 1'000'000;

}  // namespace

absl::StatusOr<shim::Spec> TasksEngine::shim_spec(const TaskRecord& record) {
  const TaskSpec& task = *record.spec;
  shim::Spec spec;
  spec.task_id = record.id;
  spec.attempt = record.attempt;
  spec.argv = task.argv;
  if (!task.shell.empty()) spec.argv = {"/bin/sh", "-c", task.shell};
  std::map<std::string, std::string> environment;
  auto put = [&environment](const std::string& variable) {
    const size_t equals = variable.find('=');
    environment[variable.substr(0, equals)] = variable.substr(equals + 1);
  };
  if (!task.replace_env) {
    for (const std::string& variable : options_.base_env) put(variable);
  }
  for (const auto& [name, value] : task.env) environment[name] = value;
  environment.try_emplace("PATH", "/usr/local/bin:/usr/bin:/bin");
  for (const std::string& variable : options_.own_env) put(variable);
  environment["ZSYNC_TASK_ID"] = record.id;
  environment["ZSYNC_ATTEMPT"] = absl::StrCat(record.attempt);
  const trace::SpanContext caused = work_span(record.id, task.traceparent);
  if (task.array) {
    environment["ZSYNC_ARRAY_ID"] = task.array->id;
    environment["ZSYNC_ARRAY_INDEX"] = absl::StrCat(task.array->index);
    environment["ZSYNC_ARRAY_SIZE"] = absl::StrCat(task.array->size);
    for (const auto& [axis, value] : task.array->values) {
      environment["ZSYNC_MATRIX_" + absl::AsciiStrToUpper(axis)] = value;
    }
  }
  const int64_t now = clock_();
  spec.timeout_ms = task.timeout_ms;
  spec.deadline_ms = deadline_left_ms(record, now);
  const int64_t due = deadlines_of(record).end;
  if (due > 0 || task.timeout_ms > 0) {
    const int64_t limit = now + static_cast<int64_t>(task.timeout_ms) * kNanoPerMs;
    const bool timeout_first = task.timeout_ms > 0 && (due == 0 || limit < due);
    environment["ZSYNC_DEADLINE"] = absl::StrCat(timeout_first ? limit : due);
  }
  environment["TRACEPARENT"] = attempt_span(caused, record.attempt).to_traceparent();
  for (const auto& [name, value] : environment) spec.env.push_back(absl::StrCat(name, "=", value));
  spec.cwd = task.cwd.empty() ? options_.default_cwd : task.cwd;
  spec.stdin_mode = task.stdin_stream           ? shim::StdinMode::kStream
                    : !task.stdin_bytes.empty() ? shim::StdinMode::kFile
                                                : shim::StdinMode::kNothing;
  spec.cgroup = cgroups_.create(record.id, group_of(task));
  spec.terminal = task.terminal;
  spec.nice = task.priorities.nice;
  spec.io_class = static_cast<uint8_t>(task.priorities.io_class);
  spec.io_level = static_cast<uint8_t>(task.priorities.io_level);
  if (absl::Status held = apply_limits(task.limits, cgroups_, spec); !held.ok()) return held;
  spec.kill_grace_ms = task.kill_grace_ms.value_or(options_.kill_grace_ms);
  spec.output_bytes_max = options_.output_bytes_max;
  spec.keep_children = task.keep_children;
  spec.open_files_soft = options_.open_files_soft;
  spec.held = true;
  return spec;
}

Task<void> TasksEngine::run(EntryPtr entry, std::string waits, std::vector<uint64_t> behind) {
  co_await go_on(entry, co_await run_attempt(entry, std::move(waits), std::move(behind)));
}

// The processes of an attempt are gone: the next task may begin while the disk takes the end.
uint64_t TasksEngine::give_place_away(const EntryPtr& entry) {
  rt::LockGuard guard(mutex_);
  const uint64_t end = open_ends_.open(OpenEnds::Place::of(*entry->task.record.spec));
  queue_.finished(entry->task.order, clock_());
  dispatch();
  return end;
}

Task<void> TasksEngine::until_told(std::vector<uint64_t> ends) {
  while (true) {
    const uint64_t seen = end_told_.epoch();
    {
      rt::LockGuard guard(mutex_);
      if (!open_ends_.any_open(ends)) co_return;
    }
    co_await end_told_.changed(seen);
  }
}

// After a restart: what became of an attempt that was running.
Task<void> TasksEngine::resume(EntryPtr entry) {
  AttemptPtr attempt;
  {
    rt::LockGuard guard(mutex_);
    const TaskRecord& record = entry->task.record;
    entry->orders = to_shim(unbounded<ShimOrder>());
    if (record.spec->terminal.rows != 0) {
      entry->input = to_shim(bounded<ShimOrder>(kInputQueued));
    } else if (record.spec->stdin_stream) {
      entry->input = to_shim(bounded<ShimOrder>(1));
      entry->input->close();  // whoever fed it is gone
      entry->input_closed = true;
    }
    attempt =
        std::make_shared<Attempt>(entry, attempt_dir(record.id, record.attempt), *entry->orders);
  }
  absl::StatusOr<segment_log::Fd> connection = shim::connect_shim(attempt->dir);
  const Outcome outcome =
      co_await supervise(attempt, connection.ok() ? std::move(*connection) : segment_log::Fd());
  co_await go_on(entry, outcome);
}

// What follows an attempt.
Task<void> TasksEngine::go_on(EntryPtr entry, Outcome outcome) {
  if (!outcome.again) {
    co_await keep_retention();
    co_return;
  }
  rt::LockGuard guard(mutex_);
  if (entry->task.record.state == TaskState::kQueued && !entry->canceling) enqueue(entry);
  dispatch();
}

TasksEngine::Outcome TasksEngine::back_to_queue(const EntryPtr& entry, milliseconds pause) {
  {
    rt::LockGuard guard(mutex_);
    TaskRecord& record = entry->task.record;
    record.state = TaskState::kQueued;
    record.not_before_unix_nano = pause.count() > 0 ? clock_() + pause.count() * kNanoPerMs : 0;
    queue_.finished(entry->task.order, clock_());
    dispatch();
  }
  entry->changed.notify_all();
  return {true, true};
}

bool TasksEngine::cancel_requested(const EntryPtr& entry) {
  rt::LockGuard guard(mutex_);
  return entry->task.record.cancel_requested;
}

Task<TasksEngine::Outcome> TasksEngine::run_attempt(EntryPtr entry, std::string waits,
                                                    std::vector<uint64_t> behind) {
  // 1. `running, attempt N` goes to the disk, and meanwhile the shim gets ready: it is held.
  StoredTask task;
  std::string dir;
  absl::Status committed;
  absl::StatusOr<segment_log::Fd> connection = absl::UnavailableError("");
  {
    Permit turn = co_await entry->turn.lock();
    task = snapshot(entry);
    dir = attempt_dir(task.record.id, task.record.attempt);
    Future<void> stored =
        commit_ahead(store_, [task](Database& db) { return update_task(db, task); });
    connection = start_shim(task.record, dir);
    committed = co_await stored;
  }
  if (!committed.ok()) {
    {
      rt::LockGuard guard(mutex_);
      --entry->task.record.attempt;  // nothing of it ever ran
    }
    co_return back_to_queue(entry, kStorePause);
  }
  co_await until_told(std::move(behind));
  // 2. The shim may go on; it executes only when it wins the claim.
  bool announced = false;
  while (true) {
    if (cancel_requested(entry)) {
      co_return co_await finish(entry, TaskState::kCanceled, {}, "canceled before it started");
    }
    if (!std::exchange(announced, true)) announce("task.started", task.record, std::move(waits));
    if (connection.ok() || !is_shortage(connection.status())) break;
    co_await sleep(kStorePause);
    connection = start_shim(task.record, dir);
  }
  if (!connection.ok()) {
    co_return co_await finish(entry, TaskState::kFailed, {},
                              absl::StrCat("cannot start: ", connection.status().message()));
  }
  shim::say_go(*connection);
  AttemptPtr attempt;
  {
    rt::LockGuard guard(mutex_);
    attempt = std::make_shared<Attempt>(entry, dir, *entry->orders);
  }
  co_return co_await supervise(attempt, std::move(*connection));
}

// Makes the attempt's directory and starts its shim, which is held. Whoever lets the connection go
// without a word ends it.
absl::StatusOr<segment_log::Fd> TasksEngine::start_shim(const TaskRecord& record,
                                                        const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(dir).parent_path(), error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("making \"", dir, "\""));
  // What is there already is of an attempt that was held and not let go. Its shim may still be at
  // work in it, so it goes out of the way at once; files that come into it meanwhile stay there.
  if (const std::string aside = absl::StrCat(dir, ".", ids_.next());
      ::rename(dir.c_str(), aside.c_str()) == 0) {
    std::filesystem::remove_all(aside, error);
  }
  absl::StatusOr<shim::Spec> spec = shim_spec(record);
  if (!spec.ok()) return spec.status();
  absl::Status created = shim::create_attempt(dir, *spec, *record.spec->stdin_bytes);
  if (!created.ok()) return created;
  return launcher_.launch(dir);
}

// Whether another attempt follows the one that the record tells of; then it is put aside and the
// record is that of a queued task with a time to wait for.
bool TasksEngine::decide_retry(StoredTask& task, TaskState state, bool missed) {
  TaskRecord& record = task.record;
  if (state == TaskState::kSucceeded || state == TaskState::kCanceled) return false;
  ++task.failures;
  if (record.cancel_requested || missed ||
      !retries_after(*record.spec, state, record.exit_code, task.failures)) {
    return false;
  }
  const RetryPolicy policy = record.spec->retry ? *record.spec->retry : RetryPolicy();
  const uint64_t random = options_.random_bits ? options_.random_bits() : task.order;
  const milliseconds pause = retry_delay(policy, task.failures, random);
  const int64_t not_before = clock_() + pause.count() * kNanoPerMs;
  const int64_t due = deadlines_of(record).end;
  if (due > 0 && not_before >= due) return false;  // it could not start any more
  record.attempts.push_back(*newest_attempt(record));
  record.state = TaskState::kQueued;
  record.not_before_unix_nano = not_before;
  return true;
}

// The end is on disk before anybody is told; a full disk delays the news, never changes it.
Task<TasksEngine::Outcome> TasksEngine::finish(EntryPtr entry, TaskState state,
                                               shim::ExitRecord exit, std::string reason) {
  const uint64_t end = give_place_away(entry);
  while (true) {
    Permit turn = co_await entry->turn.lock();
    StoredTask task = snapshot(entry);
    TaskRecord& record = task.record;
    record.state = state;
    record.reason = reason;
    record.exit_code = exit.code;
    record.signal = exit.signal;
    record.pid = 0;
    record.finished_unix_nano = exit.finished_unix_nano ? exit.finished_unix_nano : clock_();
    if (exit.started_unix_nano) record.started_unix_nano = exit.started_unix_nano;
    record.output_records = std::max(record.output_records, exit.last_seq);
    record.output_bytes = std::max(record.output_bytes, exit.output_bytes);
    record.usage = exit.usage;
    record.paused_unix_nano = 0;
    const bool missed = state == TaskState::kTimedOut && exit.by_deadline;
    if (missed) record.reason = kMissedDeadline;
    const bool again = decide_retry(task, state, missed);
    absl::Status committed = co_await commit(store_, [task, again](Database& db) {
      absl::Status status = update_task(db, task);
      if (status.ok() && again) {
        status = insert_attempt(db, task.record.id, task.record.attempts.back());
      }
      return status;
    });
    if (!committed.ok()) {
      turn.release();
      co_await sleep(kStorePause);
      continue;
    }
    cgroups_.remove(record.id, group_of(*record.spec));
    if (!again) {
      auto slim = std::make_shared<TaskSpec>(*record.spec);
      slim->env = Environment();
      slim->stdin_bytes.clear();
      record.spec = std::move(slim);
    }
    {
      rt::LockGuard guard(mutex_);
      entry->task = task;
      if (!again) queue_.ended(task.order, state == TaskState::kSucceeded, clock_());
      entry->orders.reset();
      if (!again) retain(record);
      if (!again && entry->input) entry->input->close();
      if (missed) announce("task.deadline_missed", record);
      announce(again ? "task.retrying" : "task.finished", record);
      open_ends_.close(end);
      if (!again) dispatch();  // what waited for this very end
    }
    end_told_.notify_all();
    entry->changed.notify_all();
    co_return Outcome{true, again};
  }
}

}  // namespace zsync::daemon
