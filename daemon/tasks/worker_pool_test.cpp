#include "daemon/tasks/worker_pool.hpp"

#include <gtest/gtest.h>

#include <random>

namespace zsync::daemon {
namespace {

constexpr char kName[] = "resize";

TEST(WorkerPool, ACallGoesToTheWorkerWithTheMostFreePlaces) {
  WorkerPool pool;
  const uint64_t small = pool.join(kName, 1, 0, 0);
  const uint64_t large = pool.join(kName, 3, 0, 0);
  EXPECT_EQ(pool.places(kName, Lane::kTask), 4u);
  EXPECT_EQ(pool.hand(kName, Lane::kTask, 1, 0)->worker, large);
  EXPECT_EQ(pool.hand(kName, Lane::kTask, 2, 0)->worker, large);
  std::vector<uint64_t> rest;
  for (uint64_t subject : {3, 4}) rest.push_back(pool.hand(kName, Lane::kTask, subject, 0)->worker);
  EXPECT_NE(rest[0], rest[1]);
  EXPECT_TRUE(rest[0] == small || rest[1] == small);
  EXPECT_FALSE(pool.hand(kName, Lane::kTask, 5, 0));
}

TEST(WorkerPool, AWorkerGetsNoMoreThanItsWindowUntilItAnswers) {
  WorkerPool pool;
  const uint64_t worker = pool.join(kName, 1, 0, 0);
  const auto first = pool.hand(kName, Lane::kTask, 7, 0);
  ASSERT_TRUE(first);
  EXPECT_FALSE(pool.hand(kName, Lane::kTask, 8, 0));
  const auto answered = pool.answered(worker, first->call);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->subject, 7u);
  EXPECT_TRUE(pool.hand(kName, Lane::kTask, 8, 0));
}

TEST(WorkerPool, DirectCallsAndTasksDoNotTakeEachOthersPlaces) {
  WorkerPool pool;
  pool.join(kName, 1, 0, 0);
  EXPECT_TRUE(pool.hand(kName, Lane::kTask, 1, 0));
  EXPECT_TRUE(pool.hand(kName, Lane::kDirect, 1, 0));
  EXPECT_FALSE(pool.hand(kName, Lane::kTask, 2, 0));
  EXPECT_FALSE(pool.hand(kName, Lane::kDirect, 2, 0));
}

TEST(WorkerPool, TheAnswerOfACallThatWasGivenUpIsRefusedAndFreesItsPlace) {
  WorkerPool pool;
  const uint64_t worker = pool.join(kName, 1, 0, 0);
  const auto handed = pool.hand(kName, Lane::kTask, 1, 0);
  EXPECT_EQ(pool.give_up(handed->call), worker);
  EXPECT_EQ(pool.places(kName, Lane::kTask), 0u);  // the worker is still busy with it
  EXPECT_FALSE(pool.hand(kName, Lane::kTask, 2, 0));
  EXPECT_FALSE(pool.give_up(handed->call));
  EXPECT_FALSE(pool.answered(worker, handed->call));
  EXPECT_EQ(pool.places(kName, Lane::kTask), 1u);
  EXPECT_TRUE(pool.hand(kName, Lane::kTask, 2, 0));
}

TEST(WorkerPool, AnAnswerCountsOnlyFromTheWorkerThatWasGivenTheCall) {
  WorkerPool pool;
  const uint64_t first = pool.join(kName, 1, 0, 0);
  const uint64_t handed = pool.hand(kName, Lane::kTask, 1, 0)->call;
  const uint64_t second = pool.join(kName, 1, 0, 0);
  EXPECT_FALSE(pool.answered(second, handed));
  EXPECT_TRUE(pool.answered(first, handed));
  EXPECT_FALSE(pool.answered(first, handed));  // a second time
}

TEST(WorkerPool, WhoLeavesGivesBackWhatItHeldOldestFirstAndItsNumbersNeverComeAgain) {
  WorkerPool pool;
  const uint64_t worker = pool.join(kName, 8, 0, 0);
  const uint64_t gone = pool.hand(kName, Lane::kTask, 1, 0)->call;
  const uint64_t kept = pool.hand(kName, Lane::kTask, 2, 0)->call;
  const uint64_t last = pool.hand(kName, Lane::kTask, 3, 0)->call;
  pool.give_up(gone);
  const std::vector<WorkerPool::Call> back = pool.leave(worker);
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[0].call, kept);
  EXPECT_EQ(back[1].subject, 3u);
  EXPECT_TRUE(pool.leave(worker).empty());
  EXPECT_EQ(pool.places(kName, Lane::kTask), 0u);
  EXPECT_FALSE(pool.hand(kName, Lane::kTask, 2, 0));
  pool.join(kName, 1, 0, 0);
  EXPECT_GT(pool.hand(kName, Lane::kTask, 2, 0)->call, last);
}

