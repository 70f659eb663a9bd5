#include "zsync/rt/fd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"

namespace zsync::rt {

class FdState final : public FdListener, public std::enable_shared_from_this<FdState> {
 public:
  FdState(int descriptor, Scheduler& scheduler)
      : descriptor_(descriptor),
        scheduler_(scheduler),
        driver_(scheduler.driver()),
        worker_(scheduler.current_worker()) {}
  ~FdState() { ::close(descriptor_); }

  absl::Status attach() {
    absl::StatusOr<FdSource*> source = driver_->add(descriptor_, *this);
    if (!source.ok()) return source.status();
    source_ = *source;
    return absl::OkStatus();
  }

  // On the home worker only.
  void detach() {
    // Nobody waits: an operation's frame keeps the Fd alive.
    driver_->remove(*source_, [self = shared_from_this()] {});
  }

  void close() {
    if (scheduler_.current_worker() == worker_) return detach();
    scheduler_.post(worker_, [self = shared_from_this()] { self->detach(); });
  }

  void on_ready(uint32_t events) override {
    std::vector<Operation*> woken;
    {
      LockGuard guard(lock_);
      if (events & kReadable) {
        while (Operation* reader = readers_.pop_claimed()) woken.push_back(reader);
      }
      if (events & kWritable) {
        while (Operation* writer = writers_.pop_claimed()) woken.push_back(writer);
      }
      if (events & kHangup) {
        while (Operation* waiter = hangups_.pop_claimed()) woken.push_back(waiter);
      }
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
  void enlist(Operation& operation, uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    list(events).push_back(operation);
    rearm();
  }

 private:
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
};

Start ReadyOperation::start() {
  LockGuard guard(state_->lock());
  if (!begin_wait()) return Start::kFinished;
  state_->enlist(*this, events_);
  return Start::kWaiting;
}

bool ReadyOperation::withdraw() noexcept { return state_->withdraw(*this, events_); }

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

int Fd::get() const { return state_ ? state_->descriptor() : -1; }

Task<absl::Status> Fd::ready(uint32_t events) {
  std::shared_ptr<FdState> state = state_;
  co_await EnterOperation(state->worker());
  ReadyOperation operation(*state, events);
  co_return co_await operation;
}

Task<absl::Status> Fd::readable() { return ready(kReadable); }
Task<absl::Status> Fd::writable() { return ready(kWritable); }
Task<absl::Status> Fd::hangup() { return ready(kHangup); }

Task<absl::StatusOr<size_t>> Fd::read_some(std::span<std::byte> into) {
  while (true) {
    const ssize_t count = ::read(get(), into.data(), into.size());
    if (count >= 0) co_return static_cast<size_t>(count);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return errno_status("read", errno);
    if (absl::Status status = co_await readable(); !status.ok()) co_return status;
  }
}

Task<absl::Status> Fd::write_all(std::span<const std::byte> from) {
  while (!from.empty()) {
    ssize_t count = ::send(get(), from.data(), from.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == ENOTSOCK) count = ::write(get(), from.data(), from.size());
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

absl::Status errno_status(const char* doing, int error) {
  return absl::ErrnoToStatus(error, doing);
}

}  // namespace zsync::rt
