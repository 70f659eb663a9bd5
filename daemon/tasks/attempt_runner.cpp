// Running one attempt: from the committed `running` record to the committed end.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/leftovers.hpp"
#include "zsync/flow.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStorePause{1000};    // before a start that the disk refused is tried again
constexpr milliseconds kReconnectPause{50};  // between two tries to reach a shim that lives
constexpr int kReconnectsMax = 100;
constexpr milliseconds kRetryFirst{1000};  // before the second attempt; doubles
constexpr milliseconds kRetryMax{60'000};
constexpr size_t kReadBytes = 64 << 10;

TaskState state_of(const shim::ExitRecord& exit) {
  switch (exit.kind) {
    case shim::ExitKind::kExited:
      return exit.code == 0 ? TaskState::kSucceeded : TaskState::kFailed;
    case shim::ExitKind::kSignaled:
      return TaskState::kSignaled;
    case shim::ExitKind::kExecFailed:
      return TaskState::kFailed;
    case shim::ExitKind::kTimedOut:
      return TaskState::kTimedOut;
    case shim::ExitKind::kCanceled:
      return TaskState::kCanceled;
  }
  return TaskState::kLost;
}

std::string reason_of(const shim::ExitRecord& exit, const TaskSpec& spec) {
  switch (exit.kind) {
    case shim::ExitKind::kExited:
      return "";
    case shim::ExitKind::kSignaled:
      return absl::StrCat("signal ", exit.signal, " (", strsignal(exit.signal), ")");
    case shim::ExitKind::kExecFailed:
      return exit.text;
    case shim::ExitKind::kTimedOut:
      return absl::StrCat("ran longer than ", spec.timeout_ms, " ms");
    case shim::ExitKind::kCanceled:
      return "canceled while it ran";
  }
  return "";
}

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
  if (!task.traceparent.empty()) environment["TRACEPARENT"] = task.traceparent;
  for (const auto& [name, value] : environment) spec.env.push_back(absl::StrCat(name, "=", value));
  spec.cwd = task.cwd.empty() ? options_.default_cwd : task.cwd;
  spec.stdin_mode = task.stdin_stream           ? shim::StdinMode::kStream
                    : !task.stdin_bytes.empty() ? shim::StdinMode::kFile
                                                : shim::StdinMode::kNothing;
  spec.cgroup = cgroups_.create(record.id);
  spec.timeout_ms = task.timeout_ms;
  spec.kill_grace_ms = task.kill_grace_ms.value_or(options_.kill_grace_ms);
  spec.output_bytes_max = options_.output_bytes_max;
  spec.keep_children = task.keep_children;
  return spec;
}

Task<void> TasksEngine::run(EntryPtr entry) {
  absl::Status status = co_await run_attempt(entry);
  if (status.ok()) co_return;
  shim::ExitRecord none;
  co_await finish(entry, TaskState::kFailed, none,
                  absl::StrCat("cannot start: ", status.message()));
}

// Ok: the attempt has been dealt with, whatever became of it. An error: it was never started.
Task<absl::Status> TasksEngine::run_attempt(EntryPtr entry) {
  // 1. `running, attempt N` is on disk before anything of it exists.
  StoredTask task = snapshot(entry);
  absl::Status committed =
      co_await commit(store_, [task](Database& db) { return update_task(db, task); });
  if (!committed.ok()) {
    co_await requeue_later(entry, kStorePause);
    co_return absl::OkStatus();
  }
  task = snapshot(entry);
  if (task.record.cancel_requested) {
    co_await finish(entry, TaskState::kCanceled, {}, "canceled before it started");
    co_return absl::OkStatus();
  }
  announce("task.started", task.record);
  // 2. What the shim needs. A directory that is there already was never given to a shim.
  auto attempt = std::make_shared<Attempt>();
  attempt->entry = entry;
  attempt->dir = attempt_dir(task.record.id, task.record.attempt);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(attempt->dir).parent_path(), error);
  if (error) co_return absl::UnavailableError(absl::StrCat(attempt->dir, ": ", error.message()));
  std::filesystem::remove_all(attempt->dir, error);
  absl::StatusOr<shim::Spec> spec = shim_spec(task.record);
  if (!spec.ok()) co_return spec.status();
  absl::Status created = shim::create_attempt(attempt->dir, *spec, task.record.spec->stdin_bytes);
  if (!created.ok()) co_return created;
  // 3. The shim; it executes only when it wins the claim.
  absl::StatusOr<shim::SpawnedShim> spawned = shim::spawn_shim(options_.shim_program, attempt->dir);
  if (!spawned.ok()) co_return spawned.status();
  co_await supervise(attempt, std::move(spawned->connection));
  co_return absl::OkStatus();
}

