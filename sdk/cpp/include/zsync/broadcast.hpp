// Broadcast<T>: every subscriber gets every message, and a slow one misses the oldest.
//
// The sender never waits: a ring holds the last messages, and a subscriber that falls behind it is
// told how many it has missed. Where nothing may be missed, use a Channel for each receiver.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/assert.hpp"
#include "zsync/rt/broadcast_state.hpp"

namespace zsync {

// One receiver of a broadcast; it gets what is sent after it subscribed.
//
// Lifetime: outlives its pending recv(). Keeps the ring alive, and what is in it receivable.
// Threads:  one thread at a time; that thread may change.
template <typename T>
class Subscription {
 public:
  // Use Broadcast::subscribe().
  explicit Subscription(std::shared_ptr<rt::BroadcastState<T>> state)
      : state_(std::move(state)), cursor_{state_->next()} {}
  Subscription(Subscription&&) noexcept = default;
  Subscription& operator=(Subscription&&) noexcept = default;

  // Completes with a copy of the next message.
  //
  // Errors: kDataLoss with the count when messages were overwritten before they were received; the
  //         next recv() gives the oldest that is still there. kUnavailable once the broadcast is
  //         closed and everything was received.
  // Cancel: kCancelled; no message is lost.
  [[nodiscard]] rt::BroadcastOperation<T> recv() {
    return rt::BroadcastOperation<T>(state(), cursor_);
  }
  // Never waits; nullopt: nothing is there. Errors: as recv().
  std::optional<absl::StatusOr<T>> try_recv() { return state().take(cursor_); }
  // recv() on a plain thread.
  absl::StatusOr<T> recv_blocking() {
    rt::assert_may_block("recv_blocking() on a worker blocks every task of it: co_await recv()");
    rt::BroadcastOperation<T> operation(state(), cursor_);
    rt::block_on_operation(operation);
    return operation.await_resume();
  }

  // Messages that this subscription has missed so far.
  uint64_t missed() const { return cursor_.missed; }

 private:
  rt::BroadcastState<T>& state() {
    ZS_ASSERT(state_, "this Subscription was moved");
    return *state_;
  }

  std::shared_ptr<rt::BroadcastState<T>> state_;
  rt::BroadcastCursor cursor_;
};

// The sending side; copies share it, and the last one that goes closes it.
//
// Threads:  every member may be called from any thread.
// Cost:     a message is copied for each subscriber, under the lock: send shared_ptr<const T> where
//           a T is large.
template <typename T>
class Broadcast {
 public:
  // Use broadcast().
  explicit Broadcast(std::shared_ptr<rt::BroadcastState<T>> state)
      : side_(std::make_shared<Side>(std::move(state))) {}

  // Never waits; without a subscriber the message is gone. Errors: kUnavailable when closed.
  absl::Status send(T message) {
    return side_->state->send(std::move(message)) ? absl::OkStatus() : absl::UnavailableError("");
  }
  // A new receiver of what is sent from now on.
  Subscription<T> subscribe() { return Subscription<T>(side_->state); }
  // Later sends fail; subscribers get what is in the ring, then kUnavailable.
  void close() { side_->state->close(); }
  // Whether close() was called.
  bool is_closed() const { return side_->state->closed(); }
  // Messages that the ring holds.
  size_t capacity() const { return side_->state->capacity(); }

 private:
  struct Side {
    explicit Side(std::shared_ptr<rt::BroadcastState<T>> shared) : state(std::move(shared)) {}
    ~Side() { state->close(); }
    std::shared_ptr<rt::BroadcastState<T>> state;
  };
  std::shared_ptr<Side> side_;
};

// A broadcast whose ring holds the last `capacity` messages, at least one.
template <typename T>
Broadcast<T> broadcast(size_t capacity) {
  ZS_ASSERT(capacity > 0, "broadcast<T>(0): its ring holds at least one message");
  return Broadcast<T>(std::make_shared<rt::BroadcastState<T>>(capacity));
}

}  // namespace zsync
