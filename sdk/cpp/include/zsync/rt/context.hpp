// TaskContext: the identity of one strand of execution (a spawned task, or one branch of all, race,
// timeout and shield): where it runs, what it waits for, whether it is cancelled, who waits for it.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "zsync/rt/operation.hpp"

namespace zsync {

class Cancelled;

namespace rt {

class Scheduler;
class ExecutorState;

// How many operations in a row may finish at once before the task has to let others run.
inline constexpr int kCooperativeBudget = 128;

class TaskContext {
 public:
  TaskContext() = default;
  TaskContext(const TaskContext&) = delete;
  TaskContext& operator=(const TaskContext&) = delete;

  // Sets the flag and withdraws the pending operation. Threads: any. The caller holds a reference.
  void cancel();
  bool cancel_requested() const {
    return (word_.load(std::memory_order_acquire) & kCancelled) != 0;
  }

  // False when the task is cancelled. See the invariants in operation.hpp.
  bool publish(Operation& operation);
  // Ends a publication; spins while a canceller holds the word.
  void retract();

  // Puts the strand into its scheduler's queue.
  void schedule();
  // The same, behind everything that is ready.
  void yield();
  // False when the budget is used up: the caller yields.
  bool spend_budget() { return --budget_ > 0; }
  void reset_budget() { budget_ = kCooperativeBudget; }

  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy_frame();
  }

  // The body and its leftovers have ended: wakes whoever waits, drops the runner's reference.
  void finish();
  bool done() const { return done_.load(std::memory_order_acquire); }

  // An executor that was destroyed with live tasks: this strand does not finish before they do.
  void adopt(ExecutorState* executor) { adopted_.push_back(executor); }

  // -- set once, before the strand is scheduled
  Scheduler* scheduler = nullptr;
  std::coroutine_handle<> frame;  // the root frame, which contains this context
  void (*on_finish)(void* owner,
                    TaskContext& child) = nullptr;  // a scope that waits for this branch
  void* owner = nullptr;
  ExecutorState* group = nullptr;  // the executor it belongs to
  int pinned_worker = -1;          // -1: any worker may run it
  bool counted = false;            // the runtime waits for it
  bool background = false;
  uint64_t id = 0;
  std::string name;

  // -- owned by the thread that runs or schedules the strand
  std::coroutine_handle<> resume_point;
  TaskContext* queue_next = nullptr;
  uint64_t queue_ticket = 0;  // its turn among the queues of one worker
  bool has_run = false;       // it was resumed before
  int next_worker = -1;       // where the next resumption has to be; -1: anywhere

  // -- owned by the strand itself
  std::exception_ptr error;
  bool was_cancelled = false;  // ended by zsync::Cancelled

  // Guards the waiters and the links of the runtime's list of counted tasks.
  Lock lock;
  WaitList joiners ABSL_GUARDED_BY(lock);

  // Links in the executor's list of live children, guarded by that executor's lock.
  TaskContext* group_previous = nullptr;
  TaskContext* group_next = nullptr;
  // Links in the runtime's list of live tasks, guarded by that list's lock.
  TaskContext* live_previous = nullptr;
  TaskContext* live_next = nullptr;

  std::vector<ExecutorState*> take_adopted() { return std::exchange(adopted_, {}); }

 private:
  static constexpr uintptr_t kLocked = 1;
  static constexpr uintptr_t kCancelled = 2;
  static constexpr uintptr_t kFlags = kLocked | kCancelled;

  void destroy_frame();

  std::atomic<uintptr_t> word_{0};  // the pending operation's address and the two flags
  std::atomic<uint32_t> refs_{1};
  std::atomic<bool> done_{false};
  int budget_ = kCooperativeBudget;
  std::vector<ExecutorState*> adopted_;
};

}  // namespace rt
}  // namespace zsync