// Follows the shim until the attempt has ended, over as many connections as it takes.
Task<void> TasksEngine::supervise(std::shared_ptr<Attempt> attempt, segment_log::Fd connection) {
  for (int reconnects = 0; reconnects < kReconnectsMax; ++reconnects) {
    if (connection.valid()) {
      absl::StatusOr<rt::Fd> socket = rt::Fd::adopt(connection.release());
      if (socket.ok()) {
        Executor helpers;
        helpers.spawn(write_orders(attempt, *socket));
        if (attempt->entry->input) helpers.spawn(write_input(attempt));
        absl::Status ended = co_await read_frames(attempt, *socket);
        if (absl::IsCancelled(ended)) {
          helpers.cancel_all();
          co_await shield(helpers.join_all());
          throw Cancelled();
        }
        if (attempt->exit) {
          co_await finish(attempt->entry, state_of(*attempt->exit), *attempt->exit,
                          reason_of(*attempt->exit, *snapshot(attempt->entry).record.spec));
          const std::string frame = shim::encode_frame(shim::FrameType::kAckExit);
          (void)co_await socket->write_all(std::as_bytes(std::span(frame)));
        }
        helpers.cancel_all();
        co_await helpers.join_all();
        if (attempt->exit) co_return;
      }
    }
    if (!shim::shim_alive(attempt->dir)) break;
    absl::StatusOr<segment_log::Fd> again = shim::connect_shim(attempt->dir);
    if (again.ok()) {
      connection = std::move(*again);
    } else {
      co_await sleep(kReconnectPause);
    }
  }
  co_await finish_by_files(attempt);
}

// Ok: the shim has said all it will say on this connection.
Task<absl::Status> TasksEngine::read_frames(std::shared_ptr<Attempt> attempt, rt::Fd& socket) {
  shim::FrameReader frames;
  std::vector<std::byte> buffer(kReadBytes);
  while (true) {
    absl::StatusOr<size_t> count = co_await socket.read_some(buffer);
    if (absl::IsCancelled(count.status())) co_return count.status();
    if (!count.ok() || *count == 0) co_return absl::OkStatus();
    frames.push({reinterpret_cast<const char*>(buffer.data()), *count});
    while (std::optional<shim::Frame> frame = frames.next()) take_frame(*attempt, *frame);
    if (frames.broken() || attempt->exit || attempt->refused) co_return absl::OkStatus();
  }
}

void TasksEngine::take_frame(Attempt& attempt, const shim::Frame& frame) {
  const EntryPtr& entry = attempt.entry;
  rt::LockGuard guard(mutex_);
  TaskRecord& record = entry->task.record;
  switch (frame.type) {
    case shim::FrameType::kHello: {
      const shim::Hello hello = shim::decode_hello(frame);
      record.pid = hello.pid;
      record.output_records = hello.last_seq;
      record.output_bytes = hello.output_bytes;
      attempt.stdin_sent = attempt.stdin_written = hello.stdin_received;
      attempt.cancel_sent = hello.canceling;
      if (record.cancel_requested && !attempt.cancel_sent) order_cancel(entry, attempt);
      break;
    }
    case shim::FrameType::kStarted: {
      const shim::Started started = shim::decode_started(frame);
      record.pid = started.pid;
      record.started_unix_nano = started.started_unix_nano;
      break;
    }
    case shim::FrameType::kOutput: {
      const shim::Output output = shim::decode_output(frame);
      record.output_records = output.last_seq;
      record.output_bytes = output.bytes;
      (void)entry->orders->try_send(
          {ShimOrder::Kind::kFrame, shim::encode_frame(shim::FrameType::kAckOutput)});
      break;
    }
    case shim::FrameType::kExited:
      attempt.exit = shim::decode_exited(frame);
      break;
    case shim::FrameType::kStdinAck: {
      const shim::StdinAck ack = shim::decode_stdin_ack(frame);
      attempt.stdin_written = ack.written;
      attempt.stdin_closed = ack.closed;
      attempt.stdin_moved.notify_all();
      break;
    }
    case shim::FrameType::kRefused:
      attempt.refused = shim::decode_refused(frame);
      break;
    default:
      break;  // of a newer shim
  }
  entry->changed.notify_all();
}

