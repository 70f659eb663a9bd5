// Branches that run where they were forked, are stolen, suspend, or are cancelled.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "zsync/testing/sim_runtime.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

Config workers(size_t count) {
  Config config;
  config.workers = count;
  return config;
}

class Fork : public ::testing::TestWithParam<size_t> {
 protected:
  template <typename T>
  T on_workers(Task<T> task) {
    return run(std::move(task), workers(GetParam()));
  }
};

INSTANTIATE_TEST_SUITE_P(Workers, Fork, ::testing::Values(1, 2, 4),
                         [](const auto& info) { return std::to_string(info.param); });

Task<uint64_t> fib(int n) {
  if (n < 2) co_return static_cast<uint64_t>(n);
  const auto [a, b] = co_await all(fib(n - 1), fib(n - 2));
  co_return a + b;
}

// As fib, with a suspension in some of the calls.
Task<uint64_t> interrupted_fib(int n, int every, std::atomic<int>& calls) {
  const int call = calls.fetch_add(1);
  if (call % every == 0) co_await yield_now();
  if (call % (every * 16) == 1) co_await sleep(10us);
  if (n < 2) co_return static_cast<uint64_t>(n);
  const auto [a, b] =
      co_await all(interrupted_fib(n - 1, every, calls), interrupted_fib(n - 2, every, calls));
  if (call % every == 1) co_await yield_now();
  co_return a + b;
}

