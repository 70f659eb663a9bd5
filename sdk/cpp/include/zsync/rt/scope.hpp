// BranchScope: a strand that waits for child strands of its own (all, race, any, timeout, shield).
//
// Nobody leaves a scope before every child has ended; cancelling the waiting strand cancels the
// children and goes on waiting.
//
// On a worker the first child runs at once, in its parent's place, and the others are offered to
// thieves. A child that ends takes the next one back and goes on as that one, and the last one as
// the parent. While nobody has stolen and nothing was suspended, the children are counted without
// an atomic operation; from then on the rest is counted in `remaining_`.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <utility>

#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

class BranchScope : public Operation {
 public:
  enum class CancelRest : uint8_t {
    kNever,
    kOnError,    // all: the first child that ends with an exception
    kOnFirst,    // race, timeout: the first child that ends
    kOnSuccess,  // any: the first child for which `succeeded` says so
  };

  explicit BranchScope(CancelRest rule, bool shielded = false) : rule_(rule), shielded_(shielded) {}

  // Makes a task a branch. Lifetime: the task outlives the scope.
  template <typename T>
  TaskContext& add(Task<T>& task) {
    return added(task.become_strand(*this, last_));
  }
  void set_success_test(bool (*succeeded)(TaskContext&)) { succeeded_ = succeeded; }

