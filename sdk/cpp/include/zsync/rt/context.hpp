// TaskContext: one strand of execution (a spawned task, or one branch of all, race, any, timeout
// and shield): what it waits for, whether it is cancelled, where it goes on, who waits for it.
//
// It stands before the frame of the strand's outermost coroutine (zsync/rt/frame.hpp).
//
// A branch that runs right where it was forked does not tell its parent's strand that somebody
// waits there: nobody could be woken by a cancel yet. The first wait in it does (link()), for every
// scope above it. So a tree of tasks that only compute pays nothing for being cancellable.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <string>

#include "absl/status/status.h"
#include "zsync/rt/operation.hpp"

namespace zsync {

class Cancelled;

namespace rt {

class BranchScope;
class ExecutorState;
class JoinOperation;
class Scheduler;
struct RunningThread;

// Some task of this process has, or had, a class that is not normal. Never false again.
inline constinit std::atomic<bool> classes_used{false};

// How many operations in a row may finish at once before the task has to let others run.
inline constexpr int32_t kCooperativeBudget = 128;

// How a branch came to run.
enum class Chain : uint8_t {
  kForked,    // not started yet
  kInline,    // by the thread that forked it, with nothing in between
  kDetached,  // by a worker's loop; so is everything that was suspended once, and a spawned task
};

class alignas(16) TaskContext {
 public:
  TaskContext() = default;
  // A branch of `waits`, where `parent` is about to wait; `before` was added before it.
  TaskContext(BranchScope& waits, TaskContext* before, const TaskContext& parent)
      : scheduler(parent.scheduler),
        root(parent.root),
        scope(&waits),
        next_branch(before),
        pinned_worker(parent.pinned_worker) {}
  // The same where the parent is told later, by set_parent().
  TaskContext(BranchScope& waits, TaskContext* before) : scope(&waits), next_branch(before) {}
  TaskContext(const TaskContext&) = delete;
  TaskContext& operator=(const TaskContext&) = delete;

  // Sets the flag and withdraws the pending operation. Threads: any. The caller holds a reference.
  void cancel();
  // Threads: any. For the strand itself cancelled_here() knows more.
  bool cancel_requested() const {
    return (word_.load(std::memory_order_acquire) & kCancelled) != 0;
  }
  // By the strand itself: whether it or a strand above it was cancelled.
  bool cancelled_here() {
    if (!linked_) link();
    return cancel_requested();
  }
  // False: nobody was cancelled in this task, without the price of the first look.
  bool may_be_cancelled() const {
    return (root->marks_.load(std::memory_order_relaxed) & kStirred) || cancel_requested();
  }

  // False when the task is cancelled. See the invariants in operation.hpp.
  bool publish(Operation& operation);
  // Publishes a wait that a cancel does not end, also in a cancelled task, so that it can be seen.
  void show(Operation& operation);
  // Ends a publication; spins while a canceller, or who looks at the task, holds the word.
  void retract();

  // For looking at a strand that waits: until let_go() it is not resumed, so its frames stay as
  // they are. nullptr: it does not wait, or a canceller holds it for long. A strand's branches may
  // be held while it is; nothing else may be waited for meanwhile. Threads: any.
  Operation* hold() noexcept;
  void let_go() noexcept { word_.fetch_and(~kLocked, std::memory_order_release); }

  // Puts the strand into its scheduler's queue.
  void schedule();
  // The same, behind everything that is ready.
  void yield();
  // False when the budget is used up: the caller yields.
  bool spend_budget() { return --budget > 0; }

  void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  // Only for who holds one.
  bool is_last_reference() const { return refs_.load(std::memory_order_acquire) == 1; }
  void unref() {
    if (is_last_reference() || refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      free();
    }
  }

  // Makes it a task of its own, which the runner and a handle refer to.
  void become_task() {
    root = this;
    chain = Chain::kDetached;
    linked_ = true;
    counted = false;
    background = false;
    id = 0;
    group = nullptr;
    refs_.store(2, std::memory_order_relaxed);
  }
  void set_parent(const TaskContext& parent) {
    scheduler = parent.scheduler;
    root = parent.root;
    pinned_worker = parent.pinned_worker;
  }

  // The outermost coroutine has ended -> what this thread resumes next.
  std::coroutine_handle<> finish() noexcept;
  // Of a branch that was suspended or stolen: makes it done(), which nobody waits for.
  void mark_ended() noexcept { joiner_.store(kDone, std::memory_order_relaxed); }
  bool done() const { return (joiner_.load(std::memory_order_acquire) & kDone) != 0; }

  // What the outermost body threw.
  std::exception_ptr& error() noexcept;
  bool failed() noexcept;         // there is one
  bool was_cancelled() noexcept;  // ended by zsync::Cancelled

  // An executor that was destroyed with live tasks: this strand does not finish before they do.
  void adopt(ExecutorState* executor);

