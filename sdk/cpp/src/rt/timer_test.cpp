#include "zsync/rt/timer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;
using Clock = std::chrono::steady_clock;

class TimerOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(TimerOnEveryModel);
class TimerOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(TimerOnOneWorker);

TEST_P(TimerOnEveryModel, ATimerIsNeverEarly) {
  run_here([]() -> Task<void> {
    std::vector<Task<int>> sleepers;
    for (int i = 0; i < 200; ++i) {
      sleepers.push_back([](rt::Duration delay) -> Task<int> {
        const Clock::time_point begin = Clock::now();
        co_await sleep(delay);
        EXPECT_GE(Clock::now() - begin, delay);
        const Clock::time_point deadline = Clock::now() + 300us;
        co_await sleep_until(deadline);
        EXPECT_GE(Clock::now(), deadline);
        co_return 0;
      }(i * 97us));
    }
    (void)co_await all(std::move(sleepers));
  }());
}

TEST_P(TimerOnOneWorker, EqualDeadlinesEndInTheOrderInWhichTheyWereSet) {
  run_here([]() -> Task<void> {
    std::vector<int> order;
    const Clock::time_point deadline = Clock::now() + 20ms;
    std::vector<Task<int>> sleepers;
    for (int i = 0; i < 50; ++i) {
      sleepers.push_back([](std::vector<int>& out, Clock::time_point at, int n) -> Task<int> {
        co_await sleep_until(at);
        out.push_back(n);
        co_return n;
      }(order, deadline, i));
    }
    (void)co_await all(std::move(sleepers));
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    EXPECT_EQ(order.size(), 50u);
  }());
}

TEST_P(TimerOnEveryModel, ADeadlineOfThePastCompletesAtOnce) {
  run_here([]() -> Task<void> {
    co_await sleep_until(Clock::now() - 1h);
    co_await sleep(0s);
    co_await sleep(-5s);
  }());
}

TEST(Timer, TheyEndInTheOrderOfTheirDeadlinesHoweverTheyAreSetAndCancelled) {
  explore(100, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      std::vector<rt::TimePoint> ended;
      std::vector<TaskHandle<void>> handles;
      for (int i = 0; i < 100; ++i) {
        handles.push_back(spawn(
            [](SimRuntime& w, std::vector<rt::TimePoint>& out, rt::Duration d) -> Task<void> {
              const rt::TimePoint deadline = w.now() + d;
              co_await sleep(d);
              EXPECT_EQ(w.now(), deadline);
              out.push_back(deadline);
            },
            std::ref(world), std::ref(ended), 1ms * world.random_below(1000)));
      }
      co_await sleep(1ms * world.random_below(500));
      size_t done = ended.size();
      for (size_t i = 0; i < handles.size(); i += 3) {
        handles[i].cancel();
      }
      co_await sleep(2s);
      EXPECT_GT(ended.size(), done / 2);
      EXPECT_TRUE(std::is_sorted(ended.begin(), ended.end()));
      for (auto& handle : handles) EXPECT_TRUE(handle.done());
    }(sim));
  });
}

TEST_P(TimerOnEveryModel, AThousandTimersAreCancelledFromAnotherTask) {
  run_here([]() -> Task<void> {
    std::vector<TaskHandle<void>> handles;
    for (int i = 0; i < 1000; ++i) {
      handles.push_back(spawn([]() -> Task<void> { co_await sleep(1h); }));
    }
    co_await yield_now();
    for (auto& handle : handles) handle.cancel();
    int cancelled = 0;
    for (auto& handle : handles) {
      try {
        co_await handle;
      } catch (const Cancelled&) {
        ++cancelled;
      }
    }
    EXPECT_EQ(cancelled, 1000);
  }());
}

}  // namespace
}  // namespace zsync
