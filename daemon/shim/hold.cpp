#include "daemon/shim/hold.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "daemon/shim/attempt.hpp"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

bool asked_to_end(const Fd& signals) {
  signalfd_siginfo info;
  while (::read(signals.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGTERM) return true;
  }
  return false;
}

enum class Heard : uint8_t { kNothing, kGo, kEnd };

// Takes no byte behind the frame: those are the supervisor's.
Heard listen(const Fd& connection, const std::string& go, std::string& got) {
  char part[64];
  const ssize_t size = ::recv(connection.get(), part, go.size() - got.size(), MSG_DONTWAIT);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return Heard::kNothing;
  if (size <= 0) return Heard::kEnd;
  got.append(part, static_cast<size_t>(size));
  if (go.compare(0, got.size(), got) != 0) return Heard::kEnd;
  return got.size() == go.size() ? Heard::kGo : Heard::kNothing;
}

bool hear_go(const Fd& connection, const Fd& signals) {
  const std::string go = encode_frame(FrameType::kGo);
  std::string got;
  while (connection.valid()) {
    pollfd polled[] = {{connection.get(), POLLIN, 0}, {signals.get(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0 && errno != EINTR) return false;
    const Heard heard = listen(connection, go, got);
    if (heard != Heard::kNothing) return heard == Heard::kGo;
    if (asked_to_end(signals)) return false;
  }
  return false;
}

}  // namespace

bool wait_for_go(const Fd& connection, const Fd& signals, const Fd& exit_file) {
  if (hear_go(connection, signals)) return true;
  ExitRecord exit;
  exit.kind = ExitKind::kNotStarted;
  write_exit(exit_file, exit);
  return false;
}

}  // namespace zsync::daemon::shim
