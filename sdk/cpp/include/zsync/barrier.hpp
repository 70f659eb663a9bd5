// Barrier: tasks that wait until a given number of them has arrived.
#pragma once

#include <cstddef>

#include "zsync/assert.hpp"
#include "zsync/rt/operation.hpp"
#include "zsync/task.hpp"

namespace zsync {

class Barrier;

// What arrive_and_wait() gives: co_await it, or hand it to timeout(). Not for select(): the last to
// arrive ends the wait of all others at once.
class ArriveOperation final : public rt::LeafOperation {
 public:
  // Marks it for select().
  struct EndsWithOthers {};

  // Use Barrier::arrive_and_wait().
  explicit ArriveOperation(Barrier& barrier) : barrier_(&barrier) {}
  rt::Start start() final;
  bool withdraw() noexcept final;
  const char* wait_kind() const noexcept final { return "barrier"; }
  bool await_resume() const {
    if (cancelled()) throw Cancelled();
    return last_;
  }

 private:
  Barrier* barrier_;
  bool last_ = false;
};

// Begins anew whenever it has opened.
//
// Lifetime: outlives its waiters.
// Threads:  every member may be called from any thread.
class Barrier {
 public:
  // Opens when `parties` have arrived, at least one.
  explicit Barrier(size_t parties) : parties_(parties) {
    ZS_ASSERT(parties > 0, "Barrier(0) would never open: count at least one party");
  }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  // Completes when as many as there are parties have arrived; true for exactly one of them, the
  // last.
  //
  // Cancel: throws Cancelled; it has not arrived then, and the others go on waiting.
  [[nodiscard]] ArriveOperation arrive_and_wait() { return ArriveOperation(*this); }

 private:
  friend class ArriveOperation;
  const size_t parties_;
  rt::Lock lock_;
  rt::WaitList waiting_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync
