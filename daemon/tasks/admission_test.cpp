#include "daemon/tasks/admission.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

QueuedTask task(uint64_t order, int32_t priority = 0) {
  QueuedTask task;
  task.order = order;
  task.group = "g";
  task.priority = priority;
  return task;
}

GroupSettings bounded(OverloadPolicy policy, uint32_t queued_max, uint32_t parallel = 1) {
  GroupSettings settings;
  settings.parallel = parallel;
  settings.overload = policy;
  settings.queued_max = queued_max;
  return settings;
}

TEST(Admission, ADrainedGroupTakesNothingAndSaysWhoDrainedItAndHowToUndoIt) {
  TaskQueue queue(1);
  GroupSettings settings;
  settings.drained = {1'000'000'000, 1000, 42};
  queue.set_group("g", settings, 0);
  Admission admission;
  const absl::Status refused = admission.admit({{"g", 1}}, queue);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("drained by uid 1000 (pid 42) since 1970-01-01T00:00:01Z"));
  EXPECT_THAT(fault_detail(refused)->hint, HasSubstr("tasks group undrain g"));
  EXPECT_TRUE(admission.admit({{"other", 1}}, queue).ok());
  queue.add(task(1), 0);
  EXPECT_EQ(queue.next(0)->order, 1u) << "what is queued runs to the end";
}

TEST(Admission, WhatCannotFitIntoTheBudgetOfItsGroupIsRefusedWithTheCure) {
  GroupRecord group;
  group.name = "ci";
  group.settings.memory_bytes_max = (1 << 20) + 1;
  group.settings.cpu_millis_max = 1500;
  TaskSpec spec;
  spec.limits.memory_bytes = 1 << 20;
  spec.limits.cpu_millis = 1500;
  EXPECT_TRUE(check_budget(spec, group).ok());
  spec.limits.cpu_millis = 1501;
  absl::Status refused = check_budget(spec, group);
  EXPECT_EQ(fault_detail(refused)->field, "spec.limits.cpu_millis");
  EXPECT_EQ(fault_detail(refused)->limit, "budget = 1.5 CPUs");
  EXPECT_THAT(fault_detail(refused)->hint, HasSubstr("tasks group set ci --cpus"));
  spec.limits = {.memory_bytes = (1 << 20) + 1};
  refused = check_budget(spec, group);
  EXPECT_EQ(fault_detail(refused)->field, "spec.limits.memory_bytes") << "it counts whole MiB";
  EXPECT_TRUE(check_budget(TaskSpec(), group).ok());
}

TEST(Admission, ABudgetOutOfRangeIsRefusedByName) {
  const GroupHold by{1, 0, 0};
  for (uint64_t bytes : {uint64_t{1}, kBudgetMemoryBytesMax + 1}) {
    const auto refused = changed("g", {}, {.memory_bytes_max = bytes}, by);
    EXPECT_EQ(fault_detail(refused.status())->field, "memory_bytes_max") << bytes;
  }
  for (uint32_t millis : {1u, kCpuMillisMax + 1}) {
    const auto refused = changed("g", {}, {.cpu_millis_max = millis}, by);
    EXPECT_EQ(fault_detail(refused.status())->field, "cpu_millis_max") << millis;
  }
  const auto set = changed("g", {}, {.memory_bytes_max = 5 << 20, .cpu_millis_max = 10}, by);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(changed("g", *set, {.memory_bytes_max = 0}, by)->memory_bytes_max, 0u);
  EXPECT_EQ(changed("g", *set, {.memory_bytes_max = 0}, by)->cpu_millis_max, 10u);
}

TEST(Admission, AFullGroupThatRejectsCountsWhatIsOnItsWay) {
  TaskQueue queue(1);
  queue.set_group("g", bounded(OverloadPolicy::kReject, 2), 0);
  Admission admission;
  EXPECT_TRUE(admission.admit({{"g", 3}}, queue).ok()) << "one of them starts at once";
  const absl::Status refused = admission.admit({{"g", 1}}, queue);
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(fault_detail(refused)->limit, "queued_max = 2");
  admission.arrived({{"g", 3}});  // the disk refused them
  EXPECT_TRUE(admission.admit({{"g", 1}}, queue).ok());
  admission.arrived({{"g", 1}});
  for (uint64_t i = 1; i <= 3; ++i) queue.add(task(i), 0);
  EXPECT_TRUE(queue.next(0));
  EXPECT_FALSE(admission.admit({{"g", 1}}, queue).ok());
  EXPECT_FALSE(admission.admit({{"a", 5}, {"g", 1}}, queue).ok()) << "all of a call, or none";
  queue.finished(1, 0);
  EXPECT_TRUE(queue.next(0));
  EXPECT_TRUE(admission.admit({{"g", 1}}, queue).ok());
}

