// Retries: whether another attempt follows a failed one, and when. Pure: no clock, no randomness of
// its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace zsync::daemon {

enum class TaskState : uint8_t;
struct TaskSpec;

inline constexpr uint32_t kRetriesMax = 100;    // further attempts of one task
inline constexpr uint32_t kRetriesDefault = 5;  // of a policy that names no number
inline constexpr uint64_t kBackoffMsDefault = 1000;
inline constexpr uint64_t kBackoffMaxMsDefault = 60'000;
inline constexpr double kBackoffFactorDefault = 2;
inline constexpr double kBackoffFactorMax = 100;
inline constexpr uint64_t kBackoffMsMax = 24ull * 3600 * 1000;
inline constexpr size_t kExitCodesMax = 256;  // named by one policy, each way

// What an attempt may end with.
struct RetryCondition {
  std::vector<int32_t> exit_codes;  // failed with one of these
  bool timeout = false;             // timed_out
  bool signal = false;              // signaled
  bool empty() const { return exit_codes.empty() && !timeout && !signal; }
};

struct RetryPolicy {
  uint64_t backoff_ms = kBackoffMsDefault;  // before the second attempt
  double factor = kBackoffFactorDefault;    // each further pause is so many times longer
  uint64_t backoff_max_ms = kBackoffMaxMsDefault;
  bool jitter = true;     // full jitter: any time from 0 to the pause, each as likely
  RetryCondition on;      // empty: after every failure
  RetryCondition not_on;  // never after these
};

// Errors: kInvalidArgument with the field, the limit and the cure.
absl::Status validate(const RetryPolicy& policy);

// Whether another attempt follows one that ended in `state`; `failures` counts it.
bool retries_after(const TaskSpec& spec, TaskState state, int32_t exit_code, uint32_t failures);

// The pause before the attempt that follows failure number `failures` (from 1 on); `random` has 64
// random bits.
std::chrono::milliseconds retry_delay(const RetryPolicy& policy, uint32_t failures,
                                      uint64_t random);

// How many attempts there are at most, the first one counted.
uint32_t attempts_max(const TaskSpec& spec);

}  // namespace zsync::daemon
