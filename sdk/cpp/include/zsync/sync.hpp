// Semaphore and Mutex: FIFO-fair, cancel-safe, awaitable.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "zsync/assert.hpp"
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
  rt::Start start() final;
  bool withdraw() noexcept final;
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
  // `permits` may be held at once.
  explicit Semaphore(size_t permits) : permits_(permits), total_(permits) {}
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
  size_t available();

 private:
  friend class AcquireOperation;
  friend class Permit;
  void release(size_t count);

  rt::Lock lock_;
  size_t permits_ ABSL_GUARDED_BY(lock_);
  const size_t total_;
  rt::WaitList waiting_ ABSL_GUARDED_BY(lock_);
};

// Mutual exclusion between tasks; unlike a thread's lock it may be held across co_await.
class Mutex {
 public:
  // Completes with the guard that unlocks at the end of its life. Cancel: throws Cancelled.
  [[nodiscard]] AcquireOperation lock() { return semaphore_.acquire(); }
  // Never waits; nullopt: it is locked, or somebody waits for it.
  std::optional<Permit> try_lock() { return semaphore_.try_acquire(); }

 private:
  Semaphore semaphore_{1};
};

}  // namespace zsync
