// Operation: one suspended wait, and the rules by which it ends exactly once.
//
// Every leaf awaitable (channel receive, sleep, semaphore, readiness, join ...) is an Operation
// that lives in the frame of the coroutine that awaits it. It waits in the list of one resource,
// guarded by that resource's lock. Whoever takes it out of the list ends it:
//
//   completer   locks the resource, pops the operation, claims it, stores the result, unlocks,
//   wakes canceller   locks the task's word, locks the resource, removes the operation, unlocks,
//   wakes
//
// Invariants
//   1. An operation is published in its task's word before it is put in a list, both under the
//      resource's lock; so a canceller that sees it finds it listed or already taken.
//   2. A cancelled task never publishes again (TaskContext::publish fails): later waits fail at
//   once.
//   3. A completer calls wake() after releasing the resource's lock, since wake() may spin on a
//      canceller that holds the word and wants that lock.
//   4. While the word is locked the operation's frame cannot be resumed, hence not destroyed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "zsync/rt/lock.hpp"

namespace zsync::rt {

class Operation;
class SelectState;
class TaskContext;

// Blocks a plain thread until an operation of its own is woken.
class ThreadParker {
 public:
  void unpark() {
    std::lock_guard<std::mutex> guard(mutex_);
    woken_ = true;
    condition_.notify_one();
  }
  void park() {
    std::unique_lock<std::mutex> guard(mutex_);
    condition_.wait(guard, [this] { return woken_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool woken_ = false;
};

// FIFO of waiting operations. Threads: guarded by the resource that holds it.
class WaitList {
 public:
  bool empty() const { return head_ == nullptr; }
  Operation* front() const { return head_; }
  Operation* back() const { return tail_; }
  // The one behind a listed one; nullptr: it is the last.
  static Operation* after(const Operation& operation);
  uint32_t size() const { return size_; }
  void push_back(Operation& operation);
  Operation* pop_front();
  // False when the operation is not in a list: somebody has taken it.
  bool remove(Operation& operation);
  // Pops until an operation lets itself be claimed; nullptr when there is none.
  Operation* pop_claimed();

 private:
  Operation* head_ = nullptr;
  Operation* tail_ = nullptr;
  uint32_t size_ = 0;
};

enum class Start : uint8_t {
  kFinished,  // the result is there (or the wait was refused because the task is cancelled)
  kWaiting,   // it is in a list; it may already be woken, so it must not be touched any more
};

// What a wait is for, as a dump of the tasks shows it.
struct WaitInfo {
  static constexpr size_t kPartsMax = 4;

  const char* kind = nullptr;         // "channel recv"; nullptr: the operation has no name
  int descriptor = -1;                // that has to become ready
  uint64_t task = 0;                  // id of the one whose end is awaited
  uint64_t count = 0;                 // of permits asked for
  int64_t until = -1;                 // nanoseconds of the steady clock
  const char* parts[kPartsMax] = {};  // of a select: the first of its waits
  size_t parts_count = 0;             // all of them
};

class Operation {
 public:
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  // Before it is started only: afterwards others know its address.
  Operation(Operation&&) noexcept {}

  // Called under the resource's lock by whoever popped this operation: may it be completed?
  // False when another branch of the same select has won.
  bool try_claim();
  // Nobody else can claim it.
  bool is_alone() const { return select_ == nullptr; }

  // Lets the waiter go on. Called once by whoever popped and claimed, outside the resource's lock.
  void wake();

  // The resource's half: try to finish, else begin_wait() and enqueue.
  virtual Start start() = 0;

  // The canceller's half: true when the operation was taken out and nobody else will wake it.
  // False: it has completed, or it will complete later by itself (a scope that waits for its
  // children).
  virtual bool withdraw() noexcept = 0;

  // For diagnostics. wait_kind() is a constant; tell_wait() adds what was fixed before the
  // operation was started. Threads: any, while the operation is held in its strand's word.
  virtual const char* wait_kind() const noexcept { return nullptr; }
  virtual void tell_wait(WaitInfo&) const noexcept {}

 protected:
  Operation() = default;
  ~Operation() = default;

  // Called in start(), under the resource's lock, before enqueueing. False: the task is cancelled,
  // do not enqueue; cancelled() is set.
  [[nodiscard]] bool begin_wait();

  // Suspends the coroutine `handle` of `context` on this operation; false when there is no need to.
  bool suspend(TaskContext& context, std::coroutine_handle<> handle);
  // The same for a wait that a cancel does not end; its start() does not call begin_wait().
  bool suspend_uncancellable(TaskContext& context, std::coroutine_handle<> handle);

  // suspend() with the operation's own start(), known to the compiler.
  template <typename StartNow>
  bool suspend_with(TaskContext& context, std::coroutine_handle<> handle, StartNow start_now);

  bool cancelled() const { return cancelled_; }
  void set_cancelled() { cancelled_ = true; }
  TaskContext* context() const { return context_; }
  void set_context(TaskContext& context) { context_ = &context; }

 private:
  friend class WaitList;
  friend class TaskContext;
  friend class SelectState;
  template <typename Op>
  friend void block_on_operation(Op& operation);

  Operation* previous_ = nullptr;
  Operation* next_ = nullptr;
  TaskContext* context_ = nullptr;
  ThreadParker* thread_ = nullptr;
  SelectState* select_ = nullptr;
  uint32_t select_index_ = 0;
  bool listed_ = false;
  bool cancelled_ = false;
  bool meets_select_ = false;  // claimed while its select was still starting
};

inline Operation* WaitList::after(const Operation& operation) { return operation.next_; }

// The strand of the Task that awaits something.
template <typename Promise>
TaskContext& strand_of(std::coroutine_handle<Promise> handle) noexcept {
  static_assert(
      requires { static_cast<TaskContext*>(handle.promise().context); },
      "co_await of zsync outside a zsync::Task, where nothing could run it: make the "
      "coroutine a Task and spawn() or run() it");
  return *handle.promise().context;
}

// The common half of every leaf awaitable: `Derived` adds start(), withdraw() and await_resume().
class LeafOperation : public Operation {
 public:
  bool await_ready() const noexcept { return false; }

  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    return suspend(strand_of(handle), handle);
  }
};

// Fails an assertion on a worker's thread: blocking there would stop every task of it.
void assert_may_block(const char* message);

// Waits for `operation` on a plain thread.
template <typename Op>
void block_on_operation(Op& operation) {
  ThreadParker parker;
  operation.thread_ = &parker;
  if (operation.start() == Start::kWaiting) parker.park();
}

// Which of several operations was first. Lives in the select's frame.
class SelectState {
 public:
  static constexpr uint32_t kStarting = 0;
  static constexpr uint32_t kWaiting = 1;
  static constexpr uint32_t kClaimedBase = 2;

  enum class Claim : uint8_t { kLost, kWonWhileStarting, kWonWhileWaiting };

  SelectState() = default;
  // Before it is started only, as with its operations.
  SelectState(SelectState&&) noexcept {}

  void bind(Operation& operation, TaskContext* context, uint32_t index);
  Claim claim(uint32_t index);
  // After all operations were started: true when the select has to wait.
  bool begin_waiting();
  // One that was claimed while the select was starting is let go by two: its completer, in wake(),
  // and the select, after it has started everything. The second one gets true and goes on; the
  // first one must not touch the operations any more.
  bool arrive() { return arrived_.exchange(true, std::memory_order_acq_rel); }
  bool claimed() const { return state_.load(std::memory_order_acquire) >= kClaimedBase; }
  uint32_t winner() const { return state_.load(std::memory_order_acquire) - kClaimedBase; }

 private:
  friend class Operation;
  std::atomic<uint32_t> state_{kStarting};
  std::atomic<bool> arrived_{false};
};

}  // namespace zsync::rt
