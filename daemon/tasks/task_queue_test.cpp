#include "daemon/tasks/task_queue.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
using Kind = Decision::Kind;

QueuedTask task(uint64_t order, const std::string& group, int32_t priority = 0) {
  QueuedTask task;
  task.order = order;
  task.group = group;
  task.priority = priority;
  return task;
}

// 0: nothing starts.
uint64_t started(TaskQueue& queue, int64_t now = 0) {
  const std::optional<Decision> decision = queue.next(now);
  if (!decision) return 0;
  EXPECT_EQ(decision->kind, Kind::kStart);
  return decision->order;
}

GroupSettings parallel(uint32_t count) {
  GroupSettings settings;
  settings.parallel = count;
  return settings;
}

TEST(TaskQueue, HigherPriorityStartsFirstAndEqualsKeepTheirOrder) {
  TaskQueue queue(10);
  queue.add(task(1, "g"), 0);
  queue.add(task(2, "g", 5), 0);
  queue.add(task(3, "g"), 0);
  queue.add(task(4, "g", 5), 0);
  for (uint64_t expected : {2u, 4u, 1u, 3u, 0u}) EXPECT_EQ(started(queue), expected);
}

TEST(TaskQueue, AGroupNeverRunsMoreThanItsLimit) {
  TaskQueue queue(1);
  queue.set_group("g", parallel(2), 0);
  for (uint64_t i = 1; i <= 3; ++i) queue.add(task(i, "g"), 0);
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 2u);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(1, 0);
  EXPECT_EQ(started(queue), 3u);
}

TEST(TaskQueue, AStartTellsWhatTheTaskHasWaitedForAndHowLong) {
  TaskQueue queue(2);
  QueuedTask first = task(1, "g"), second = task(2, "g"), third = task(3, "g");
  first.locks = second.locks = {"cc"};
  third.after = {{1, DependencyCondition::kOk}};
  for (const QueuedTask& each : {first, second, third}) queue.add(each, 0);
  const std::optional<Decision> at_once = queue.next(500'000);
  ASSERT_TRUE(at_once);
  EXPECT_EQ(queue_waits_text(at_once->waits, "g"), "") << "less than a millisecond";
  EXPECT_EQ(started(queue, kSecond), 0u);
  queue.add(task(4, "g"), kSecond);
  EXPECT_EQ(started(queue, kSecond), 4u);
  queue.finished(1, 3 * kSecond);
  queue.ended(1, true, 3 * kSecond);
  const std::optional<Decision> behind = queue.next(3 * kSecond);
  ASSERT_TRUE(behind);
  ASSERT_EQ(behind->order, 2u);
  EXPECT_EQ(queue_waits_text(behind->waits, "g"),
            "0 1000000000 a place in group g\n1000000000 3000000000 lock cc");
  queue.finished(2, 5 * kSecond);
  const std::optional<Decision> last = queue.next(5 * kSecond);
  ASSERT_TRUE(last);
  EXPECT_EQ(queue_waits_text(last->waits, "g"),
            "0 3000000000 other tasks\n3000000000 5000000000 a place in group g");
}

TEST(TaskQueue, OneThatIsWokenInVainHasWaitedOn) {
  TaskQueue queue(9);
  QueuedTask low = task(3, "g", -5);
  low.locks = {"cc"};
  for (uint64_t order : {1u, 2u}) {
    QueuedTask one = task(order, "g");
    one.locks = {"cc"};
    queue.add(one, 0);
  }
  queue.add(low, 0);
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(1, kSecond);
  EXPECT_EQ(started(queue, kSecond), 2u);
  EXPECT_EQ(started(queue, kSecond), 0u);
  queue.finished(2, 2 * kSecond);
  const std::optional<Decision> start = queue.next(2 * kSecond);
  ASSERT_TRUE(start);
  EXPECT_EQ(queue_waits_text(start->waits, "g"), "0 2000000000 lock cc");
}

TEST(TaskQueue, AFullGroupDoesNotHoldUpAnother) {
  TaskQueue queue(1);
  queue.add(task(1, "a"), 0);
  queue.add(task(2, "a"), 0);
  queue.add(task(3, "b"), 0);
  EXPECT_EQ(started(queue) + started(queue), 4u);
  EXPECT_EQ(started(queue), 0u);
}

TEST(TaskQueue, RaisingALimitLetsWaitingTasksStart) {
  TaskQueue queue(1);
  queue.add(task(1, "g"), 0);
  queue.add(task(2, "g"), 0);
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 0u);
  queue.set_group("g", parallel(2), 0);
  EXPECT_EQ(started(queue), 2u);
}