  const std::string& name() const;
  void set_name(std::string name);

  // By whoever resumes the strand other than by the fork that started it.
  void leave_chain() {
    if (chain != Chain::kDetached) break_chain();
  }

  bool is_task() const { return root == this; }

  // Whether rt::Classes may know something of its task: a class, a deadline, a contended mutex.
  bool has_standing() const {
    return (root->marks_.load(std::memory_order_relaxed) & kStanding) != 0;
  }
  // Of a task: it was told to a mutex as its holder, so Classes has to hear of its end.
  void set_held() {
    if (!(marks_.load(std::memory_order_relaxed) & kHeld)) {
      marks_.fetch_or(kHeld, std::memory_order_relaxed);
    }
  }
  bool end_concerns_classes() const {
    return (marks_.load(std::memory_order_relaxed) & (kStanding | kHeld)) != 0;
  }
  // By rt::Classes, of a task.
  void set_standing(bool known) {
    if (known) {
      marks_.fetch_or(kStanding, std::memory_order_relaxed);
    } else {
      marks_.fetch_and(static_cast<uint8_t>(~kStanding), std::memory_order_relaxed);
    }
  }

  // Ends a task that was counted and is not scheduled yet: its body never runs.
  void refuse(absl::Status reason);
  // Of a task that ended by zsync::Cancelled: why it was refused, else "task was cancelled".
  absl::Status cancel_reason() const;

  // -- set once, before the strand is scheduled
  Scheduler* scheduler = nullptr;
  TaskContext* root = nullptr;  // the task that it belongs to
  union {
    struct {
      BranchScope* scope;        // whose branch it is
      TaskContext* next_branch;  // of the same scope: the one added before
    };
    // A task's links in the runtime's list of live tasks, guarded by that list's lock.
    struct {
      TaskContext* live_previous;
      TaskContext* live_next;
    };
  };

  // -- owned by the thread that runs or schedules the strand
  std::coroutine_handle<> resume_point;
  union {
    RunningThread* thread;    // that runs it
    TaskContext* queue_next;  // while it waits in a list
  };
  int32_t budget;              // given with every resumption
  int16_t pinned_worker = -1;  // -1: any worker may run it
  int16_t next_worker = -1;    // where the next resumption has to be; -1: anywhere
  Chain chain = Chain::kForked;
  bool has_run = false;  // it was resumed before

 private:
  static constexpr uint8_t kStirred = 1;   // it or one of its branches was cancelled
  static constexpr uint8_t kStanding = 2;  // see has_standing()
  static constexpr uint8_t kHeld = 4;      // see set_held()

  bool linked_ = false;            // owned by the strand
  std::atomic<uint8_t> marks_{0};  // of a task

 public:
  // -- of a task; a branch leaves them untouched
  bool counted;  // the runtime waits for it
  bool background;
  uint16_t live_list;
  ExecutorState* group;  // the executor it belongs to
  uint64_t id;
  uint32_t group_place;  // in the executor's list of children, guarded by its lock

 private:
  friend class JoinOperation;
  struct Extra;

  static constexpr uintptr_t kLocked = 1;
  static constexpr uintptr_t kCancelled = 2;
  static constexpr uintptr_t kFlags = kLocked | kCancelled;
  // In joiner_, beside kLocked. A join that is a branch of a select is claimed and withdrawn under
  // the lock; one that is alone belongs to whoever takes it out.
  static constexpr uintptr_t kDone = 2;
  static constexpr uintptr_t kAlone = 4;
  static constexpr uintptr_t kJoinFlags = kLocked | kDone | kAlone;

  Extra& extra();
  std::coroutine_handle<> drain() noexcept;
  void break_chain();
  std::coroutine_handle<> finish_rest() noexcept;
  [[gnu::always_inline]] std::coroutine_handle<> tell_end() noexcept;
  std::coroutine_handle<> end_task() noexcept;
  void link();
  uintptr_t lock_joiner() noexcept;
  // Makes it done() -> the operation that has to be woken for that, or nullptr.
  Operation* take_joiner() noexcept;
  void free() noexcept;

  std::atomic<uint32_t> refs_{1};
  std::atomic<uintptr_t> word_{0};      // the pending operation's address and the flags
  std::atomic<uintptr_t> joiner_{0};    // the operation that waits for the end, and flags
  std::atomic<Extra*> extra_{nullptr};  // what few strands have; made by the strand, read by any
};

template <typename StartNow>
bool Operation::suspend_with(TaskContext& context, std::coroutine_handle<> handle,
                             StartNow start_now) {
  context_ = &context;
  if (context.cancelled_here()) {
    cancelled_ = true;
    return false;
  }
  context.resume_point = handle;
  if (start_now() == Start::kWaiting) return true;
  if (context.spend_budget()) return false;
  context.yield();
  return true;
}

}  // namespace rt
}  // namespace zsync