void TasksEngine::order_cancel(const EntryPtr& entry, Attempt& attempt) {
  attempt.cancel_sent = true;
  const TaskSpec& spec = *entry->task.record.spec;
  const uint64_t grace =
      entry->cancel_grace_ms.value_or(spec.kill_grace_ms.value_or(options_.kill_grace_ms));
  (void)entry->orders->try_send({ShimOrder::Kind::kFrame, shim::encode_frame(shim::Cancel{grace})});
}

Task<void> TasksEngine::write_orders(std::shared_ptr<Attempt> attempt, rt::Fd& socket) {
  Channel<ShimOrder> orders = *attempt->entry->orders;
  while (std::optional<ShimOrder> order = co_await orders.recv()) {
    std::string frame = std::move(order->bytes);
    if (order->kind == ShimOrder::Kind::kStdin) {
      const uint64_t offset = attempt->stdin_sent;
      attempt->stdin_sent += frame.size();
      frame = shim::encode_frame(shim::StdinData{offset, frame});
    } else if (order->kind == ShimOrder::Kind::kStdinEof) {
      frame = shim::encode_frame(shim::FrameType::kStdinEof);
    }
    if (!(co_await socket.write_all(std::as_bytes(std::span(frame)))).ok()) co_return;
  }
}

// Moves stdin from the client to the shim, never more than a window ahead of the command.
Task<void> TasksEngine::write_input(std::shared_ptr<Attempt> attempt) {
  const EntryPtr entry = attempt->entry;
  Channel<ShimOrder> input = *entry->input;
  uint64_t queued = attempt->stdin_written;
  while (std::optional<ShimOrder> next = co_await input.recv()) {
    while (true) {
      const uint64_t seen = attempt->stdin_moved.epoch();
      if (attempt->stdin_closed) break;
      if (queued + next->bytes.size() <= attempt->stdin_written + shim::kStdinWindowBytes) break;
      co_await attempt->stdin_moved.changed(seen);
    }
    queued += next->bytes.size();
    (void)entry->orders->try_send(std::move(*next));
  }
  (void)entry->orders->try_send({ShimOrder::Kind::kStdinEof, ""});
}

// After a restart: what became of an attempt that was running.
Task<void> TasksEngine::resume(EntryPtr entry) {
  const StoredTask task = snapshot(entry);
  auto attempt = std::make_shared<Attempt>();
  attempt->entry = entry;
  attempt->dir = attempt_dir(task.record.id, task.record.attempt);
  {
    rt::LockGuard guard(mutex_);
    entry->orders = unbounded<ShimOrder>();
    if (task.record.spec->stdin_stream) {
      entry->input = bounded<ShimOrder>(1);
      entry->input->close();  // whoever fed it is gone
      entry->input_closed = true;
    }
  }
  absl::StatusOr<segment_log::Fd> connection = shim::connect_shim(attempt->dir);
  co_await supervise(attempt, connection.ok() ? std::move(*connection) : segment_log::Fd());
}