TEST_P(Fork, ATreeOfBranchesThatOnlyComputeGivesItsResult) {
  EXPECT_EQ(on_workers(fib(22)), 17'711u);
}

TEST_P(Fork, ATreeWhoseBranchesSuspendInBetweenGivesItsResult) {
  for (int every : {1, 3, 7, 50}) {
    std::atomic<int> calls{0};
    EXPECT_EQ(on_workers(interrupted_fib(14, every, calls)), 377u) << every;
    EXPECT_EQ(calls.load(), 1'219);
  }
}

TEST(ForkInSimulation, ATreeWhoseBranchesSuspendGivesItsResultInEveryOrder) {
  testing::explore(200, [](testing::SimRuntime& sim) {
    std::atomic<int> calls{0};
    EXPECT_EQ(sim.run(interrupted_fib(6, 3, calls)), 8u);
  });
}

Task<int> number(int value) { co_return value; }
Task<int> number_later(int value) {
  co_await yield_now();
  co_return value;
}

TEST_P(Fork, TheResultsOfAListComeInItsOrderHoweverItsTasksEnd) {
  auto program = []() -> Task<void> {
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(i % 3 ? number(i) : number_later(i));
    const std::vector<int> results = co_await all(std::move(tasks));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(results[i], i);
    EXPECT_TRUE((co_await all(std::vector<Task<int>>{})).empty());
    co_await all(std::vector<Task<void>>{});
  };
  on_workers(program());
}

// Tells when it is destroyed.
struct Flag {
  std::shared_ptr<std::atomic<bool>> gone = std::make_shared<std::atomic<bool>>(false);
  Flag() = default;
  Flag(Flag&&) = default;
  ~Flag() {
    if (gone) gone->store(true);
  }
};

Task<void> take_argument(Flag) { co_return; }
Task<void> wait_until(std::shared_ptr<std::atomic<bool>> gone) {
  while (!gone->load()) co_await yield_now();
}

TEST_P(Fork, ABranchesArgumentsAreGoneWhenItHasEndedAlthoughItsSiblingsRun) {
  auto program = []() -> Task<void> {
    Flag flag;
    auto gone = flag.gone;
    // The second one ends only after the first one's argument was destroyed.
    co_await all(take_argument(std::move(flag)), wait_until(gone));
  };
  on_workers(program());
}

TEST_P(Fork, ASpawnedTasksArgumentsAreGoneWhenItHasEndedAlthoughItsHandleIsKept) {
  auto program = []() -> Task<void> {
    Flag flag;
    auto gone = flag.gone;
    TaskHandle<void> handle = spawn(take_argument(std::move(flag)));
    co_await wait_until(gone);
    co_await handle;
  };
  on_workers(program());
}

Task<void> fail_at_the_bottom(int depth) {
  if (depth == 0) throw std::runtime_error("at the bottom");
  co_await all(fail_at_the_bottom(depth - 1), number(depth));
}

TEST_P(Fork, AnExceptionOfADeepBranchSurfacesAtTheOutermostAwait) {
  auto program = []() -> Task<void> {
    try {
      co_await fail_at_the_bottom(50);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "at the bottom");
    }
  };
  on_workers(program());
}

Task<void> wait_for_ever(std::atomic<int>& waiting, std::atomic<int>& cancelled) {
  waiting.fetch_add(1);
  try {
    co_await sleep(1h);
  } catch (const Cancelled&) {
    cancelled.fetch_add(1);
    throw;
  }
}

Task<void> tree_of_waits(int depth, std::atomic<int>& waiting, std::atomic<int>& cancelled) {
  if (depth == 0) {
    co_await wait_for_ever(waiting, cancelled);
    co_return;
  }
  co_await all(tree_of_waits(depth - 1, waiting, cancelled),
               tree_of_waits(depth - 1, waiting, cancelled));
}

TEST_P(Fork, ACancelReachesEveryLeafThatWaitsBelowBranchesThatNeverDid) {
  auto program = []() -> Task<void> {
    std::atomic<int> waiting{0}, cancelled{0};
    TaskHandle<void> handle = spawn(tree_of_waits(5, waiting, cancelled));
    while (waiting.load() < 32) co_await yield_now();
    handle.cancel();
    EXPECT_THROW(co_await handle, Cancelled);
    EXPECT_EQ(cancelled.load(), 32);
  };
  on_workers(program());
}

TEST(ForkInSimulation, ACancelReachesEveryLeafWheneverItComes) {
  testing::explore(500, [](testing::SimRuntime& sim) {
    auto program = [&sim]() -> Task<void> {
      std::atomic<int> waiting{0}, cancelled{0};
      TaskHandle<void> handle = spawn(tree_of_waits(3, waiting, cancelled));
      for (uint64_t i = sim.random_below(40); i > 0; --i) co_await yield_now();
      handle.cancel();
      EXPECT_TRUE(absl::IsCancelled((co_await timeout(std::move(handle), 1min))));
      EXPECT_EQ(cancelled.load(), waiting.load());
    };
    sim.run(program());
  });
}

Task<void> compute_until_cancelled(std::atomic<bool>& computing) {
  computing.store(true);
  while (true) co_await all(number(1), number(2));
}

TEST(Forking, ABranchThatOnlyForksNoticesACancelOfItsTask) {
  auto program = []() -> Task<void> {
    std::atomic<bool> computing{false};
    auto handle = spawn(all(compute_until_cancelled(computing), number(1)));
    std::thread canceller([&] {
      while (!computing.load()) std::this_thread::yield();
      handle.cancel();
    });
    EXPECT_THROW((void)co_await handle, Cancelled);
    canceller.join();
  };
  run(program(), workers(2));
}

TEST_P(Fork, TheFirstErrorCancelsSiblingsThatOnlyFork) {
  auto program = []() -> Task<void> {
    std::atomic<bool> computing{false};
    auto fails = [&computing]() -> Task<void> {
      // With one worker the other branch comes first only when this one suspends.
      while (!computing.load()) co_await yield_now();
      throw std::runtime_error("failed");
    };
    auto computes = [&computing]() -> Task<void> {
      computing.store(true);
      for (int i = 0;; ++i) {
        co_await all(number(1), number(2));
        if (i % 100 == 0) co_await yield_now();
      }
    };
    EXPECT_THROW(co_await all(fails(), computes()), std::runtime_error);
  };
  on_workers(program());
}

TEST_P(Fork, ShieldedBranchesDoNotSeeACancelFromAboveAndItsTaskDoesAfterwards) {
  auto program = []() -> Task<void> {
    std::atomic<bool> inside{false}, go_on{false}, finished{false};
    auto shielded = [&]() -> Task<void> {
      inside.store(true);
      while (!go_on.load()) co_await yield_now();
      co_await all(number_later(1), number_later(2));
      finished.store(true);
    };
    auto outer = [&]() -> Task<void> {
      co_await all(shield(shielded()), number(1));
      co_await yield_now();
      ADD_FAILURE() << "a wait of a cancelled task went on";
    };
    TaskHandle<void> handle = spawn(outer());
    while (!inside.load()) co_await yield_now();
    handle.cancel();
    go_on.store(true);
    EXPECT_THROW(co_await handle, Cancelled);
    EXPECT_TRUE(finished.load());
  };
  on_workers(program());
}

TEST_P(Fork, AllMayBeTimedRacedShieldedSpawnedAndNested) {
  auto program = []() -> Task<void> {
    const auto timed = co_await timeout(all(number(1), number(2)), 1min);
    EXPECT_EQ(std::get<1>(*timed), 2);
    const auto late = co_await timeout(all(number(1),
                                           []() -> Task<int> {
                                             co_await sleep(1h);
                                             co_return 2;
                                           }()),
                                       1ms);
    EXPECT_TRUE(absl::IsDeadlineExceeded(late.status()));
    EXPECT_EQ(std::get<0>((co_await race(all(number(3), number(4)))).value), 3);
    EXPECT_EQ(std::get<0>(co_await shield(all(number(5), number(6)))), 5);
    EXPECT_EQ(std::get<0>(co_await spawn(all(number(7), number(8)))), 7);
    const auto nested = co_await all(all(number(9), number_later(10)), number(11));
    EXPECT_EQ(std::get<1>(std::get<0>(nested)), 10);
    Task<std::tuple<int, int>> as_task = all(number(12), number(13));
    EXPECT_EQ(std::get<0>(co_await std::move(as_task)), 12);
    auto fails = []() -> Task<int> {
      co_await yield_now();
      throw std::runtime_error("no");
    };
    EXPECT_EQ(std::get<1>(co_await any(all(number(14), fails()), all(number(16), number(17)))), 17);
    TaskHandle<std::tuple<int, int>> named = spawn({.name = "pair"}, all(number(18), number(19)));
    EXPECT_EQ(named.name(), "pair");
    EXPECT_EQ(std::get<1>(co_await named), 19);
    Executor executor;
    auto child = executor.spawn(all(number(20), number(21)));
    EXPECT_EQ(std::get<0>(co_await child), 20);
    co_await executor.join_all();
  };
  on_workers(program());
}

TEST_P(Fork, WhatAllGivesRunsAsTheMainTaskOfARuntime) {
  EXPECT_EQ(std::get<1>(run(all(number(1), number_later(2)), workers(GetParam()))), 2);
  auto runtime = Runtime::create(workers(GetParam()));
  ASSERT_TRUE(runtime.ok()) << runtime.status();
  EXPECT_EQ(std::get<0>((*runtime)->block_on(all(number(3), number(4)))), 3);
  TaskHandle<std::tuple<int, int>> handle = (*runtime)->spawn(all(number(5), number(6)));
  EXPECT_EQ(std::get<1>((*runtime)->block_on([](auto child) -> Task<std::tuple<int, int>> {
              co_return co_await child;
            }(std::move(handle)))),
            6);
  EXPECT_EQ(std::get<0>(run_simple([] { return all(number(7), number(8)); })), 7);
}

TEST_P(Fork, TasksForkedOnAPinnedTaskStayOnItsWorker) {
  auto program = []() -> Task<void> {
    SpawnOptions pinned;
    pinned.pinned = true;
    co_await spawn(pinned, []() -> Task<void> {
      const auto home = std::this_thread::get_id();
      auto stays = [home]() -> Task<void> {
        for (int i = 0; i < 20; ++i) {
          EXPECT_EQ(std::this_thread::get_id(), home);
          co_await yield_now();
        }
      };
      co_await all(stays(), stays(), stays());
    });
  };
  on_workers(program());
}

TEST_P(Fork, AStopTokenOfABranchSeesACancelOfTheTaskAndOutlivesIt) {
  auto program = []() -> Task<void> {
    StopToken token;
    std::atomic<bool> has_token{false};
    auto branch = [&]() -> Task<void> {
      token = StopToken::current();
      has_token.store(true);
      while (!token.stop_requested()) co_await shield(number_later(0));
    };
    auto handle = spawn(all(branch(), number(1)));
    while (!has_token.load()) co_await yield_now();
    EXPECT_FALSE(token.stop_requested());
    handle.cancel();
    co_await handle;
    EXPECT_TRUE(token.stop_requested());
  };
  on_workers(program());
}

TEST_P(Fork, AnExecutorLeftBehindByABranchIsWaitedFor) {
  auto program = []() -> Task<void> {
    std::atomic<bool> ended{false};
    auto outlives_its_cancel = [&ended]() -> Task<void> {
      try {
        co_await sleep(1h);
      } catch (const Cancelled&) {
      }
      co_await shield(number_later(0));
      ended.store(true);
    };
    auto leaves_behind = [&outlives_its_cancel]() -> Task<void> {
      Executor executor;
      (void)executor.spawn(outlives_its_cancel());
      co_return;
    };
    co_await all(leaves_behind(), number(1));
    EXPECT_TRUE(ended.load());
  };
  on_workers(program());
}

TEST(Forking, ATaskTakesOnePieceOfMemory) {
  // What a handle needs stands before the coroutine's frame: same address, no second allocation.
  auto program = []() -> Task<void> {
    TaskHandle<int> handle = spawn(number_later(7));
    rt::FrameBlock& block = rt::FrameBlock::of(handle.strand());
    EXPECT_EQ(static_cast<void*>(&block.strand()), static_cast<void*>(&handle.strand()));
    EXPECT_EQ(co_await handle, 7);
  };
  run(program(), workers(1));
}

struct alignas(64) Aligned {
  int value = 0;
};
Task<Aligned> aligned(int value) {
  co_await yield_now();
  co_return Aligned{value};
}

TEST_P(Fork, AResultKeepsItsAlignment) {
  auto program = []() -> Task<void> {
    const auto [a, b] = co_await all(aligned(1), aligned(2));
    EXPECT_EQ(a.value + b.value, 3);
    TaskHandle<Aligned> handle = spawn(aligned(4));
    rt::TaskContext& strand = handle.strand();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(rt::FrameBlock::of(strand).value_room<Aligned>()) % 64,
              0u);
    EXPECT_EQ((co_await handle).value, 4);
  };
  on_workers(program());
}

TEST(Forking, ACopyOfAnArgumentThatThrowsLeaksNothing) {
  struct Throwing {
    Throwing() = default;
    Throwing(const Throwing&) { throw std::runtime_error("no copy"); }
  };
  auto coroutine = [](Throwing) -> Task<void> { co_return; };
  const Throwing argument;
  EXPECT_THROW((void)coroutine(argument), std::runtime_error);
}

}  // namespace
}  // namespace zsync
