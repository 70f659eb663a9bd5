#include "zsync/barrier.hpp"

#include "absl/container/inlined_vector.h"

namespace zsync {

rt::Start ArriveOperation::start() {
  absl::InlinedVector<rt::Operation*, 8> opened;
  {
    rt::LockGuard guard(barrier_->lock_);
    if (barrier_->waiting_.size() + 1 < barrier_->parties_) {
      if (!begin_wait()) return rt::Start::kFinished;
      barrier_->waiting_.push_back(*this);
      return rt::Start::kWaiting;
    }
    last_ = true;
    while (rt::Operation* waiter = barrier_->waiting_.pop_claimed()) opened.push_back(waiter);
  }
  // The barrier may end with any of them, so it is not touched from here on.
  for (rt::Operation* waiter : opened) waiter->wake();
  return rt::Start::kFinished;
}

bool ArriveOperation::withdraw() noexcept {
  rt::LockGuard guard(barrier_->lock_);
  return barrier_->waiting_.remove(*this);
}

}  // namespace zsync
