// spawn() and TaskHandle: tasks that run on their own.
#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "zsync/priority.hpp"
#include "zsync/rt/call.hpp"
#include "zsync/rt/frame.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/task.hpp"

namespace zsync {

// How a task is started.
struct SpawnOptions {
  std::string name;                      // shown in diagnostics
  Priority priority = Priority::normal;  // zsync/priority.hpp
  // Makes it a task of the deadline class. One that has passed already is refused: the body does
  // not run and outcome() is kDeadlineExceeded.
  std::optional<rt::TimePoint> deadline;
  std::optional<rt::Duration> cost;  // run time that it will take, for Config::overload_policy
  bool pinned = false;               // stays on the worker that spawned it; never stolen
  bool background = false;  // run() does not wait for it: it is cancelled and unwound at the end
};

namespace rt {

// Waits until a strand has ended.
class JoinOperation : public LeafOperation {
 public:
  explicit JoinOperation(TaskContext& target) : target_(target) {}
  Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final { return "end of a task"; }
  void tell_wait(WaitInfo& info) const noexcept final { info.task = target_.id; }

 private:
  TaskContext& target_;
};

// Counts the strand and puts it into the scheduler's queue.
void launch(Scheduler& scheduler, TaskContext& context, const SpawnOptions& options);
// The same with SpawnOptions{}.
void launch(Scheduler& scheduler, TaskContext& context);

// "kInternal: what()" of what a task threw.
absl::Status describe_error(const std::exception_ptr& thrown);

// What has become of an ended strand, without exceptions; its result is moved out.
template <typename T>
typename OutcomeOf<T>::type outcome_of_strand(TaskContext& strand) {
  if (strand.was_cancelled()) return strand.cancel_reason();
  if (strand.error()) return describe_error(strand.error());
  if constexpr (std::is_void_v<T>) {
    return absl::OkStatus();
  } else {
    return std::move(FrameBlock::of(strand).value<T>());
  }
}

}  // namespace rt

// Lifetime: a handle that is neither joined nor detached requests the task's cancellation when
//           it is destroyed, and does not wait;
//           the runtime still counts the task.
// Threads:  a handle is used by one thread at a time; that thread may change.
template <typename T = void>
class TaskHandle {
 public:
  // The type that co_await gives.
  using value_type = T;
  // What outcome() gives: Status or StatusOr; a StatusOr stays flat.
  using Outcome = typename rt::OutcomeOf<T>::type;

  // Use spawn(). Takes over one reference to `strand`.
  explicit TaskHandle(rt::TaskContext& strand, bool cancel_on_drop = true)
      : strand_(&strand), cancel_on_drop_(cancel_on_drop) {}
  TaskHandle(TaskHandle&& other) noexcept
      : strand_(std::exchange(other.strand_, nullptr)), cancel_on_drop_(other.cancel_on_drop_) {}
  TaskHandle& operator=(TaskHandle&& other) noexcept {
    if (this != &other) {
      drop();
      strand_ = std::exchange(other.strand_, nullptr);
      cancel_on_drop_ = other.cancel_on_drop_;
    }
    return *this;
  }
  ~TaskHandle() { drop(); }

  // Completes with the task's result; what it threw surfaces here.
  //
  // Errors: a cancelled task gives kCancelled where T is Status or StatusOr, else throws Cancelled.
  // Cancel: safe; ends the waiting (throws Cancelled), not the task. A handle is joined once.
  auto operator co_await() {
    struct Awaiter : rt::JoinOperation {
      explicit Awaiter(TaskHandle& awaited) : JoinOperation(*awaited.strand_), handle(awaited) {}
      T await_resume() {
        if (cancelled()) throw Cancelled();
        return handle.take_result();
      }
      TaskHandle& handle;
    };
    ZS_ASSERT(strand_, kJoinedBefore);
    return Awaiter(*this);
  }

  // Waits on a plain thread. Errors: as co_await.
  T join() {
    ZS_ASSERT(strand_, kJoinedBefore);
    rt::assert_may_block(
        "TaskHandle::join() on a worker blocks every task of it: co_await the handle");
    rt::JoinOperation operation(*strand_);
    rt::block_on_operation(operation);
    return take_result();
  }

  // Requests the cancellation; returns at once.
  void cancel() {
    if (strand_) strand_->cancel();
  }
  // Lets the task go on without a handle.
  void detach() && { cancel_on_drop_ = false, drop(); }
  // The same for a named handle, which is empty afterwards.
  void detach() & { cancel_on_drop_ = false, drop(); }

