#include "zsync/rt/fd.hpp"

#include <cerrno>

#include "io/fd_state.hpp"
#include "io/socket_calls.hpp"

namespace zsync::rt {
namespace {

constexpr size_t kBatchedBytesMax = 16 * 1024;  // of one send; more is sent at once

absl::Status closed_status() {
  return absl::FailedPreconditionError("the descriptor was closed: nothing can wait for it");
}

}  // namespace

Start ReadyOperation::start() {
  LockGuard guard(state_->lock());
  if (state_->closed()) return Start::kFinished;
  if (events_ == kNews && !state_->drained()) return Start::kFinished;
  if (!begin_wait()) return Start::kFinished;
  state_->enlist(*this, events_);
  return Start::kWaiting;
}

bool ReadyOperation::withdraw() noexcept { return state_->withdraw(*this, events_); }

const char* ReadyOperation::wait_kind() const noexcept {
  if (events_ & kHangup) return "descriptor's hangup";
  return events_ & kWritable ? "writable descriptor" : "readable descriptor";
}

void ReadyOperation::tell_wait(WaitInfo& info) const noexcept {
  info.descriptor = state_->descriptor();
}

absl::Status ReadyOperation::await_resume() const {
  if (cancelled()) return absl::CancelledError();
  LockGuard guard(state_->lock());
  return state_->closed() ? closed_status() : absl::OkStatus();
}

Start SendOperation::start() {
  state_->driver().send(state_->descriptor(), from_, *this);
  return Start::kWaiting;
}

void SendOperation::on_complete(int result) {
  result_ = result;
  wake();
}

absl::StatusOr<Fd> Fd::adopt(int descriptor) {
  TaskContext* context = current_context();
  ZS_ASSERT(context, "Fd::adopt() outside a task: a descriptor needs a worker that watches it");
  Scheduler& scheduler = *context->scheduler;
  ZS_ASSERT(scheduler.driver() && scheduler.driver()->sockets().knows(descriptor),
            "a descriptor in a runtime without a kernel: use the real runtime");
  auto state = std::make_shared<FdState>(descriptor, scheduler);
  if (state->sockets().set_nonblocking(descriptor) < 0) {
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
  UniqueFd copy(sockets().duplicate(get()));
  const int error = errno;
  close();
  if (!copy) return errno_status("releasing a descriptor", error);
  return copy;
}

int Fd::get() const { return state_ ? state_->descriptor() : -1; }

SocketCalls& Fd::sockets() const { return state_ ? state_->sockets() : kernel_sockets(); }

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
Task<absl::Status> Fd::news() { return ready(kNews); }

bool Fd::begin_read() { return !state_ || state_->begin_read(); }
void Fd::end_read() {
  if (state_) state_->end_read();
}

Task<absl::StatusOr<size_t>> Fd::read_some(std::span<std::byte> into) {
  if (absl::Status turn = co_await CheckpointOperation(); !turn.ok()) co_return turn;
  const std::shared_ptr<FdState> state = state_;
  if (!state) co_return errno_status("read", EBADF);
  if (into.empty()) co_return size_t{0};
  while (true) {
    if (state->begin_read()) {
      const ssize_t count = state->read_once(into);
      if (count >= 0) co_return static_cast<size_t>(count);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return errno_status("read", errno);
    }
    co_await EnterOperation(state->worker());
    ReadyOperation operation(*state, kNews);
    if (absl::Status status = co_await operation; !status.ok()) co_return status;
  }
}

Task<absl::Status> Fd::write_all(std::span<const std::byte> from) {
  if (absl::Status turn = co_await CheckpointOperation(); !turn.ok()) co_return turn;
  const std::shared_ptr<FdState> state = state_;
  if (!state) co_return errno_status("write", EBADF);
  while (!from.empty()) {
    ssize_t count = 0;
    if (from.size() <= kBatchedBytesMax && state->batches_writes()) {
      SendOperation operation(*state, from);
      count = co_await operation;
      if (count < 0) errno = static_cast<int>(-count);
    } else {
      count = state->write_once(from);
    }
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
  ZS_ASSERT(&sockets_here(message) == &kernel_sockets(), message);
}

SocketCalls& sockets_here(const char* message) {
  TaskContext* context = current_context();
  Driver* const driver = context ? context->scheduler->driver() : nullptr;
  ZS_ASSERT(driver, message);
  return driver->sockets();
}

}  // namespace zsync::rt
