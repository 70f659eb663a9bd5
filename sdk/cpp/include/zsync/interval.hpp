// interval(period): ticks at a steady pace.
//
//   zsync::Interval beat = zsync::interval(100ms);
//   while (true) { co_await beat.tick(); work(); }
#pragma once

#include <cstdint>
#include <optional>

#include "zsync/assert.hpp"
#include "zsync/rt/timer.hpp"
#include "zsync/task.hpp"

namespace zsync {

class Interval;

// What tick() gives: co_await it, or hand it to select() or timeout().
class TickOperation final : public rt::TimerOperation {
 public:
  // Use Interval::tick().
  explicit TickOperation(Interval& interval)
      : TimerOperation(rt::TimePoint{}), interval_(&interval) {}

  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> handle) {
    prepare(*rt::strand_of(handle).scheduler);
    return suspend(rt::strand_of(handle), handle);
  }
  // Used by the runtime before start().
  void prepare(rt::Scheduler& scheduler);
  const char* wait_kind() const noexcept final { return "interval's tick"; }
  uint64_t await_resume();

 private:
  Interval* interval_;
};

// Lifetime: outlives its pending tick().
// Threads:  one thread at a time; that thread may change.
class Interval {
 public:
  // Use interval().
  explicit Interval(rt::Duration period) : period_(period) {
    ZS_ASSERT(period > rt::Duration{0},
              "interval(d) with a period that is not above zero: yield_now() lets others run");
  }

  // Completes at the next multiple of the period, counted from the first call of tick(); never
  // early. Gives how many have passed since the last tick: 1 unless the task was late. Ticks do not
  // drift, and those that were missed do not come in a burst.
  //
  // Cancel: throws Cancelled; the tick has not been taken then.
  [[nodiscard]] TickOperation tick() { return TickOperation(*this); }

  // Time between two ticks.
  rt::Duration period() const { return period_; }

 private:
  friend class TickOperation;
  const rt::Duration period_;
  std::optional<rt::TimePoint> next_;  // set by the first tick()
};

// Ticks every `period`, which is above zero.
inline Interval interval(rt::Duration period) { return Interval(period); }

}  // namespace zsync
