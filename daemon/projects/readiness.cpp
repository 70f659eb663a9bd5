#include "daemon/projects/readiness.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/config/units.hpp"
#include "zsync/flow.hpp"
#include "zsync/tcp.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstLook{5};
constexpr milliseconds kLookPause{200};     // at whether its process runs
constexpr std::chrono::seconds kTryMax{5};  // one connection or answer
constexpr uint64_t kExecTimeoutMs = 10'000;
constexpr size_t kAnswerPartBytes = 4096;
constexpr size_t kAnswerBytesMax = 1 << 20;

Task<absl::StatusOr<TcpStream>> connect_to(uint16_t port) {
  absl::StatusOr<TcpStream> stream = co_await TcpStream::connect({IpAddress::loopback_v4(), port});
  if (stream.ok()) co_return stream;
  absl::StatusOr<TcpStream> other = co_await TcpStream::connect({IpAddress::loopback_v6(), port});
  if (other.ok()) co_return other;
  co_return absl::UnavailableError(absl::StrCat("nobody takes a connection on port ", port));
}

Task<absl::Status> try_tcp(uint16_t port) { co_return (co_await connect_to(port)).status(); }

// One GET. Of the answer only the status line counts; the rest is read as well, since a server that
// is hung up on in the middle complains in its log.
Task<absl::Status> try_http(uint16_t port, std::string path) {
  absl::StatusOr<TcpStream> stream = co_await connect_to(port);
  if (!stream.ok()) co_return stream.status();
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: localhost:", port,
                   "\r\nUser-Agent: zsyncd\r\nAccept: */*\r\nConnection: close\r\n\r\n");
  if (absl::Status status = co_await stream->write_all(request); !status.ok()) co_return status;
  std::string line;
  std::vector<char> buffer(kAnswerPartBytes);
  for (size_t bytes = 0; bytes < kAnswerBytesMax;) {
    const absl::StatusOr<size_t> got =
        co_await stream->read_some(std::as_writable_bytes(std::span(buffer)));
    if (!got.ok() && line.find('\n') == std::string::npos) co_return got.status();
    if (!got.ok() || *got == 0) break;
    if (line.size() < buffer.size()) line.append(buffer.data(), *got);
    bytes += *got;
  }
  int code = 0;
  const size_t space = line.find(' ');
  if (!absl::StartsWith(line, "HTTP/1.") || space == std::string::npos ||
      !absl::SimpleAtoi(line.substr(space + 1, 3), &code)) {
    co_return absl::UnavailableError(absl::StrCat("port ", port, " does not speak HTTP/1.1"));
  }
  if (code >= 200 && code < 400) co_return absl::OkStatus();
  co_return absl::UnavailableError(absl::StrCat("GET ", path, " is answered with ", code));
}

Task<absl::Status> try_exec(TasksEngine* tasks, TaskSpec spec, Submitter by) {
  std::vector<TaskSpec> specs;
  specs.push_back(std::move(spec));
  absl::StatusOr<std::vector<Submitted>> submitted = co_await tasks->submit(std::move(specs), by);
  if (!submitted.ok()) co_return submitted.status();
  const std::string id = submitted->front().id;
  absl::StatusOr<std::vector<TaskRecord>> ended = co_await tasks->wait({id});
  if (!ended.ok()) co_return ended.status();
  const TaskRecord& record = ended->front();
  // Tries are many, and say nothing to anybody once they are over.
  (void)co_await tasks->remove(id);
  if (record.state == TaskState::kSucceeded) co_return absl::OkStatus();
  co_return absl::UnavailableError(
      record.state == TaskState::kFailed && record.reason.empty()
          ? absl::StrCat("the command ended with ", record.exit_code)
          : absl::StrCat("the command: ", state_name(record.state), " ", record.reason));
}

