#include "daemon/tasks/deadlines.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kNow = 1'000'000 * kMs;

TaskRecord record_of(TaskSpec spec, TaskState state = TaskState::kQueued, uint32_t attempt = 0) {
  TaskRecord record;
  record.spec = std::make_shared<const TaskSpec>(std::move(spec));
  record.state = state;
  record.attempt = attempt;
  record.created_unix_nano = kNow;
  return record;
}

TEST(Deadlines, OfADurationAndATimeTheEarlierOneCounts) {
  TaskSpec spec;
  EXPECT_EQ(deadlines_of(spec, kNow).start, 0);
  EXPECT_EQ(deadlines_of(spec, kNow).end, 0);
  spec.deadline_ms = 50;
  EXPECT_EQ(deadlines_of(spec, kNow).end, kNow + 50 * kMs);
  spec.deadline_unix_nano = kNow + 20 * kMs;
  EXPECT_EQ(deadlines_of(spec, kNow).end, kNow + 20 * kMs);
  spec.deadline_unix_nano = kNow + 80 * kMs;
  EXPECT_EQ(deadlines_of(spec, kNow).end, kNow + 50 * kMs);
  spec.start_deadline_unix_nano = 7;
  EXPECT_EQ(deadlines_of(spec, kNow).start, 7);
}

TEST(Deadlines, OneBeforeTheStartOrInThePastIsRefusedNamingBothFields) {
  TaskSpec spec;
  spec.delay_ms = 100;
  spec.start_deadline_ms = 100;
  EXPECT_TRUE(check_deadlines(spec, kNow).ok()) << "just in time";
  spec.start_deadline_ms = 99;
  absl::Status status = check_deadlines(spec, kNow);
  EXPECT_EQ(fault_detail(status)->field, "spec.start_deadline");
  EXPECT_THAT(std::string(status.message()), HasSubstr("start_deadline"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("comes before delay"));
  spec.start_deadline_ms = 0;
  spec.delay_ms = 0;
  spec.start_at_unix_nano = kNow + 5;
  spec.deadline_unix_nano = kNow + 5;
  status = check_deadlines(spec, kNow);
  EXPECT_EQ(fault_detail(status)->field, "spec.deadline") << "there is no time to run in";
  EXPECT_THAT(std::string(status.message()), HasSubstr("comes before start_at"));
  spec.deadline_unix_nano = kNow + 6;
  EXPECT_TRUE(check_deadlines(spec, kNow).ok());
  spec.deadline_unix_nano = kNow;
  EXPECT_THAT(std::string(check_deadlines(spec, kNow).message()), HasSubstr("has passed"));
}

TEST(Deadlines, SlackOfAQueuedTaskLeavesRoomForItsTimeout) {
  TaskSpec spec;
  spec.deadline_ms = 100;
  EXPECT_EQ(slack_of(record_of(spec), kNow + 10 * kMs), 90 * kMs);
  spec.timeout_ms = 30;
  EXPECT_EQ(slack_of(record_of(spec), kNow + 10 * kMs), 60 * kMs);
  spec.start_deadline_ms = 20;
  EXPECT_EQ(slack_of(record_of(spec), kNow + 10 * kMs), 10 * kMs);
  EXPECT_EQ(slack_of(record_of(spec, TaskState::kQueued, 1), kNow + 10 * kMs), 60 * kMs)
      << "it has started in time, and waits for its second attempt";
  EXPECT_EQ(slack_of(record_of(spec, TaskState::kRunning, 1), kNow + 10 * kMs), 90 * kMs);
  EXPECT_EQ(slack_of(record_of(spec), kNow + 90 * kMs), -70 * kMs);
  EXPECT_FALSE(slack_of(record_of(spec, TaskState::kFailed, 1), kNow));
  EXPECT_FALSE(slack_of(record_of(TaskSpec()), kNow));
  EXPECT_THAT(explain_slack(record_of(spec), kNow), HasSubstr("may wait for another 20ms"));
  EXPECT_THAT(explain_slack(record_of(spec, TaskState::kQueued, 1), kNow + 80 * kMs),
              HasSubstr("slack is gone"));
}

TEST(Deadlines, AnAttemptHasWhatIsLeftUntilItsDeadline) {
  TaskSpec spec;
  spec.timeout_ms = 30;
  EXPECT_EQ(deadline_left_ms(record_of(spec), kNow), 0u) << "a timeout is no deadline";
  spec.deadline_ms = 100;
  EXPECT_EQ(deadline_left_ms(record_of(spec), kNow), 100u);
  EXPECT_EQ(deadline_left_ms(record_of(spec), kNow + 90 * kMs - 1), 11u);
  EXPECT_EQ(deadline_left_ms(record_of(spec), kNow + 200 * kMs), 1u) << "0 would be for ever";
}

}  // namespace
}  // namespace zsync::daemon
