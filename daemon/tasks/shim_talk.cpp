// The conversation with the shim of one attempt, over as many connections as it takes.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/leftovers.hpp"
#include "zsync/flow.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kClaimPause{1000};    // before a claim that the disk refused is tried again
constexpr milliseconds kRefusedPause{1000};  // before a shim is started in the place of another
constexpr milliseconds kReconnectFirst{20};  // between two tries to reach a shim that lives
constexpr milliseconds kReconnectMax{1000};
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
    case shim::ExitKind::kNotStarted:
      break;  // no end of anything
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
    case shim::ExitKind::kNotStarted:
      break;
  }
  return "";
}

}  // namespace

Task<TasksEngine::Outcome> TasksEngine::supervise(AttemptPtr attempt, segment_log::Fd connection) {
  milliseconds pause = kReconnectFirst;
  while (true) {
    if (connection.valid()) {
      const Outcome outcome = co_await talk(attempt, std::move(connection));
      if (outcome.ended) co_return outcome;
      connection = segment_log::Fd();
      pause = kReconnectFirst;
    }
    if (!shim::shim_alive(attempt->dir)) {
      const Outcome outcome = co_await finish_by_files(attempt);
      if (outcome.ended) co_return outcome;
    }
    absl::StatusOr<segment_log::Fd> again = shim::connect_shim(attempt->dir);
    if (again.ok()) {
      connection = std::move(*again);
    } else {
      co_await sleep(pause);
      pause = std::min(pause * 2, kReconnectMax);
    }
  }
}

// One connection, to its end.
Task<TasksEngine::Outcome> TasksEngine::talk(AttemptPtr attempt, segment_log::Fd connection) {
  const EntryPtr entry = attempt->entry;
  absl::StatusOr<rt::Fd> socket = rt::Fd::adopt(connection.release());
  if (!socket.ok()) co_return Outcome{};
  std::optional<Channel<ShimOrder>> input;
  {
    rt::LockGuard guard(mutex_);
    if (entry->input) input = *entry->input;
  }
  attempt->greeted = false;
  Executor helpers;
  helpers.spawn(write_orders(attempt, *socket));
  if (input) helpers.spawn(write_input(attempt, *input));
  const absl::Status ended = co_await read_frames(attempt, *socket);
  if (absl::IsCancelled(ended)) {
    helpers.cancel_all();
    co_await shield(helpers.join_all());
    throw Cancelled();
  }
  Outcome outcome;
  if (attempt->exit) {
    const bool older = entry->shim_version < shim::kLeavesVersion;  // waits to be let go
    outcome = co_await finish(entry, state_of(*attempt->exit), *attempt->exit,
                              reason_of(*attempt->exit, *snapshot(entry).record.spec));
    if (older) {
      const std::string frame = shim::encode_frame(shim::FrameType::kAckExit);
      (void)co_await socket->write_all(std::as_bytes(std::span(frame)));
    }
  }
  helpers.cancel_all();
  co_await helpers.join_all();
  co_return outcome;
}

// Ok: the shim has said all it will say on this connection.
Task<absl::Status> TasksEngine::read_frames(AttemptPtr attempt, rt::Fd& socket) {
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
      attempt.claimed = true;
      record.pid = hello.pid;
      record.output_records = hello.last_seq;
      record.output_bytes = hello.output_bytes;
      attempt.stdin_sent = hello.stdin_received;
      attempt.stdin_written = hello.stdin_received;
      attempt.cancel_sent = hello.canceling;
      entry->shim_version = hello.version;
      record.paused_unix_nano = hello.paused_unix_nano;
      attempt.greeted = true;
      attempt.stdin_moved.notify_all();
      if (record.cancel_requested && !attempt.cancel_sent) {
        attempt.cancel_sent = true;
        order_cancel(entry, attempt.orders);
      }
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
      (void)attempt.orders.try_send(
          {ShimOrder::Kind::kFrame, shim::encode_frame(shim::FrameType::kAckOutput)});
      break;
    }
    case shim::FrameType::kExited:
      attempt.exit = shim::decode_exited(frame);
      break;
    case shim::FrameType::kPaused:
      note_paused(entry, shim::decode_paused(frame).since_unix_nano);
      break;
    case shim::FrameType::kStdinAck: {
      const shim::StdinAck ack = shim::decode_stdin_ack(frame);
      attempt.stdin_written = ack.written;
      attempt.stdin_closed = ack.closed;
      attempt.stdin_moved.notify_all();
      break;
    }
    case shim::FrameType::kRefused:
      attempt.refused = true;
      break;
    default:
      break;  // of a newer shim
  }
  entry->changed.notify_all();
}