Task<absl::Status> try_once(TasksEngine* tasks, const ReadinessProbe* probe) {
  const uint16_t port = probe->ready.port != 0 ? probe->ready.port : probe->port;
  switch (probe->ready.kind) {
    case ReadyKind::kTcp:
      co_return co_await timeout(try_tcp(port), kTryMax);
    case ReadyKind::kHttp:
      co_return co_await timeout(try_http(port, probe->ready.text), kTryMax);
    case ReadyKind::kExec: {
      TaskSpec spec = probe->exec_task;
      spec.timeout_ms = kExecTimeoutMs;
      co_return co_await try_exec(tasks, std::move(spec), probe->by);
    }
    default:
      co_return absl::OkStatus();
  }
}

bool has_ended(TasksEngine* tasks, const std::string& id) {
  const absl::StatusOr<TaskRecord> task = tasks->get(id);
  return !task.ok() || is_final(task->state);
}

Task<absl::Status> wait_for_log(TasksEngine* tasks, const ReadinessProbe* probe) {
  // What may be the beginning of the text in each stream: it is part of one line, and lines come in
  // pieces.
  auto tails = std::make_shared<std::array<std::string, 3>>();
  auto found = std::make_shared<bool>(false);
  auto look = [tails, found, text = probe->ready.text](OutputChunk chunk) -> Task<absl::Status> {
    for (const segment_log::Record& record : chunk.batch.records) {
      if (record.gap) continue;
      std::string& tail = (*tails)[static_cast<size_t>(record.stream) % tails->size()];
      tail.append(record.payload);
      if (absl::StrContains(tail, text)) *found = true;
      if (tail.size() >= text.size()) tail.erase(0, tail.size() - text.size() + 1);
    }
    return [](bool stop) -> Task<absl::Status> {
      co_return stop ? absl::CancelledError("found") : absl::OkStatus();
    }(*found);
  };
  absl::Status status = co_await tasks->output(probe->task, 1, 0, true, look);
  if (*found) co_return absl::OkStatus();
  if (!status.ok()) co_return status;
  co_return absl::AbortedError("it has ended");
}

Task<absl::Status> try_until_ready(TasksEngine* tasks, const ReadinessProbe* probe,
                                   std::string* last) {
  if (probe->ready.kind == ReadyKind::kLog) co_return co_await wait_for_log(tasks, probe);
  milliseconds pause = kFirstLook;
  while (true) {
    absl::Status status = co_await try_once(tasks, probe);
    if (status.ok() || absl::IsCancelled(status)) co_return status;
    if (has_ended(tasks, probe->task)) co_return absl::AbortedError("it has ended");
    *last = std::string(status.message());
    // Soon at first, so that a service which is quick is known to be so.
    pause = std::min(pause * 2, milliseconds(probe->ready.interval_ms));
    co_await sleep(probe->ready.kind == ReadyKind::kExec ? milliseconds(probe->ready.interval_ms)
                                                         : pause);
  }
}

Task<absl::Status> wait_until_started(TasksEngine* tasks, const std::string* id) {
  milliseconds pause = kFirstLook;
  while (true) {
    const absl::StatusOr<TaskRecord> task = tasks->get(*id);
    if (!task.ok() || is_final(task->state)) co_return absl::AbortedError("it has ended");
    if (task->state == TaskState::kRunning && task->pid != 0) co_return absl::OkStatus();
    co_await sleep(pause);
    pause = std::min(pause * 2, kLookPause);
  }
}

}  // namespace

Task<absl::Status> wait_until_ready(TasksEngine* tasks, ReadinessProbe probe) {
  absl::Status started = co_await wait_until_started(tasks, &probe.task);
  if (!started.ok() || probe.ready.kind == ReadyKind::kStarted) co_return started;
  std::string last;
  absl::Status status =
      co_await timeout(try_until_ready(tasks, &probe, &last), milliseconds(probe.ready.timeout_ms));
  if (!absl::IsDeadlineExceeded(status)) co_return status;
  if (probe.ready.kind == ReadyKind::kLog) {
    last = absl::StrCat("no line of its output holds \"", probe.ready.text, "\"");
  }
  co_return absl::DeadlineExceededError(
      absl::StrCat("not ready within ", format_duration(milliseconds(probe.ready.timeout_ms)),
                   last.empty() ? "" : ": ", last));
}

}  // namespace zsync::daemon
