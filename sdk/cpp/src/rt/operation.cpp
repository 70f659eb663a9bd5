#include "zsync/rt/operation.hpp"

#include "zsync/rt/context.hpp"

namespace zsync::rt {

void WaitList::push_back(Operation& operation) {
  operation.previous_ = tail_;
  operation.next_ = nullptr;
  operation.listed_ = true;
  (tail_ ? tail_->next_ : head_) = &operation;
  tail_ = &operation;
  ++size_;
}

Operation* WaitList::pop_front() {
  Operation* first = head_;
  if (first) remove(*first);
  return first;
}

bool WaitList::remove(Operation& operation) {
  if (!operation.listed_) return false;
  (operation.previous_ ? operation.previous_->next_ : head_) = operation.next_;
  (operation.next_ ? operation.next_->previous_ : tail_) = operation.previous_;
  operation.listed_ = false;
  --size_;
  return true;
}

Operation* WaitList::pop_claimed() {
  while (Operation* operation = pop_front()) {
    if (operation->try_claim()) return operation;
  }
  return nullptr;
}

bool Operation::try_claim() {
  if (!select_) return true;
  SelectState::Claim claim = select_->claim(select_index_);
  meets_select_ = claim == SelectState::Claim::kWonWhileStarting;
  return claim != SelectState::Claim::kLost;
}

void Operation::wake() {
  if (thread_) {
    thread_->unpark();
    return;
  }
  TaskContext* context = context_;
  if (meets_select_ && !select_->arrive()) return;
  context->retract();
  context->schedule();
}

bool Operation::begin_wait() {
  if (!context_ || select_) return true;
  if (context_->publish(*this)) return true;
  cancelled_ = true;
  return false;
}

bool Operation::suspend(TaskContext& context, std::coroutine_handle<> handle) {
  context_ = &context;
  if (context.cancelled_here()) {
    cancelled_ = true;
    return false;
  }
  return suspend_uncancellable(context, handle);
}

bool Operation::suspend_uncancellable(TaskContext& context, std::coroutine_handle<> handle) {
  context_ = &context;
  context.resume_point = handle;
  if (start() == Start::kWaiting) return true;
  if (context.spend_budget()) return false;
  context.yield();
  return true;
}

void SelectState::bind(Operation& operation, TaskContext* context, uint32_t index) {
  operation.select_ = this;
  operation.select_index_ = index;
  operation.context_ = context;
}

SelectState::Claim SelectState::claim(uint32_t index) {
  uint32_t state = state_.load(std::memory_order_acquire);
  while (state < kClaimedBase) {
    if (state_.compare_exchange_weak(state, kClaimedBase + index, std::memory_order_acq_rel)) {
      return state == kWaiting ? Claim::kWonWhileWaiting : Claim::kWonWhileStarting;
    }
  }
  return Claim::kLost;
}

bool SelectState::begin_waiting() {
  uint32_t expected = kStarting;
  return state_.compare_exchange_strong(expected, kWaiting, std::memory_order_acq_rel);
}

}  // namespace zsync::rt
