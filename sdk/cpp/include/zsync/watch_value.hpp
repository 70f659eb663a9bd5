// WatchValue<T>: the newest value of something, and waiting for a newer one.
//
//   zsync::WatchValue<Settings> settings = zsync::watch(load());
//   while (std::optional<Settings> now = co_await settings.changed()) apply(*now);
//
// Only the newest value counts: whoever is slow skips those in between. (Files are watched by
// Watcher, zsync/watch/watcher.hpp.)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "zsync/assert.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync {

template <typename T>
class WatchValue;

namespace rt {

// The shared half: the value, its version, who waits for the next one.
template <typename T>
struct WatchState {
  explicit WatchState(T initial) : value(std::move(initial)) {}

  Lock lock;
  T value ABSL_GUARDED_BY(lock);
  uint64_t version ABSL_GUARDED_BY(lock) = 0;
  bool closed ABSL_GUARDED_BY(lock) = false;
  WaitList waiting ABSL_GUARDED_BY(lock);
};

}  // namespace rt

// What WatchValue::changed() gives: co_await it, or hand it to select() or timeout().
template <typename T>
class ChangedOperation final : public rt::LeafOperation {
 public:
  // Use WatchValue::changed().
  explicit ChangedOperation(WatchValue<T>& watched) : watched_(&watched) {}

  rt::Start start() final {
    rt::WatchState<T>& state = *watched_->state_;
    rt::LockGuard guard(state.lock);
    seen_ = watched_->seen_;
    if (state.version != seen_ || state.closed) {
      return try_claim() ? rt::Start::kFinished : rt::Start::kWaiting;
    }
    if (!begin_wait()) return rt::Start::kFinished;
    state.waiting.push_back(*this);
    return rt::Start::kWaiting;
  }
  bool withdraw() noexcept final {
    rt::LockGuard guard(watched_->state_->lock);
    return watched_->state_->waiting.remove(*this);
  }
  const char* wait_kind() const noexcept final { return "watched value's change"; }
  std::optional<T> await_resume() {
    if (cancelled()) throw Cancelled();
    rt::LockGuard guard(watched_->state_->lock);
    return watched_->take_newer_than(seen_);  // nullopt: closed
  }

 private:
  WatchValue<T>* watched_;
  uint64_t seen_ = 0;  // when it started
};

// Copies share the value; each remembers by itself what it has seen.
//
// Lifetime: a copy outlives its pending changed().
// Threads:  every member may be called from any thread.
// Cost:     the value is copied under the lock: watch a shared_ptr<const T> where a T is large.
template <typename T>
class WatchValue {
 public:
  // Use watch().
  explicit WatchValue(std::shared_ptr<rt::WatchState<T>> state) : state_(std::move(state)) {}
  // A copy has seen what `other` has seen.
  WatchValue(const WatchValue& other) : state_(other.state_), seen_(other.seen()) {}
  WatchValue& operator=(const WatchValue&) = delete;

  // Replaces the value and wakes whoever waits, also where the new one equals the old one. False
  // when closed: the value stays.
  bool set(T value) {
    Woken woken;
    rt::WatchState<T>& state = *state_;
    {
      rt::LockGuard guard(state.lock);
      if (state.closed) return false;
      std::swap(state.value, value);  // the old one is destroyed outside
      ++state.version;
      pop_all(state, woken);
    }
    for (rt::Operation* waiter : woken) waiter->wake();
    return true;
  }

  // The newest value. Does not count as having seen it.
  T get() const {
    rt::LockGuard guard(state_->lock);
    return state_->value;
  }

  // Completes with the newest value as soon as there is one that this copy has not got from here
  // before, or with nullopt once closed and seen. The initial value counts as seen.
  //
  // Cancel: throws Cancelled; the value has not been seen then.
  [[nodiscard]] ChangedOperation<T> changed() { return ChangedOperation<T>(*this); }

  // Never waits; nullopt: nothing new.
  std::optional<T> try_changed() {
    rt::LockGuard guard(state_->lock);
    return take_newer_than(seen_);
  }
  // changed() on a plain thread.
  std::optional<T> changed_blocking() {
    rt::assert_may_block(
        "changed_blocking() on a worker blocks every task of it: co_await changed()");
    ChangedOperation<T> operation(*this);
    rt::block_on_operation(operation);
    return operation.await_resume();
  }

  // Later sets fail; the last value stays.
  void close() {
    Woken woken;
    rt::WatchState<T>& state = *state_;
    {
      rt::LockGuard guard(state.lock);
      state.closed = true;
      pop_all(state, woken);
    }
    for (rt::Operation* waiter : woken) waiter->wake();
  }
  // Whether close() was called.
  bool is_closed() const {
    rt::LockGuard guard(state_->lock);
    return state_->closed;
  }

 private:
  friend class ChangedOperation<T>;
  using Woken = absl::InlinedVector<rt::Operation*, 8>;

  static void pop_all(rt::WatchState<T>& state, Woken& woken)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(state.lock) {
    while (rt::Operation* waiter = state.waiting.pop_claimed()) woken.push_back(waiter);
  }
  uint64_t seen() const {
    rt::LockGuard guard(state_->lock);
    return seen_;
  }
  std::optional<T> take_newer_than(uint64_t seen) ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->lock) {
    if (state_->version == seen) return std::nullopt;
    seen_ = state_->version;
    return state_->value;
  }

  std::shared_ptr<rt::WatchState<T>> state_;
  uint64_t seen_ = 0;  // guarded by the state's lock
};

// A value to watch. Cost: one allocation.
template <typename T>
WatchValue<T> watch(T initial) {
  return WatchValue<T>(std::make_shared<rt::WatchState<T>>(std::move(initial)));
}

}  // namespace zsync
