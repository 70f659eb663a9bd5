// FutureState<T>: the shared half of a Promise and its Future: the outcome and whoever wants it.
//
// Invariants, all under the lock: it is settled once; operations, callback and cancel hook are kept
// only before that; the outcome is taken once, unless the future was cancelled.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "zsync/assert.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

template <typename T>
class FutureState;

// What awaiting a Future gives: co_await it, or hand it to select() or timeout().
template <typename T>
class FutureOperation final : public LeafOperation {
 public:
  explicit FutureOperation(std::shared_ptr<FutureState<T>> state) : state_(std::move(state)) {}

  Start start() final { return state_->start_wait(*this); }
  bool withdraw() noexcept final { return state_->withdraw(*this); }
  const char* wait_kind() const noexcept final { return "future"; }
  typename OutcomeOf<T>::type await_resume() {
    if (cancelled()) return absl::CancelledError();
    return state_->take();
  }

  bool enlist() { return begin_wait(); }

 private:
  std::shared_ptr<FutureState<T>> state_;
};

template <typename T>
class FutureState {
 public:
  using Outcome = typename OutcomeOf<T>::type;
  using Callback = absl::AnyInvocable<void(Outcome)>;
  using CancelHook = absl::AnyInvocable<void()>;

  // False when it was settled before: then the future was cancelled.
  bool settle(Outcome outcome) { return end(std::move(outcome), /*cancelled=*/false); }
  void cancel() { (void)end(absl::CancelledError(), /*cancelled=*/true); }

  void on_complete(Callback callback) {
    std::optional<Outcome> outcome;
    {
      LockGuard guard(lock_);
      ZS_ASSERT(!callback_ && waiting_.empty(), kAwaitedTwice);
      if (!settled_) {
        callback_ = std::move(callback);
        return;
      }
      outcome.emplace(take_locked());
    }
    callback(std::move(*outcome));
  }

  void on_cancel(CancelHook hook) {
    {
      LockGuard guard(lock_);
      if (!settled_) {
        ZS_ASSERT(!hook_, "Promise::on_cancel() was called before: it keeps one function");
        hook_ = std::move(hook);
        return;
      }
      if (!cancelled_) return;
    }
    hook();
  }

  Start start_wait(FutureOperation<T>& operation) {
    LockGuard guard(lock_);
    if (settled_) return operation.try_claim() ? Start::kFinished : Start::kWaiting;
    ZS_ASSERT(!callback_ && waiting_.empty(), kAwaitedTwice);
    if (!operation.enlist()) return Start::kFinished;
    waiting_.push_back(operation);
    return Start::kWaiting;
  }
  bool withdraw(Operation& operation) noexcept {
    LockGuard guard(lock_);
    return waiting_.remove(operation);
  }

  // The state is settled.
  Outcome take() {
    LockGuard guard(lock_);
    return take_locked();
  }
  std::optional<Outcome> poll() {
    LockGuard guard(lock_);
    if (!settled_) return std::nullopt;
    return take_locked();
  }

  bool settled() {
    LockGuard guard(lock_);
    return settled_;
  }
  bool cancelled() {
    LockGuard guard(lock_);
    return cancelled_;
  }

 private:
  static constexpr const char* kAwaitedTwice =
      "this Future is awaited by somebody else, or has its on_complete(): one consumer takes the "
      "outcome; use watch<T>() for several";

  bool end(Outcome outcome, bool cancelled) {
    Operation* waiter = nullptr;
    Callback callback;
    CancelHook hook;
    {
      LockGuard guard(lock_);
      if (settled_) return false;
      settled_ = true;
      cancelled_ = cancelled;
      callback = std::exchange(callback_, nullptr);
      hook = std::exchange(hook_, nullptr);
      if (!callback) outcome_.emplace(std::move(outcome));
      waiter = waiting_.pop_claimed();
    }
    // Whoever is woken may end the state, so it is not touched from here on.
    if (waiter) waiter->wake();
    if (callback) callback(std::move(outcome));
    if (cancelled && hook) hook();
    return true;
  }

  Outcome take_locked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    if (cancelled_) return absl::CancelledError();
    ZS_ASSERT(outcome_, "the outcome of this Future was taken before: a Future is awaited once");
    Outcome outcome = std::move(*outcome_);
    outcome_.reset();
    return outcome;
  }

  Lock lock_;
  bool settled_ ABSL_GUARDED_BY(lock_) = false;
  bool cancelled_ ABSL_GUARDED_BY(lock_) = false;  // settled by cancel()
  std::optional<Outcome> outcome_ ABSL_GUARDED_BY(lock_);
  Callback callback_ ABSL_GUARDED_BY(lock_);
  CancelHook hook_ ABSL_GUARDED_BY(lock_);
  WaitList waiting_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::rt
