#include "cli/io.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>

namespace zsync::cli {
namespace {

constexpr std::size_t kBufferBytes = 64u << 10;

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

void Out::write(std::string_view bytes) {
  if (broken_) return;
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() > kBufferBytes) {
    broken_ = broken_ || !write_all(fd_, bytes);
  } else {
    buffer_.append(bytes);
  }
}

bool Out::flush() {
  if (!broken_ && !buffer_.empty()) broken_ = !write_all(fd_, buffer_);
  buffer_.clear();
  return !broken_;
}

bool Out::is_terminal() const { return ::isatty(fd_) == 1; }

int Out::width() const {
  if (!is_terminal()) return 0;
  winsize size{};
  if (::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool HangupGuard::open(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0 || !(S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode))) return false;
  wake_ = ::eventfd(0, EFD_CLOEXEC);
  return wake_ >= 0;
}

bool HangupGuard::wait(int fd) const {
  pollfd fds[2] = {{fd, 0, 0}, {wake_, POLLIN, 0}};
  while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  return fds[1].revents == 0;
}

HangupGuard::~HangupGuard() {
  if (wake_ < 0) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
  if (thread_.joinable()) thread_.join();
  ::close(wake_);
}

Readable wait_readable(int fd, int wake, int milliseconds) {
  pollfd fds[2] = {{fd, POLLIN, 0}, {wake, POLLIN, 0}};
  int count;
  do {
    count = ::poll(fds, wake < 0 ? 1 : 2, milliseconds);
  } while (count < 0 && errno == EINTR);
  if (wake >= 0 && fds[1].revents != 0) return Readable::kWoken;
  return count > 0 && fds[0].revents != 0 ? Readable::kYes : Readable::kNo;
}

}  // namespace zsync::cli
