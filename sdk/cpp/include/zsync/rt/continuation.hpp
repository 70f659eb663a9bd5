// The tasks behind Future::then(), Future::catch_error() and timeout() of a Future.
#pragma once

#include <type_traits>
#include <utility>

#include "zsync/rt/call.hpp"
#include "zsync/rt/future_state.hpp"
#include "zsync/rt/scope.hpp"
#include "zsync/spawn.hpp"
#include "zsync/task.hpp"

namespace zsync {

template <typename T = void>
class Future;
template <typename T = void>
class Promise;

namespace rt {

// What the Future of a callable's result holds.
template <typename Result>
struct FutureValueOf {
  using type = Result;
};
template <typename Result>
struct FutureValueOf<Task<Result>> : FutureValueOf<Result> {};
template <typename Value>
struct FutureValueOf<absl::StatusOr<Value>> {
  using type = Value;
};
template <>
struct FutureValueOf<absl::Status> {
  using type = void;
};

template <typename Function, typename T>
struct ContinuedOf : FutureValueOf<std::invoke_result_t<Function&, T>> {};
template <typename Function>
struct ContinuedOf<Function, void> : FutureValueOf<std::invoke_result_t<Function&>> {};

template <typename T>
Task<typename OutcomeOf<T>::type> await_borrowed(Future<T>& future) {
  co_return co_await future;
}
template <typename T>
Task<typename OutcomeOf<T>::type> await_owned(Future<T> future) {
  co_return co_await future;
}

// Runs `task` -> what became of it; an exception is a status.
template <typename T>
Task<typename OutcomeOf<T>::type> outcome_of(Task<T> task) {
  BranchScope scope(BranchScope::CancelRest::kNever);
  TaskContext& branch = scope.add(task);
  co_await scope;
  co_return outcome_of_strand<T>(branch);
}

inline absl::Status error_of(absl::Status status) { return status; }
template <typename T>
absl::Status error_of(absl::StatusOr<T> outcome) {
  return std::move(outcome).status();
}

template <typename T, typename Function, typename Result>
Task<void> run_then(Future<T> source, Function function, Promise<Result> promise) {
  typename OutcomeOf<T>::type outcome = co_await source;
  if (!outcome.ok()) {
    promise.set_error(error_of(std::move(outcome)));
    co_return;
  }
  try {
    if constexpr (std::is_void_v<T>) {
      promise.set_outcome(co_await outcome_of(call_in_frame(std::move(function))));
    } else {
      promise.set_outcome(
          co_await outcome_of(call_in_frame(std::move(function), *std::move(outcome))));
    }
  } catch (const Cancelled&) {  // the task was cancelled before the function was called
    promise.set_error(absl::CancelledError());
  }
}

template <typename T, typename Function>
Task<void> run_catch(Future<T> source, Function function, Promise<T> promise) {
  typename OutcomeOf<T>::type outcome = co_await source;
  if (outcome.ok()) {
    promise.set_outcome(std::move(outcome));
    co_return;
  }
  try {
    promise.set_outcome(
        co_await outcome_of(call_in_frame(std::move(function), error_of(std::move(outcome)))));
  } catch (const Cancelled&) {
    promise.set_error(absl::CancelledError());
  }
}

}  // namespace rt
}  // namespace zsync
