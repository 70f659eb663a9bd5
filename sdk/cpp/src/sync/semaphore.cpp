#include "absl/container/inlined_vector.h"
#include "rt/inheritance.hpp"
#include "zsync/rt/backoff.hpp"
#include "zsync/rwlock.hpp"
#include "zsync/sync.hpp"

namespace zsync {
namespace {

static_assert(Mutex::kInheritanceDepthMax == rt::kInheritanceDepthMax);

rt::TaskContext* task_of(rt::TaskContext* strand) { return strand ? strand->root : nullptr; }

}  // namespace

rt::Start AcquireOperation::start() {
  if (semaphore_->try_take(count_)) {
    if (try_claim()) return rt::Start::kFinished;
    semaphore_->release(count_);  // another branch of the select has won meanwhile
    return rt::Start::kWaiting;
  }
  const size_t permits = semaphore_->lock();
  if (semaphore_->waiting_.empty() && permits >= count_) {
    const bool claimed = try_claim();
    if (claimed) semaphore_->keep_holder(task_of(context()));
    semaphore_->unlock(claimed ? permits - count_ : permits);
    return claimed ? rt::Start::kFinished : rt::Start::kWaiting;
  }
  const bool waits = begin_wait();
  if (waits) {
    semaphore_->waiting_.push_back(*this);
    if (semaphore_->knows_holder() && context()) {
      rt::mutex_waiter_added(semaphore_, semaphore_->holder_, *task_of(context()));
    }
  }
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
  if (removed && semaphore_->knows_holder() && context()) {
    rt::mutex_waiter_removed(semaphore_, *task_of(context()));
  }
  semaphore_->unlock(permits);
  if (removed) semaphore_->serve(0);  // whoever stood behind a large request may fit now
  return removed;
}

std::optional<Permit> Semaphore::try_acquire(size_t count) {
  if (try_take(count)) return Permit(this, count);
  const size_t permits = lock();
  const bool free = waiting_.empty() && permits >= count;
  if (free) keep_holder(task_of(rt::current_context()));
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
  const bool slow = !waiting_.empty() || holder_;
  state_.store(permits * kPermit + (slow ? kWaiting : 0), std::memory_order_release);
}

void Semaphore::keep_holder(rt::TaskContext* task) {
  if (!knows_holder() || !task) return;
  task->ref();
  task->set_held();
  holder_ = task;
}

void Semaphore::serve(size_t count) {
  absl::InlinedVector<AcquireOperation*, 4> served;
  size_t permits = lock() + count;
  rt::TaskContext* const before = count > 0 ? std::exchange(holder_, nullptr) : nullptr;
  while (rt::Operation* first = waiting_.front()) {
    auto* waiter = static_cast<AcquireOperation*>(first);
    if (permits < waiter->count_) break;
    waiting_.pop_front();
    rt::TaskContext* const task = task_of(waiter->context());
    if (task && knows_holder()) rt::mutex_waiter_removed(this, *task);
    if (!waiter->try_claim()) continue;
    permits -= waiter->count_;
    keep_holder(task);
    served.push_back(waiter);
  }
  if (before) rt::mutex_holder_changed(this, holder_);
  unlock(permits);
  // The semaphore may end with the last of them, so it is not touched from here on.
  if (before) before->unref();
  for (AcquireOperation* waiter : served) waiter->wake();
}

}  // namespace zsync
