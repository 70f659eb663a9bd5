// Root: the outermost coroutine of a strand. Its frame holds the TaskContext and the outcome.
#pragma once

#include <coroutine>
#include <optional>
#include <utility>

#include "zsync/rt/context.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

// Waits until every executor that the strand adopted is empty. Never withdrawn.
Task<void> drain_adopted(TaskContext& context);

template <typename T>
class Root;

template <typename T>
class RootPromise : public TaskContext {
 public:
  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<RootPromise> handle) const noexcept {
      handle.promise().finish();  // may destroy the frame
    }
    void await_resume() const noexcept {}
  };

  Root<T> get_return_object();
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void return_void() noexcept {}
  void unhandled_exception() noexcept { keep_error(std::current_exception()); }

  void keep_error(std::exception_ptr caught) noexcept {
    error = std::move(caught);
    try {
      std::rethrow_exception(error);
    } catch (const Cancelled&) {
      was_cancelled = true;
    } catch (...) {
      was_cancelled = false;
    }
  }

  // The result as it would have been returned: rethrows, moves the value out.
  T take() {
    if (error) std::rethrow_exception(std::exchange(error, nullptr));
    if constexpr (!std::is_void_v<T>) return std::move(*value);
  }

  typename OutcomeOf<T>::type take_outcome() {
    if (was_cancelled) return absl::CancelledError("task was cancelled");
    if (error) return describe_error(std::exchange(error, nullptr));
    if constexpr (std::is_void_v<T>) {
      return absl::OkStatus();
    } else {
      return std::move(*value);
    }
  }

  static absl::Status describe_error(const std::exception_ptr& thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& exception) {
      return absl::InternalError(exception.what());
    } catch (...) {
      return absl::InternalError("task ended by an exception that is not a std::exception");
    }
  }

  TaskContext* context = this;
  std::optional<std::conditional_t<std::is_void_v<T>, std::monostate, T>> value;
};

template <typename T>
class Root {
 public:
  using promise_type = RootPromise<T>;
  explicit Root(RootPromise<T>* promise) : promise_(promise) {}
  RootPromise<T>* release() { return std::exchange(promise_, nullptr); }

 private:
  RootPromise<T>* promise_;
};

template <typename T>
Root<T> RootPromise<T>::get_return_object() {
  frame = std::coroutine_handle<RootPromise>::from_promise(*this);
  resume_point = frame;
  return Root<T>(this);
}

// Gives a coroutine its own promise.
template <typename T>
struct SelfPromise {
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<RootPromise<T>> handle) noexcept {
    promise = &handle.promise();
    return false;
  }
  RootPromise<T>& await_resume() const noexcept { return *promise; }
  RootPromise<T>* promise = nullptr;
};

template <typename T>
Root<T> make_root(Task<T> task) {
  RootPromise<T>& self = co_await SelfPromise<T>{};
  try {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(task);
    } else {
      self.value.emplace(co_await std::move(task));
    }
  } catch (...) {
    self.keep_error(std::current_exception());
  }
  task.reset();  // locals and arguments are gone before anybody learns that the task has ended
  co_await drain_adopted(self);
}

}  // namespace zsync::rt
