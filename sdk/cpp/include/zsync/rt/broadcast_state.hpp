// BroadcastState<T>: the ring behind a broadcast, and who waits for its next message.
//
// Invariant, under the lock: message n is in slot n % capacity while n + capacity > next_; a
// subscriber waits only where its cursor is next_. The cursor moves when the awaiting task goes on,
// so a recv() that is cancelled or not selected has taken nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "zsync/assert.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

template <typename T>
class BroadcastState;

// Where a subscriber stands. Written by its own thread only.
struct BroadcastCursor {
  uint64_t position = 0;  // the number of the message that it gets next
  uint64_t missed = 0;    // messages that were overwritten before it received them
};

// What Subscription::recv() gives: co_await it, or hand it to select() or timeout().
template <typename T>
class BroadcastOperation final : public LeafOperation {
 public:
  BroadcastOperation(BroadcastState<T>& state, BroadcastCursor& cursor)
      : state_(&state), cursor_(&cursor) {}

  Start start() final { return state_->start_recv(*this, *cursor_); }
  bool withdraw() noexcept final { return state_->withdraw(*this); }
  const char* wait_kind() const noexcept final { return "broadcast recv"; }
  absl::StatusOr<T> await_resume() {
    if (cancelled()) return absl::CancelledError();
    std::optional<absl::StatusOr<T>> received = state_->take(*cursor_);
    ZS_ASSERT(received, "two tasks wait in recv() of one Subscription: subscribe() for each");
    return std::move(*received);
  }

  bool enlist() { return begin_wait(); }

 private:
  BroadcastState<T>* state_;
  BroadcastCursor* cursor_;
};

template <typename T>
class BroadcastState {
 public:
  explicit BroadcastState(size_t capacity) : slots_(capacity), capacity_(capacity) {}

  // False when it is closed.
  bool send(T message) {
    std::optional<T> stored(std::move(message));
    Woken woken;
    {
      LockGuard guard(lock_);
      if (closed_) return false;
      slots_[next_++ % capacity_].swap(stored);  // what was overwritten is destroyed outside
      wake_all(woken);
    }
    for (Operation* subscriber : woken) subscriber->wake();
    return true;
  }

  void close() {
    Woken woken;
    {
      LockGuard guard(lock_);
      closed_ = true;
      wake_all(woken);
    }
    for (Operation* subscriber : woken) subscriber->wake();
  }

  Start start_recv(BroadcastOperation<T>& operation, const BroadcastCursor& cursor) {
    LockGuard guard(lock_);
    if (cursor.position != next_ || closed_) {
      return operation.try_claim() ? Start::kFinished : Start::kWaiting;
    }
    if (!operation.enlist()) return Start::kFinished;
    waiting_.push_back(operation);
    return Start::kWaiting;
  }
  bool withdraw(Operation& operation) noexcept {
    LockGuard guard(lock_);
    return waiting_.remove(operation);
  }

  // nullopt: nothing is there yet.
  std::optional<absl::StatusOr<T>> take(BroadcastCursor& cursor) {
    uint64_t lost = 0;
    {
      LockGuard guard(lock_);
      if (cursor.position == next_) {
        if (!closed_) return std::nullopt;
        return absl::StatusOr<T>(absl::UnavailableError(""));
      }
      if (next_ - cursor.position <= capacity_) {
        return absl::StatusOr<T>(*slots_[cursor.position++ % capacity_]);
      }
      lost = next_ - capacity_ - cursor.position;
    }
    cursor.position += lost;
    cursor.missed += lost;
    return absl::StatusOr<T>(absl::DataLossError(absl::StrCat(
        "missed ", lost, " messages: receive faster, or give the broadcast a larger capacity")));
  }

  // The number of the next message.
  uint64_t next() {
    LockGuard guard(lock_);
    return next_;
  }
  bool closed() {
    LockGuard guard(lock_);
    return closed_;
  }
  size_t capacity() const { return capacity_; }

 private:
  using Woken = absl::InlinedVector<Operation*, 8>;

  void wake_all(Woken& woken) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    while (Operation* subscriber = waiting_.pop_claimed()) woken.push_back(subscriber);
  }

  Lock lock_;
  std::vector<std::optional<T>> slots_ ABSL_GUARDED_BY(lock_);
  const size_t capacity_;
  uint64_t next_ ABSL_GUARDED_BY(lock_) = 0;
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  WaitList waiting_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::rt