// There is no live shim: its files tell how it ended, or that it never began.
Task<void> TasksEngine::finish_by_files(std::shared_ptr<Attempt> attempt) {
  const EntryPtr entry = attempt->entry;
  const StoredTask task = snapshot(entry);
  absl::StatusOr<std::optional<shim::ExitRecord>> exit = shim::read_exit(attempt->dir);
  if (exit.ok() && *exit) {
    co_await finish(entry, state_of(**exit), **exit, reason_of(**exit, *task.record.spec));
    co_return;
  }
  absl::StatusOr<shim::Claim> claim = shim::revoke_claim(attempt->dir);
  const bool never_ran =
      absl::IsNotFound(claim.status()) || (claim.ok() && claim->kind == shim::ClaimKind::kRevoked);
  if (never_ran && !attempt->refused && task.record.cancel_requested) {
    co_await finish(entry, TaskState::kCanceled, {}, "canceled before it started");
  } else if (never_ran) {
    co_await requeue_later(entry, milliseconds(0));
  } else {
    const std::string id = task.record.id;
    (void)co_await rt::call_blocking([id] { return kill_leftovers(id); });
    const bool canceled = task.record.cancel_requested;
    co_await finish(entry, canceled ? TaskState::kCanceled : TaskState::kLost, {},
                    canceled
                        ? "canceled; its supervisor was killed"
                        : "its supervisor ended without a word: killed, or the machine went down");
  }
}

Task<void> TasksEngine::requeue_later(EntryPtr entry, milliseconds delay) {
  {
    rt::LockGuard guard(mutex_);
    entry->task.record.state = TaskState::kQueued;
    queue_.finished(group_of(*entry->task.record.spec));
  }
  entry->changed.notify_all();
  if (delay.count() > 0) co_await sleep(delay);
  rt::LockGuard guard(mutex_);
  if (entry->task.record.state == TaskState::kQueued) enqueue(entry);  // not canceled meanwhile
  dispatch();
}

Task<void> TasksEngine::finish(EntryPtr entry, TaskState state, shim::ExitRecord exit,
                               std::string reason) {
  StoredTask task = snapshot(entry);
  TaskRecord& record = task.record;
  record.state = state;
  record.reason = std::move(reason);
  record.exit_code = exit.code;
  record.signal = exit.signal;
  record.pid = 0;
  record.finished_unix_nano = exit.finished_unix_nano ? exit.finished_unix_nano : clock_();
  if (exit.started_unix_nano) record.started_unix_nano = exit.started_unix_nano;
  record.output_records = std::max(record.output_records, exit.last_seq);
  record.output_bytes = std::max(record.output_bytes, exit.output_bytes);
  const bool failed =
      state == TaskState::kFailed || state == TaskState::kSignaled || state == TaskState::kTimedOut;
  const bool again = failed && !record.cancel_requested && task.failures < record.spec->retries;
  if (failed) ++task.failures;
  if (again) record.state = TaskState::kQueued;

  // The end is on disk before anybody is told; a full disk delays the news, never changes it.
  while (true) {
    absl::Status committed =
        co_await commit(store_, [task](Database& db) { return update_task(db, task); });
    if (committed.ok()) break;
    co_await sleep(kStorePause);
  }
  cgroups_.remove(record.id);
  if (!again) {
    auto slim = std::make_shared<TaskSpec>(*record.spec);
    slim->env.clear();
    slim->stdin_bytes.clear();
    record.spec = std::move(slim);
  }
  {
    rt::LockGuard guard(mutex_);
    record.cancel_requested |= entry->task.record.cancel_requested;
    entry->task = task;
    queue_.finished(group_of(*record.spec));
    if (!again && entry->input) entry->input->close();
    announce(again ? "task.retrying" : "task.finished", record);
    dispatch();
  }
  entry->changed.notify_all();
  if (!again) {
    co_await keep_retention();
    co_return;
  }
  const auto delay =
      std::min(kRetryMax, kRetryFirst * (1 << std::min<uint32_t>(task.failures - 1, 6)));
  co_await sleep(delay);
  rt::LockGuard guard(mutex_);
  if (entry->task.record.state == TaskState::kQueued) enqueue(entry);
  dispatch();
}

}  // namespace zsync::daemon
