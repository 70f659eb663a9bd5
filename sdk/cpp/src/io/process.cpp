#include "zsync/process.hpp"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "io/reaper.hpp"
#include "zsync/flow.hpp"
#include "zsync/notify.hpp"
#include "zsync/stop_token.hpp"
#include "zsync/timeout.hpp"

namespace zsync {
namespace {

int send_signal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

absl::Status signal_status(pid_t pid, int signal, int error) {
  return rt::errno_status(absl::StrCat("signal ", signal, " to process ", pid), error);
}

ExitStatus exit_status_of(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return {.code = info.si_status, .signal = 0};
  return {.code = -1, .signal = info.si_status};
}

}  // namespace

std::string ExitStatus::to_string() const {
  if (signal == 0) return absl::StrCat("exit code ", code);
  const char* name = ::sigdescr_np(signal);
  return absl::StrCat("signal ", signal, " (", name ? name : "unknown", ")");
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      ended_(other.ended_),
      own_group_(other.own_group_),
      kill_on_drop_(other.kill_on_drop_),
      stdin_(std::move(other.stdin_)),
      stdout_(std::move(other.stdout_)),
      stderr_(std::move(other.stderr_)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    drop();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    ended_ = other.ended_;
    own_group_ = other.own_group_;
    kill_on_drop_ = other.kill_on_drop_;
    stdin_ = std::move(other.stdin_);
    stdout_ = std::move(other.stdout_);
    stderr_ = std::move(other.stderr_);
  }
  return *this;
}

Process::~Process() { drop(); }

void Process::drop() {
  if (pid_ < 0 || ended_) return;
  if (kill_on_drop_) (void)kill_all();
  const absl::StatusOr<std::optional<ExitStatus>> ended = try_wait();
  if (ended.ok() && !*ended) {
    rt::reap_in_background(pid_, UniqueFd(::fcntl(pidfd_.get(), F_DUPFD_CLOEXEC, 0)));
  }
  pid_ = -1;
}

absl::StatusOr<std::optional<ExitStatus>> Process::try_wait() {
  if (ended_) return ended_;
  siginfo_t info{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) != 0) {
    if (errno != ECHILD) {
      return rt::errno_status(absl::StrCat("waiting for process ", pid_), errno);
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "waiting for process ", pid_, ": its exit status is gone; this program ignores SIGCHLD ",
        "(restore its default) or has waited for the child elsewhere"));
  }
  if (info.si_pid == 0) return std::nullopt;
  ended_ = exit_status_of(info);
  return ended_;
}

Task<absl::StatusOr<ExitStatus>> Process::wait() {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    absl::StatusOr<std::optional<ExitStatus>> ended = try_wait();
    if (!ended.ok()) co_return ended.status();
    if (*ended) co_return **ended;
    if (absl::Status ready = co_await pidfd_.readable(); !ready.ok()) co_return ready;
  }
}

absl::Status Process::kill(int signal) const {
  if (send_signal(pidfd_.get(), signal) != 0) return signal_status(pid_, signal, errno);
  return absl::OkStatus();
}

absl::Status Process::kill_group(int signal) const {
  if (!own_group_) {
    return absl::FailedPreconditionError(
        absl::StrCat("signal to the group of process ", pid_,
                     ": it has none of its own; spawn it with ProcessGroup::own"));
  }
  if (ended_) {
    return absl::FailedPreconditionError(
        absl::StrCat("signal to the group of process ", pid_,
                     ": the process has ended, its number may be another's by now"));
  }
  if (::kill(-pid_, signal) != 0) return signal_status(pid_, signal, errno);
  return absl::OkStatus();
}

absl::Status Process::kill_all() const { return own_group_ ? kill_group() : kill(); }

namespace {

// What the child's streams gave, and why collecting it was given up.
struct Collected {
  std::string stdout_bytes;
  std::string stderr_bytes;
  absl::Status failure;
  Notify failed;
};

Task<void> collect(PipeReader& pipe, std::string& into, size_t bytes_max, const char* stream,
                   Collected& collected) {
  if (!pipe) co_return;
  absl::StatusOr<std::string> bytes = co_await pipe.read_to_end(bytes_max);
  if (bytes.ok()) {
    into = *std::move(bytes);
  } else if (!absl::IsCancelled(bytes.status())) {
    collected.failure =
        absl::Status(bytes.status().code(), absl::StrCat(stream, ": ", bytes.status().message()));
    collected.failed.notify_all();
  }
}

// That nobody wanted to read it all is the child's business.
Task<void> feed(PipeWriter& pipe, const std::string& input) {
  if (!pipe) co_return;
  (void)co_await pipe.write_all(std::string_view(input));
  pipe.close();
}

Task<void> changed_from(Notify& notify, uint64_t seen) { co_await notify.changed(seen); }

// Moves everything both ways, or gives up early. Cancel: throws Cancelled.
Task<void> exchange_all(Process& child, const std::string& input, size_t bytes_max,
                        Collected& collected) {
  const uint64_t seen = collected.failed.epoch();
  auto streams =
      all(feed(child.stdin_pipe(), input),
          collect(child.stdout_pipe(), collected.stdout_bytes, bytes_max, "stdout", collected),
          collect(child.stderr_pipe(), collected.stderr_bytes, bytes_max, "stderr", collected));
  co_await race(std::move(streams), changed_from(collected.failed, seen));
  if (StopToken::current().stop_requested()) throw Cancelled();
}

}  // namespace

Task<absl::StatusOr<ProcessOutput>> Process::output(ProcessOptions options, std::string input,
                                                    size_t bytes_max) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  absl::StatusOr<Process> child = spawn(options);
  if (!child.ok()) co_return child.status();
  Collected collected;
  bool cancelled = false;
  try {
    co_await exchange_all(*child, input, bytes_max, collected);
  } catch (const Cancelled&) {
    cancelled = true;
  }
  absl::StatusOr<ExitStatus> status = absl::CancelledError();
  if (!cancelled && collected.failure.ok()) status = co_await child->wait();
  if (absl::IsCancelled(status.status())) {
    (void)child->kill_all();
    absl::StatusOr<ExitStatus> killed = co_await shield(child->wait());
    if (!collected.failure.ok()) {
      co_return absl::Status(collected.failure.code(),
                             absl::StrCat(options.argv[0], ": ", collected.failure.message()));
    }
    if (!killed.ok()) co_return killed.status();
    co_return absl::CancelledError();
  }
  if (!status.ok()) co_return status.status();
  co_return ProcessOutput{*status, std::move(collected.stdout_bytes),
                          std::move(collected.stderr_bytes)};
}

}  // namespace zsync
