#include "zsync/priority.hpp"

#include <gtest/gtest.h>

#include <random>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class PriorityOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(PriorityOnOneWorker);
class PriorityOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(PriorityOnEveryModel);

constexpr int kFlood = 2000;  // yields, far more than any aging takes

SpawnOptions with(Priority priority) { return {.priority = priority}; }

Task<void> append(std::string& log, char letter, int times = 1) {
  for (int i = 0; i < times; ++i) {
    log += letter;
    co_await yield_now();
  }
}

Task<std::string> one_of_each_level() {
  std::string log;
  TaskHandle<void> low = spawn(with(Priority::low), append(log, 'l', 2));
  TaskHandle<void> normal = spawn(append(log, 'n', 2));
  TaskHandle<void> high = spawn(with(Priority::high), append(log, 'h', 2));
  TaskHandle<void> critical = spawn(with(Priority::critical), append(log, 'c', 2));
  co_await low;
  co_await normal;
  co_await high;
  co_await critical;
  co_return log;
}

TEST_P(PriorityOnOneWorker, WhatIsReadyRunsInTheOrderOfItsLevels) {
  EXPECT_EQ(run_here(one_of_each_level()), "cchhnnll");
}

TEST(Priority, TheSimulatorKeepsTheOrderOfLevelsInEverySchedule) {
  explore(300, [](SimRuntime& sim) { EXPECT_EQ(sim.run(one_of_each_level()), "cchhnnll"); });
}

TEST_P(PriorityOnOneWorker, EqualOnesRunInTheOrderInWhichTheyBecameReady) {
  EXPECT_EQ(run_here([]() -> Task<std::string> {
              std::string log;
              std::vector<TaskHandle<void>> handles;
              for (char letter = 'a'; letter <= 'e'; ++letter) {
                handles.push_back(spawn(with(Priority::high), append(log, letter, 2)));
              }
              for (auto& handle : handles) co_await handle;
              co_return log;
            }()),
            "abcdeabcde");
}

// Spawned tasks number themselves as they start.
TEST(Priority, NoWorkerTakesANormalStrandWhileAHigherOneIsReady) {
  constexpr int kWorkers = 2, kEach = 20;
  Config config;
  config.workers = kWorkers;
  std::vector<int> high(kEach), normal(kEach);
  std::atomic<int> blocked{0}, started{0};
  std::atomic<bool> go{false};
  auto runtime = *Runtime::create(config);
  for (int i = 0; i < kWorkers; ++i) {
    runtime
        ->spawn([](std::atomic<int>& count, std::atomic<bool>& open) -> Task<void> {
          ++count;
          while (!open) std::this_thread::yield();
          co_return;
        }(blocked, go))
        .detach();
  }
  while (blocked < kWorkers) std::this_thread::yield();
  const auto number = [](std::atomic<int>& next, int& mine) -> Task<void> {
    mine = ++next;
    co_return;
  };
  for (int i = 0; i < kEach; ++i) {
    runtime->spawn(number(started, normal[i])).detach();
    runtime->spawn(with(Priority::high), number(started, high[i])).detach();
  }
  go = true;
  runtime->wait_idle();
  for (int mine : normal) {
    // One that another worker has taken already may not have its number yet.
    EXPECT_LE(std::count_if(high.begin(), high.end(), [mine](int other) { return other > mine; }),
              kWorkers - 1);
  }
}

Task<std::string> branches_beside_a_flood() {
  std::string log;
  std::vector<TaskHandle<void>> flood;
  for (int i = 0; i < 3; ++i) flood.push_back(spawn(with(Priority::high), append(log, '.', 5)));
  co_await spawn(with(Priority::critical), [](std::string& out) -> Task<void> {
    co_await all(append(out, 'a', 3), append(out, 'a', 3), append(out, 'a', 3));
    co_await race(append(out, 'b', 3), append(out, 'b', 3));
    (void)co_await timeout(append(out, 'c', 3), 1h);
    co_await shield(append(out, 'd', 3));
  }(log));
  for (auto& handle : flood) co_await handle;
  co_return log;
}