  // The child, numbered as added, that triggered the rule; -1: none did.
  int decisive() const { return decisive_.load(std::memory_order_acquire); }

  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> handle) {
    TaskContext& parent = strand_of(handle);
    for (TaskContext* child = last_; child; child = child->next_branch) child->set_parent(parent);
    return shielded_ ? fork(parent, handle, count_) : begin(parent, handle, count_);
  }
  void await_resume() const {
    if (cancelled()) throw Cancelled();
  }

  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final;

  // The rest is for the strands of the scope.

  // A child has ended -> what its thread resumes next.
  [[gnu::always_inline]] std::coroutine_handle<> child_finished(TaskContext& child) noexcept;
  // Counts for the other threads what has ended by the first one alone: that chain is broken.
  void settle() noexcept {
    remaining_.fetch_sub(ended_inline_.load(std::memory_order_relaxed), std::memory_order_acq_rel);
  }
  // Lets a cancel of the parent find the children. False when there is nothing left to do above.
  bool link() noexcept;
  TaskContext& parent() const { return *context(); }

  // For diagnostics, while the parent is held: every child, numbered as added, and whether it has
  // ended.
  template <typename Visit>
  void visit_branches(const Visit& visit) const {
    const uint32_t ended_inline = ended_inline_.load(std::memory_order_relaxed);
    uint32_t number = count_;
    for (TaskContext* child = last_; child; child = child->next_branch) {
      --number;
      visit(*child, number, number < ended_inline || child->done());
    }
  }
  uint32_t branch_count() const { return count_; }

 protected:
  // The same, by the strand that is about to wait, of a scope whose other branches were added so.
  template <typename T>
  [[gnu::always_inline]] void add_of(TaskContext& parent, Task<T>& task) {
    added(task.become_strand(*this, last_, parent));
  }
  // -> what the parent's thread resumes next. What is rare stands in functions of its own, so that
  // the rest needs no registers saved.
  //
  // `count`: of the branches, for a caller that knows it when it is compiled.
  [[gnu::always_inline]] std::coroutine_handle<> begin(TaskContext& parent,
                                                       std::coroutine_handle<> handle,
                                                       uint32_t count) {
    if (parent.may_be_cancelled()) [[unlikely]]
      return begin_stirred(parent, handle);
    return fork(parent, handle, count);
  }

 private:
  [[gnu::always_inline]] TaskContext& added(TaskContext& child) {
    last_ = &child;
    ++count_;
    return child;
  }
  [[gnu::always_inline]] std::coroutine_handle<> fork(TaskContext& parent,
                                                      std::coroutine_handle<> handle,
                                                      uint32_t count) {
    set_context(parent);
    if (count == 0) return handle;
    parent.resume_point = handle;
    remaining_.store(count, std::memory_order_relaxed);
    RunningThread& thread = *parent.thread;
    if (!may_fork(thread, parent)) [[unlikely]]
      return schedule_children(parent);
    TaskContext* child = last_;
    if (count > 1) {
      WorkDeque<TaskContext>::Pushing forks(*thread.forks);
      if (!forks.has_room(count - 1)) [[unlikely]]
        return fork_more(parent, handle);
      for (uint32_t added = 1; added < count; ++added) {
        forks.add(child);
        child = child->next_branch;
      }
      forks.finish();
      if (thread.idle->load(std::memory_order_relaxed) > 0) [[unlikely]]
        return offer_forks(parent, *child);
    }
    return begin_inline(parent, *child, thread);
  }
  static std::coroutine_handle<> begin_inline(const TaskContext& parent, TaskContext& child,
                                              RunningThread& thread) {
    child.chain = Chain::kInline;
    return go_on_as(child, thread, parent.budget);
  }
  std::coroutine_handle<> begin_stirred(TaskContext& parent, std::coroutine_handle<> handle);
  std::coroutine_handle<> fork_more(TaskContext& parent, std::coroutine_handle<> handle);
  static std::coroutine_handle<> offer_forks(TaskContext& parent, TaskContext& child);
  static bool may_fork(const RunningThread& thread, const TaskContext& strand) {
    return thread.forks && strand.pinned_worker < 0;
  }
  static std::coroutine_handle<> go_on_as(TaskContext& strand, RunningThread& thread,
                                          int32_t budget) {
    strand.budget = budget;
    strand.thread = &thread;
    thread.current = &strand;
    return strand.resume_point;
  }
  std::coroutine_handle<> schedule_children(TaskContext& parent);
  Start start() final;
  void decide(TaskContext& child) noexcept;
  std::coroutine_handle<> decide_and_go_on(TaskContext& child) noexcept;
  [[gnu::always_inline]] std::coroutine_handle<> go_on_after(TaskContext& child) noexcept;
  void cancel_children(const TaskContext* except) noexcept;
  // A child that was suspended or stolen has ended.
  std::coroutine_handle<> ended_detached(TaskContext& child) noexcept;
  // Every child that has not ended inline was stolen.
  std::coroutine_handle<> chain_ended(TaskContext& child) noexcept;
  // `budget`: what the last child left of it.
  std::coroutine_handle<> complete(RunningThread& thread, int32_t budget) noexcept;

  const CancelRest rule_;
  const bool shielded_;
  std::atomic<bool> linked_{false};
  uint32_t count_ = 0;
  std::atomic<uint32_t> ended_inline_{0};  // written by the child that runs inline
  std::atomic<uint32_t> remaining_{0};
  std::atomic<int> decisive_{-1};
  TaskContext* last_ = nullptr;  // the child added last; the others through next_branch
  bool (*succeeded_)(TaskContext&) = nullptr;
};

inline std::coroutine_handle<> BranchScope::child_finished(TaskContext& child) noexcept {
  if (rule_ != CancelRest::kOnError || child.failed()) [[unlikely]]
    return decide_and_go_on(child);
  return go_on_after(child);
}

inline std::coroutine_handle<> BranchScope::go_on_after(TaskContext& child) noexcept {
  if (child.chain != Chain::kInline) [[unlikely]]
    return ended_detached(child);
  RunningThread& thread = *child.thread;
  const uint32_t ended = ended_inline_.load(std::memory_order_relaxed) + 1;
  ended_inline_.store(ended, std::memory_order_relaxed);
  if (ended == count_) {
    if (linked_.load(std::memory_order_relaxed)) [[unlikely]]
      return complete(thread, child.budget);
    return go_on_as(parent(), thread, child.budget);
  }
  TaskContext* const next = thread.forks->pop();
  if (!next) [[unlikely]]
    return chain_ended(child);
  ZS_ASSERT(next->scope == this, "the fork that was taken back is of another scope");
  next->chain = Chain::kInline;
  return go_on_as(*next, thread, child.budget);
}

}  // namespace zsync::rt
