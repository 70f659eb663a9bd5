// Fd: a descriptor that tasks can wait on. What sockets, pipes and processes are built from.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/rt/operation.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

class FdState;

// Moves the task to a worker.
class EnterOperation {
 public:
  explicit EnterOperation(int worker) : worker_(worker) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    TaskContext& context = *handle.promise().context;
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
  absl::Status await_resume() const {
    return cancelled() ? absl::CancelledError() : absl::OkStatus();
  }

 private:
  FdState* state_;
  uint32_t events_;
};

// Lifetime: owns the descriptor and closes it. Has a home worker, the one that adopted it; an
//           operation started elsewhere moves the task home first. Ends before its runtime does.
// Threads:  used by one task at a time for reading and by one for writing.
class Fd {
 public:
  Fd() = default;
  // Takes over `descriptor` (also on failure) and makes it non-blocking. To be called in a task.
  //
  // Errors: kResourceExhausted when the worker cannot watch another descriptor; kInvalidArgument
  // for a descriptor that has no readiness (a regular file).
  static absl::StatusOr<Fd> adopt(int descriptor);

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

  // Reads what is there, waiting for at least one byte -> bytes read; 0: the end.
  //
  // Errors: the system's, by name. Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into);
  // Writes everything.
  //
  // Errors: the system's. Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from);

  int get() const;
  explicit operator bool() const { return state_ != nullptr; }
  void close();

 private:
  explicit Fd(std::shared_ptr<FdState> state) : state_(std::move(state)) {}
  Task<absl::Status> ready(uint32_t events);

  std::shared_ptr<FdState> state_;
};

// "read: Connection reset by peer" with the code that fits the errno.
absl::Status errno_status(const char* doing, int error);

}  // namespace zsync::rt
