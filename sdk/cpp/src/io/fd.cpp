#include "zsync/rt/fd.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "absl/container/inlined_vector.h"

namespace zsync::rt {
namespace {

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100  // Linux 6.18: the write does not raise SIGPIPE
#endif

// How a descriptor is written to without SIGPIPE.
enum class Writing : uint8_t {
  kSocket,    // send(MSG_NOSIGNAL)
  kNoSignal,  // pwritev2(RWF_NOSIGNAL), until the kernel turns out not to know it
  kMasked,    // write() with the signal blocked in this thread: two system calls more
};

absl::Status closed_status() {
  return absl::FailedPreconditionError("the descriptor was closed: nothing can wait for it");
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

class FdState final : public FdListener, public std::enable_shared_from_this<FdState> {
 public:
  FdState(int descriptor, Scheduler& scheduler)
      : descriptor_(descriptor),
        scheduler_(scheduler),
        driver_(scheduler.driver()),
        worker_(scheduler.current_worker()) {
    struct stat info;
    const bool socket = fstat(descriptor, &info) == 0 && S_ISSOCK(info.st_mode);
    writing_ = socket ? Writing::kSocket : Writing::kNoSignal;
  }
  ~FdState() { ::close(descriptor_); }

  absl::Status attach() {
    absl::StatusOr<FdSource*> source = driver_->add(descriptor_, *this);
    if (!source.ok()) return source.status();
    source_ = *source;
    return absl::OkStatus();
  }

  // On the home worker only.
  void detach() {
    Woken woken;
    {
      LockGuard guard(lock_);
      closed_ = true;
      take(kReadable | kWritable | kHangup, woken);
    }
    driver_->remove(*source_, [self = shared_from_this()] {});
    for (Operation* operation : woken) operation->wake();
  }

  void close() {
    if (scheduler_.current_worker() == worker_) return detach();
    scheduler_.post(worker_, [self = shared_from_this()] { self->detach(); });
  }

  void on_ready(uint32_t events) override {
    Woken woken;
    {
      LockGuard guard(lock_);
      if (closed_) return;
      take(events, woken);
      rearm();
    }
    for (Operation* operation : woken) operation->wake();
  }

  bool withdraw(Operation& operation, uint32_t events) {
    LockGuard guard(lock_);
    return list(events).remove(operation);
  }

  int descriptor() const { return descriptor_; }
  int worker() const { return worker_; }
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }
  bool closed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { return closed_; }
  void enlist(Operation& operation, uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    list(events).push_back(operation);
    rearm();
  }

  // By the writing task only.
  Writing writing_;

 private:
  using Woken = absl::InlinedVector<Operation*, 4>;

  void take(uint32_t events, Woken& woken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    for (const uint32_t event : {kReadable, kWritable, kHangup}) {
      if (!(events & event)) continue;
      while (Operation* operation = list(event).pop_claimed()) woken.push_back(operation);
    }
  }
  WaitList& list(uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return events == kReadable ? readers_ : events == kWritable ? writers_ : hangups_;
  }
  void rearm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    driver_->arm(*source_, (readers_.empty() ? 0 : kReadable) | (writers_.empty() ? 0 : kWritable) |
                               (hangups_.empty() ? 0 : kHangup));
  }

