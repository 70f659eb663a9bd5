#include "zsync/notify.hpp"

#include "absl/container/inlined_vector.h"

namespace zsync {

rt::Start NotifiedOperation::start() {
  rt::LockGuard guard(notify_->lock_);
  const bool takes = notify_->epoch_ == seen_ && takes_kept_ && notify_->kept_;
  if (notify_->epoch_ != seen_ || takes) {
    if (!try_claim()) return rt::Start::kWaiting;
    if (takes) notify_->kept_ = false;
    return rt::Start::kFinished;
  }
  if (!begin_wait()) return rt::Start::kFinished;
  notify_->waiting_.push_back(*this);
  return rt::Start::kWaiting;
}

bool NotifiedOperation::withdraw() noexcept {
  rt::LockGuard guard(notify_->lock_);
  return notify_->waiting_.remove(*this);
}

uint64_t Notify::epoch() {
  rt::LockGuard guard(lock_);
  return epoch_;
}

void Notify::notify_one() {
  rt::Operation* waiter = nullptr;
  {
    rt::LockGuard guard(lock_);
    waiter = waiting_.pop_claimed();
    if (!waiter) kept_ = true;
  }
  if (waiter) waiter->wake();
}

void Notify::notify_all() {
  absl::InlinedVector<rt::Operation*, 8> woken;
  {
    rt::LockGuard guard(lock_);
    ++epoch_;
    while (rt::Operation* waiter = waiting_.pop_claimed()) woken.push_back(waiter);
  }
  for (rt::Operation* waiter : woken) waiter->wake();
}

}  // namespace zsync
