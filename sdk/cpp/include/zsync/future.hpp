// Promise<T> and Future<T>: a result that somebody gives later, from any thread.
//
//   zsync::Promise<int> promise;
//   zsync::Future<int> future = promise.future();
//   start_request([promise = std::move(promise)](int n) mutable { promise.set_value(n); });
//   absl::StatusOr<int> n = co_await future;
//
// The bridge to code with callbacks. Between tasks a TaskHandle or a channel is the shorter way.
#pragma once

#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "zsync/executor.hpp"
#include "zsync/flow.hpp"
#include "zsync/rt/continuation.hpp"
#include "zsync/rt/future_state.hpp"
#include "zsync/spawn.hpp"
#include "zsync/task.hpp"
#include "zsync/timeout.hpp"

namespace zsync {

// The consumer's half. Where T is void the outcome is a Status, else a StatusOr<T>. It is taken
// once: by co_await, await(), poll(), on_complete(), then() or catch_error().
//
// Lifetime: a Future that is destroyed before it has completed is cancelled, unless it was detached
//           or has its on_complete().
// Threads:  one thread at a time; that thread may change. cancel() may be called from any thread,
//           and the Promise may be on another one.
template <typename T>
class [[nodiscard]] Future {
  static_assert(!rt::kCarriesStatus<T>, "a Future carries a status already: use Future<T> or void");

 public:
  // What the Promise was given.
  using value_type = T;
  // What awaiting gives.
  using Outcome = typename rt::OutcomeOf<T>::type;

  // Use Promise::future().
  explicit Future(std::shared_ptr<rt::FutureState<T>> state) : state_(std::move(state)) {}
  Future(Future&& other) noexcept = default;
  Future& operator=(Future other) noexcept {
    std::swap(state_, other.state_);
    std::swap(cancel_on_drop_, other.cancel_on_drop_);
    return *this;
  }
  ~Future() {
    if (state_ && cancel_on_drop_) state_->cancel();
  }

  // Completes with what the Promise was given.
  //
  // Errors: what set_error() said; kUnavailable when the Promise was destroyed without a result;
  //         kCancelled, at once, when this future was cancelled.
  // Cancel: kCancelled; safe, ends the waiting and not the future.
  rt::FutureOperation<T> operator co_await() { return rt::FutureOperation<T>(state()); }

  // Waits on a plain thread. Errors: as co_await.
  Outcome await() {
    rt::assert_may_block("Future::await() on a worker blocks every task of it: co_await it");
    rt::FutureOperation<T> operation(state());
    rt::block_on_operation(operation);
    return operation.await_resume();
  }

  // Never waits; nullopt: it has not completed.
  std::optional<Outcome> poll() { return state()->poll(); }
  // Whether it has completed, so that poll() answers.
  bool done() const { return state()->settled(); }

  // Completes it with kCancelled, if it has not completed, and tells the Promise. For the result of
  // then() and catch_error() that cancels their task, and with it what they wait for.
  void cancel() { state()->cancel(); }
  // Lets it complete without anybody who waits.
  void detach() {
    cancel_on_drop_ = false;
    state_.reset();
  }

  // Calls `callback(outcome)` once: now where the future has completed, else on the thread that
  // completes it. It must not block. cancel() still works; destroying the future cancels nothing.
  void on_complete(typename rt::FutureState<T>::Callback callback) {
    cancel_on_drop_ = false;
    state()->on_complete(std::move(callback));
  }

  // Runs `function(value)`, a coroutine function or a plain callable, in a task of its own once
  // this has completed -> the Future of its result (Task, Status and StatusOr are unwrapped). The
  // task belongs to the runtime on which then() is called (the global one from a plain thread).
  // This future is empty afterwards.
  //
  // Errors: an error of this future skips `function`; an exception of it is kInternal with what().
  template <typename Function>
  auto then(Function function) -> Future<typename rt::ContinuedOf<Function, T>::type>;
  // The same in a task of `executor`, which waits for it and may cancel it.
  template <typename Function>
  auto then(Executor& executor, Function function)
      -> Future<typename rt::ContinuedOf<Function, T>::type>;

  // Runs `function(status)` where this has failed; it gives a T in one of the forms of then(). A
  // value passes by. A cancel of this future is an error like any other.
  template <typename Function>
  Future<T> catch_error(Function function);
  // The same in a task of `executor`.
  template <typename Function>
  Future<T> catch_error(Executor& executor, Function function);

 private:
  template <typename>
  friend class Future;

  const std::shared_ptr<rt::FutureState<T>>& state() const {
    ZS_ASSERT(state_, "this Future was moved, detached or continued before: it has one consumer");
    return state_;
  }
  Future cancelling(TaskHandle<void> task) && {
    state_->on_cancel([task = std::move(task)]() mutable { task.cancel(); });
    return std::move(*this);
  }

