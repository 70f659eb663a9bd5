#include "daemon/tasks/schedule.hpp"

#include <algorithm>
#include <deque>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kNanoPerMs = 1'000'000;

absl::Status invalid(const char* field, std::string message, std::string hint,
                     std::string limit = "") {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {field, limit.empty() ? "INVALID" : "LIMIT", std::move(limit), std::move(hint), {}});
}

absl::Status check_name(const std::string& name) {
  const bool sound = !name.empty() && name.size() <= kNameBytesMax &&
                     std::all_of(name.begin(), name.end(),
                                 [](unsigned char c) { return c > 0x20 && c != 0x7f && c != '/'; });
  if (sound) return absl::OkStatus();
  return invalid("spec.name", absl::StrCat("\"", name, "\" is no name of a schedule"),
                 "use 1 to 128 letters, digits, dots, dashes",
                 absl::StrCat("name_bytes_max = ", kNameBytesMax));
}

}  // namespace

absl::Status validate(const ScheduleSpec& spec) {
  if (absl::Status status = check_name(spec.name); !status.ok()) return status;
  if ((spec.every_ms == 0) == spec.cron.empty()) {
    return invalid("spec.cron",
                   spec.cron.empty() ? "neither every nor cron says when it runs"
                                     : "both every and cron are given",
                   "give one: every 15m, or cron \"30 2 * * *\"");
  }
  if (spec.every_ms != 0 && (spec.every_ms < kEveryMsMin || spec.every_ms > kTimeoutMsMax)) {
    return invalid("spec.every", absl::StrCat("every ", spec.every_ms, " ms is out of range"),
                   "give 1 s to 366 days", absl::StrCat("every_ms_min = ", kEveryMsMin));
  }
  if (spec.every_ms != 0 && !spec.time_zone.empty()) {
    return invalid("spec.time_zone", "time_zone has no meaning beside every",
                   "leave it out, or use cron");
  }
  if (spec.missed_max == 0 || spec.missed_max > kMissedMax) {
    return invalid("spec.missed_max", absl::StrCat("missed_max ", spec.missed_max),
                   "give 1 to 1000", absl::StrCat("missed_max = ", kMissedMax));
  }
  if (absl::Status status = Timetable::of(spec, 0).status(); !status.ok()) return status;
  if (!spec.task) return invalid("spec.task", "there is no task to run", "give a command");
  if (absl::Status status = validate_template(*spec.task); !status.ok()) return status;
  ScheduleRecord record;
  record.spec = spec;
  record.id = std::string(31, 'i');
  return validate(task_of(record, INT64_MAX));
}

absl::Status check_guaranteed(const ScheduleSpec& spec, const TaskSpec& task) {
  if (spec.every_ms == 0) {
    return invalid("spec.every", "a guaranteed schedule has a period", "give --every, not --cron");
  }
  if (task.timeout_ms == 0) {
    return invalid("spec.task.timeout", "a guaranteed schedule says how long a run takes at most",
                   "give --timeout: a run that takes longer is ended");
  }
  if (task.retries != 0 || task.retry_lost) {
    return invalid("spec.task.retries", "a guaranteed schedule has one attempt a run",
                   "leave the retries out: the next run comes anyway");
  }
  if (!task.after.empty() || !task.locks.empty() || !task.resources.empty() || task.delay_ms != 0 ||
      task.start_at_unix_nano != 0) {
    return invalid("spec.task", "a guaranteed run waits for nothing but its turn",
                   "leave out after, locks, resources, delay and the time to start at");
  }
  return absl::OkStatus();
}

absl::StatusOr<Timetable> Timetable::of(const ScheduleSpec& spec, int64_t created) {
  Timetable timetable;
  timetable.every_ = static_cast<int64_t>(spec.every_ms) * kNanoPerMs;
  timetable.from_ = created;
  timetable.zone_ = absl::LocalTimeZone();
  if (!spec.time_zone.empty() && !absl::LoadTimeZone(spec.time_zone, &timetable.zone_)) {
    return invalid("spec.time_zone",
                   absl::StrCat("no time zone \"", spec.time_zone, "\" on this machine"),
                   "name one as /usr/share/zoneinfo has it, such as Europe/Berlin or UTC");
  }
  if (timetable.every_ > 0) return timetable;
  absl::StatusOr<Cron> cron = Cron::parse(spec.cron);
  if (!cron.ok()) {
    return invalid("spec.cron", absl::StrCat("cron \"", spec.cron, "\": ", cron.status().message()),
                   "`man 5 crontab` explains the five fields");
  }
  timetable.cron_ = *cron;
  return timetable;
}

std::optional<int64_t> Timetable::next(int64_t after) const {
  if (every_ > 0) return from_ + (std::max<int64_t>(0, after - from_) / every_ + 1) * every_;
  const std::optional<absl::Time> at = cron_->next(absl::FromUnixNanos(after), zone_);
  if (!at) return std::nullopt;
  return absl::ToUnixNanos(*at);
}

std::pair<int64_t, uint64_t> Timetable::leap(int64_t after, int64_t now, size_t kept) const {
  if (every_ == 0 || now <= from_) return {after, 0};
  const int64_t passed = std::max<int64_t>(0, after - from_) / every_;  // times up to `after`
  const int64_t last = (now - from_) / every_;
  const int64_t to = last - static_cast<int64_t>(kept) - 1;
  if (to <= passed) return {after, 0};
  return {from_ + to * every_, static_cast<uint64_t>(to - passed)};
}

DueRuns due_runs(const Timetable& timetable, const ScheduleSpec& spec, int64_t seen, int64_t now) {
  DueRuns due;
  due.seen = seen;
  std::deque<int64_t> missed;  // the newest ones that may be made up for
  const size_t kept = spec.missed == MissedRuns::kSkip   ? 0
                      : spec.missed == MissedRuns::kOnce ? 1
                                                         : spec.missed_max;
  auto miss = [&](int64_t time) {
    missed.push_back(time);
    if (missed.size() <= kept) return;
    missed.pop_front();
    ++due.missed;
  };
  const std::pair<int64_t, uint64_t> leap = timetable.leap(seen, now, kept);
  due.missed = leap.second;
  if (leap.second > 0) due.seen = leap.first;
  std::optional<int64_t> at = timetable.next(due.seen);
  std::optional<int64_t> newest;
  while (at && *at <= now) {
    if (newest) miss(*newest);
    due.seen = *at;
    newest = at;
    at = timetable.next(*at);
  }
  if (newest && now - *newest <= kFreshNs) {
    due.times.push_back(*newest);
  } else if (newest) {
    miss(*newest);
  }
  due.next = at;
  due.times.insert(due.times.begin(), missed.begin(), missed.end());
  return due;
}

TaskSpec task_of(const ScheduleRecord& record, int64_t time) {
  TaskSpec task = *record.spec.task;
  if (task.name.empty()) task.name = record.spec.name;
  task.labels.edit()[kScheduleLabel] = record.spec.name;
  task.idempotency_key = absl::StrCat("schedule ", record.id, " ", time);
  if (record.spec.overlap == OverlapPolicy::kQueue) {
    task.locks.push_back(absl::StrCat("schedule ", record.spec.name));
  }
  task.env.set("ZSYNC_SCHEDULED_AT", absl::StrCat(time));
  return task;
}

}  // namespace zsync::daemon
