#include "daemon/ops/process_signals.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include <cerrno>

namespace zsync::daemon {
namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  return set;
}

}  // namespace

void block_signals(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

absl::StatusOr<ProcessSignals> ProcessSignals::open(std::initializer_list<int> signals) {
  const sigset_t set = set_of(signals);
  const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) return rt::errno_status("watching signals", errno);
  absl::StatusOr<rt::Fd> adopted = rt::Fd::adopt(fd);
  if (!adopted.ok()) return adopted.status();
  return ProcessSignals(std::move(*adopted));
}

Task<absl::StatusOr<int>> ProcessSignals::next() {
  signalfd_siginfo info{};
  absl::StatusOr<size_t> size = co_await fd_.read_some(std::as_writable_bytes(std::span(&info, 1)));
  if (!size.ok()) co_return size.status();
  co_return static_cast<int>(info.ssi_signo);
}

}  // namespace zsync::daemon