void TasksEngine::order_cancel(const EntryPtr& entry, Channel<ShimOrder>& orders) {
  const TaskSpec& spec = *entry->task.record.spec;
  const uint64_t grace =
      entry->cancel_grace_ms.value_or(spec.kill_grace_ms.value_or(options_.kill_grace_ms));
  (void)orders.try_send({ShimOrder::Kind::kFrame, shim::encode_frame(shim::Cancel{grace})});
}

// Until the shim has said where it stands, nobody knows which byte of stdin comes next.
Task<void> TasksEngine::wait_for_hello(AttemptPtr attempt) {
  while (true) {
    const uint64_t seen = attempt->stdin_moved.epoch();
    if (attempt->greeted) co_return;
    co_await attempt->stdin_moved.changed(seen);
  }
}

Task<void> TasksEngine::write_orders(AttemptPtr attempt, rt::Fd& socket) {
  co_await wait_for_hello(attempt);
  Channel<ShimOrder> orders = attempt->orders;
  while (std::optional<ShimOrder> order = co_await orders.recv()) {
    std::string frame = std::move(order->bytes);
    if (order->kind == ShimOrder::Kind::kStdin) {
      const uint64_t offset = attempt->stdin_sent.fetch_add(frame.size());
      frame = shim::encode_frame(shim::StdinData{offset, frame});
    } else if (order->kind == ShimOrder::Kind::kStdinEof) {
      frame = shim::encode_frame(shim::FrameType::kStdinEof);
    }
    if (!(co_await socket.write_all(std::as_bytes(std::span(frame)))).ok()) co_return;
  }
}

// Moves stdin from the client to the shim, never more than a window ahead of the command.
Task<void> TasksEngine::write_input(AttemptPtr attempt, Channel<ShimOrder> input) {
  co_await wait_for_hello(attempt);
  uint64_t queued = attempt->stdin_written;
  while (std::optional<ShimOrder> next = co_await input.recv()) {
    while (true) {
      const uint64_t seen = attempt->stdin_moved.epoch();
      if (attempt->stdin_closed) break;
      if (queued + next->bytes.size() <= attempt->stdin_written + shim::kStdinWindowBytes) break;
      co_await attempt->stdin_moved.changed(seen);
    }
    queued += next->bytes.size();
    (void)attempt->orders.try_send(std::move(*next));
  }
  (void)attempt->orders.try_send({ShimOrder::Kind::kStdinEof, ""});
}

// There is no live shim: its files tell how it ended, or that it never began.
Task<TasksEngine::Outcome> TasksEngine::finish_by_files(AttemptPtr attempt) {
  const EntryPtr entry = attempt->entry;
  // The claim first: it decides between a shim that is just being started and the next attempt.
  absl::StatusOr<shim::Claim> claim = shim::revoke_claim(attempt->dir);
  while (!claim.ok() && !absl::IsNotFound(claim.status()) && !absl::IsDataLoss(claim.status())) {
    co_await sleep(kClaimPause);
    claim = shim::revoke_claim(attempt->dir);
  }
  const bool by_shim = claim.ok() && claim->kind == shim::ClaimKind::kShim;
  if (by_shim && shim::shim_alive(*claim)) co_return Outcome{};
  absl::StatusOr<std::optional<shim::ExitRecord>> exit = shim::read_exit(attempt->dir);
  const bool never_began = exit.ok() && *exit && (*exit)->kind == shim::ExitKind::kNotStarted;
  if (exit.ok() && *exit && !never_began) {
    co_return co_await finish(entry, state_of(**exit), **exit,
                              reason_of(**exit, *snapshot(entry).record.spec));
  }
  const bool canceled = cancel_requested(entry);
  const bool damaged = !claim.ok() && absl::IsDataLoss(claim.status());
  // After a power cut the directory may be gone although the command ran: no second run then.
  const bool rebooted = snapshot(entry).boot_id != options_.boot_id;
  if (never_began || (!by_shim && !damaged && !attempt->claimed && !rebooted)) {
    if (!canceled)
      co_return back_to_queue(entry, attempt->refused ? kRefusedPause : milliseconds(0));
    co_return co_await finish(entry, TaskState::kCanceled, {}, "canceled before it started");
  }
  const std::string id = snapshot(entry).record.id;
  (void)co_await rt::call_blocking([id] { return kill_leftovers(id); });
  co_return co_await finish(
      entry, canceled ? TaskState::kCanceled : TaskState::kLost, {},
      canceled ? "canceled; its supervisor was killed"
               : "its supervisor ended without a word: killed, or the machine went down");
}

}  // namespace zsync::daemon
