// Fd: a descriptor that tasks can wait on. What sockets, pipes and processes are built from.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "zsync/fd.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

class FdState;
class SocketCalls;

// Moves the task to a worker.
class EnterOperation {
 public:
  explicit EnterOperation(int worker) : worker_(worker) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    TaskContext& context = strand_of(handle);
    if (context.scheduler->current_worker() == worker_) return false;
    context.resume_point = handle;
    context.next_worker = worker_;
    context.schedule();
    return true;
  }
  void await_resume() const noexcept {}

 private:
  int worker_;
};

class ReadyOperation final : public LeafOperation {
 public:
  ReadyOperation(FdState& state, uint32_t events) : state_(&state), events_(events) {}
  Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final;
  void tell_wait(WaitInfo& info) const noexcept final;
  absl::Status await_resume() const;

 private:
  FdState* state_;
  uint32_t events_;
};

// Writes once to a socket, together with what else its worker sends in this turn.
class SendOperation final : public Operation, public Completion {
 public:
  // In the home worker only.
  SendOperation(FdState& state, std::span<const std::byte> from) : state_(&state), from_(from) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend_uncancellable(strand_of(handle), handle);
  }
  // -> bytes, or a negated errno.
  int await_resume() const noexcept { return result_; }

  Start start() final;
  bool withdraw() noexcept final { return false; }
  void on_complete(int result) final;

 private:
  FdState* state_;
  std::span<const std::byte> from_;
  int result_ = 0;
};

// Where an operation that need not wait takes its turn: a cancelled task gets kCancelled, one that
// has used up its budget lets others run first.
class CheckpointOperation {
 public:
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    context_ = &strand_of(handle);
    if (context_->cancelled_here() || context_->spend_budget()) return false;
    context_->resume_point = handle;
    context_->yield();
    return true;
  }
  absl::Status await_resume() const {
    return context_->cancel_requested() ? absl::CancelledError() : absl::OkStatus();
  }

 private:
  TaskContext* context_ = nullptr;
};

// Lifetime: owns the descriptor and closes it. Has a home worker, the one that adopted it; an
//           operation started elsewhere moves the task home first. Ends before its runtime does.
//           close() ends operations that wait with kFailedPrecondition.
// Threads:  used by one task at a time for reading and by one for writing; close() by either, while
//           the other one waits or is done.
class Fd {
 public:
  Fd() = default;
  // Takes over `descriptor` (also on failure) and makes it non-blocking. To be called in a task.
  //
  // Errors: kResourceExhausted when the worker cannot watch another descriptor; kInvalidArgument
  // for a descriptor that has no readiness (a regular file).
  static absl::StatusOr<Fd> adopt(int descriptor);
  static absl::StatusOr<Fd> adopt(UniqueFd descriptor) { return adopt(descriptor.release()); }

  Fd(Fd&& other) noexcept : state_(std::move(other.state_)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      close();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~Fd() { close(); }

  // Completes when reading (writing) would not block. Cancel: kCancelled.
  Task<absl::Status> readable();
  Task<absl::Status> writable();
  // Completes when the peer has closed its side of a socket. Cancel: kCancelled.
  Task<absl::Status> hangup();

  // Reading by a system call of one's own, without asking in vain:
  //
  //   while (true) {
  //     if (fd.begin_read()) {
  //       const ssize_t count = ::recvmsg(fd.get(), ...);
  //       if (count >= 0 || errno != EAGAIN) fd.end_read();
  //       ...
  //     }
  //     if (absl::Status news = co_await fd.news(); !news.ok()) co_return news;
  //   }
  //
  // False: it was drained and nothing has come since; wait for news() first.
  bool begin_read();
  // There may be more; not called after EAGAIN.
  void end_read();
  // Completes when begin_read() is worth a try. Cancel: kCancelled.
  Task<absl::Status> news();

  // Reads what is there, waiting for at least one byte -> bytes read; 0: the end.
  //
  // Errors: the system's, by name. Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into);
  // Writes everything; never raises SIGPIPE.
  //
  // Errors: the system's. Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from);

  int get() const;
  // The system calls that know the descriptor: the kernel's, or a simulation's.
  SocketCalls& sockets() const;
  explicit operator bool() const { return state_ != nullptr; }
  void close();
  // Gives the descriptor away, still non-blocking, and closes this. Nothing may be pending.
  //
  // Errors: kResourceExhausted when this process has too many open files; it is closed then.
  absl::StatusOr<UniqueFd> release();

 private:
  explicit Fd(std::shared_ptr<FdState> state) : state_(std::move(state)) {}
  Task<absl::Status> ready(uint32_t events);

  std::shared_ptr<FdState> state_;
};

// "read: Connection reset by peer" with the code that fits the errno.
absl::Status errno_status(absl::string_view doing, int error);

// Fails an assertion with `message` outside a task and in a runtime without a kernel (a
// simulation).
void require_kernel(const char* message);
// The system calls of the running task's process, real or simulated. Fails an assertion with
// `message` outside a task and in a simulation without processes.
SocketCalls& sockets_here(const char* message);

}  // namespace zsync::rt
