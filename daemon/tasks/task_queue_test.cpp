#include "daemon/tasks/task_queue.hpp"

#include <gtest/gtest.h>

#include <random>

namespace zsync::daemon {
namespace {

TEST(TaskQueue, HigherPriorityStartsFirstAndEqualsKeepTheirOrder) {
  TaskQueue queue(10);
  queue.add("g", 0, 1, "a");
  queue.add("g", 5, 2, "b");
  queue.add("g", 0, 3, "c");
  queue.add("g", 5, 4, "d");
  for (const char* expected : {"b", "d", "a", "c"}) EXPECT_EQ(queue.start_next(), expected);
  EXPECT_FALSE(queue.start_next());
}

TEST(TaskQueue, AGroupNeverRunsMoreThanItsLimit) {
  TaskQueue queue(1);
  queue.set_parallel("g", 2);
  for (uint64_t i = 0; i < 3; ++i) queue.add("g", 0, i, std::to_string(i));
  EXPECT_TRUE(queue.start_next());
  EXPECT_TRUE(queue.start_next());
  EXPECT_FALSE(queue.start_next());
  queue.finished("g");
  EXPECT_EQ(queue.start_next(), "2");
}

TEST(TaskQueue, AFullGroupDoesNotHoldUpAnother) {
  TaskQueue queue(1);
  queue.add("a", 0, 1, "1");
  queue.add("a", 0, 2, "2");
  queue.add("b", 0, 3, "3");
  EXPECT_EQ(queue.start_next(), "1");
  EXPECT_EQ(queue.start_next(), "3");
  EXPECT_FALSE(queue.start_next());
}

TEST(TaskQueue, RaisingALimitLetsWaitingTasksStart) {
  TaskQueue queue(1);
  queue.add("g", 0, 1, "1");
  queue.add("g", 0, 2, "2");
  EXPECT_TRUE(queue.start_next());
  EXPECT_FALSE(queue.start_next());
  queue.set_parallel("g", 2);
  EXPECT_TRUE(queue.start_next());
}

TEST(TaskQueue, ARemovedTaskNeverStarts) {
  TaskQueue queue(4);
  queue.add("g", 0, 1, "1");
  EXPECT_TRUE(queue.remove("g", 0, 1, "1"));
  EXPECT_FALSE(queue.remove("g", 0, 1, "1"));
  EXPECT_FALSE(queue.start_next());
  EXPECT_EQ(queue.queued(), 0u);
}

TEST(TaskQueue, ThePositionSaysHowManyStartBefore) {
  TaskQueue queue(1);
  queue.add("g", 0, 1, "1");
  queue.add("g", 9, 2, "2");
  EXPECT_EQ(queue.position("g", 0, 1, "1"), 1u);
  EXPECT_EQ(queue.position("g", 9, 2, "2"), 0u);
  EXPECT_FALSE(queue.position("g", 9, 3, "3"));
}

TEST(TaskQueue, TasksThatRanBeforeTheQueueBeganCountAgainstTheLimit) {
  TaskQueue queue(1);
  queue.add_running("g");
  queue.add("g", 0, 1, "1");
  EXPECT_FALSE(queue.start_next());
  queue.finished("g");
  EXPECT_EQ(queue.start_next(), "1");
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
    std::map<std::string, int> running;
    for (uint64_t order = 1; order < 300; ++order) {
      const std::string group(1, static_cast<char>('a' + random() % 3));
      if (random() % 3 != 0) {
        const auto priority = static_cast<int32_t>(random() % 3);
        queue.add(group, priority, order, std::to_string(order));
        waiting[order] = {group, priority, order};
      } else if (running[group] > 0) {
        queue.finished(group);
        --running[group];
      }
      if (random() % 2 == 0) continue;
      while (std::optional<std::string> id = queue.start_next()) {
        const Waiting started = waiting.at(std::stoull(*id));
        waiting.erase(started.order);
        EXPECT_LT(running[started.group], 2) << "seed " << seed;
        ++running[started.group];
        for (const auto& [other_order, other] : waiting) {
          if (other.group != started.group) continue;
          EXPECT_LE(other.priority, started.priority) << "seed " << seed;
          if (other.priority == started.priority) EXPECT_GT(other.order, started.order);
        }
      }
      for (const auto& [left_order, left] : waiting) EXPECT_EQ(running[left.group], 2);
    }
  }
}

}  // namespace
}  // namespace zsync::daemon