TEST(TaskQueue, ARemovedTaskNeverStarts) {
  TaskQueue queue(4);
  queue.add(task(1, "g"), 0);
  EXPECT_TRUE(queue.remove(1, 0));
  EXPECT_FALSE(queue.remove(1, 0));
  EXPECT_EQ(started(queue), 0u);
  EXPECT_EQ(queue.queued(), 0u);
}

TEST(TaskQueue, ItSaysHowManyStartBefore) {
  TaskQueue queue(1);
  queue.add(task(1, "g"), 0);
  queue.add(task(2, "g", 9), 0);
  EXPECT_EQ(queue.explain(1, 0)->before_it, 1u);
  EXPECT_EQ(queue.explain(2, 0)->before_it, 0u);
  EXPECT_FALSE(queue.explain(3, 0));
}

TEST(TaskQueue, TasksThatRanBeforeTheQueueBeganCountAgainstTheLimit) {
  TaskQueue queue(1);
  queue.add_running(task(7, "g"));
  queue.add(task(8, "g"), 0);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(7, 0);
  EXPECT_EQ(started(queue), 8u);
}

TEST(TaskQueue, ATaskStartsAtItsTimeAndNoSooner) {
  TaskQueue queue(1);
  EXPECT_FALSE(queue.wake_at());
  QueuedTask later = task(1, "g", 9);
  later.not_before_unix_nano = 500;
  queue.add(later, 0);
  queue.add(task(2, "g"), 0);
  EXPECT_EQ(queue.wake_at(), 500);
  EXPECT_EQ(queue.explain(1, 499)->not_before_unix_nano, 500);
  EXPECT_EQ(started(queue, 499), 2u);
  queue.finished(2, 499);
  EXPECT_EQ(started(queue, 499), 0u);
  EXPECT_EQ(queue.group("g").queued, 1u);
  EXPECT_EQ(started(queue, 500), 1u);
  EXPECT_FALSE(queue.wake_at());
}

TEST(TaskQueue, ATaskThatWaitsForItsTimeCanBeTakenOut) {
  TaskQueue queue(1);
  QueuedTask later = task(1, "g");
  later.not_before_unix_nano = 500;
  queue.add(later, 0);
  EXPECT_TRUE(queue.remove(1, 0));
  EXPECT_FALSE(queue.wake_at());
  EXPECT_EQ(started(queue, 1000), 0u);
}

TEST(TaskQueue, AddingTwiceIsAddingOnceAlsoWhileItRuns) {
  TaskQueue queue(4);
  queue.add(task(1, "g"), 0);
  queue.add(task(1, "g"), 0);
  EXPECT_EQ(started(queue), 1u);
  queue.add(task(1, "g"), 0);
  EXPECT_EQ(started(queue), 0u);
  EXPECT_EQ(queue.running(), 1u);
}

TEST(TaskQueue, ATaskStartsOnceEveryTaskThatItWaitsForHasEndedAsItHasTo) {
  TaskQueue queue(4);
  queue.add(task(1, "g"), 0);
  queue.add(task(2, "g"), 0);
  QueuedTask after = task(3, "g");
  after.after = {{1, DependencyCondition::kOk}, {2, DependencyCondition::kFailed}};
  queue.add(after, 0);
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 2u);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(1, 0);
  queue.ended(1, true, 0);
  EXPECT_EQ(queue.explain(3, 0)->after.size(), 1u);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(2, 0);
  queue.ended(2, false, 0);
  EXPECT_EQ(started(queue), 3u);
}

TEST(TaskQueue, ATaskIsSkippedOnceWhatItWaitsForEndedOtherwise) {
  TaskQueue queue(4);
  queue.add(task(1, "g"), 0);
  QueuedTask ok = task(2, "g"), failed = task(3, "g"), any = task(4, "g");
  ok.after = {{1, DependencyCondition::kOk}};
  failed.after = {{1, DependencyCondition::kFailed}};
  any.after = {{1, DependencyCondition::kAny}};
  for (const QueuedTask& each : {ok, failed, any}) queue.add(each, 0);
  EXPECT_EQ(started(queue), 1u);
  queue.finished(1, 0);
  queue.ended(1, false, 0);
  const std::optional<Decision> skip = queue.next(0);
  ASSERT_TRUE(skip);
  EXPECT_EQ(skip->kind, Kind::kSkip);
  EXPECT_EQ(skip->order, 2u);
  EXPECT_EQ(skip->because, 1u);
  EXPECT_EQ(started(queue), 3u);
  EXPECT_EQ(started(queue), 4u);
}

