#include "daemon/tasks/task_retry.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "daemon/fault/fault.hpp"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;

TaskSpec with(uint32_t retries, RetryPolicy policy) {
  TaskSpec spec;
  spec.argv = {"true"};
  spec.retries = retries;
  spec.retry = std::make_shared<const RetryPolicy>(std::move(policy));
  return spec;
}

TEST(Retry, WithoutJitterThePauseGrowsByTheFactorUpToItsLimit) {
  RetryPolicy policy{.backoff_ms = 100, .factor = 3, .backoff_max_ms = 2000, .jitter = false};
  const int64_t expected[] = {100, 300, 900, 2000, 2000};
  for (uint32_t n = 1; n <= 5; ++n) {
    EXPECT_EQ(retry_delay(policy, n, 12345), milliseconds(expected[n - 1]));
  }
}

TEST(Retry, FullJitterSpreadsOverTheWholePauseAndNeverBeyond) {
  const RetryPolicy policy;
  std::mt19937_64 random(7);
  int64_t least = INT64_MAX, most = 0, sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const int64_t pause = retry_delay(policy, 3, random()).count();
    ASSERT_GE(pause, 0);
    ASSERT_LE(pause, 4000);
    least = std::min(least, pause);
    most = std::max(most, pause);
    sum += pause;
  }
  EXPECT_LT(least, 40);
  EXPECT_GT(most, 3960);
  EXPECT_NEAR(static_cast<double>(sum) / 10'000, 2000, 60);
}

TEST(Retry, TheLongestPauseHoldsForAnyNumberOfFailures) {
  RetryPolicy policy{.factor = 100, .jitter = false};
  EXPECT_EQ(retry_delay(policy, 100, 0), milliseconds(60'000));
  policy.backoff_max_ms = 0;
  EXPECT_EQ(retry_delay(policy, 1, 99), milliseconds(0));
}

TEST(Retry, EveryFailureIsTriedAgainUnlessThePolicyNamesSome) {
  const TaskSpec any = with(2, {});
  for (TaskState state : {TaskState::kFailed, TaskState::kSignaled, TaskState::kTimedOut}) {
    EXPECT_TRUE(retries_after(any, state, 1, 1));
    EXPECT_TRUE(retries_after(any, state, 1, 2));
    EXPECT_FALSE(retries_after(any, state, 1, 3)) << "more often than it was asked for";
  }
  for (TaskState state : {TaskState::kSucceeded, TaskState::kCanceled, TaskState::kLost}) {
    EXPECT_FALSE(retries_after(any, state, 0, 1));
  }
  const TaskSpec some = with(2, {.on = {{75}, true, false}});
  EXPECT_TRUE(retries_after(some, TaskState::kFailed, 75, 1));
  EXPECT_FALSE(retries_after(some, TaskState::kFailed, 1, 1));
  EXPECT_TRUE(retries_after(some, TaskState::kTimedOut, 0, 1));
  EXPECT_FALSE(retries_after(some, TaskState::kSignaled, 0, 1));
}

TEST(Retry, WhatIsExcludedIsStrongerThanWhatIsNamed) {
  const TaskSpec spec = with(2, {.on = {{1, 2}, false, false}, .not_on = {{2}, false, true}});
  EXPECT_TRUE(retries_after(spec, TaskState::kFailed, 1, 1));
  EXPECT_FALSE(retries_after(spec, TaskState::kFailed, 2, 1));
  const TaskSpec others = with(2, {.not_on = {{2}, false, true}});
  EXPECT_TRUE(retries_after(others, TaskState::kFailed, 3, 1));
  EXPECT_FALSE(retries_after(others, TaskState::kSignaled, 0, 1));
}

TEST(Retry, ALostAttemptIsFollowedByAnotherOnlyWhereThatWasAskedFor) {
  TaskSpec spec = with(2, {});
  EXPECT_FALSE(retries_after(spec, TaskState::kLost, 0, 1));
  spec.retry_lost = true;
  EXPECT_TRUE(retries_after(spec, TaskState::kLost, 0, 2));
  EXPECT_FALSE(retries_after(spec, TaskState::kLost, 0, 3));
  spec.retries = 0;
  EXPECT_TRUE(retries_after(spec, TaskState::kLost, 0, 5));
  EXPECT_FALSE(retries_after(spec, TaskState::kLost, 0, 6));
  EXPECT_FALSE(retries_after(spec, TaskState::kFailed, 1, 1));
  EXPECT_EQ(attempts_max(spec), 6u);
}

TEST(Retry, LimitsAreNamedWithTheirUnits) {
  const auto limit_of = [](RetryPolicy policy) {
    const absl::Status status = validate(policy);
    const std::optional<FaultDetail> detail = fault_detail(status);
    EXPECT_TRUE(detail && !detail->hint.empty());
    return detail ? detail->limit : "";
  };
  EXPECT_EQ(limit_of({.backoff_ms = kBackoffMsMax + 1}), "backoff_ms_max = 86400000");
  EXPECT_EQ(limit_of({.factor = 0.5}), "backoff_factor_max = 100");
  EXPECT_EQ(limit_of({.on = {{0}, false, false}}), "exit codes are 1 to 255");
  EXPECT_EQ(limit_of({.not_on = {std::vector<int32_t>(257, 1), false, false}}),
            "exit_codes_max = 256");
  EXPECT_TRUE(validate(RetryPolicy()).ok());
}

TEST(Retry, ThePolicySurvivesItsStoredForm) {
  TaskSpec spec = with(3, {250, 1.5, 9000, false, {{7, 8}, true, false}, {{9}, false, true}});
  spec.retry_lost = true;
  const std::optional<TaskSpec> read = decode_task_spec(encode_task_spec(spec));
  ASSERT_TRUE(read && read->retry);
  EXPECT_TRUE(read->retry_lost);
  EXPECT_EQ(read->retry->backoff_ms, 250u);
  EXPECT_EQ(read->retry->factor, 1.5);
  EXPECT_EQ(read->retry->backoff_max_ms, 9000u);
  EXPECT_FALSE(read->retry->jitter);
  EXPECT_EQ(read->retry->on.exit_codes, (std::vector<int32_t>{7, 8}));
  EXPECT_TRUE(read->retry->on.timeout);
  EXPECT_FALSE(read->retry->on.signal);
  EXPECT_EQ(read->retry->not_on.exit_codes, (std::vector<int32_t>{9}));
  EXPECT_TRUE(read->retry->not_on.signal);
}

}  // namespace
}  // namespace zsync::daemon