  // Whether the task has ended, so that outcome() and take() answer; false for an empty handle.
  bool done() const { return strand_ && strand_->done(); }

  // The result without waiting and without exceptions; taken once.
  //
  // Errors: kUnavailable while the task runs; kCancelled; kInternal with what() of an exception.
  Outcome outcome() {
    ZS_ASSERT(strand_, kJoinedBefore);
    if (!done()) return absl::UnavailableError("task is still running: co_await its handle first");
    Outcome result = rt::outcome_of_strand<T>(*strand_);
    drop();
    return result;
  }

  // What co_await gives, without waiting: the task has ended.
  T take() {
    ZS_ASSERT(done(), "TaskHandle::take() before the task has ended: co_await the handle");
    return take_result();
  }

  // The strand behind the handle, for combinators.
  rt::TaskContext& strand() {
    ZS_ASSERT(strand_, kJoinedBefore);
    return *strand_;
  }

  // Numbers the runtime's tasks; 0 for an empty handle.
  uint64_t id() const { return strand_ ? strand_->id : 0; }
  // SpawnOptions::name.
  const std::string& name() const {
    ZS_ASSERT(strand_, kJoinedBefore);
    return strand_->name();
  }

 private:
  static constexpr const char* kJoinedBefore =
      "this TaskHandle was joined, detached or moved before: a task is joined once";

  T take_result() {
    struct Release {
      rt::TaskContext* strand;
      ~Release() { strand->unref(); }
    } release{std::exchange(strand_, nullptr)};
    if constexpr (rt::kCarriesStatus<T>) {
      if (release.strand->was_cancelled()) return release.strand->cancel_reason();
    }
    return rt::take_result<T>(rt::FrameBlock::of(*release.strand));
  }

  void drop() {
    if (!strand_) return;
    if (cancel_on_drop_ && !strand_->done()) strand_->cancel();
    std::exchange(strand_, nullptr)->unref();
  }

  rt::TaskContext* strand_;
  bool cancel_on_drop_ = true;
};

namespace rt {

template <typename T>
TaskHandle<T> spawn_on(Scheduler& scheduler, SpawnOptions options, Task<T> task,
                       bool cancel_on_drop = true) {
  task.become_strand().become_task();
  TaskContext& strand = task.release_strand();
  launch(scheduler, strand, options);
  return TaskHandle<T>(strand, cancel_on_drop);
}

template <typename T>
TaskHandle<T> spawn_on(Scheduler& scheduler, Task<T> task) {
  task.become_strand().become_task();
  TaskContext& strand = task.release_strand();
  launch(scheduler, strand);
  return TaskHandle<T>(strand);
}

}  // namespace rt

// Starts a task on the current runtime (or the global one, from a plain thread).
template <typename T>
[[nodiscard]] TaskHandle<T> spawn(Task<T> task) {
  return rt::spawn_on(rt::scheduler_for_spawn(), std::move(task));
}
// The same with a name or other options.
template <typename T>
[[nodiscard]] TaskHandle<T> spawn(SpawnOptions options, Task<T> task) {
  return rt::spawn_on(rt::scheduler_for_spawn(), std::move(options), std::move(task));
}

// Starts all(...) as a task of its own.
template <rt::Group Group>
[[nodiscard]] auto spawn(Group group) {
  return spawn(rt::as_task(std::move(group)));
}
// The same with a name or other options.
template <rt::Group Group>
[[nodiscard]] auto spawn(SpawnOptions options, Group group) {
  return spawn(std::move(options), rt::as_task(std::move(group)));
}

// Starts a coroutine function or a plain callable; it and its arguments live in the task's frame.
template <typename Function, typename... Args>
  requires(!kIsTask<std::remove_cvref_t<Function>> &&
           !std::same_as<std::remove_cvref_t<Function>, SpawnOptions> &&
           std::invocable<std::decay_t<Function>&, std::decay_t<Args>...>)
[[nodiscard]] auto spawn(Function&& function, Args&&... args) {
  return spawn(rt::start_call(std::forward<Function>(function), std::forward<Args>(args)...));
}
// The same with a name or other options.
template <typename Function, typename... Args>
  requires(!kIsTask<std::remove_cvref_t<Function>> &&
           std::invocable<std::decay_t<Function>&, std::decay_t<Args>...>)
[[nodiscard]] auto spawn(SpawnOptions options, Function&& function, Args&&... args) {
  return spawn(std::move(options),
               rt::start_call(std::forward<Function>(function), std::forward<Args>(args)...));
}

}  // namespace zsync
