#include "cli/signals.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

namespace zsync::cli {

struct SignalGuard::State {
  std::function<void(int)> received;
  sigset_t old_mask;
  int signals = -1;
  int wake = -1;

  void run() const {
    int count = 0;
    while (true) {
      pollfd fds[2] = {{signals, POLLIN, 0}, {wake, POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents != 0) return;
      signalfd_siginfo info;
      if (::read(signals, &info, sizeof info) == sizeof info) received(++count);
    }
  }
};

SignalGuard::SignalGuard(std::function<void(int)> received) : state_(new State) {
  state_->received = std::move(received);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &mask, &state_->old_mask);
  state_->signals = ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  state_->wake = ::eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([state = state_] { state->run(); });
}

SignalGuard::~SignalGuard() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(state_->wake, &one, sizeof one);
  thread_.join();
  ::close(state_->signals);
  ::close(state_->wake);
  pthread_sigmask(SIG_SETMASK, &state_->old_mask, nullptr);
  delete state_;
}

}  // namespace zsync::cli
