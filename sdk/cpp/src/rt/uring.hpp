// Uring: one io_uring instance with what the kernel offers of it, or the reason why there is none.
#pragma once

#include <liburing.h>

#include <optional>

#include "absl/status/statusor.h"
#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

// Lifetime: a child process of fork() has no access to it and only closes its descriptor.
// Threads:  one at a time; after enable() the one that called it.
class Uring {
 public:
  // Disabled: nothing can be submitted yet.
  //
  // Errors: kUnimplemented (the kernel, or a sandbox), kPermissionDenied (seccomp or sysctl),
  // kResourceExhausted (files, memory); each names the cure.
  static absl::StatusOr<Uring> open();

  Uring(Uring&& other) noexcept;
  Uring& operator=(Uring&&) = delete;
  ~Uring();

  // Binds it to this thread. -> 0 or a negated errno
  int enable();

  // False in a child process of fork().
  bool usable() const;
  bool defer_taskrun() const { return (ring_.flags & IORING_SETUP_DEFER_TASKRUN) != 0; }
  bool single_issuer() const { return (ring_.flags & IORING_SETUP_SINGLE_ISSUER) != 0; }

  // nullptr when the queue is full.
  io_uring_sqe* try_sqe() { return io_uring_get_sqe(&ring_); }
  bool has_unsubmitted() const { return io_uring_sq_ready(&ring_) > 0; }
  // Whether the kernel has completions that it cannot show before it is entered.
  bool holds_back() const;
  unsigned completions() const { return io_uring_cq_ready(&ring_); }
  // The oldest one; there is one.
  io_uring_cqe take();

  // Submits and takes in, without waiting.
  void enter();
  // The same; waits for a completion until the time has passed (nullopt: for ever) or a signal
  // comes.
  void enter_and_wait(std::optional<Duration> timeout);

 private:
  explicit Uring(const io_uring& ring, int owner) : ring_(ring), owner_(owner) {}

  io_uring ring_;
  int owner_;  // process
};

}  // namespace zsync::rt
