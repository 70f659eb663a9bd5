// TimerQueue: the deadlines of one worker.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

class TimerQueue;

// `now` + `delay`, or the last point in time where that is beyond it.
inline TimePoint deadline_after(TimePoint now, Duration delay) {
  return delay > TimePoint::max() - now ? TimePoint::max() : now + delay;
}

// A wait for a point in time. Lives in the waiting frame.
class TimerOperation : public LeafOperation {
 public:
  explicit TimerOperation(TimePoint deadline) : deadline_(deadline) {}
  TimerOperation(Scheduler& scheduler, Duration delay)
      : deadline_(deadline_after(scheduler.now(), delay)) {}

  Start start() final;
  bool withdraw() noexcept final;

 protected:
  friend class TimerQueue;
  void set_deadline(TimePoint deadline) { deadline_ = deadline; }

 private:
  static constexpr size_t kNotQueued = static_cast<size_t>(-1);

  TimePoint deadline_;
  uint64_t order_ = 0;
  TimerQueue* queue_ = nullptr;
  size_t position_ = kNotQueued;
};

// A binary heap; equal deadlines fire in the order in which they were set.
// Threads: every member may be called from any thread; a canceller may be anywhere.
class TimerQueue {
 public:
  // Wakes everything due at `now`; how many that were.
  size_t fire(TimePoint now);
  std::optional<TimePoint> next_deadline();

 private:
  friend class TimerOperation;
  using Heap = std::vector<TimerOperation*>;

  void push(TimerOperation& timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void erase(size_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void sift_up(size_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void sift_down(size_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void place(size_t position, TimerOperation* timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  Lock lock_;
  Heap heap_ ABSL_GUARDED_BY(lock_);
  uint64_t next_order_ ABSL_GUARDED_BY(lock_) = 0;
};

}  // namespace zsync::rt
