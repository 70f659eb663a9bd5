#include "daemon/tasks/task_retry.hpp"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {
namespace {

bool matches(const RetryCondition& condition, TaskState state, int32_t exit_code) {
  switch (state) {
    case TaskState::kFailed:
      return std::find(condition.exit_codes.begin(), condition.exit_codes.end(), exit_code) !=
             condition.exit_codes.end();
    case TaskState::kTimedOut:
      return condition.timeout;
    case TaskState::kSignaled:
      return condition.signal;
    default:
      return false;
  }
}

absl::Status out_of_range(std::string field, std::string message, std::string limit,
                          std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {std::move(field), "LIMIT", std::move(limit), std::move(hint), {}});
}

}  // namespace

absl::Status validate(const RetryPolicy& policy) {
  if (policy.backoff_ms > kBackoffMsMax || policy.backoff_max_ms > kBackoffMsMax) {
    return out_of_range("spec.retry.backoff", "backoff and backoff_max are at most 24 hours",
                        absl::StrCat("backoff_ms_max = ", kBackoffMsMax), "give a shorter one");
  }
  if (!(policy.factor >= 1 && policy.factor <= kBackoffFactorMax)) {
    return out_of_range("spec.retry.factor",
                        absl::StrCat("the backoff's factor ", policy.factor, " is out of range"),
                        absl::StrCat("backoff_factor_max = ", kBackoffFactorMax),
                        "give 1 (always the same pause) to 100");
  }
  for (const RetryCondition* condition : {&policy.on, &policy.not_on}) {
    const char* field = condition == &policy.on ? "spec.retry.on" : "spec.retry.not_on";
    if (condition->exit_codes.size() > kExitCodesMax) {
      return out_of_range(field,
                          absl::StrCat(condition->exit_codes.size(), " exit codes are too many"),
                          absl::StrCat("exit_codes_max = ", kExitCodesMax), "name fewer");
    }
    for (int32_t code : condition->exit_codes) {
      if (code < 1 || code > 255) {
        return out_of_range(field, absl::StrCat(code, " is no exit code of a failure"),
                            "exit codes are 1 to 255", "name exit codes from 1 to 255");
      }
    }
  }
  return absl::OkStatus();
}

bool retries_after(const TaskSpec& spec, TaskState state, int32_t exit_code, uint32_t failures) {
  if (state == TaskState::kLost) {
    return spec.retry_lost && failures <= (spec.retries > 0 ? spec.retries : kRetriesDefault);
  }
  const bool failed =
      state == TaskState::kFailed || state == TaskState::kSignaled || state == TaskState::kTimedOut;
  if (!failed || failures > spec.retries) return false;
  if (!spec.retry) return true;
  if (matches(spec.retry->not_on, state, exit_code)) return false;
  return spec.retry->on.empty() || matches(spec.retry->on, state, exit_code);
}

std::chrono::milliseconds retry_delay(const RetryPolicy& policy, uint32_t failures,
                                      uint64_t random) {
  const double grown = static_cast<double>(policy.backoff_ms) *
                       std::pow(policy.factor, static_cast<double>(std::max(failures, 1u) - 1));
  const double cap = static_cast<double>(policy.backoff_max_ms);
  const auto pause = static_cast<uint64_t>(std::min(grown, cap));
  return std::chrono::milliseconds(policy.jitter ? random % (pause + 1) : pause);
}

uint32_t attempts_max(const TaskSpec& spec) {
  const uint32_t retries = spec.retries > 0 ? spec.retries : spec.retry_lost ? kRetriesDefault : 0;
  return retries + 1;
}

}  // namespace zsync::daemon
