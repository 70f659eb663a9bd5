#include "zsync/rt/timer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <utility>

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

TEST(Timer, DeadlinesNearAndFarSetInOrderAndOutOfItEndInTheirOrder) {
  explore(100, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      const rt::TimePoint begin = world.now();
      std::vector<rt::TimePoint> ended;
      std::vector<TaskHandle<void>> handles;
      rt::Duration delay{0};
      for (int i = 0; i < 200; ++i) {
        const bool in_order = world.random_below(4) != 0;
        delay = in_order ? delay + 1us * world.random_below(300) : 1us * world.random_below(90'000);
        handles.push_back(spawn(
            [](std::vector<rt::TimePoint>& out, rt::TimePoint deadline) -> Task<void> {
              co_await sleep_until(deadline);
              out.push_back(deadline);
            },
            std::ref(ended), begin + 1ms + delay));
      }
      for (auto& handle : handles) co_await handle;
      EXPECT_EQ(ended.size(), 200u);
      EXPECT_TRUE(std::is_sorted(ended.begin(), ended.end()));
    }(sim));
  });
}

// A scheduler that only keeps what was woken, and a time that the test sets.
class Bystander final : public rt::Scheduler {
 public:
  void schedule(rt::TaskContext& context) override { woken.push_back(&context); }
  void yield(rt::TaskContext&) override {}
  void strand_started(rt::TaskContext&) override {}
  void strand_finished(rt::TaskContext&) override {}
  rt::TimePoint now() override { return time; }
  rt::Classes& classes() override { std::abort(); }
  void sort_ready() override {}
  rt::TimerQueue& timers() override { return queue; }
  rt::Driver* driver() override { return nullptr; }
  int current_worker() override { return 0; }
  void post(int, std::function<void()>) override {}
  void run_blocking(std::function<void()>) override {}

  rt::TimePoint time{1h};
  rt::TimerQueue queue;
  std::vector<rt::TaskContext*> woken;
};

class Waiting final : public rt::TimerOperation {
 public:
  Waiting(Bystander& scheduler, rt::TimePoint deadline) : TimerOperation(deadline), at(deadline) {
    strand.scheduler = &scheduler;
    strand.root = &strand;
    set_context(strand);
    EXPECT_EQ(start(), rt::Start::kWaiting);
  }

  const rt::TimePoint at;
  rt::TaskContext strand;
};

// What fire() is told later than the deadlines: whole slots of the wheel are due at once.
TEST(Timer, WhatIsLookedAtLateIsWokenInTheOrderOfItsDeadlines) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    Bystander scheduler;
    std::vector<std::unique_ptr<Waiting>> timers;
    rt::Duration delay = 1us;
    const int out_of_order_percent = round % 2 ? 20 : 0;
    for (int i = 0; i < 300; ++i) {
      delay += 1us * (random() % 2000);
      const bool in_order = static_cast<int>(random() % 100) >= out_of_order_percent;
      const rt::Duration chosen = in_order ? delay : 1us + 1us * (random() % 400'000);
      timers.push_back(std::make_unique<Waiting>(scheduler, scheduler.time + chosen));
    }
    std::vector<rt::TimePoint> woken;
    for (rt::Duration look = 0us; woken.size() < timers.size(); look += 1us * (random() % 90'000)) {
      const rt::TimePoint time = scheduler.time + look;
      scheduler.queue.fire(time);
      for (const rt::TaskContext* strand : std::exchange(scheduler.woken, {})) {
        const auto found = std::find_if(timers.begin(), timers.end(), [strand](const auto& timer) {
          return &timer->strand == strand;
        });
        woken.push_back((*found)->at);
      }
      for (const auto& timer : timers) {
        const bool due = timer->at <= time;
        ASSERT_EQ(due, std::find(woken.begin(), woken.end(), timer->at) != woken.end());
      }
    }
    ASSERT_TRUE(std::is_sorted(woken.begin(), woken.end())) << "round " << round;
    ASSERT_FALSE(scheduler.queue.next_deadline());
  }
}

// A few are woken at a time, so that a slot stays half fired while others are set, also ones that
// belong into it a turn of the wheel later, and cancelled.
TEST(Timer, WhatIsSetAndCancelledBetweenTwoLooksKeepsItsTurn) {
  constexpr rt::Duration kTurn = 64 * 8'192ns;  // of the lowest wheel
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Bystander scheduler;
    std::vector<std::unique_ptr<Waiting>> timers;
    std::multimap<rt::TimePoint, Waiting*> expected;  // equal ones in the order of insertion
    rt::TimePoint moment = scheduler.time + 1us;
    for (int step = 0; step < 600; ++step) {
      const bool many = random() % 16 == 0;
      for (auto sets = many ? 60 : random() % 6; sets > 0; --sets) {
        if (!many && random() % 2 == 0) {
          moment = expected.empty()
                       ? moment
                       : expected.begin()->first + kTurn * static_cast<int>(random() % 4);
        }
        if ((!many && random() % 3 == 0) || moment <= scheduler.time) {
          moment = scheduler.time + 1us + 1us * (random() % (random() % 2 ? 700 : 40'000));
        }
        timers.push_back(std::make_unique<Waiting>(scheduler, moment));
        expected.emplace(moment, timers.back().get());
      }
      if (!expected.empty() && random() % 4 == 0) {
        const auto cancelled = std::next(expected.begin(), random() % expected.size());
        cancelled->second->strand.cancel();
        expected.erase(cancelled);
        scheduler.woken.clear();
      }
      scheduler.time += 1us * (random() % (random() % 2 ? 60 : 1'500));
      const size_t at_most = random() % 40 == 0 ? SIZE_MAX : 1 + random() % 6;
      const size_t fired = scheduler.queue.fire(scheduler.time, at_most);
      ASSERT_EQ(fired, scheduler.woken.size());
      for (const rt::TaskContext* strand : std::exchange(scheduler.woken, {})) {
        ASSERT_FALSE(expected.empty());
        ASSERT_EQ(strand, &expected.begin()->second->strand);
        ASSERT_LE(expected.begin()->first, scheduler.time);
        expected.erase(expected.begin());
      }
      const std::optional<rt::TimePoint> wake = scheduler.queue.next_wake();
      const std::optional<rt::TimePoint> next = scheduler.queue.next_deadline();
      ASSERT_EQ(next.has_value(), !expected.empty());
      if (!next) continue;
      ASSERT_EQ(*next, expected.begin()->first);
      ASSERT_LE(*wake, *next);
    }
    scheduler.queue.fire(scheduler.time + 1h);
    ASSERT_EQ(scheduler.woken.size(), expected.size());
  }
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
