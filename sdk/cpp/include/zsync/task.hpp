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

#include "zsync/assert.hpp"
#include "zsync/rt/frame.hpp"
#include "zsync/rt/outcome.hpp"

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

// A thread's lock must not be held across a suspension.
template <typename... Args>
consteval bool no_lock_guards() {
  return (!kIsLockGuard<std::remove_cvref_t<Args>> && ...);
}

// Whether ending the lifetime of an argument does nothing. Of a reference nothing is known: its
// object may be an incomplete type.
template <typename T>
consteval bool ends_silently() {
  if constexpr (requires { sizeof(T); }) {
    return std::is_trivially_destructible_v<T>;
  } else {
    return false;
  }
}

class PromiseBase {
 public:
  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
      const PromiseBase& promise = handle.promise();
      if (promise.continuation) return promise.continuation;
      return promise.context->finish();  // destroys the frame
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }

  static void operator delete(void* frame) noexcept { FrameBlock::frame_destroyed(frame); }

  TaskContext* context = nullptr;
  std::coroutine_handle<> continuation;  // who awaits it; none: it is the outermost of its strand
};

template <typename T, typename Self>
class ReturningPromise : public PromiseBase {
 public:
  template <typename U = T>
    requires std::constructible_from<T, U&&>
  void return_value(U&& value) {
    static_cast<Self*>(this)->block().template make_value<T>(std::forward<U>(value));
  }
};

template <typename Self>
class ReturningPromise<void, Self> : public PromiseBase {
 public:
  void return_void() noexcept {}
};

template <typename T>
class TaskPromise : public ReturningPromise<T, TaskPromise<T>> {
 public:
  TaskPromise() = default;
  template <typename... Args>
  explicit TaskPromise(const Args&...) {
    static_assert(no_lock_guards<Args...>(),
                  "a thread lock is held across co_await: use zsync::Mutex, or unlock before");
    if constexpr (!(ends_silently<Args>() && ...)) {
      FrameBlock::of(address_while_made()).header().flags |= FrameHeader::kBody;
    }
  }

  Task<T> get_return_object() noexcept;
  void unhandled_exception() noexcept { block().set_error(std::current_exception()); }

  FrameBlock& block() noexcept {
    return FrameBlock::of(std::coroutine_handle<TaskPromise>::from_promise(*this).address());
  }

  static void* operator new(size_t bytes) { return FrameBlock::allocate<T>(bytes); }

 private:
  // Hidden from the compiler, which takes a frame that is being made for a local of its own: it
  // must neither leave it there, where no block stands before it, nor see an access beyond its
  // bounds.
  void* address_while_made() noexcept {
    void* frame = std::coroutine_handle<TaskPromise>::from_promise(*this).address();
    asm volatile("" : "+r"(frame));
    return frame;
  }
};

// The result as it was returned: rethrows, moves the value out.
template <typename T>
T take_result(FrameBlock& block) {
  if (block.header().has(FrameHeader::kError)) [[unlikely]]
    block.rethrow();
  if constexpr (!std::is_void_v<T>) return std::move(block.value<T>());
}

// The same of a task that is over then.
template <typename T>
[[gnu::always_inline]] inline T take_last(Task<T>& task) {
  struct End {
    [[gnu::always_inline]] ~End() { task.end(); }
    Task<T>& task;
  } end{task};
  return take_result<T>(task.block());
}

// Starts a child in its parent's strand and takes its result.
template <typename T>
struct TaskAwaiter {
  Task<T>& child;
  bool await_ready() const noexcept { return false; }
  template <typename Parent>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
    return child.start_for(parent, strand_of(parent));
  }
  [[gnu::always_inline]] T await_resume() const { return take_last(child); }
};

}  // namespace rt

// Lifetime: destroying a Task that was not started destroys its arguments; the body never runs. One
//           that has started stays where it is, and is gone once its result has been taken: a
//           result does not refer to a parameter.
// Cancel:   a cancelled task's pending operation is withdrawn; what happens next is told by that
//           operation (kCancelled where its result carries a status, else Cancelled is thrown).
template <typename T>
class [[nodiscard]] Task {
 public:
  // The type that co_await gives.
  using value_type = T;

  using promise_type = rt::TaskPromise<T>;

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
  rt::TaskAwaiter<T> operator co_await() && noexcept {
    ZS_ASSERT(handle_ && !handle_.promise().context,
              "this Task was awaited or moved before: a Task is awaited once");
    return {*this};
  }

  // Ends the task's frame, destroying its arguments and whatever is left in it.
  void reset() noexcept {
    if (handle_) end_rarely();
  }

  // The rest is for the runtime.

  rt::FrameBlock& block() const { return rt::FrameBlock::of(handle_.address()); }
  // reset() of a task that is not empty, in its caller's own code.
  [[gnu::always_inline]] void end() noexcept {
    rt::FrameBlock::of(std::exchange(handle_, nullptr).address()).template release<T>();
  }
  // Makes the task the outermost coroutine of a strand.
  template <typename... Args>
  [[gnu::always_inline]] rt::TaskContext& become_strand(Args&&... args) {
    ZS_ASSERT(handle_ && !handle_.promise().context,
              "this Task was awaited or moved before: a Task is awaited once");
    const std::coroutine_handle<promise_type> handle = handle_;
    rt::TaskContext& strand = handle.promise().block().make_strand(std::forward<Args>(args)...);
    handle.promise().context = &strand;
    strand.resume_point = handle;
    return strand;
  }
  // Gives up the strand, which belongs to its references now.
  rt::TaskContext& release_strand() {
    return rt::FrameBlock::of(std::exchange(handle_, nullptr).address()).strand();
  }
  // Lets the task be the outermost coroutine of a strand that had another one -> itself.
  std::coroutine_handle<> start_in(rt::TaskContext& strand) noexcept {
    handle_.promise().context = &strand;
    return handle_;
  }
  // The same below `parent`, which awaits it.
  std::coroutine_handle<> start_for(std::coroutine_handle<> parent,
                                    rt::TaskContext& strand) noexcept {
    handle_.promise().continuation = parent;
    return start_in(strand);
  }

 private:
  // Most tasks are over when their result has been taken.
  [[gnu::noinline]] void end_rarely() noexcept { end(); }

  friend promise_type;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

template <typename T>
Task<T> rt::TaskPromise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<TaskPromise>::from_address(address_while_made()));
}

// Recognises Task<T>.
template <typename T>
inline constexpr bool kIsTask = false;
// The case of a Task.
template <typename T>
inline constexpr bool kIsTask<Task<T>> = true;

namespace rt {

// What may stand where a Task may, and becomes one there: all(...).
template <typename T>
concept Group = !kIsTask<T> && requires { typename T::value_type; } &&
                std::convertible_to<T, Task<typename T::value_type>>;
template <typename T>
concept TaskOrGroup = kIsTask<T> || Group<T>;

template <TaskOrGroup T>
Task<typename T::value_type> as_task(T task) {
  return std::move(task);
}

}  // namespace rt

}  // namespace zsync
