// Semaphore and Mutex: FIFO-fair, cancel-safe, awaitable.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "zsync/assert.hpp"
#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync {

class Semaphore;

// Permits held; given back at the end of its life.
class [[nodiscard]] Permit {
 public:
  // Made by Semaphore::acquire(); takes over `count` permits.
  Permit(Semaphore* semaphore, size_t count) : semaphore_(semaphore), count_(count) {}
  Permit(Permit&& other) noexcept
      : semaphore_(std::exchange(other.semaphore_, nullptr)), count_(other.count_) {}
  Permit& operator=(Permit&& other) noexcept {
    release();
    semaphore_ = std::exchange(other.semaphore_, nullptr);
    count_ = other.count_;
    return *this;
  }
  ~Permit() { release(); }

  // Gives the permits back now.
  void release();

 private:
  Semaphore* semaphore_;
  size_t count_;
};

// What acquire() and lock() give: co_await it for the Permit, or hand it to select() or timeout().
class AcquireOperation final : public rt::LeafOperation {
 public:
  // Use Semaphore::acquire().
  AcquireOperation(Semaphore& semaphore, size_t count) : semaphore_(&semaphore), count_(count) {}

  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle);
  rt::Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final;
  void tell_wait(rt::WaitInfo& info) const noexcept final { info.count = count_; }
  Permit await_resume() {
    if (cancelled()) throw Cancelled();
    return Permit(semaphore_, count_);
  }

 private:
  friend class Semaphore;
  Semaphore* semaphore_;
  size_t count_;
};

// Lifetime: outlives its permits and its waiters.
// Threads:  every member may be called from any thread.
class Semaphore {
 public:
  static constexpr size_t kPermitsMax = SIZE_MAX / 8;  // permits; the rest is the state's

  // `permits` may be held at once.
  explicit Semaphore(size_t permits) : Semaphore(permits, /*lends_class=*/false) {
    ZS_ASSERT(permits <= kPermitsMax, "Semaphore(n) with n above Semaphore::kPermitsMax");
  }
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // Waits for `count` permits, in the order of asking; a large request is not overtaken.
  //
  // Cancel: throws Cancelled; nothing is held then.
  [[nodiscard]] AcquireOperation acquire(size_t count = 1) {
    ZS_ASSERT(count <= total_,
              "Semaphore::acquire(n) with n above its permits would wait for ever");
    return {*this, count};
  }
  // Never waits, and never overtakes a task that does; nullopt: not that many are free.
  std::optional<Permit> try_acquire(size_t count = 1);
  // Permits that nobody holds.
  size_t available() const { return state_.load(std::memory_order_relaxed) / kPermit; }

 private:
  friend class AcquireOperation;
  friend class Mutex;
  friend class Permit;
  // state_ is the free permits times kPermit, and these. Its bit is the lock, so that letting go of
  // the lock is the last that is done with a semaphore that may end then.
  static constexpr size_t kLocked = 1;   // the holder alone changes state_ and waiting_
  static constexpr size_t kWaiting = 2;  // somebody waits, or the holder is known
  static constexpr size_t kPermit = 4;

  Semaphore(size_t permits, bool lends_class)
      : state_(permits * kPermit), total_(permits), lends_class_(lends_class) {}

  // Without the lock, where nobody waits. False: it is locked, somebody waits, too few are free, or
  // the holder has to be known.
  bool try_take(size_t count);
  bool try_give(size_t count);
  size_t lock();
  void unlock(size_t permits);
  void release(size_t count);
  void serve(size_t count);
  bool knows_holder() const {
    return lends_class_ && rt::classes_used.load(std::memory_order_relaxed);
  }
  void keep_holder(rt::TaskContext* task);

  std::atomic<size_t> state_;
  const size_t total_;
  rt::WaitList waiting_;
  // Of a mutex, while some task of the process has a class: the task that holds it, referred to.
  rt::TaskContext* holder_ = nullptr;
  const bool lends_class_;
};

template <typename Promise>
bool AcquireOperation::await_suspend(std::coroutine_handle<Promise> handle) {
  rt::TaskContext& context = rt::strand_of(handle);
  if (!context.cancelled_here() && semaphore_->try_take(count_)) return false;
  return suspend(context, handle);
}

inline bool Semaphore::try_take(size_t count) {
  if (rt::classes_used.load(std::memory_order_relaxed) && lends_class_) [[unlikely]]
    return false;
  size_t state = state_.load(std::memory_order_relaxed);
  while (!(state & (kLocked | kWaiting)) && state / kPermit >= count) {
    if (state_.compare_exchange_weak(state, state - count * kPermit, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

inline bool Semaphore::try_give(size_t count) {
  size_t state = state_.load(std::memory_order_relaxed);
  while (!(state & (kLocked | kWaiting))) {
    if (state_.compare_exchange_weak(state, state + count * kPermit, std::memory_order_release,
                                     std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

inline void Semaphore::release(size_t count) {
  if (!try_give(count)) serve(count);
}

inline void Permit::release() {
  if (Semaphore* semaphore = std::exchange(semaphore_, nullptr)) semaphore->release(count_);
}

// Mutual exclusion between tasks; unlike a thread's lock it may be held across co_await.
//
// Priority inheritance (Sha, Rajkumar, Lehoczky: Priority Inheritance Protocols, 1990): while a
// task of a higher class waits, the task that holds the mutex runs with the waiter's class or
// deadline, and whoever holds what that one waits for too, up to kInheritanceDepthMax mutexes. It
// ends with the holding, and when the waiter is cancelled. The holder is the task that locked, also
// when the Permit has moved on. What was locked before the first task of the process with a class
// was spawned has no known holder. Semaphore and RwLock lend nothing.
class Mutex {
 public:
  static constexpr int kInheritanceDepthMax = 16;  // mutexes in a chain

  // Completes with the guard that unlocks at the end of its life. Cancel: throws Cancelled.
  [[nodiscard]] AcquireOperation lock() { return semaphore_.acquire(); }
  // Never waits; nullopt: it is locked, or somebody waits for it.
  std::optional<Permit> try_lock() { return semaphore_.try_acquire(); }

 private:
  Semaphore semaphore_{1, /*lends_class=*/true};
};

}  // namespace zsync
