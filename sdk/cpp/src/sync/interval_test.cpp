#include "zsync/interval.hpp"

#include <gtest/gtest.h>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class IntervalOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(IntervalOnEveryModel);

TEST(Interval, TicksAtMultiplesOfThePeriodWhateverTheWorkTakes) {
  SimRuntime sim(1);
  sim.run([](SimRuntime& world) -> Task<void> {
    Interval beat = interval(10s);
    co_await sleep(3s);  // the first period begins with the first tick()
    const rt::TimePoint begin = world.now();
    for (int i = 1; i <= 5; ++i) {
      EXPECT_EQ(co_await beat.tick(), 1u);
      EXPECT_EQ(world.now(), begin + i * 10s);
      co_await sleep(7s);
    }
  }(sim));
}

TEST(Interval, MissedTicksAreCountedAndDoNotComeInABurst) {
  SimRuntime sim(1);
  sim.run([](SimRuntime& world) -> Task<void> {
    Interval beat = interval(10s);
    const rt::TimePoint begin = world.now();
    EXPECT_EQ(co_await beat.tick(), 1u);
    co_await sleep(35s);
    EXPECT_EQ(co_await beat.tick(), 3u);
    EXPECT_EQ(world.now(), begin + 45s);
    EXPECT_EQ(co_await beat.tick(), 1u);
    EXPECT_EQ(world.now(), begin + 50s);
  }(sim));
}

// Cancelled before it starts, while it waits, and while it fires: such a tick was not taken.
TEST(Interval, AllTicksTogetherAreTheTimeThatHasPassedWhateverIsCancelledOrNotSelected) {
  testing::SimOptions options;
  options.overload_percent = 20;
  explore(
      300,
      [](SimRuntime& sim) {
        sim.run([](SimRuntime& world) -> Task<void> {
          Interval beat = interval(10ms);
          const rt::TimePoint begin = world.now();
          uint64_t ticks = co_await beat.tick();
          for (int i = 0; i < 20; ++i) {
            auto chosen = co_await select(beat.tick(), sleep(1ms * world.random_below(25)));
            if (chosen.index == 0) ticks += std::get<0>(chosen.value);
            const absl::StatusOr<uint64_t> tick =
                co_await timeout(beat.tick(), 1ms * world.random_below(25));
            if (tick.ok()) ticks += *tick;
            co_await sleep(1ms * world.random_below(25));
          }
          ticks += co_await beat.tick();
          EXPECT_EQ(ticks, static_cast<uint64_t>((world.now() - begin) / 10ms));
        }(sim));
      },
      options);
}

TEST_P(IntervalOnEveryModel, RealTicksAreNeverEarly) {
  run_here([]() -> Task<void> {
    Interval beat = interval(1ms);
    EXPECT_EQ(beat.period(), 1ms);
    const auto begin = std::chrono::steady_clock::now();
    uint64_t ticks = 0;
    for (int i = 0; i < 5; ++i) ticks += co_await beat.tick();
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 1ms * ticks);
  }());
}

TEST(IntervalDeathTest, APeriodOfNothingDies) {
  EXPECT_DEATH((void)interval(0ms), "a period that is not above zero");
}

}  // namespace
}  // namespace zsync
