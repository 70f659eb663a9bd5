#include "zsync/rt/scope.hpp"

#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

Start BranchScope::start() {
  if (!shielded_ && !begin_wait()) return Start::kFinished;
  TaskContext& parent = *context();
  if (children_.empty()) {
    parent.retract();
    return Start::kFinished;
  }
  remaining_.store(children_.size(), std::memory_order_release);
  for (TaskContext* child : children_) {
    child->scheduler = parent.scheduler;
    child->pinned_worker = parent.pinned_worker;
    child->id = parent.id;
    child->name = parent.name;
  }
  // The last child may end this scope while the others are being scheduled, never before.
  const size_t count = children_.size();
  TaskContext* const* children = children_.data();
  for (size_t i = 0; i + 1 < count; ++i) children[i]->schedule();
  children[count - 1]->schedule();
  return Start::kWaiting;
}

bool BranchScope::withdraw() noexcept {
  cancel_children(nullptr);
  return false;
}

void BranchScope::cancel_children(TaskContext* except) noexcept {
  for (TaskContext* child : children_) {
    if (child != except) child->cancel();
  }
}

void BranchScope::child_finished(void* owner, TaskContext& child) {
  auto& scope = *static_cast<BranchScope*>(owner);
  bool decides = false;
  switch (scope.rule_) {
    case CancelRest::kNever:
      break;
    case CancelRest::kOnError:
      decides = child.error != nullptr;
      break;
    case CancelRest::kOnFirst:
      decides = true;
      break;
    case CancelRest::kOnSuccess:
      decides = scope.succeeded_(child);
      break;
  }
  int undecided = -1;
  if (decides) {
    int index = 0;
    while (scope.children_[index] != &child) ++index;
    if (scope.decisive_.compare_exchange_strong(undecided, index)) scope.cancel_children(&child);
  }
  if (scope.remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) scope.wake();
}

}  // namespace zsync::rt
