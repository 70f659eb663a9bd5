#include "daemon/tasks/task_queue.hpp"

#include <gtest/gtest.h>

#include <random>

namespace zsync::daemon {
namespace {

TEST(TaskQueue, HigherPriorityStartsFirstAndEqualsKeepTheirOrder) {
  TaskQueue queue(10);
  queue.add({1, "g", 0});
  queue.add({2, "g", 5});
  queue.add({3, "g", 0});
  queue.add({4, "g", 5});
  for (uint64_t expected : {2u, 4u, 1u, 3u}) EXPECT_EQ(queue.start_next(0), expected);
  EXPECT_FALSE(queue.start_next(0));
}

TEST(TaskQueue, AGroupNeverRunsMoreThanItsLimit) {
  TaskQueue queue(1);
  queue.set_parallel("g", 2);
  for (uint64_t i = 0; i < 3; ++i) queue.add({i, "g", 0});
  EXPECT_TRUE(queue.start_next(0));
  EXPECT_TRUE(queue.start_next(0));
  EXPECT_FALSE(queue.start_next(0));
  queue.finished(0);
  EXPECT_EQ(queue.start_next(0), 2u);
}

TEST(TaskQueue, AFullGroupDoesNotHoldUpAnother) {
  TaskQueue queue(1);
  queue.add({1, "a", 0});
  queue.add({2, "a", 0});
  queue.add({3, "b", 0});
  EXPECT_EQ(queue.start_next(0), 1u);
  EXPECT_EQ(queue.start_next(0), 3u);
  EXPECT_FALSE(queue.start_next(0));
}

TEST(TaskQueue, RaisingALimitLetsWaitingTasksStart) {
  TaskQueue queue(1);
  queue.add({1, "g", 0});
  queue.add({2, "g", 0});
  EXPECT_TRUE(queue.start_next(0));
  EXPECT_FALSE(queue.start_next(0));
  queue.set_parallel("g", 2);
  EXPECT_TRUE(queue.start_next(0));
}

TEST(TaskQueue, ARemovedTaskNeverStarts) {
  TaskQueue queue(4);
  queue.add({1, "g", 0});
  EXPECT_TRUE(queue.remove(1));
  EXPECT_FALSE(queue.remove(1));
  EXPECT_FALSE(queue.start_next(0));
  EXPECT_EQ(queue.queued(), 0u);
}

TEST(TaskQueue, ThePositionSaysHowManyStartBefore) {
  TaskQueue queue(1);
  queue.add({1, "g", 0});
  queue.add({2, "g", 9});
  EXPECT_EQ(queue.position(1), 1u);
  EXPECT_EQ(queue.position(2), 0u);
  EXPECT_FALSE(queue.position(3));
}

TEST(TaskQueue, TasksThatRanBeforeTheQueueBeganCountAgainstTheLimit) {
  TaskQueue queue(1);
  queue.add_running(7, "g");
  queue.add({1, "g", 0});
  EXPECT_FALSE(queue.start_next(0));
  queue.finished(7);
  EXPECT_EQ(queue.start_next(0), 1u);
}

TEST(TaskQueue, ATaskStartsAtItsTimeAndNoSooner) {
  TaskQueue queue(1);
  EXPECT_FALSE(queue.wake_at());
  queue.add({1, "g", 9, 500});
  queue.add({2, "g", 0});
  EXPECT_FALSE(queue.position(1));
  EXPECT_EQ(queue.wake_at(), 500);
  EXPECT_EQ(queue.start_next(499), 2u);
  queue.finished(2);
  EXPECT_FALSE(queue.start_next(499));
  EXPECT_EQ(queue.queued(), 1u);
  EXPECT_EQ(queue.group("g").queued, 1u);
  EXPECT_EQ(queue.start_next(500), 1u);
  EXPECT_FALSE(queue.wake_at());
}

TEST(TaskQueue, ATaskThatWaitsForItsTimeCanBeTakenOut) {
  TaskQueue queue(1);
  queue.add({1, "g", 0, 500});
  EXPECT_TRUE(queue.remove(1));
  EXPECT_FALSE(queue.wake_at());
  EXPECT_FALSE(queue.start_next(1000));
}

TEST(TaskQueue, AddingTwiceIsAddingOnceAlsoWhileItRuns) {
  TaskQueue queue(4);
  queue.add({1, "g", 0});
  queue.add({1, "g", 0});
  EXPECT_EQ(queue.start_next(0), 1u);
  queue.add({1, "g", 0});
  EXPECT_FALSE(queue.start_next(0));
  EXPECT_EQ(queue.running(), 1u);
}

// Against an oracle: a plain list that is searched.
TEST(TaskQueue, RandomUseStartsWhatAPlainListWouldStart) {
  struct Waiting {
    std::string group;
    int32_t priority;
    uint64_t order;
  };
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    std::mt19937_64 random(seed);
    TaskQueue queue(2);
    std::map<uint64_t, Waiting> waiting;
    std::map<std::string, std::set<uint64_t>> running;
    for (uint64_t order = 1; order < 300; ++order) {
      const std::string group(1, static_cast<char>('a' + random() % 3));
      if (random() % 3 != 0) {
        const auto priority = static_cast<int32_t>(random() % 3);
        queue.add({order, group, priority});
        waiting[order] = {group, priority, order};
      } else if (!running[group].empty()) {
        queue.finished(*running[group].begin());
        running[group].erase(running[group].begin());
      }
      if (random() % 2 == 0) continue;
      while (std::optional<uint64_t> next = queue.start_next(0)) {
        const Waiting started = waiting.at(*next);
        waiting.erase(started.order);
        EXPECT_LT(running[started.group].size(), 2u) << "seed " << seed;
        running[started.group].insert(started.order);
        for (const auto& [other_order, other] : waiting) {
          if (other.group != started.group) continue;
          EXPECT_LE(other.priority, started.priority) << "seed " << seed;
          if (other.priority == started.priority) EXPECT_GT(other.order, started.order);
        }
      }
      for (const auto& [left_order, left] : waiting) EXPECT_EQ(running[left.group].size(), 2u);
    }
  }
}

}  // namespace
}  // namespace zsync::daemon
