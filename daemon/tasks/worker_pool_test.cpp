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

// What a pool must know after any events, kept the slow way.
class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) {}

  void step(int now) {
    switch (random_() % 8) {
      case 0: {
        const uint32_t window = 1 + random_() % 3;
        windows_[pool_.join(kName, window, 0, now)] = window;
        break;
      }
      case 1:
        if (!windows_.empty() && random_() % 2) leave();
        break;
      case 2:
        if (windows_.empty() || random_() % 4) break;
        draining_.insert(any(windows_));
        for (uint64_t worker : draining_) pool_.drain(worker);
        break;
      case 3:
        if (!calls_.empty()) give_up();
        break;
      case 4:
      case 5:
        if (!calls_.empty()) answer();
        break;
      default:
        hand();
    }
  }

  void check() const {
    uint32_t places = 0;
    uint32_t held_by_all = 0;
    for (const auto& [worker, window] : windows_) {
      uint32_t held = 0;
      uint32_t given_up = 0;
      for (const auto& [call, one] : calls_) {
        if (one.worker == worker) ++(one.given_up ? given_up : held);
      }
      EXPECT_LE(held + given_up, window);
      places += draining_.contains(worker) ? held : window - given_up;
      held_by_all += held;
    }
    EXPECT_EQ(pool_.places(kName, Lane::kTask), places);
    EXPECT_EQ(pool_.counts(kName).held, held_by_all);
    EXPECT_EQ(pool_.counts(kName).workers, windows_.size());
  }

 private:
  struct One {
    uint64_t worker;
    bool given_up;
  };

  template <typename Map>
  uint64_t any(const Map& map) {
    auto at = map.begin();
    std::advance(at, random_() % map.size());
    return at->first;
  }
  void leave() {
    const uint64_t worker = any(windows_);
    size_t held = 0;
    std::erase_if(calls_, [&](const auto& call) {
      held += call.second.worker == worker && !call.second.given_up;
      return call.second.worker == worker;
    });
    EXPECT_EQ(pool_.leave(worker).size(), held);
    windows_.erase(worker);
    draining_.erase(worker);
  }
  void give_up() {
    const uint64_t call = any(calls_);
    EXPECT_EQ(pool_.give_up(call).has_value(), !calls_.at(call).given_up);
    calls_.at(call).given_up = true;
  }
  void answer() {
    const uint64_t call = any(calls_);
    const One one = calls_.at(call);
    EXPECT_FALSE(pool_.answered(one.worker + 1000, call));
    EXPECT_EQ(pool_.answered(one.worker, call).has_value(), !one.given_up);
    EXPECT_FALSE(pool_.answered(one.worker, call));
    calls_.erase(call);
  }
  void hand() {
    const auto handed = pool_.hand(kName, Lane::kTask, 1, 0);
    if (!handed) return;
    EXPECT_FALSE(draining_.contains(handed->worker));
    EXPECT_TRUE(calls_.emplace(handed->call, One{handed->worker, false}).second);
  }

  std::mt19937 random_;
  WorkerPool pool_;
  std::map<uint64_t, One> calls_;
  std::map<uint64_t, uint32_t> windows_;
  std::set<uint64_t> draining_;
};

// Whatever happens in whatever order: no worker has more than its window, what is counted is what
// is there, and no call is answered twice.
TEST(WorkerPool, NoOrderOfEventsBreaksTheCounts) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Model model(seed);
    for (int step = 0; step < 300; ++step) {
      model.step(step);
      model.check();
      ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace zsync::daemon