TEST_P(PriorityOnOneWorker, BranchesHaveTheClassOfTheirTask) {
  const std::string log = run_here(branches_beside_a_flood());
  EXPECT_GE(log.find('.'), 9u + 4u + 3u + 3u) << log;
}

TEST(Priority, BranchesHaveTheClassOfTheirTaskInTheSimulator) {
  explore(100, [](SimRuntime& sim) {
    const std::string log = sim.run(branches_beside_a_flood());
    EXPECT_GE(log.find('.'), 9u + 3u + 3u + 3u) << log;
  });
}

TEST_P(PriorityOnOneWorker, SpawnedTasksAreNormalWhateverTheirParentIs) {
  EXPECT_EQ(run_here([]() -> Task<std::string> {
              std::string log;
              co_await spawn(with(Priority::critical), [](std::string& out) -> Task<void> {
                TaskHandle<void> child = spawn(append(out, 'n'));
                TaskHandle<void> high = spawn(with(Priority::high), append(out, 'h'));
                co_await child;
                co_await high;
              }(log));
              co_return log;
            }()),
            "hn");
}

// Yields until `stop`, at most kFlood times -> how often.
Task<int> flood_until(const bool& stop) {
  int rounds = 0;
  while (!stop && rounds < kFlood) {
    ++rounds;
    co_await yield_now();
  }
  co_return rounds;
}

Task<void> set(bool& flag) {
  flag = true;
  co_return;
}

Task<int> rounds_before(Priority flooding, Priority waiting) {
  bool reached = false;
  TaskHandle<int> flood = spawn(with(flooding), flood_until(reached));
  TaskHandle<void> waits = spawn(with(waiting), set(reached));
  const int rounds = co_await flood;
  co_await waits;
  co_return rounds;
}

TEST_P(PriorityOnOneWorker, NobodyStarves) {
  const int aging = static_cast<int>(kAgingRounds);
  const int a_few = 5;  // the strand that awaits, and rounds that begin
  EXPECT_LE(run_here(rounds_before(Priority::normal, Priority::low)), 2 * aging + a_few);
  EXPECT_LE(run_here(rounds_before(Priority::high, Priority::normal)), aging + a_few);
  EXPECT_LE(run_here(rounds_before(Priority::critical, Priority::normal)), aging + a_few);
  EXPECT_LE(run_here(rounds_before(Priority::high, Priority::low)), 3 * aging + a_few);
  EXPECT_LE(run_here(rounds_before(Priority::critical, Priority::high)), 2 * aging + a_few);
}

TEST_P(PriorityOnOneWorker, WithoutAgingTheyWouldWait) {
  // So much that the test above means something.
  EXPECT_GE(run_here(rounds_before(Priority::high, Priority::normal)),
            static_cast<int>(kAgingRounds) - 5);
  EXPECT_GE(run_here(rounds_before(Priority::critical, Priority::high)),
            static_cast<int>(kAgingRounds) - 5);
}

TEST(Priority, NobodyStarvesInTheSimulator) {
  explore(50, [](SimRuntime& sim) {
    const int aging = static_cast<int>(kAgingRounds);
    EXPECT_LE(sim.run(rounds_before(Priority::normal, Priority::low)), 2 * aging + 5);
    EXPECT_LE(sim.run(rounds_before(Priority::critical, Priority::normal)), 3 * aging + 5);
    EXPECT_LE(sim.run(rounds_before(Priority::critical, Priority::low)), 4 * aging + 5);
  });
}

TEST_P(PriorityOnEveryModel, TimersAndPostedFunctionsAreServedUnderAFlood) {
  run_here([]() -> Task<void> {
    std::atomic<bool> reached{false};
    TaskHandle<int> flood =
        spawn(with(Priority::critical), [](const std::atomic<bool>& stop) -> Task<int> {
          int rounds = 0;
          while (!stop) {
            ++rounds;
            co_await yield_now();
          }
          co_return rounds;
        }(reached));
    co_await sleep(1ms);
    co_await spawn_blocking([] {});
    reached = true;
    (void)co_await flood;
  }());
}