TEST(WorkerPool, ADrainingWorkerFinishesWhatItHasAndGetsNoMore) {
  WorkerPool pool;
  const uint64_t worker = pool.join(kName, 4, 0, 0);
  const uint64_t call = pool.hand(kName, Lane::kTask, 1, 0)->call;
  pool.drain(worker);
  EXPECT_FALSE(pool.hand(kName, Lane::kTask, 2, 0));
  EXPECT_EQ(pool.places(kName, Lane::kTask), 1u);
  EXPECT_TRUE(pool.answered(worker, call));
  EXPECT_EQ(pool.places(kName, Lane::kTask), 0u);
}

TEST(WorkerPool, ACallWhoseTimeHasComeIsToldOnceAndTheEarlierLimitCounts) {
  WorkerPool pool;
  const uint64_t worker = pool.join(kName, 2, 0, 0);
  const uint64_t call = pool.hand(kName, Lane::kTask, 1, 100)->call;
  EXPECT_EQ(pool.wake_at(), 100);
  pool.limit(call, 200);
  EXPECT_EQ(pool.wake_at(), 100);
  pool.limit(call, 50);
  EXPECT_EQ(pool.wake_at(), 50);
  EXPECT_TRUE(pool.expired(49).empty());
  EXPECT_EQ(pool.expired(50).size(), 1u);
  EXPECT_TRUE(pool.expired(1000).empty());
  EXPECT_EQ(pool.wake_at(), std::nullopt);
  EXPECT_TRUE(pool.answered(worker, call));
}

TEST(WorkerPool, AWorkerThatPromisedToSpeakIsMissedWhenItIsSilent) {
  WorkerPool pool;
  const uint64_t worker = pool.join(kName, 1, 100, 0);
  pool.join(kName, 1, 0, 0);  // promised nothing
  pool.heard(worker, 50);
  EXPECT_TRUE(pool.silent(149).empty());
  EXPECT_EQ(pool.silent(150), std::vector<uint64_t>{worker});
  pool.leave(worker);
  EXPECT_TRUE(pool.silent(1000).empty());
}

// Whatever happens in whatever order: no worker has more than its window, what is counted is what
// is there, and no call is answered twice.
TEST(WorkerPool, NoOrderOfEventsBreaksTheCounts) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    WorkerPool pool;
    struct One {
      uint64_t worker;
      bool given_up;
    };
    std::map<uint64_t, One> calls;
    std::map<uint64_t, uint32_t> windows;
    std::set<uint64_t> draining;
    for (int step = 0; step < 300; ++step) {
      const auto any = [&](const auto& map) {
        auto at = map.begin();
        std::advance(at, random() % map.size());
        return at->first;
      };
      switch (random() % 8) {
        case 0: {
          const uint32_t window = 1 + random() % 3;
          windows[pool.join(kName, window, 0, step)] = window;
          break;
        }
        case 1:
          if (windows.empty() || random() % 2) break;
          {
            const uint64_t worker = any(windows);
            size_t held = 0;
            std::erase_if(calls, [&](const auto& call) {
              held += call.second.worker == worker && !call.second.given_up;
              return call.second.worker == worker;
            });
            EXPECT_EQ(pool.leave(worker).size(), held);
            windows.erase(worker);
            draining.erase(worker);
          }
          break;
        case 2:
          if (windows.empty() || random() % 4) break;
          draining.insert(any(windows));
          for (uint64_t worker : draining) pool.drain(worker);
          break;
        case 3:
          if (calls.empty()) break;
          {
            const uint64_t call = any(calls);
            EXPECT_EQ(pool.give_up(call).has_value(), !calls[call].given_up);
            calls[call].given_up = true;
          }
          break;
        case 4:
        case 5:
          if (calls.empty()) break;
          {
            const uint64_t call = any(calls);
            const One one = calls[call];
            EXPECT_FALSE(pool.answered(one.worker + 1000, call));
            EXPECT_EQ(pool.answered(one.worker, call).has_value(), !one.given_up);
            EXPECT_FALSE(pool.answered(one.worker, call));
            calls.erase(call);
          }
          break;
        default: {
          const auto handed = pool.hand(kName, Lane::kTask, 1, 0);
          if (!handed) break;
          EXPECT_FALSE(draining.contains(handed->worker));
          EXPECT_TRUE(calls.emplace(handed->call, One{handed->worker, false}).second);
          break;
        }
      }
      uint32_t places = 0;
      uint32_t held_by_all = 0;
      for (const auto& [worker, window] : windows) {
        uint32_t held = 0, given_up = 0;
        for (const auto& [call, one] : calls) {
          if (one.worker == worker) ++(one.given_up ? given_up : held);
        }
        ASSERT_LE(held + given_up, window) << "seed " << seed;
        places += draining.contains(worker) ? held : window - given_up;
        held_by_all += held;
      }
      ASSERT_EQ(pool.places(kName, Lane::kTask), places) << "seed " << seed;
      ASSERT_EQ(pool.counts(kName).held, held_by_all) << "seed " << seed;
      ASSERT_EQ(pool.counts(kName).workers, windows.size()) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace zsync::daemon
