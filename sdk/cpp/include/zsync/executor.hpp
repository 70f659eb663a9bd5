// Executor: a group of tasks that are waited for and cancelled together.
#pragma once

#include <concepts>
#include <exception>
#include <functional>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "zsync/spawn.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace rt {

// The shared half of an Executor: lives until the executor and its last child are gone.
class ExecutorState {
 public:
  explicit ExecutorState(Scheduler* scheduler) : scheduler_(scheduler) {}

  Scheduler& scheduler() { return scheduler_ ? *scheduler_ : scheduler_for_spawn(); }
  void child_started(TaskContext& child);
  // Before the child is done: then its joiner may take the error away.
  void keep_error(TaskContext& child);
  void child_ended(TaskContext& child);
  void cancel_all();
  // Also cancels what is spawned from now on, until the group is empty.
  void cancel_to_the_end();
  size_t size();
  std::exception_ptr take_first_error();
  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  friend class DrainOperation;

  Scheduler* const scheduler_;
  std::atomic<uint32_t> refs_{1};
  Lock lock_;
  std::vector<TaskContext*> children_ ABSL_GUARDED_BY(lock_);
  bool ending_ ABSL_GUARDED_BY(lock_) = false;
  WaitList waiting_ ABSL_GUARDED_BY(lock_);
  std::exception_ptr first_error_ ABSL_GUARDED_BY(lock_);
};

// Waits until no child is left. A cancel is passed on to the children and does not end the wait.
class DrainOperation : public Operation {
 public:
  DrainOperation(ExecutorState& state, bool pass_cancel_on)
      : state_(state), pass_cancel_on_(pass_cancel_on) {}

  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend_uncancellable(rt::strand_of(handle), handle);
  }
  void await_resume() const noexcept {}

  Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final { return "end of an executor's tasks"; }

 private:
  ExecutorState& state_;
  const bool pass_cancel_on_;
};

// Waits until every one of them is empty, and gives up a reference to each. Never withdrawn.
Task<void> drain_executors(std::vector<ExecutorState*> executors);

}  // namespace rt

// Lifetime: an Executor destroyed with live tasks cancels them, and the enclosing task does not
//           complete before they have ended; on a plain thread the destructor blocks.
// Threads:  every member may be called from any thread.
class Executor {
 public:
  // Spawns on the current runtime, or the global one from a plain thread.
  Executor();
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Starts a task of the group. Dropping the handle does not cancel it.
  template <typename T>
  TaskHandle<T> spawn(Task<T> task) {
    task.become_strand().become_task();
    rt::TaskContext& strand = task.release_strand();
    state_->child_started(strand);
    rt::launch(state_->scheduler(), strand);
    return TaskHandle<T>(strand, /*cancel_on_drop=*/false);
  }
  // The same with a name or other options.
  template <typename T>
  TaskHandle<T> spawn(SpawnOptions options, Task<T> task) {
    task.become_strand().become_task();
    rt::TaskContext& strand = task.release_strand();
    state_->child_started(strand);
    rt::launch(state_->scheduler(), strand, options);
    return TaskHandle<T>(strand, /*cancel_on_drop=*/false);
  }
  // Starts all(...) as a task of the group.
  template <rt::Group Group>
  auto spawn(Group group) {
    return spawn(rt::as_task(std::move(group)));
  }
  // Starts a coroutine function or a plain callable; it and its arguments live in the task's frame.
  template <typename Function, typename... Args>
    requires(std::invocable<std::decay_t<Function>&, std::decay_t<Args>...>)
  auto spawn(Function&& function, Args&&... args) {
    return spawn(rt::start_call(std::forward<Function>(function), std::forward<Args>(args)...));
  }
  // The same with a name or other options.
  template <typename Function, typename... Args>
    requires(std::invocable<std::decay_t<Function>&, std::decay_t<Args>...>)
  auto spawn(SpawnOptions options, Function&& function, Args&&... args) {
    return spawn(std::move(options),
                 rt::start_call(std::forward<Function>(function), std::forward<Args>(args)...));
  }

  // Completes when every task has ended.
  //
  // Errors: the first exception of a task cancels the others; it is rethrown here.
  // Cancel: cancels the tasks, waits for them, then completes. A task that is spawned while a group
  //         ends in one of these ways is cancelled too.
  Task<void> join_all();

  // Requests the cancellation of all present tasks; returns at once.
  void cancel_all() { state_->cancel_all(); }

  // Tasks of the group that have not ended.
  size_t size() const { return state_->size(); }

  // Runs `function(executor)`, a coroutine function, and joins on every exit path. The only place
  // where children may hold references to the parent's locals.
  template <typename Function>
  static auto scope(Function function)
      -> Task<typename std::invoke_result_t<Function&, Executor&>::value_type> {
    Executor executor;
    using Result = typename std::invoke_result_t<Function&, Executor&>::value_type;
    std::optional<std::conditional_t<std::is_void_v<Result>, std::monostate, Result>> result;
    std::exception_ptr error;
    try {
      if constexpr (std::is_void_v<Result>) {
        co_await function(executor);
      } else {
        result.emplace(co_await function(executor));
      }
    } catch (...) {
      error = std::current_exception();
    }
    if (error) executor.state_->cancel_to_the_end();
    rt::DrainOperation drained(*executor.state_, /*pass_cancel_on=*/!error);
    co_await drained;
    if (!error) error = executor.state_->take_first_error();
    if (error) std::rethrow_exception(error);
    if constexpr (!std::is_void_v<Result>) co_return std::move(*result);
  }

 private:
  rt::ExecutorState* state_;
};

}  // namespace zsync
