#include "absl/container/inlined_vector.h"
#include "zsync/rt/backoff.hpp"
#include "zsync/rwlock.hpp"
#include "zsync/sync.hpp"

namespace zsync {

rt::Start AcquireOperation::start() {
  if (semaphore_->try_take(count_)) {
    if (try_claim()) return rt::Start::kFinished;
    semaphore_->release(count_);  // another branch of the select has won meanwhile
    return rt::Start::kWaiting;
  }
  const size_t permits = semaphore_->lock();
  if (semaphore_->waiting_.empty() && permits >= count_) {
    const bool claimed = try_claim();
    semaphore_->unlock(claimed ? permits - count_ : permits);
    return claimed ? rt::Start::kFinished : rt::Start::kWaiting;
  }
  const bool waits = begin_wait();
  if (waits) semaphore_->waiting_.push_back(*this);
  semaphore_->unlock(permits);
  return waits ? rt::Start::kWaiting : rt::Start::kFinished;
}

const char* AcquireOperation::wait_kind() const noexcept {
  if (semaphore_->total_ == 1) return "mutex, or semaphore of one permit";
  if (semaphore_->total_ != RwLock::kReadersMax) return "semaphore";
  return count_ == 1 ? "rwlock to read" : "rwlock to write";
}

bool AcquireOperation::withdraw() noexcept {
  const size_t permits = semaphore_->lock();
  const bool removed = semaphore_->waiting_.remove(*this);
  semaphore_->unlock(permits);
  if (removed) semaphore_->serve(0);  // whoever stood behind a large request may fit now
  return removed;
}

std::optional<Permit> Semaphore::try_acquire(size_t count) {
  if (try_take(count)) return Permit(this, count);
  const size_t permits = lock();
  const bool free = waiting_.empty() && permits >= count;
  unlock(free ? permits - count : permits);
  if (!free) return std::nullopt;
  return Permit(this, count);
}

// -> the free permits.
size_t Semaphore::lock() {
  rt::Backoff backoff;
  size_t state = state_.load(std::memory_order_relaxed);
  while (true) {
    if (state & kLocked) {
      backoff.pause();
      state = state_.load(std::memory_order_relaxed);
    } else if (state_.compare_exchange_weak(state, state | kLocked, std::memory_order_acquire,
                                            std::memory_order_relaxed)) {
      return state / kPermit;
    }
  }
}

void Semaphore::unlock(size_t permits) {
  state_.store(permits * kPermit + (waiting_.empty() ? 0 : kWaiting), std::memory_order_release);
}

void Semaphore::serve(size_t count) {
  absl::InlinedVector<AcquireOperation*, 4> served;
  size_t permits = lock() + count;
  while (rt::Operation* first = waiting_.front()) {
    auto* waiter = static_cast<AcquireOperation*>(first);
    if (permits < waiter->count_) break;
    waiting_.pop_front();
    if (!waiter->try_claim()) continue;
    permits -= waiter->count_;
    served.push_back(waiter);
  }
  unlock(permits);
  // The semaphore may end with the last of them, so it is not touched from here on.
  for (AcquireOperation* waiter : served) waiter->wake();
}

}  // namespace zsync