  std::shared_ptr<rt::FutureState<T>> state_;
  bool cancel_on_drop_ = true;
};

// The producer's half.
//
// Lifetime: a Promise that is destroyed without a result gives its Future kUnavailable.
// Threads:  one thread at a time; that thread may change. The Future may be on another one.
template <typename T>
class Promise {
 public:
  Promise() : state_(std::make_shared<rt::FutureState<T>>()) {}
  Promise(Promise&& other) noexcept = default;
  Promise& operator=(Promise other) noexcept {
    std::swap(state_, other.state_);
    std::swap(given_, other.given_);
    std::swap(settled_, other.settled_);
    return *this;
  }
  ~Promise() {
    if (state_ && given_ && !settled_) state_->settle(absl::UnavailableError(kBroken));
  }

  // The consumer's half. Called once.
  Future<T> future() {
    ZS_ASSERT(state_ && !given_, "Promise::future() was called before: a Promise has one Future");
    given_ = true;
    return Future<T>(state_);
  }

  // Completes the future. False when it was cancelled: nobody wants the value. Called once.
  bool set_value(rt::Voidless<T> value)
    requires(!std::is_void_v<T>)
  {
    return settle(std::move(value));
  }
  // The same where there is no value.
  bool set_value()
    requires std::is_void_v<T>
  {
    return settle(absl::OkStatus());
  }
  // Completes the future with an error. Called once, and instead of set_value().
  bool set_error(absl::Status error) {
    ZS_ASSERT(!error.ok(), "Promise::set_error() with an ok status: call set_value()");
    return settle(std::move(error));
  }
  // The same with a value or an error.
  bool set_outcome(typename Future<T>::Outcome outcome) { return settle(std::move(outcome)); }

  // Whether the future was cancelled, so that the work for it can stop.
  bool is_cancelled() const { return state_ && state_->cancelled(); }
  // Calls `function` once when the future is cancelled, on that thread; now where it is already.
  void on_cancel(typename rt::FutureState<T>::CancelHook function) {
    ZS_ASSERT(state_, "Promise::on_cancel() of a Promise that was moved");
    state_->on_cancel(std::move(function));
  }

 private:
  static constexpr const char* kBroken =
      "broken promise: it was destroyed before set_value() or set_error()";

  // The state may end with whoever is woken, and this Promise too.
  bool settle(typename Future<T>::Outcome outcome) {
    ZS_ASSERT(state_ && !settled_, "this Promise was set or moved before: it is set once");
    settled_ = true;
    return state_->settle(std::move(outcome));
  }

  std::shared_ptr<rt::FutureState<T>> state_;
  bool given_ = false;
  bool settled_ = false;
};

// Gives `future` at most `limit`: a borrowed one goes on after kDeadlineExceeded, an owned one is
// cancelled.
template <typename T>
Task<typename Future<T>::Outcome> timeout(Future<T>& future, rt::Duration limit) {
  return timeout(rt::await_borrowed(future), limit);
}
// The owned form.
template <typename T>
Task<typename Future<T>::Outcome> timeout(Future<T>&& future, rt::Duration limit) {
  return timeout(rt::await_owned(std::move(future)), limit);
}

template <typename T>
template <typename Function>
auto Future<T>::then(Function function) -> Future<typename rt::ContinuedOf<Function, T>::type> {
  (void)state();
  Promise<typename rt::ContinuedOf<Function, T>::type> promise;
  auto next = promise.future();
  return std::move(next).cancelling(
      rt::spawn_on(rt::scheduler_for_spawn(), SpawnOptions{},
                   rt::run_then(std::move(*this), std::move(function), std::move(promise)), false));
}
template <typename T>
template <typename Function>
auto Future<T>::then(Executor& executor, Function function)
    -> Future<typename rt::ContinuedOf<Function, T>::type> {
  (void)state();
  Promise<typename rt::ContinuedOf<Function, T>::type> promise;
  auto next = promise.future();
  return std::move(next).cancelling(
      executor.spawn(rt::run_then(std::move(*this), std::move(function), std::move(promise))));
}

template <typename T>
template <typename Function>
Future<T> Future<T>::catch_error(Function function) {
  (void)state();
  Promise<T> promise;
  Future<T> next = promise.future();
  return std::move(next).cancelling(rt::spawn_on(
      rt::scheduler_for_spawn(), SpawnOptions{},
      rt::run_catch(std::move(*this), std::move(function), std::move(promise)), false));
}
template <typename T>
template <typename Function>
Future<T> Future<T>::catch_error(Executor& executor, Function function) {
  (void)state();
  Promise<T> promise;
  Future<T> next = promise.future();
  return std::move(next).cancelling(
      executor.spawn(rt::run_catch(std::move(*this), std::move(function), std::move(promise))));
}

}  // namespace zsync
