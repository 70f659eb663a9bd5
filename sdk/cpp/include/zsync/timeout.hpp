// timeout() and shield(): bounding a task in time, and keeping it out of reach of a cancel.
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include "zsync/flow.hpp"
#include "zsync/rt/scope.hpp"
#include "zsync/rt/timer.hpp"
#include "zsync/spawn.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace rt {

template <typename T>
bool says_cancelled(TaskContext& strand) {
  if (strand.error()) return strand.was_cancelled();
  if constexpr (std::is_same_v<T, absl::Status>) {
    return absl::IsCancelled(FrameBlock::of(strand).value<T>());
  } else if constexpr (kCarriesStatus<T>) {
    return absl::IsCancelled(FrameBlock::of(strand).value<T>().status());
  } else {
    return false;
  }
}

inline Task<void> sleep_branch(Duration delay) {
  co_await SleepOperation(std::max(delay, Duration{0}));
}

}  // namespace rt

// Gives `task` at most `limit`; Task<void> -> Status, Task<T> -> StatusOr<T>, a StatusOr stays
// flat.
//
// Errors: kDeadlineExceeded, after the task has been cancelled and has ended; exceptions of the
// task. Cancel: kCancelled. A task that completes in spite of the cancel gives its result.
template <typename T>
Task<typename rt::OutcomeOf<T>::type> timeout(Task<T> task, rt::Duration limit) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kOnFirst);
  Task<void> sleeping = rt::sleep_branch(limit);
  rt::TaskContext& branch = scope.add(task);
  rt::TaskContext& timer = scope.add(sleeping);
  bool refused = false;
  try {
    co_await scope;
  } catch (const Cancelled&) {
    refused = true;
  }
  if (refused) co_return absl::CancelledError();
  if (rt::says_cancelled<T>(branch)) {
    // A cancel from outside ends the timer's branch too, and perhaps first.
    if (scope.decisive() == 1 && !timer.was_cancelled()) co_return absl::DeadlineExceededError("");
    co_return absl::CancelledError();
  }
  if constexpr (std::is_void_v<T>) {
    rt::take_result<T>(rt::FrameBlock::of(branch));
    co_return absl::OkStatus();
  } else {
    co_return rt::take_result<T>(rt::FrameBlock::of(branch));
  }
}
// The same for all(...).
template <rt::Group Group>
auto timeout(Group group, rt::Duration limit) {
  return timeout(rt::as_task(std::move(group)), limit);
}

namespace rt {

template <typename T>
Task<T> join_borrowed(TaskHandle<T>& handle) {
  co_return co_await handle;
}

template <typename Op>
Task<decltype(std::declval<Op&>().await_resume())> await_operation(Op operation) {
  co_return co_await operation;
}

}  // namespace rt

// Runs `task` out of reach of a cancel of the awaiting task.
template <typename T>
Task<T> shield(Task<T> task) {
  rt::BranchScope scope(rt::BranchScope::CancelRest::kNever, /*shielded=*/true);
  rt::TaskContext& branch = scope.add(task);
  co_await scope;
  co_return rt::take_result<T>(rt::FrameBlock::of(branch));
}
// The same for all(...).
template <rt::Group Group>
auto shield(Group group) {
  return shield(rt::as_task(std::move(group)));
}

namespace rt {

inline Task<void> await_end(TaskContext& target) {
  struct Ended : JoinOperation {
    using JoinOperation::JoinOperation;
    void await_resume() const {
      if (cancelled()) throw Cancelled();
    }
  };
  co_await Ended(target);
}

// Whatever ends the waiting early also ends the task, and is waited for.
template <typename T>
Task<typename OutcomeOf<T>::type> timeout_owned(TaskHandle<T> handle, Duration limit) {
  absl::Status waited = co_await timeout(await_end(handle.strand()), limit);
  if (!waited.ok()) {
    handle.cancel();
    co_await shield(await_end(handle.strand()));
  }
  if (says_cancelled<T>(handle.strand())) {
    if (waited.ok()) co_return absl::CancelledError();
    co_return waited;
  }
  if constexpr (std::is_void_v<T>) {
    handle.take();
    co_return absl::OkStatus();
  } else {
    co_return handle.take();
  }
}

}  // namespace rt

// Waits for a borrowed handle: on expiry the task goes on.
template <typename T>
Task<typename rt::OutcomeOf<T>::type> timeout(TaskHandle<T>& handle, rt::Duration limit) {
  return timeout(rt::join_borrowed(handle), limit);
}

// Waits for an owned handle: on expiry the task is cancelled, and has ended when this completes.
template <typename T>
Task<typename rt::OutcomeOf<T>::type> timeout(TaskHandle<T>&& handle, rt::Duration limit) {
  return rt::timeout_owned(std::move(handle), limit);
}

// Any other operation (channel.recv(), semaphore.acquire(), ...).
template <typename Op>
  requires std::derived_from<Op, rt::Operation>
auto timeout(Op operation, rt::Duration limit) {
  return timeout(rt::await_operation(std::move(operation)), limit);
}

}  // namespace zsync
