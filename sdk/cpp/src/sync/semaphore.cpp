#include "absl/container/inlined_vector.h"
#include "zsync/sync.hpp"

namespace zsync {

rt::Start AcquireOperation::start() {
  rt::LockGuard guard(semaphore_->lock_);
  if (semaphore_->waiting_.empty() && semaphore_->permits_ >= count_) {
    if (!try_claim()) return rt::Start::kWaiting;
    semaphore_->permits_ -= count_;
    return rt::Start::kFinished;
  }
  if (!begin_wait()) return rt::Start::kFinished;
  semaphore_->waiting_.push_back(*this);
  return rt::Start::kWaiting;
}

bool AcquireOperation::withdraw() noexcept {
  bool removed = false;
  {
    rt::LockGuard guard(semaphore_->lock_);
    removed = semaphore_->waiting_.remove(*this);
  }
  if (removed) semaphore_->release(0);  // whoever stood behind a large request may fit now
  return removed;
}

std::optional<Permit> Semaphore::try_acquire(size_t count) {
  rt::LockGuard guard(lock_);
  if (!waiting_.empty() || permits_ < count) return std::nullopt;
  permits_ -= count;
  return Permit(this, count);
}

size_t Semaphore::available() {
  rt::LockGuard guard(lock_);
  return permits_;
}

void Semaphore::release(size_t count) {
  absl::InlinedVector<AcquireOperation*, 4> served;
  {
    rt::LockGuard guard(lock_);
    permits_ += count;
    while (rt::Operation* first = waiting_.front()) {
      auto* waiter = static_cast<AcquireOperation*>(first);
      if (permits_ < waiter->count_) break;
      waiting_.pop_front();
      if (!waiter->try_claim()) continue;
      permits_ -= waiter->count_;
      served.push_back(waiter);
    }
  }
  // The semaphore may end with the last of them, so it is not touched from here on.
  for (AcquireOperation* waiter : served) waiter->wake();
}

void Permit::release() {
  if (Semaphore* semaphore = std::exchange(semaphore_, nullptr)) semaphore->release(count_);
}

}  // namespace zsync
