#include "io/fd_state.hpp"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include <cerrno>

namespace zsync::rt {
namespace {

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100  // Linux 6.18: the write does not raise SIGPIPE
#endif

FdKind kind_of(SocketCalls& sockets, int descriptor) {
  int protocol = 0;
  socklen_t size = sizeof protocol;
  if (sockets.getsockopt(descriptor, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0) {
    return errno == ENOTSOCK || errno == EBADF ? FdKind::kPlain : FdKind::kOtherSocket;
  }
  return protocol == IPPROTO_TCP ? FdKind::kTcp : FdKind::kOtherSocket;
}

ssize_t write_masked(int descriptor, std::span<const std::byte> from) {
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t count = ::write(descriptor, from.data(), from.size());
  const int error = errno;
  if (!sigismember(&before, SIGPIPE)) {
    const timespec at_once{};
    if (count < 0 && error == EPIPE) (void)sigtimedwait(&pipe_signal, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  errno = error;
  return count;
}

}  // namespace

FdState::FdState(int descriptor, Scheduler& scheduler)
    : descriptor_(descriptor),
      scheduler_(scheduler),
      driver_(scheduler.driver()),
      sockets_(driver_->sockets()),
      worker_(scheduler.current_worker()),
      kind_(kind_of(sockets_, descriptor)) {}

absl::Status FdState::attach() {
  struct stat info;
  if (kind_ == FdKind::kPlain && ::fstat(descriptor_, &info) == 0 &&
      (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) {
    return absl::InvalidArgumentError(
        "watching a descriptor: files and directories are never waited for; use zsync/file.hpp");
  }
  absl::StatusOr<FdSource*> source = driver_->add(descriptor_, *this);
  if (!source.ok()) return source.status();
  source_ = *source;
  return absl::OkStatus();
}

void FdState::detach() {
  Woken woken;
  {
    LockGuard guard(lock_);
    closed_ = true;
    end_read();
    take(kReadable | kWritable | kHangup, woken);
  }
  driver_->remove(*source_, [self = shared_from_this()] {});
  for (Operation* operation : woken) operation->wake();
}

void FdState::close() {
  if (at_home()) return detach();
  scheduler_.post(worker_, [self = shared_from_this()] { self->detach(); });
}

void FdState::on_ready(uint32_t events) {
  Woken woken;
  {
    LockGuard guard(lock_);
    if (closed_) return;
    if (events & (kHangup | kUrgent)) eventful_.store(true, std::memory_order_release);
    if (events & kReadable) end_read();
    take(events, woken);
    rearm();
  }
  for (Operation* operation : woken) operation->wake();
}

bool FdState::withdraw(Operation& operation, uint32_t events) {
  LockGuard guard(lock_);
  return list(events).remove(operation);
}

void FdState::enlist(Operation& operation, uint32_t events) {
  list(events).push_back(operation);
  rearm();
}

void FdState::take(uint32_t events, Woken& woken) {
  if (events & kReadable) events |= kNews;
  for (const uint32_t event : {kReadable, kWritable, kHangup, kNews}) {
    if (!(events & event)) continue;
    while (Operation* operation = list(event).pop_claimed()) woken.push_back(operation);
  }
}

WaitList& FdState::list(uint32_t event) {
  return event == kReadable   ? readers_
         : event == kWritable ? writers_
         : event == kHangup   ? hangups_
                              : news_;
}

void FdState::rearm() {
  driver_->arm(*source_, (readers_.empty() ? 0 : kReadable) | (writers_.empty() ? 0 : kWritable) |
                             (hangups_.empty() ? 0 : kHangup) | (news_.empty() ? 0 : kNews));
}

ssize_t FdState::read_once(std::span<std::byte> into) {
  const ssize_t count = kind_ <= FdKind::kOtherSocket
                            ? sockets_.recv(descriptor_, into)
                            : ::read(descriptor_, into.data(), into.size());
  const bool emptied = kind_ == FdKind::kTcp && count > 0 &&
                       static_cast<size_t>(count) < into.size() &&
                       !eventful_.load(std::memory_order_acquire);
  if (!emptied && (count >= 0 || errno != EAGAIN)) end_read();
  return count;
}

ssize_t FdState::write_once(std::span<const std::byte> from) {
  switch (kind_) {
    case FdKind::kTcp:
    case FdKind::kOtherSocket:
      return sockets_.send(descriptor_, from);
    case FdKind::kPlain: {
      const iovec bytes{const_cast<std::byte*>(from.data()), from.size()};
      const ssize_t count =
          ::pwritev2(descriptor_, &bytes, 1, /*current position*/ -1, RWF_NOSIGNAL);
      if (count >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS)) return count;
      kind_ = FdKind::kMasked;
      break;
    }
    case FdKind::kMasked:
      break;
  }
  return write_masked(descriptor_, from);
}

}  // namespace zsync::rt
