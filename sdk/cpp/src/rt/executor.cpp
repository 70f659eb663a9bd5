#include "zsync/executor.hpp"

#include <vector>

namespace zsync {

namespace rt {

void ExecutorState::child_started(TaskContext& child) {
  child.group = this;
  ref();
  bool ending = false;
  {
    LockGuard guard(lock_);
    child.group_place = static_cast<uint32_t>(children_.size());
    children_.push_back(&child);
    ending = ending_;
  }
  if (ending) child.cancel();
}

void ExecutorState::keep_error(TaskContext& child) {
  if (!child.error() || child.was_cancelled()) return;
  {
    LockGuard guard(lock_);
    if (first_error_) return;
    first_error_ = child.error();
  }
  cancel_to_the_end();
}

void ExecutorState::child_ended(TaskContext& child) {
  WaitList drained;
  {
    LockGuard guard(lock_);
    children_.back()->group_place = child.group_place;
    children_[child.group_place] = children_.back();
    children_.pop_back();
    if (children_.empty()) {
      ending_ = false;
      while (Operation* waiter = waiting_.pop_front()) drained.push_back(*waiter);
    }
  }
  // Nobody can withdraw a drain, so the list is ours.
  while (Operation* waiter = drained.pop_front()) waiter->wake();
  unref();
}

void ExecutorState::cancel_to_the_end() {
  {
    LockGuard guard(lock_);
    ending_ = !children_.empty();
  }
  cancel_all();
}

void ExecutorState::cancel_all() {
  std::vector<TaskContext*> present;
  {
    LockGuard guard(lock_);
    present = children_;
    for (TaskContext* child : present) child->ref();
  }
  for (TaskContext* child : present) {
    child->cancel();
    child->unref();
  }
}

size_t ExecutorState::size() {
  LockGuard guard(lock_);
  return children_.size();
}

std::exception_ptr ExecutorState::take_first_error() {
  LockGuard guard(lock_);
  return std::exchange(first_error_, nullptr);
}

Start DrainOperation::start() {
  // Published before it is listed, so that a cancel from now on reaches withdraw(); one that came
  // before is passed on here.
  TaskContext* const waiting = context();
  if (waiting && !(pass_cancel_on_ && waiting->publish(*this))) {
    if (pass_cancel_on_) state_.cancel_to_the_end();
    waiting->show(*this);
  }
  bool finished = false;
  {
    LockGuard guard(state_.lock_);
    finished = state_.children_.empty();
    if (!finished) state_.waiting_.push_back(*this);
  }
  if (!finished) return Start::kWaiting;  // may be woken by now: not touched any more
  if (waiting) waiting->retract();
  return Start::kFinished;
}

bool DrainOperation::withdraw() noexcept {
  if (pass_cancel_on_) state_.cancel_to_the_end();
  return false;
}

Task<void> drain_executors(std::vector<ExecutorState*> executors) {
  for (ExecutorState* executor : executors) {
    DrainOperation drained(*executor, /*pass_cancel_on=*/false);
    co_await drained;
    executor->unref();
  }
}

}  // namespace rt

Executor::Executor()
    : state_(new rt::ExecutorState(rt::current_context() ? rt::current_context()->scheduler
                                                         : nullptr)) {}

Executor::~Executor() {
  if (state_->size() == 0) {
    state_->unref();
    return;
  }
  state_->cancel_to_the_end();
  if (rt::TaskContext* enclosing = rt::current_context()) {
    enclosing->adopt(state_);
    return;
  }
  rt::DrainOperation drained(*state_, /*pass_cancel_on=*/false);
  rt::block_on_operation(drained);
  state_->unref();
}

Task<void> Executor::join_all() {
  rt::ExecutorState& state = *state_;
  rt::DrainOperation drained(state, /*pass_cancel_on=*/true);
  co_await drained;
  if (std::exception_ptr error = state.take_first_error()) std::rethrow_exception(error);
}

}  // namespace zsync
