#include "daemon/tasks/deadlines.hpp"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kNanoPerMs = 1'000'000;

int64_t earlier(int64_t created, uint64_t ms, int64_t at) {
  const int64_t by_duration = ms ? created + static_cast<int64_t>(ms) * kNanoPerMs : 0;
  if (by_duration == 0 || at == 0) return std::max(by_duration, at);
  return std::min(by_duration, at);
}

std::string rounded(int64_t nano) {
  return absl::FormatDuration(absl::Milliseconds((nano + kNanoPerMs - 1) / kNanoPerMs));
}

absl::Status refused(const std::string& field, std::string message, std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {"spec." + field, "DEADLINE", "", std::move(hint), {}});
}

}  // namespace

std::string utc_text(int64_t unix_nano) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixNanos(unix_nano),
                          absl::UTCTimeZone());
}

TaskDeadlines deadlines_of(const TaskSpec& spec, int64_t created) {
  return {earlier(created, spec.start_deadline_ms, spec.start_deadline_unix_nano),
          earlier(created, spec.deadline_ms, spec.deadline_unix_nano)};
}

TaskDeadlines deadlines_of(const TaskRecord& record) {
  return deadlines_of(*record.spec, record.created_unix_nano);
}

int64_t not_before_of(const TaskSpec& spec, int64_t now) {
  if (spec.delay_ms == 0 && spec.start_at_unix_nano == 0) return 0;
  return std::max(spec.start_at_unix_nano, now + static_cast<int64_t>(spec.delay_ms) * kNanoPerMs);
}

absl::Status check_deadlines(const TaskSpec& spec, int64_t now) {
  const int64_t not_before = not_before_of(spec, now);
  const TaskDeadlines due = deadlines_of(spec, now);
  const std::string start_field =
      spec.start_at_unix_nano > 0 && spec.start_at_unix_nano >= not_before ? "start_at" : "delay";
  for (const auto& [field, at] :
       {std::pair<const char*, int64_t>{"start_deadline", due.start}, {"deadline", due.end}}) {
    if (at == 0) continue;
    if (at <= now) {
      return refused(field, absl::StrCat(field, " (", utc_text(at), ") has passed"),
                     "give a later one");
    }
    if (not_before > at || (not_before == at && at == due.end)) {
      return refused(field,
                     absl::StrCat(field, " (", utc_text(at), ") comes before ", start_field, " (",
                                  utc_text(not_before), ") lets it start"),
                     absl::StrCat("give a later ", field, " or an earlier ", start_field));
    }
  }
  return absl::OkStatus();
}

std::optional<int64_t> slack_of(const TaskRecord& record, int64_t now) {
  const TaskDeadlines due = deadlines_of(record);
  if (record.state == TaskState::kRunning && due.end > 0) return due.end - now;
  if (record.state != TaskState::kQueued) return std::nullopt;
  int64_t latest = INT64_MAX;
  if (due.start > 0 && record.attempt == 0) latest = due.start;
  if (due.end > 0) {
    latest = std::min(latest, due.end - static_cast<int64_t>(record.spec->timeout_ms) * kNanoPerMs);
  }
  if (latest == INT64_MAX) return std::nullopt;
  return latest - now;
}

uint64_t deadline_left_ms(const TaskRecord& record, int64_t now) {
  const int64_t due = deadlines_of(record).end;
  if (due == 0) return 0;
  return static_cast<uint64_t>(std::max<int64_t>(1, (due - now + kNanoPerMs - 1) / kNanoPerMs));
}

std::string explain_slack(const TaskRecord& record, int64_t now) {
  const std::optional<int64_t> slack = slack_of(record, now);
  if (!slack) return "";
  const TaskDeadlines due = deadlines_of(record);
  if (record.state == TaskState::kRunning) {
    return absl::StrCat("it is ended in ", rounded(*slack), ", at its deadline ",
                        utc_text(due.end));
  }
  std::string by;
  if (due.start > 0 && record.attempt == 0) {
    absl::StrAppend(&by, " start deadline ", utc_text(due.start));
  }
  if (due.end > 0) absl::StrAppend(&by, by.empty() ? "" : ",", " deadline ", utc_text(due.end));
  if (*slack < 0) {
    return absl::StrCat("its slack is gone: started now, its timeout of ",
                        rounded(static_cast<int64_t>(record.spec->timeout_ms) * kNanoPerMs),
                        " would pass its deadline ", utc_text(due.end));
  }
  return absl::StrCat("it may wait for another ", rounded(*slack), ":", by);
}

}  // namespace zsync::daemon
