#include "zsync/barrier.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

constexpr int kParties = 5, kRounds = 40;

class BarrierOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(BarrierOnEveryModel);

TEST_P(BarrierOnEveryModel, NobodyIsMoreThanOneRoundAheadAndOneIsTheLastOfEach) {
  run_here([]() -> Task<void> {
    Barrier barrier(kParties);
    std::vector<std::atomic<int>> arrived(kRounds), last(kRounds);
    std::vector<Task<int>> tasks;
    for (int i = 0; i < kParties; ++i) {
      tasks.push_back([](Barrier& meeting, std::vector<std::atomic<int>>& counts,
                         std::vector<std::atomic<int>>& lasts) -> Task<int> {
        for (int round = 0; round < kRounds; ++round) {
          ++counts[round];
          if (co_await meeting.arrive_and_wait()) ++lasts[round];
          EXPECT_EQ(counts[round], kParties);
        }
        co_return 0;
      }(barrier, arrived, last));
    }
    (void)co_await all(std::move(tasks));
    for (const auto& count : last) EXPECT_EQ(count, 1);
  }());
}

TEST_P(BarrierOnEveryModel, ABarrierForOneNeverWaits) {
  run_here([]() -> Task<void> {
    Barrier barrier(1);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(co_await barrier.arrive_and_wait());
  }());
}

TEST(Barrier, WhoIsCancelledHasNotArrivedAndTheOthersGoOnWaiting) {
  explore(200, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Barrier barrier(3);
      auto arrive = [](Barrier& meeting) -> Task<bool> {
        co_return co_await meeting.arrive_and_wait();
      };
      TaskHandle<bool> first = spawn(arrive, std::ref(barrier));
      TaskHandle<bool> second = spawn(arrive, std::ref(barrier));
      co_await sleep(1s);
      second.cancel();
      co_await sleep(1s);
      TaskHandle<bool> third = spawn(arrive, std::ref(barrier));
      co_await sleep(1s);
      EXPECT_FALSE(first.done());
      EXPECT_FALSE(third.done());
      EXPECT_TRUE(co_await barrier.arrive_and_wait());
      EXPECT_FALSE(co_await first);
      EXPECT_FALSE(co_await third);
      EXPECT_TRUE(absl::IsCancelled(second.outcome().status()));
    }());
  });
}

// Cancelled before it starts, while it waits, or while the last one arrives: true when the cancel
// came first.
Task<bool> cancel_one_of_two(uint64_t yields_of_other, uint64_t yields_of_canceller) {
  auto barrier = std::make_unique<Barrier>(2);
  TaskHandle<bool> waiting =
      spawn([](Barrier& meeting) -> Task<bool> { co_return co_await meeting.arrive_and_wait(); },
            std::ref(*barrier));
  TaskHandle<bool> other = spawn(
      [](uint64_t yields, Barrier& meeting) -> Task<bool> {
        while (yields-- > 0) co_await yield_now();
        co_return co_await meeting.arrive_and_wait();
      },
      yields_of_other, std::ref(*barrier));
  while (yields_of_canceller-- > 0) co_await yield_now();
  waiting.cancel();
  bool cancelled = false;
  try {
    (void)co_await waiting;
  } catch (const Cancelled&) {
    cancelled = true;
  }
  if (cancelled) {
    (void)co_await barrier->arrive_and_wait();
  }
  (void)co_await other;
  barrier.reset();  // nobody looks at it any more
  co_return cancelled;
}

TEST(Barrier, ACancelAndTheOpeningNeverBothWin) {
  int ends[2] = {0, 0};
  explore(400, [&](SimRuntime& sim) {
    ++ends[sim.run(cancel_one_of_two(sim.random_below(5), sim.random_below(5)))];
  });
  EXPECT_GT(ends[0], 5);
  EXPECT_GT(ends[1], 5);
}

TEST_P(BarrierOnEveryModel, ACancelAndTheOpeningNeverBothWinOnThreads) {
  run_here([]() -> Task<void> {
    for (uint64_t round = 0; round < 1000; ++round) {
      (void)co_await cancel_one_of_two(round % 5, round % 7);
    }
  }());
}

TEST(Barrier, AnArrivalCanBeBoundedInTime) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    Barrier barrier(2);
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(barrier.arrive_and_wait(), 1s)).status()));
  }());
}

// The last to arrive cannot ask all others first whether their selects still want them.
static_assert(!rt::kMayBeSelected<ArriveOperation> && rt::kMayBeSelected<AcquireOperation>);

TEST(BarrierDeathTest, ABarrierForNobodyDies) {
  EXPECT_DEATH(Barrier(0), "count at least one party");
}

}  // namespace
}  // namespace zsync
