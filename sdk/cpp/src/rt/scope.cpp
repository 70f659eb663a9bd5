#include "zsync/rt/scope.hpp"

#include "absl/container/inlined_vector.h"

namespace zsync::rt {

std::coroutine_handle<> BranchScope::begin_stirred(TaskContext& parent,
                                                   std::coroutine_handle<> handle) {
  if (!parent.cancelled_here()) return fork(parent, handle, count_);
  set_context(parent);
  set_cancelled();
  return handle;
}

std::coroutine_handle<> BranchScope::fork_more(TaskContext& parent,
                                               std::coroutine_handle<> handle) {
  parent.thread->forks->reserve(count_ - 1);
  return fork(parent, handle, count_);
}

std::coroutine_handle<> BranchScope::offer_forks(TaskContext& parent, TaskContext& child) {
  parent.scheduler->forks_offered();
  return begin_inline(parent, child, *parent.thread);
}

std::coroutine_handle<> BranchScope::schedule_children(TaskContext& parent) {
  absl::InlinedVector<TaskContext*, 8> children;
  for (TaskContext* child = last_; child; child = child->next_branch) children.push_back(child);
  // The last one may end this scope while it is being scheduled.
  while (!children.empty()) {
    TaskContext* child = children.back();
    children.pop_back();
    child->schedule();
  }
  return std::noop_coroutine();
}

std::coroutine_handle<> BranchScope::ended_detached(TaskContext& child) noexcept {
  RunningThread& thread = *child.thread;
  const int32_t budget = child.budget;
  child.mark_ended();
  if (remaining_.fetch_sub(1, std::memory_order_acq_rel) > 1) return std::noop_coroutine();
  parent().leave_chain();
  return complete(thread, budget);
}

std::coroutine_handle<> BranchScope::chain_ended(TaskContext& child) noexcept {
  RunningThread& thread = *child.thread;
  const int32_t budget = child.budget;
  const uint32_t ended = ended_inline_.load(std::memory_order_relaxed);
  if (remaining_.fetch_sub(ended, std::memory_order_acq_rel) > ended) return std::noop_coroutine();
  return complete(thread, budget);
}

std::coroutine_handle<> BranchScope::complete(RunningThread& thread, int32_t budget) noexcept {
  TaskContext& strand = parent();
  if (linked_.load(std::memory_order_relaxed)) strand.retract();
  if (may_fork(thread, strand)) return go_on_as(strand, thread, budget);
  strand.schedule();
  return std::noop_coroutine();
}

bool BranchScope::link() noexcept {
  if (linked_.exchange(true, std::memory_order_acq_rel)) return false;
  if (!parent().publish(*this)) {
    withdraw();
    parent().show(*this);
  }
  return true;
}

Start BranchScope::start() { return Start::kFinished; }

bool BranchScope::withdraw() noexcept {
  if (!shielded_) cancel_children(nullptr);
  return false;
}

const char* BranchScope::wait_kind() const noexcept {
  if (shielded_) return "a shielded branch";
  switch (rule_) {
    case CancelRest::kOnError:
      return "all branches";
    case CancelRest::kOnFirst:
      return "the first branch";
    case CancelRest::kOnSuccess:
      return "the first branch that succeeds";
    case CancelRest::kNever:
      break;
  }
  return "a branch";
}

void BranchScope::decide(TaskContext& child) noexcept {
  if (rule_ == CancelRest::kNever) return;
  if (rule_ == CancelRest::kOnSuccess && !succeeded_(child)) return;
  int index = static_cast<int>(count_) - 1;
  for (TaskContext* other = last_; other != &child; other = other->next_branch) --index;
  int undecided = -1;
  if (decisive_.compare_exchange_strong(undecided, index)) cancel_children(&child);
}

std::coroutine_handle<> BranchScope::decide_and_go_on(TaskContext& child) noexcept {
  decide(child);
  return go_on_after(child);
}

void BranchScope::cancel_children(const TaskContext* except) noexcept {
  for (TaskContext* child = last_; child; child = child->next_branch) {
    if (child != except) child->cancel();
  }
}

}  // namespace zsync::rt