TEST_P(PriorityOnEveryModel, APinnedTaskWithAClassStaysOnItsWorker) {
  run_here([]() -> Task<void> {
    std::vector<TaskHandle<void>> handles;
    for (int i = 0; i < 20; ++i) {
      SpawnOptions options{.priority = i % 2 ? Priority::high : Priority::low, .pinned = true};
      handles.push_back(spawn(options, []() -> Task<void> {
        const std::thread::id home = std::this_thread::get_id();
        for (int n = 0; n < 50; ++n) {
          co_await yield_now();
          EXPECT_TRUE(std::this_thread::get_id() == home);
        }
      }()));
    }
    for (auto& handle : handles) co_await handle;
  }());
}

TEST_P(PriorityOnEveryModel, AStrandWithAClassIsWokenWhereItsWorkerSleeps) {
  if (GetParam() == ExecutionModel::caller) GTEST_SKIP() << "nobody runs it meanwhile";
  auto runtime = *Runtime::create(config_of(GetParam()));
  Channel<int> there = bounded<int>(1), back = bounded<int>(1);
  std::vector<TaskHandle<void>> handles;
  for (const bool pinned : {true, false}) {
    handles.push_back(runtime->spawn({.priority = Priority::high, .pinned = pinned},
                                     [](Channel<int> in, Channel<int> out) -> Task<void> {
                                       while (std::optional<int> value = co_await in.recv())
                                         (void)co_await out.send(*value);
                                     }(there, back)));
    for (int i = 0; i < 50; ++i) {
      (void)there.send_blocking(i);
      EXPECT_EQ(back.recv_blocking(), i);
    }
  }
  there.close();
  runtime->wait_idle();
}

Task<bool> send_on(Channel<int> out, int value) { co_return (co_await out.send(value)).ok(); }
Task<std::optional<int>> recv_from(Channel<int> in) { co_return co_await in.recv(); }

Task<int> busy(Channel<int> in, Channel<int> out, int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) {
    auto [sent, got] = co_await all(send_on(out, i), recv_from(in));
    sum += got.value_or(0);
    if (i % 8 == 0) co_await sleep(10us);
  }
  co_return sum;
}

TEST_P(PriorityOnEveryModel, TasksOfAllClassesWorkTogether) {
  run_here([]() -> Task<void> {
    constexpr int kRounds = 200;
    const Priority levels[] = {Priority::low, Priority::normal, Priority::high, Priority::critical};
    std::vector<TaskHandle<int>> handles;
    for (int i = 0; i < 16; ++i) {
      Channel<int> there = bounded<int>(1), back = bounded<int>(1);
      handles.push_back(spawn(with(levels[i % 4]), busy(there, back, kRounds)));
      SpawnOptions options = with(levels[i / 4]);
      if (i % 3 == 0) options.deadline = std::chrono::steady_clock::now() + 1h;
      handles.push_back(spawn(options, busy(back, there, kRounds)));
    }
    for (auto& handle : handles) {
      EXPECT_EQ(co_await handle, kRounds * (kRounds - 1) / 2);
    }
  }());
}

TEST_P(PriorityOnEveryModel, ACancelledTaskWithAClassUnwinds) {
  run_here([]() -> Task<void> {
    std::vector<TaskHandle<void>> handles;
    for (int i = 0; i < 10; ++i) {
      handles.push_back(spawn(with(i % 2 ? Priority::critical : Priority::low), []() -> Task<void> {
        while (true) co_await yield_now();
      }()));
    }
    co_await yield_now();
    for (auto& handle : handles) handle.cancel();
    for (auto& handle : handles) {
      bool cancelled = false;
      try {
        co_await handle;
      } catch (const Cancelled&) {
        cancelled = true;
      }
      EXPECT_TRUE(cancelled);
    }
  }());
}

}  // namespace
}  // namespace zsync