TEST(Admission, AFullGroupTakesNoMoreThoughPlacesAreFreeThatNobodyCanTake) {
  TaskQueue queue(8);
  queue.set_group("g", bounded(OverloadPolicy::kReject, 2, 8), 0);
  QueuedTask holder = task(1);
  holder.locks = {"l"};
  queue.add(holder, 0);
  EXPECT_TRUE(queue.next(0));
  for (uint64_t i = 2; i <= 3; ++i) {
    QueuedTask waiter = task(i);
    waiter.locks = {"l"};
    queue.add(waiter, 0);
  }
  EXPECT_FALSE(queue.next(0));
  Admission admission;
  EXPECT_FALSE(admission.admit({{"g", 1}}, queue).ok());
}

TEST(Admission, AnOverloadIsToldOnceAndSoIsItsEnd) {
  TaskQueue queue(1);
  queue.set_group("g", bounded(OverloadPolicy::kQueue, 1), 0);
  Admission admission;
  EXPECT_TRUE(admission.news(queue).empty());
  for (uint64_t i = 1; i <= 3; ++i) queue.add(task(i), 0);
  EXPECT_TRUE(queue.next(0));
  admission.overloaded("g");
  admission.overloaded("g");
  std::vector<Admission::Overload> news = admission.news(queue);
  ASSERT_EQ(news.size(), 1u);
  EXPECT_TRUE(news[0].begins);
  admission.overloaded("g");
  EXPECT_TRUE(admission.news(queue).empty());
  queue.remove(2, 0);
  EXPECT_TRUE(admission.news(queue).empty()) << "it is still at its bound";
  queue.remove(3, 0);
  news = admission.news(queue);
  ASSERT_EQ(news.size(), 1u);
  EXPECT_FALSE(news[0].begins);
}

TEST(Admission, AGroupThatShedsPushesOutTheOldestOfTheLowestPriority) {
  TaskQueue queue(1);
  queue.set_group("g", bounded(OverloadPolicy::kShed, 2), 0);
  for (const auto& [order, priority] : {std::pair{1, 0}, {2, 5}, {3, 0}, {4, 0}, {5, 9}}) {
    queue.add(task(static_cast<uint64_t>(order), priority), 0);
  }
  EXPECT_EQ(queue.next(0)->order, 5u) << "what can start starts first";
  for (uint64_t expected : {1u, 3u}) {
    const std::optional<Decision> shed = queue.next(0);
    ASSERT_TRUE(shed);
    EXPECT_EQ(shed->kind, Decision::Kind::kShed);
    EXPECT_EQ(shed->order, expected);
  }
  EXPECT_FALSE(queue.next(0));
  EXPECT_EQ(queue.group("g").queued, 2u);
  queue.set_group("g", bounded(OverloadPolicy::kShed, 1), 0);
  EXPECT_EQ(queue.next(0)->order, 4u) << "a lower bound counts for what waits already";
}

TEST(Admission, WhatAnUrgentTaskWaitsForIsShedLast) {
  TaskQueue queue(1);
  queue.set_group("g", bounded(OverloadPolicy::kShed, 2), 0);
  queue.add_running(task(9));
  queue.add(task(1), 0);
  queue.add(task(2), 0);
  QueuedTask urgent = task(3, 5);
  urgent.after = {{1, DependencyCondition::kOk}};
  queue.add(urgent, 0);
  const std::optional<Decision> shed = queue.next(0);
  ASSERT_TRUE(shed);
  EXPECT_EQ(shed->order, 2u);
}

TEST(Admission, SettingsAreChangedOneByOneAndCheckedTogether) {
  const GroupHold by{5, 1000, 42};
  GroupSettings settings;
  settings.parallel = 3;
  absl::StatusOr<GroupSettings> next = changed("g", settings, {.paused = true}, by);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->parallel, 3u);
  EXPECT_EQ(next->paused.pid, 42);
  next = changed("g", *next, {.paused = true, .drained = true}, {9, 1000, 43});
  EXPECT_EQ(next->paused.pid, 42) << "who was first";
  EXPECT_EQ(next->drained.pid, 43);
  next = changed("g", *next, {.paused = false}, by);
  EXPECT_FALSE(next->paused.on());
  EXPECT_TRUE(next->drained.on());
  const GroupChange shed{.overload = OverloadPolicy::kShed};
  EXPECT_EQ(fault_detail(changed("g", settings, shed, by).status())->field, "queued_max");
  EXPECT_TRUE(
      changed("g", settings, {.overload = OverloadPolicy::kShed, .queued_max = 1}, by).ok());
  EXPECT_EQ(fault_detail(changed("g", settings, {}, by).status())->field, "parallel");
  EXPECT_EQ(fault_detail(changed("g", settings, {.parallel = 5000}, by).status())->limit,
            "parallel_max = 4096");
  EXPECT_FALSE(changed("", settings, {.parallel = 1}, by).ok());
}

}  // namespace
}  // namespace zsync::daemon