TEST(TaskQueue, WhatAnUrgentTaskWaitsForIsAsUrgent) {
  TaskQueue queue(1);
  queue.add(task(1, "g"), 0);
  queue.add(task(2, "g", 5), 0);
  QueuedTask middle = task(3, "g", -1), urgent = task(4, "g", 9);
  middle.after = {{1, DependencyCondition::kOk}};
  urgent.after = {{3, DependencyCondition::kAny}};
  queue.add(middle, 0);
  queue.add(urgent, 0);
  EXPECT_EQ(queue.explain(1, 0)->priority, 9);
  EXPECT_EQ(queue.explain(3, 0)->priority, 9);
  queue.remove(4, 0);
  EXPECT_EQ(queue.explain(1, 0)->priority, 0) << "nobody urgent waits any more";
  queue.add(urgent, 0);
  EXPECT_EQ(started(queue), 1u);
}

TEST(TaskQueue, APrerequisiteThatComesLaterInheritsToo) {
  TaskQueue queue(1);
  QueuedTask urgent = task(2, "g", 9);
  urgent.after = {{3, DependencyCondition::kOk}};
  queue.add(urgent, 0);
  queue.add(task(1, "g", 5), 0);
  queue.add(task(3, "g"), 0);
  EXPECT_EQ(started(queue), 3u);
}

TEST(TaskQueue, AfterWaitingOneIntervalATaskCountsOnePointMore) {
  TaskQueue queue(1, 60 * kSecond);
  queue.add(task(1, "g", 0), kSecond);
  queue.add(task(2, "g", 2), 121 * kSecond);
  queue.add(task(3, "g", 1), 121 * kSecond);
  EXPECT_EQ(started(queue, 122 * kSecond), 2u) << "equal: the higher priority of its own is first";
  queue.finished(2, 0);
  EXPECT_EQ(started(queue, 122 * kSecond), 1u);
}

TEST(TaskQueue, TheEarlierDeadlineGoesFirstAmongEqualPriorities) {
  TaskQueue queue(9);
  QueuedTask late = task(1, "g"), soon = task(2, "g");
  late.deadline_unix_nano = 900;
  soon.deadline_unix_nano = 300;
  queue.add(late, 0);
  queue.add(soon, 0);
  queue.add(task(3, "g"), 0);
  queue.add(task(4, "g", 1), 0);
  for (uint64_t expected : {4u, 2u, 1u, 3u}) EXPECT_EQ(started(queue), expected);
}

TEST(TaskQueue, AGroupThatAsksForItGoesByDeadlineAlone) {
  TaskQueue queue(9);
  QueuedTask late = task(1, "g", 9), soon = task(2, "g", -9);
  late.deadline_unix_nano = 2 * kUndatedSlackNs;
  soon.deadline_unix_nano = 300;
  queue.add(late, 1);
  queue.add(soon, 1);
  queue.add(task(3, "g"), 1);
  GroupSettings settings = parallel(9);
  settings.order = StartOrder::kDeadline;
  queue.set_group("g", settings, 1);  // also what is queued already
  for (uint64_t expected : {2u, 3u, 1u}) EXPECT_EQ(started(queue, 1), expected);
}

TEST(TaskQueue, AMissedDeadlineIsSaidOnceAndTheTaskDoesNotStart) {
  TaskQueue queue(1);
  QueuedTask start = task(1, "g"), whole = task(2, "g");
  start.start_deadline_unix_nano = 100;
  start.deadline_unix_nano = 900;
  whole.deadline_unix_nano = 200;
  queue.add(task(9, "g", 1), 0);
  queue.add(start, 0);
  queue.add(whole, 0);
  EXPECT_EQ(started(queue), 9u);
  EXPECT_EQ(queue.wake_at(), 100);
  EXPECT_FALSE(queue.next(99));
  std::optional<Decision> missed = queue.next(100);
  ASSERT_TRUE(missed);
  EXPECT_EQ(missed->kind, Kind::kMissedStart);
  EXPECT_EQ(missed->order, 1u);
  missed = queue.next(250);
  ASSERT_TRUE(missed);
  EXPECT_EQ(missed->kind, Kind::kMissed);
  EXPECT_EQ(missed->order, 2u);
  EXPECT_EQ(queue.queued(), 0u);
}

TEST(TaskQueue, ALockIsHeldByOneTaskAcrossGroups) {
  TaskQueue queue(4);
  for (uint64_t order : {1u, 2u, 3u}) {
    QueuedTask locked = task(order, order == 2 ? "other" : "g");
    locked.locks = {"cargo"};
    queue.add(locked, 0);
  }
  queue.add(task(4, "g", -1), 0);
  const uint64_t first = started(queue);
  EXPECT_EQ(started(queue), 4u) << "a task without the lock goes past";
  EXPECT_EQ(started(queue), 0u);
  ASSERT_EQ(queue.explain(3, 0)->needs.size(), 1u);
  EXPECT_EQ(queue.explain(3, 0)->needs[0].holders, std::vector<uint64_t>{first});
  queue.finished(first, 0);
  const uint64_t second = started(queue);
  EXPECT_NE(second, 0u);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(second, 0);
  EXPECT_NE(started(queue), 0u);
  EXPECT_EQ(queue.resources().size(), 1u);
}

