// Deadlines of a task: by when it has to start and to have ended. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

// What a task that missed one ends with, as its reason.
inline constexpr char kMissedDeadline[] = "deadline";
inline constexpr char kMissedStart[] = "deadline: it had not started in time";

// Ns since the Unix epoch; 0: none.
struct TaskDeadlines {
  int64_t start = 0;  // of the first attempt
  int64_t end = 0;
};

// Of what is given as a duration and as a time the earlier one counts.
TaskDeadlines deadlines_of(const TaskSpec& spec, int64_t created_unix_nano);
TaskDeadlines deadlines_of(const TaskRecord& record);

// When a task that is submitted now may start, by delay and start_at; 0: at once.
int64_t not_before_of(const TaskSpec& spec, int64_t now);

// Errors: kInvalidArgument for one that has passed, or that comes before the task may start; names
// both fields.
absl::Status check_deadlines(const TaskSpec& spec, int64_t now);

// Queued: how long, in ns, it may still wait so that it starts in time and its run timeout ends
// before its deadline. Running: what is left. nullopt: it has no deadline, or has ended.
std::optional<int64_t> slack_of(const TaskRecord& record, int64_t now);

// How long it is until the deadline, in ms and at least 1; 0: there is none.
uint64_t deadline_left_ms(const TaskRecord& record, int64_t now);

// The line of `why`; empty: there is no deadline.
std::string explain_slack(const TaskRecord& record, int64_t now);

// "2026-12-24T18:00:00Z"
std::string utc_text(int64_t unix_nano);

}  // namespace zsync::daemon