  const int descriptor_;
  Scheduler& scheduler_;
  Driver* const driver_;
  const int worker_;
  FdSource* source_ = nullptr;
  Lock lock_;
  WaitList readers_ ABSL_GUARDED_BY(lock_);
  WaitList writers_ ABSL_GUARDED_BY(lock_);
  WaitList hangups_ ABSL_GUARDED_BY(lock_);
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
};

Start ReadyOperation::start() {
  LockGuard guard(state_->lock());
  if (state_->closed()) return Start::kFinished;
  if (!begin_wait()) return Start::kFinished;
  state_->enlist(*this, events_);
  return Start::kWaiting;
}

bool ReadyOperation::withdraw() noexcept { return state_->withdraw(*this, events_); }

absl::Status ReadyOperation::await_resume() const {
  if (cancelled()) return absl::CancelledError();
  LockGuard guard(state_->lock());
  return state_->closed() ? closed_status() : absl::OkStatus();
}

absl::StatusOr<Fd> Fd::adopt(int descriptor) {
  TaskContext* context = current_context();
  ZS_ASSERT(context, "Fd::adopt() outside a task: a descriptor needs a worker that watches it");
  Scheduler& scheduler = *context->scheduler;
  ZS_ASSERT(scheduler.driver(), "a descriptor in a runtime without a kernel: use the real runtime");
  auto state = std::make_shared<FdState>(descriptor, scheduler);
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0) {
    return errno_status("making a descriptor non-blocking", errno);
  }
  if (absl::Status status = state->attach(); !status.ok()) return status;
  return Fd(std::move(state));
}

void Fd::close() {
  if (std::shared_ptr<FdState> state = std::exchange(state_, nullptr)) state->close();
}

absl::StatusOr<UniqueFd> Fd::release() {
  // The watched number stays taken until the driver has let go of it.
  UniqueFd copy(fcntl(get(), F_DUPFD_CLOEXEC, 0));
  const int error = errno;
  close();
  if (!copy) return errno_status("releasing a descriptor", error);
  return copy;
}

int Fd::get() const { return state_ ? state_->descriptor() : -1; }

Task<absl::Status> Fd::ready(uint32_t events) {
  std::shared_ptr<FdState> state = state_;
  if (!state) co_return closed_status();
  co_await EnterOperation(state->worker());
  ReadyOperation operation(*state, events);
  co_return co_await operation;
}

Task<absl::Status> Fd::readable() { return ready(kReadable); }
Task<absl::Status> Fd::writable() { return ready(kWritable); }
Task<absl::Status> Fd::hangup() { return ready(kHangup); }

Task<absl::StatusOr<size_t>> Fd::read_some(std::span<std::byte> into) {
  if (absl::Status turn = co_await CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    const ssize_t count = ::read(get(), into.data(), into.size());
    if (count >= 0) co_return static_cast<size_t>(count);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return errno_status("read", errno);
    if (absl::Status status = co_await readable(); !status.ok()) co_return status;
  }
}

ssize_t Fd::write_once(std::span<const std::byte> from) {
  if (!state_) return errno = EBADF, -1;
  const int descriptor = state_->descriptor();
  switch (state_->writing_) {
    case Writing::kSocket:
      return ::send(descriptor, from.data(), from.size(), MSG_NOSIGNAL);
    case Writing::kNoSignal: {
      const iovec bytes{const_cast<std::byte*>(from.data()), from.size()};
      const ssize_t count =
          ::pwritev2(descriptor, &bytes, 1, /*current position*/ -1, RWF_NOSIGNAL);
      if (count >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS)) return count;
      state_->writing_ = Writing::kMasked;
      break;
    }
    case Writing::kMasked:
      break;
  }
  return write_masked(descriptor, from);
}

Task<absl::Status> Fd::write_all(std::span<const std::byte> from) {
  if (absl::Status turn = co_await CheckpointOperation(); !turn.ok()) co_return turn;
  while (!from.empty()) {
    const ssize_t count = write_once(from);
    if (count >= 0) {
      from = from.subspan(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      if (absl::Status status = co_await writable(); !status.ok()) co_return status;
    } else if (errno != EINTR) {
      co_return errno_status("write", errno);
    }
  }
  co_return absl::OkStatus();
}

absl::Status errno_status(absl::string_view doing, int error) {
  return absl::ErrnoToStatus(error, doing);
}

void require_kernel(const char* message) {
  TaskContext* context = current_context();
  ZS_ASSERT(context && context->scheduler->driver(), message);
}

}  // namespace zsync::rt
