#include "zsync/testing/sim_runtime.hpp"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <set>

#include "testing/sim_environment_test.hpp"
#include "zsync/zsync.hpp"

namespace zsync::testing {
namespace {

using namespace std::chrono_literals;

Task<void> append(std::string& log, char letter) {
  for (int i = 0; i < 3; ++i) {
    log += letter;
    co_await yield_now();
  }
}

std::string order_of(uint64_t seed) {
  std::string log;
  SimRuntime sim(seed);
  sim.run([](std::string& out) -> Task<void> {
    co_await all(append(out, 'a'), append(out, 'b'), append(out, 'c'));
  }(log));
  return log;
}

TEST(SimRuntime, ASeedGivesTheSameOrderEveryTimeAndAnotherSeedAnotherOne) {
  std::set<std::string> orders;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(order_of(seed), order_of(seed));
    orders.insert(order_of(seed));
  }
  EXPECT_GT(orders.size(), 25u);
}

TEST(SimRuntime, TimeStandsStillWhileSomethingIsReadyAndThenJumpsToTheNextTimer) {
  SimRuntime sim(1);
  const rt::TimePoint begin = sim.now();
  sim.run([](SimRuntime& world, rt::TimePoint start) -> Task<void> {
    for (int i = 0; i < 100; ++i) co_await yield_now();
    EXPECT_EQ(world.now(), start);
    co_await sleep(24h);
    EXPECT_EQ(world.now(), start + 24h);
  }(sim, begin));
  EXPECT_EQ(sim.clock()(), begin + 24h);
}

TEST(SimRuntime, ABlockingFunctionIsAStepOfItsOwnAtARandomLaterMoment) {
  std::set<int> positions;
  explore(50, [&](SimRuntime& sim) {
    positions.insert(sim.run([]() -> Task<int> {
      int yields = 0;
      TaskHandle<int> handle = spawn_blocking([&yields] { return yields; });
      for (; yields < 10; ++yields) co_await yield_now();
      co_return co_await handle;
    }()));
  });
  EXPECT_GT(positions.size(), 3u);
}

TEST(SimRuntime, PostedFunctionsRunInOrderAndOutsideEveryTask) {
  SimRuntime sim(5);
  std::string log;
  sim.post([&] { log += rt::current_context() ? '!' : 'a'; });
  sim.post([&] { log += 'b'; });
  sim.advance(0s);
  EXPECT_EQ(log, "ab");
}

TEST(SimRuntime, AdvanceFiresTheTimersOfThatTimeAndNoOther) {
  SimRuntime sim(2);
  std::string log;
  sim.spawn(
         [](std::string& out) -> Task<void> {
           co_await sleep(1s);
           out += '1';
           co_await sleep(2s);
           out += '3';
         },
         std::ref(log))
      .detach();
  const rt::TimePoint begin = sim.now();
  sim.advance(2s);
  EXPECT_EQ(log, "1");
  EXPECT_EQ(sim.now(), begin + 2s);
  sim.advance(1s);
  EXPECT_EQ(log, "13");
}

TEST(SimRuntime, ADeadlockNamesTheWaitingTasksAndTheSeed) {
  SimRuntime sim(42);
  Channel<int> channel = bounded<int>(1);
  try {
    sim.run([](SimRuntime& world, Channel<int> silent) -> Task<void> {
      SpawnOptions options;
      options.name = "reader";
      TaskHandle<std::optional<int>> reader =
          world.spawn(options, [](Channel<int> in) -> Task<std::optional<int>> {
            co_return co_await in.recv();
          }(silent));
      co_await reader;
    }(sim, channel));
    FAIL() << "the deadlock was not seen";
  } catch (const SimFailure& failure) {
    EXPECT_STREQ(
        failure.what(),
        "deadlock: nothing is ready and no timer is set; waiting: \"main\", \"reader\" (seed 42)");
  }
  EXPECT_EQ(sim.active_tasks(), 0u);
}

TEST(SimRuntime, ALivelockEndsAtTheStepLimitWithItsName) {
  SimOptions options;
  options.steps_max = 1000;
  SimRuntime sim(1, options);
  try {
    sim.run([]() -> Task<void> {
      while (true) co_await yield_now();
    }());
    FAIL() << "the livelock was not seen";
  } catch (const SimFailure& failure) {
    EXPECT_NE(std::string(failure.what()).find("SimOptions::steps_max (1000)"), std::string::npos);
  }
}

TEST(SimRuntime, AWaitThatNoCancelCanEndEndsTheProgram) {
  EXPECT_DEATH(
      {
        SimRuntime sim(7);
        Channel<int> channel = bounded<int>(1);
        sim.run([](Channel<int> silent) -> Task<void> {
          co_await shield([](Channel<int> in) -> Task<void> { co_await in.recv(); }(silent));
        }(channel));
      },
      "while unwinding cancelled tasks: deadlock.*\"main\".*seed 7");
}

TEST(SimRuntime, BackgroundTasksAreCancelledAndUnwoundWhenTheForegroundHasEnded) {
  SimRuntime sim(3);
  std::string log;
  struct Guard {
    std::string& log;
    ~Guard() { log += "unwound"; }
  };
  SpawnOptions options;
  options.background = true;
  sim.spawn(options,
            [](std::string& out) -> Task<void> {
              Guard guard{out};
              while (true) co_await sleep(1s);
            }(log))
      .detach();
  EXPECT_EQ(sim.run([]() -> Task<int> {
    co_await sleep(10s);
    co_return 4;
  }()),
            4);
  EXPECT_EQ(log, "unwound");
}

TEST(SimRuntime, UnderOverloadTimersFireAlthoughStrandsAreReady) {
  const SimEnvironment environment;
  SimOptions options;
  options.overload_percent = 20;
  int expired = 0;
  explore(
      100,
      [&](SimRuntime& sim) {
        const absl::Status status = sim.run([]() -> Task<absl::Status> {
          co_return co_await timeout(
              []() -> Task<void> {
                for (int i = 0; i < 10; ++i) co_await yield_now();
              }(),
              1h);
        }());
        expired += absl::IsDeadlineExceeded(status);
      },
      options);
  EXPECT_GT(expired, 10);
  EXPECT_LT(expired, 100);
}

TEST(SimRuntime, ItsRandomNumbersBelongToTheSeed) {
  SimRuntime a(9), b(9), c(10);
  const uint64_t first = a.random();
  EXPECT_EQ(first, b.random());
  EXPECT_NE(first, c.random());
  EXPECT_LT(a.random_below(3), 3u);
}

TEST(Explore, TheFirstFailingScheduleEndsItAndItsSeedIsPrinted) {
  const SimEnvironment environment;
  int schedules = 0;
  ::testing::internal::CaptureStderr();
  EXPECT_NONFATAL_FAILURE(explore(100,
                                  [&](SimRuntime& sim) {
                                    ++schedules;
                                    if (sim.seed() == 5)
                                      throw std::runtime_error("seed five is special");
                                  }),
                          "seed five is special");
  const std::string line = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(line.find("ZSYNC_SIM_SEED=5 ZSYNC_SIM_POLICY=random ZSYNC_SIM_TIMES=1 "), 0u) << line;
  EXPECT_EQ(schedules, 5);
}

TEST(Explore, TheSeedOfTheEnvironmentIsTheFirstOne) {
  const SimEnvironment environment;
  setenv("ZSYNC_SIM_SEED", "123", 1);
  std::vector<uint64_t> seeds;
  explore(2, [&](SimRuntime& sim) { seeds.push_back(sim.seed()); });
  EXPECT_EQ(seeds, (std::vector<uint64_t>{123, 124}));
}

}  // namespace
}  // namespace zsync::testing