TEST(TaskQueue, AResourceIsSharedUpToItsCapacity) {
  TaskQueue queue(9);
  queue.set_capacity("gpu", 3, 0);
  auto with = [](uint64_t order, uint32_t amount) {
    QueuedTask made = task(order, "g");
    made.resources = {{"gpu", amount}};
    return made;
  };
  queue.add(with(1, 2), 0);
  queue.add(with(2, 2), 0);
  queue.add(with(3, 1), 0);
  queue.add(with(4, 5), 0);
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 3u);
  EXPECT_EQ(started(queue), 0u);
  queue.finished(1, 0);
  EXPECT_EQ(started(queue), 2u);
  EXPECT_EQ(started(queue), 0u) << "more than there is at all";
  queue.set_capacity("gpu", 8, 0);
  EXPECT_EQ(started(queue), 4u);
}

TEST(TaskQueue, RunningTasksOfAGroupFitIntoItsBudget) {
  TaskQueue queue(9);
  GroupSettings settings = parallel(9);
  settings.memory_bytes_max = 4 << 20;
  settings.cpu_millis_max = 2000;
  queue.set_group("g", settings, 0);
  auto with = [](uint64_t order, uint32_t mib, uint32_t millis, const std::string& group = "g") {
    QueuedTask made = task(order, group);
    made.memory_mib = mib;
    made.cpu_millis = millis;
    return made;
  };
  queue.add(with(1, 3, 0), 0);
  queue.add(with(2, 2, 500), 0);
  queue.add(with(3, 1, 1500), 0);
  queue.add(with(4, 0, 600), 0);
  queue.add(with(5, 0, 0), 0);
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 3u);
  EXPECT_EQ(started(queue), 5u) << "what declares nothing is not counted";
  EXPECT_EQ(started(queue), 0u);
  queue.add(with(6, 9, 9000, "other"), 0);
  EXPECT_EQ(started(queue), 6u) << "another group, without a budget";
  EXPECT_EQ(started(queue), 0u);
  EXPECT_EQ(queue.group("g").memory_bytes_used, 4u << 20);
  EXPECT_EQ(queue.group("g").cpu_millis_used, 1500u);
  const std::optional<TaskWaiting> waiting = queue.explain(2, 0);
  ASSERT_EQ(waiting->needs.size(), 1u);
  EXPECT_EQ(waiting->needs[0].name, "memory");
  EXPECT_TRUE(waiting->needs[0].budget);
  queue.finished(1, 0);
  EXPECT_EQ(started(queue), 2u);
  queue.finished(3, 0);
  EXPECT_EQ(started(queue), 4u);
}

TEST(TaskQueue, ALargerBudgetStartsWhatWaitedAndASmallerOneEndsNothing) {
  TaskQueue queue(9);
  GroupSettings settings = parallel(9);
  settings.memory_bytes_max = 2 << 20;
  queue.set_group("g", settings, 0);
  for (uint64_t order = 1; order <= 3; ++order) {
    QueuedTask made = task(order, "g");
    made.memory_mib = static_cast<uint32_t>(order);
    queue.add(made, 0);
  }
  EXPECT_EQ(started(queue), 1u);
  EXPECT_EQ(started(queue), 0u);
  settings.memory_bytes_max = 5 << 20;
  queue.set_group("g", settings, 0);
  EXPECT_EQ(started(queue), 2u);
  settings.memory_bytes_max = 1 << 20;
  queue.set_group("g", settings, 0);
  EXPECT_EQ(queue.group("g").running, 2u);
  queue.finished(1, 0);
  queue.finished(2, 0);
  EXPECT_EQ(started(queue), 0u) << "more than there is at all";
  settings.memory_bytes_max = 0;
  queue.set_group("g", settings, 0);
  EXPECT_EQ(started(queue), 3u);
}

TEST(TaskQueue, APausedGroupStartsNothingUntilItIsResumed) {
  TaskQueue queue(1);
  GroupSettings settings = parallel(1);
  settings.paused = {1, 0, 0};
  queue.set_group("g", settings, 0);
  queue.add(task(1, "g"), 0);
  EXPECT_EQ(started(queue), 0u);
  settings.paused = {};
  queue.set_group("g", settings, 0);
  EXPECT_EQ(started(queue), 1u);
}

}  // namespace
}  // namespace zsync::daemon
