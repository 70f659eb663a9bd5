// Task<T>: a lazy coroutine, the unit in which asynchronous code is written.
//
//   zsync::Task<int> square(int x) { co_await zsync::yield_now(); co_return x * x; }
//
// Calling a coroutine function makes its frame and runs nothing. It starts when it is awaited,
// spawned or given to run(), and it is awaited once, as an rvalue. Parameters are moved or copied
// into the frame; a reference parameter has to outlive the task.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#error "zsync's coroutine headers need clang 19 or newer: g++ 12 miscompiles coroutines"
#endif

#include <concepts>
#include <coroutine>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <shared_mutex>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/assert.hpp"
#include "zsync/rt/context.hpp"

namespace zsync {

template <typename T = void>
class Task;

// Unwinds a cancelled task up to the nearest scope (TaskHandle, timeout, race, all, any, select,
// Executor). The only exception that zsync throws. Let it pass; do not swallow it.
class Cancelled final : public std::exception {
 public:
  // A constant text.
  const char* what() const noexcept override { return "task was cancelled"; }
};

namespace rt {

// What a finished T looks like without exceptions: Status for void and Status, StatusOr otherwise;
// a StatusOr stays flat.
template <typename T>
struct OutcomeOf {
  using type = absl::StatusOr<T>;
};
template <>
struct OutcomeOf<void> {
  using type = absl::Status;
};
template <>
struct OutcomeOf<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct OutcomeOf<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};

// Whether a T can say kCancelled itself.
template <typename T>
inline constexpr bool kCarriesStatus = false;
template <>
inline constexpr bool kCarriesStatus<absl::Status> = true;
template <typename T>
inline constexpr bool kCarriesStatus<absl::StatusOr<T>> = true;

template <typename T>
inline constexpr bool kIsLockGuard = false;
template <typename M>
inline constexpr bool kIsLockGuard<std::unique_lock<M>> = true;
template <typename M>
inline constexpr bool kIsLockGuard<std::lock_guard<M>> = true;
template <typename... M>
inline constexpr bool kIsLockGuard<std::scoped_lock<M...>> = true;
template <typename M>
inline constexpr bool kIsLockGuard<std::shared_lock<M>> = true;

class PromiseBase {
 public:
  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
      return handle.promise().continuation;
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }

  TaskContext* context = nullptr;
  std::coroutine_handle<> continuation;
  std::exception_ptr error;
};

// A thread's lock must not be held across a suspension.
template <typename... Args>
consteval bool no_lock_guards() {
  return (!kIsLockGuard<std::remove_cvref_t<Args>> && ...);
}

template <typename T>
class TaskPromise : public PromiseBase {
 public:
  template <typename U = T>
    requires std::constructible_from<T, U&&>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() {
    if (error) std::rethrow_exception(std::move(error));
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class TaskPromise<void> : public PromiseBase {
 public:
  void return_void() noexcept {}
  void take() {
    if (error) std::rethrow_exception(std::move(error));
  }
};

// Starts a child in its parent's strand and takes its result.
template <typename Promise>
struct TaskAwaiter {
  std::coroutine_handle<Promise> child;
  bool await_ready() const noexcept { return false; }
  template <typename Parent>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
    child.promise().context = parent.promise().context;
    child.promise().continuation = parent;
    return child;
  }
  auto await_resume() const { return child.promise().take(); }
};

}  // namespace rt

// Lifetime: destroying a Task that was not started destroys its arguments; the body never runs. One
//           that has started is destroyed by the frame that awaits it, after it has ended.
// Cancel:   a cancelled task's pending operation is withdrawn; what happens next is told by that
//           operation (kCancelled where its result carries a status, else Cancelled is thrown).
template <typename T>
class [[nodiscard]] Task {
 public:
  // The type that co_await gives.
  using value_type = T;

  class promise_type : public rt::TaskPromise<T> {
   public:
    promise_type() = default;
    template <typename... Args>
    explicit promise_type(const Args&...) {
      static_assert(rt::no_lock_guards<Args...>(),
                    "a thread lock is held across co_await: use zsync::Mutex, or unlock before");
    }
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { reset(); }

  // Runs the body in the awaiting strand. Errors: rethrows what the body threw.
  rt::TaskAwaiter<promise_type> operator co_await() && noexcept {
    ZS_ASSERT(handle_ && !handle_.promise().continuation,
              "this Task was awaited or moved before: a Task is awaited once");
    return {handle_};
  }

  // Ends the task's frame, destroying its arguments and whatever is left in it.
  void reset() noexcept {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// Recognises Task<T>.
template <typename T>
inline constexpr bool kIsTask = false;
// The case of a Task.
template <typename T>
inline constexpr bool kIsTask<Task<T>> = true;

}  // namespace zsync
