#include "daemon/tasks/schedule.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;

ScheduleSpec spec_of(uint64_t every_ms, MissedRuns missed = MissedRuns::kSkip) {
  ScheduleSpec spec;
  spec.name = "s";
  spec.every_ms = every_ms;
  spec.missed = missed;
  auto task = std::make_shared<TaskSpec>();
  task->argv = {"true"};
  spec.task = task;
  return spec;
}

ScheduleSpec cron_of(const char* cron, const char* zone) {
  ScheduleSpec spec = spec_of(0);
  spec.cron = cron;
  spec.time_zone = zone;
  return spec;
}

DueRuns due(const ScheduleSpec& spec, int64_t seen, int64_t now) {
  return due_runs(*Timetable::of(spec, 0), spec, seen, now);
}

TEST(Schedule, AnIntervalCountsFromItsCreation) {
  const Timetable every = *Timetable::of(spec_of(60'000), 5 * kSecond);
  EXPECT_EQ(every.next(0), 5 * kSecond + kMinute);
  EXPECT_EQ(every.next(5 * kSecond), 5 * kSecond + kMinute);
  EXPECT_EQ(every.next(5 * kSecond + kMinute - 1), 5 * kSecond + kMinute);
  EXPECT_EQ(every.next(5 * kSecond + kMinute), 5 * kSecond + 2 * kMinute);
}

TEST(Schedule, ATimeThatIsLookedAtInTimeIsRun) {
  const ScheduleSpec spec = spec_of(60'000);
  EXPECT_THAT(due(spec, 0, kMinute - 1).times, IsEmpty());
  const DueRuns runs = due(spec, 0, kMinute);
  EXPECT_THAT(runs.times, ElementsAre(kMinute));
  EXPECT_EQ(runs.seen, kMinute);
  EXPECT_EQ(runs.next, 2 * kMinute);
  EXPECT_THAT(due(spec, kMinute, kMinute + 10).times, IsEmpty()) << "once only";
  EXPECT_THAT(due(spec, 0, kMinute + kFreshNs).times, ElementsAre(kMinute));
}

TEST(Schedule, MissedTimesAreSkippedRunOnceOrAllRunUpToABound) {
  const int64_t now = 5 * kMinute + kFreshNs + 1;  // five were missed
  DueRuns runs = due(spec_of(60'000, MissedRuns::kSkip), 0, now);
  EXPECT_THAT(runs.times, IsEmpty());
  EXPECT_EQ(runs.missed, 5u);
  EXPECT_EQ(runs.seen, 5 * kMinute);
  EXPECT_EQ(runs.next, 6 * kMinute);
  runs = due(spec_of(60'000, MissedRuns::kOnce), 0, now);
  EXPECT_THAT(runs.times, ElementsAre(5 * kMinute));
  EXPECT_EQ(runs.missed, 4u);
  ScheduleSpec all = spec_of(60'000, MissedRuns::kAll);
  EXPECT_EQ(due(all, 0, now).times.size(), 5u);
  all.missed_max = 2;
  runs = due(all, 0, now);
  EXPECT_THAT(runs.times, ElementsAre(4 * kMinute, 5 * kMinute)) << "the newest ones";
  EXPECT_EQ(runs.missed, 3u);
}

TEST(Schedule, TheNewestTimeRunsBesidesWhatIsMadeUpFor) {
  const int64_t now = 3 * kMinute + 1;
  EXPECT_THAT(due(spec_of(60'000, MissedRuns::kSkip), 0, now).times, ElementsAre(3 * kMinute));
  EXPECT_THAT(due(spec_of(60'000, MissedRuns::kOnce), 0, now).times,
              ElementsAre(2 * kMinute, 3 * kMinute));
  EXPECT_THAT(due(spec_of(1'000, MissedRuns::kSkip), 0, 20 * kSecond).times,
              ElementsAre(20 * kSecond))
      << "of many within the grace only the newest one";
}

// Regression: a year of seconds is not counted one by one.
TEST(Schedule, AYearOfMissedSecondsIsDecidedAtOnce) {
  ScheduleSpec all = spec_of(1'000, MissedRuns::kAll);
  all.missed_max = 3;
  const int64_t now = 365 * 24 * kHour;
  const DueRuns runs = due(all, 7 * kSecond, now);
  EXPECT_THAT(runs.times, ElementsAre(now - 3 * kSecond, now - 2 * kSecond, now - kSecond, now));
  EXPECT_EQ(runs.missed, static_cast<uint64_t>(now / kSecond) - 7 - 4);
  EXPECT_EQ(due(spec_of(1'000), 7 * kSecond, now).missed,
            static_cast<uint64_t>(now / kSecond) - 7 - 1);
}

// A year of virtual time, looked at in steps of every size: each time comes once.
TEST(Schedule, EachTimeOfAYearRunsOnceHoweverOftenItIsLookedAt) {
  const ScheduleSpec spec = cron_of("30 2 * * *", "Europe/Berlin");
  const Timetable timetable = *Timetable::of(spec, 0);
  const int64_t begin = absl::ToUnixNanos(absl::FromUnixSeconds(1'767'225'600));  // 2026-01-01
  int64_t seen = begin;
  int64_t now = begin;
  std::vector<int64_t> ran;
  uint64_t step = 1;
  while (now < begin + 365 * 24 * kHour) {
    const DueRuns runs = due_runs(timetable, spec, seen, now);
    ran.insert(ran.end(), runs.times.begin(), runs.times.end());
    EXPECT_EQ(runs.missed, 0u);
    seen = runs.seen;
    step = step * 6364136223846793005u + 1442695040888963407u;
    now += static_cast<int64_t>(step >> 33) % kFreshNs + 1;
    if (runs.next && *runs.next > now + kMinute) now = *runs.next - 10 * kSecond;
  }
  EXPECT_EQ(ran.size(), 365u);
  EXPECT_TRUE(std::is_sorted(ran.begin(), ran.end()));
  EXPECT_EQ(std::adjacent_find(ran.begin(), ran.end()), ran.end());
}

TEST(Schedule, AMistakeIsToldWithItsField) {
  auto field = [](const ScheduleSpec& spec) {
    const absl::Status status = validate(spec);
    return status.ok() ? "" : fault_detail(status)->field;
  };
  EXPECT_EQ(field(spec_of(1000)), "");
  EXPECT_EQ(field(cron_of("30 2 * * *", "Europe/Berlin")), "");
  EXPECT_EQ(field(spec_of(999)), "spec.every");
  EXPECT_EQ(field(spec_of(0)), "spec.cron");
  EXPECT_EQ(field(cron_of("30 2 * * *", "Europe/Bärlin")), "spec.time_zone");
  const absl::Status never = validate(cron_of("0 0 30 2 *", ""));
  EXPECT_EQ(fault_detail(never)->field, "spec.cron");
  EXPECT_THAT(std::string(never.message()), HasSubstr("it never fires: feb has at most 29 days"));
  ScheduleSpec spec = spec_of(1000);
  spec.cron = "@daily";
  EXPECT_EQ(field(spec), "spec.cron");
  spec = spec_of(1000);
  spec.time_zone = "UTC";
  EXPECT_EQ(field(spec), "spec.time_zone");
  spec = spec_of(1000);
  spec.missed_max = 0;
  EXPECT_EQ(field(spec), "spec.missed_max");
  spec = spec_of(1000);
  spec.name = "a/b";
  EXPECT_EQ(field(spec), "spec.name");
  for (auto change : {+[](TaskSpec& task) { task.idempotency_key = "k"; },
                      +[](TaskSpec& task) { task.deadline_unix_nano = 5; },
                      +[](TaskSpec& task) { task.after = {{"t", DependencyCondition::kOk}}; }}) {
    spec = spec_of(1000);
    auto task = std::make_shared<TaskSpec>(*spec.task);
    change(*task);
    spec.task = task;
    EXPECT_EQ(field(spec), "spec.task");
  }
  spec = spec_of(1000);
  auto task = std::make_shared<TaskSpec>(*spec.task);
  task->priority = 5000;
  spec.task = task;
  EXPECT_EQ(field(spec), "spec.priority") << "the task is checked as it will be submitted";
}

TEST(Schedule, TheTaskOfOneTimeIsTheSameEachTime) {
  ScheduleRecord record;
  record.id = "sched_1";
  record.spec = spec_of(1000);
  const TaskSpec task = task_of(record, 77);
  EXPECT_EQ(encode_task_spec(task), encode_task_spec(task_of(record, 77)));
  EXPECT_NE(task.idempotency_key, task_of(record, 78).idempotency_key);
  EXPECT_EQ(task.name, "s");
  EXPECT_EQ(task.labels->at("schedule"), "s");
  EXPECT_EQ(task.env.at("ZSYNC_SCHEDULED_AT"), "77");
  EXPECT_THAT(task.locks, IsEmpty());
  record.spec.overlap = OverlapPolicy::kQueue;
  EXPECT_THAT(task_of(record, 77).locks, ElementsAre("schedule s"));
}

}  // namespace
}  // namespace zsync::daemon
