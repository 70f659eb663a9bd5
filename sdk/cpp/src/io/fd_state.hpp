// What an Fd shares with those who wait for it: the descriptor, its watcher, and the lists of
// waits.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "io/socket_calls.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

// What reads and writes have to heed.
enum class FdKind : uint8_t {
  kTcp,
  kOtherSocket,
  kPlain,   // written with pwritev2(RWF_NOSIGNAL), until that turns out not to be known
  kMasked,  // written with the signal blocked in this thread: two system calls more
};

// Reading without asking in vain. `drained_` says that nothing was there at some moment, and every
// event of the driver takes it back.
//   1. It is set before the system call that reads, so an event during the call is not lost.
//   2. A wait for news enlists under the lock and only while it is set; events take it back under
//      the lock, then wake.
//   3. A TCP stream that gave less than was asked for is drained too, unless the peer has ended it
//      or sent urgent data (`eventful_`): then an end or a mark stopped the read, of which no
//      further event tells. Unix sockets stop at descriptors as well, so they have to say EAGAIN.
class FdState final : public FdListener, public std::enable_shared_from_this<FdState> {
 public:
  FdState(int descriptor, Scheduler& scheduler);
  ~FdState() { sockets_.close(descriptor_); }

  absl::Status attach();
  void close();
  void on_ready(uint32_t events) override;
  bool withdraw(Operation& operation, uint32_t events);

  int descriptor() const { return descriptor_; }
  int worker() const { return worker_; }
  bool at_home() const { return scheduler_.current_worker() == worker_; }
  Driver& driver() { return *driver_; }
  SocketCalls& sockets() { return sockets_; }
  Lock& lock() ABSL_LOCK_RETURNED(lock_) { return lock_; }
  bool closed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) { return closed_; }
  void enlist(Operation& operation, uint32_t events) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  bool begin_read() { return !drained_.exchange(true, std::memory_order_acq_rel); }
  void end_read() { drained_.store(false, std::memory_order_release); }
  bool drained() const { return drained_.load(std::memory_order_acquire); }

  // One system call each -> bytes, or -1 with errno.
  ssize_t read_once(std::span<std::byte> into);
  ssize_t write_once(std::span<const std::byte> from);
  // Whether the next write goes out with others'.
  bool batches_writes() const {
    return kind_ <= FdKind::kOtherSocket && at_home() && driver_->batches_sends();
  }

 private:
  using Woken = absl::InlinedVector<Operation*, 4>;

  // On the home worker only.
  void detach();
  void take(uint32_t events, Woken& woken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  WaitList& list(uint32_t event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void rearm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  const int descriptor_;
  Scheduler& scheduler_;
  Driver* const driver_;
  SocketCalls& sockets_;
  const int worker_;
  FdKind kind_;  // changed by the writing task only
  FdSource* source_ = nullptr;

  std::atomic<bool> drained_{false};
  std::atomic<bool> eventful_{false};

  Lock lock_;
  WaitList readers_ ABSL_GUARDED_BY(lock_);
  WaitList writers_ ABSL_GUARDED_BY(lock_);
  WaitList hangups_ ABSL_GUARDED_BY(lock_);
  WaitList news_ ABSL_GUARDED_BY(lock_);
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
};

}  // namespace zsync::rt
