#include "zsync/watch_value.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class WatchValueOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(WatchValueOnEveryModel);

TEST(WatchValue, ChangedGivesTheNewestValueOnceAndGetGivesItAlways) {
  WatchValue<std::string> name = watch<std::string>("a");
  EXPECT_EQ(name.get(), "a");
  EXPECT_FALSE(name.try_changed().has_value());  // the initial value counts as seen
  EXPECT_TRUE(name.set("b"));
  EXPECT_TRUE(name.set("c"));
  EXPECT_EQ(name.get(), "c");
  EXPECT_EQ(name.changed_blocking(), std::optional<std::string>("c"));
  EXPECT_FALSE(name.try_changed().has_value());
}

TEST(WatchValue, CopiesShareTheValueAndEachRemembersWhatItHasSeen) {
  WatchValue<int> first = watch(0);
  first.set(1);
  WatchValue<int> behind = first;
  EXPECT_EQ(first.try_changed(), std::optional<int>(1));
  WatchValue<int> ahead = first;
  EXPECT_EQ(behind.try_changed(), std::optional<int>(1));
  EXPECT_FALSE(ahead.try_changed().has_value());
  ahead.set(2);
  EXPECT_EQ(first.try_changed(), std::optional<int>(2));
  EXPECT_EQ(ahead.try_changed(), std::optional<int>(2));
}

TEST(WatchValue, AfterTheCloseTheLastValueIsSeenAndThenTheEnd) {
  WatchValue<int> value = watch(0);
  value.set(1);
  value.close();
  EXPECT_TRUE(value.is_closed());
  EXPECT_FALSE(value.set(2));
  EXPECT_EQ(value.changed_blocking(), std::optional<int>(1));
  EXPECT_FALSE(value.changed_blocking().has_value());
  EXPECT_EQ(value.get(), 1);
}

TEST(WatchValue, EveryWaiterIsWokenAlsoSeveralOfOneCopy) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      WatchValue<int> value = watch(0);
      auto wait = [](WatchValue<int>& watched) -> Task<std::optional<int>> {
        co_return co_await watched.changed();
      };
      std::vector<TaskHandle<std::optional<int>>> waiting;
      for (int i = 0; i < 3; ++i) waiting.push_back(spawn(wait, std::ref(value)));
      co_await sleep(1s);
      const bool closes = world.random_below(2) == 0;
      if (closes) {
        value.close();
      } else {
        value.set(4);
      }
      for (auto& handle : waiting) {
        EXPECT_EQ(co_await handle, closes ? std::nullopt : std::optional<int>(4));
      }
    }(sim));
  });
}

TEST(WatchValue, AnObserverSkipsButNeverGoesBackAndSeesTheLastValue) {
  testing::SimOptions options;
  options.overload_percent = 10;
  explore(
      300,
      [](SimRuntime& sim) {
        sim.run([](SimRuntime& world) -> Task<void> {
          WatchValue<int> value = watch(0);
          int newest = 0;
          std::vector<TaskHandle<int>> observers;
          for (int i = 0; i < 3; ++i) {
            observers.push_back(spawn(
                [](SimRuntime& random, WatchValue<int> watched, int& expected) -> Task<int> {
                  int last = 0;
                  while (true) {
                    const auto seen =
                        co_await timeout(watched.changed(), 1ms * random.random_below(3));
                    if (!seen.ok()) continue;  // in vain: nothing was seen
                    if (!*seen) break;
                    EXPECT_GT(**seen, last);
                    EXPECT_LE(**seen, expected);
                    last = **seen;
                    co_await sleep(1ms * random.random_below(3));
                  }
                  co_return last;
                },
                std::ref(world), value, std::ref(newest)));
          }
          for (int i = 1; i <= 20; ++i) {
            newest = i;
            value.set(i);
            if (world.random_below(2) == 0) co_await sleep(1ms * world.random_below(3));
          }
          value.close();
          for (auto& observer : observers) EXPECT_EQ(co_await observer, 20);
        }(sim));
      },
      options);
}

TEST_P(WatchValueOnEveryModel, PlainThreadsSetWhatTasksWatch) {
  WatchValue<int> value = watch(0);
  std::thread setter([value]() mutable {
    for (int i = 1; i <= 5000; ++i) EXPECT_TRUE(value.set(i));
    value.close();
  });
  run_here([](WatchValue<int> watched) -> Task<void> {
    auto observe = [](WatchValue<int> mine) -> Task<int> {
      int last = 0;
      while (std::optional<int> seen = co_await mine.changed()) {
        EXPECT_GT(*seen, last);
        last = *seen;
      }
      co_return last;
    };
    auto [a, b] = co_await all(observe(watched), observe(watched));
    EXPECT_EQ(a, 5000);
    EXPECT_EQ(b, 5000);
  }(value));
  setter.join();
}

}  // namespace
}  // namespace zsync
