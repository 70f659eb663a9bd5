// TimerQueue: the deadlines of one worker, or of a simulator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "zsync/rt/scheduler.hpp"
#include "zsync/rt/spin_lock.hpp"

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
  const char* wait_kind() const noexcept override { return "timer"; }
  void tell_wait(WaitInfo& info) const noexcept final {
    info.until = deadline_.time_since_epoch().count();
  }

 protected:
  friend class TimerQueue;
  void set_deadline(TimePoint deadline) { deadline_ = deadline; }

 private:
  static constexpr size_t kNotInHeap = static_cast<size_t>(-1);

  TimePoint deadline_;
  uint64_t order_ = 0;
  TimerQueue* queue_ = nullptr;
  WaitList* list_ = nullptr;  // a slot of the wheel, or what is due
  size_t position_ = kNotInHeap;
};

// A hierarchical timing wheel (Varghese, Lauck: Hashed and Hierarchical Timing Wheels, SOSP 1987):
// setting and cancelling take the same time however many there are. A slot that time has reached is
// put in order, so that timers fire in the order of their deadlines, exactly, and equal ones in the
// order in which they were set. One that is in order already fires as it is, without a look at
// each.
//
// Threads: every member may be called from any thread; a canceller may be anywhere.
class TimerQueue {
 public:
  TimerQueue();
  // Wakes what is due at `now`, at most `max` timers -> how many that were.
  size_t fire(TimePoint now, size_t max = SIZE_MAX);
  // The earliest deadline.
  std::optional<TimePoint> next_deadline();
  // The same at a fixed price; may be too early after a cancel.
  std::optional<TimePoint> next_wake();

 private:
  friend class TimerOperation;
  using Heap = std::vector<TimerOperation*>;
  using Tick = uint64_t;

  static constexpr int kTickBits = 13;  // a tick is 8.192 us
  static constexpr int kSlotBits = 6;
  static constexpr int kSlots = 1 << kSlotBits;
  static constexpr int kLevels = (64 - kTickBits + kSlotBits - 1) / kSlotBits;
  static constexpr size_t kWokenAtOnce = 32;  // timers taken under one lock
  // A deadline so far from the time that fire() was told is set without asking the clock again.
  static constexpr Duration kFarAhead = std::chrono::milliseconds(1);

  struct Slot {
    WaitList timers;
    // Of those that were put in since it was empty:
    TimePoint earliest = TimePoint::max();
    TimePoint latest = TimePoint::min();
    bool in_order = true;
  };
  struct NextSlot {
    int level;
    int slot;
    Tick start;
  };

  static Tick tick_of(TimePoint time);
  static bool earlier(const TimerOperation& a, const TimerOperation& b);

  void push(TimerOperation& timer, TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void put(TimerOperation& timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void make_due(TimerOperation& timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void erase(TimerOperation& timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  std::optional<NextSlot> next_slot() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Moves what may be due at `now` out of the wheel. False when there is nothing.
  bool open_slot(TimePoint now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // The slot that fires becomes one of the wheel again: what is left of it is out of the wheel.
  void empty_firing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // The earliest of the timers that are out of the wheel.
  TimerOperation* first() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  void heap_push(TimerOperation& timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void heap_erase(size_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void sift_up(size_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void sift_down(size_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void place(size_t position, TimerOperation* timer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  TimePoint told_;  // by fire(); owned by the worker's thread

  SpinLock lock_;
  size_t count_ ABSL_GUARDED_BY(lock_) = 0;
  Tick now_ ABSL_GUARDED_BY(lock_) = 0;  // slots up to here were opened
  uint64_t next_order_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t occupied_[kLevels] ABSL_GUARDED_BY(lock_) = {};  // a bit for each slot
  std::unique_ptr<Slot[]> slots_ ABSL_GUARDED_BY(lock_);    // kSlots of level 0, then level 1 ...
  Slot* firing_ ABSL_GUARDED_BY(lock_) = nullptr;           // out of the wheel; not empty
  WaitList due_ ABSL_GUARDED_BY(lock_);                     // out of the wheel, in order
  Heap heap_ ABSL_GUARDED_BY(lock_);                        // out of the wheel, the rest
};

}  // namespace zsync::rt
