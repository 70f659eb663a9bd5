// A schedule: a task that is submitted again and again, and which of its times are due. Pure.
//
// A time is missed when a later one has come before anybody looked, or when nobody looked while it
// was fresh: the daemon was not running, or the machine slept. What becomes of missed ones is the
// schedule's choice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/tasks/cron.hpp"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

inline constexpr uint64_t kEveryMsMin = 1000;
inline constexpr uint32_t kMissedMaxDefault = 10;  // missed runs that are made up for
inline constexpr uint32_t kMissedMax = 1000;
inline constexpr int64_t kFreshNs = 30'000'000'000;  // so late a run is not a missed one yet
inline constexpr size_t kSchedulesMax = 10'000;
inline constexpr size_t kScheduleQueuedMax = 100;     // unfinished tasks of one schedule
inline constexpr size_t kGuaranteedMax = 100;         // schedules of one group
inline constexpr uint64_t kGuaranteedGraceMs = 1000;  // kill_grace of one that names none
inline constexpr uint32_t kUpcomingMax = 1000;        // times that one call is told

// Stored as numbers: never renumbered.
enum class MissedRuns : uint8_t {
  kSkip = 1,  // none of them
  kOnce = 2,  // one run for all of them
  kAll = 3,   // each of them, the newest `missed_max`
};
enum class OverlapPolicy : uint8_t {
  kSkip = 1,   // no run while the one before goes on
  kQueue = 2,  // it waits for the one before
};

struct ScheduleSpec {
  std::string name;
  uint64_t every_ms = 0;  // either this
  std::string cron;       // or this
  std::string time_zone;  // of the cron expression; empty: the daemon's
  MissedRuns missed = MissedRuns::kSkip;
  uint32_t missed_max = kMissedMaxDefault;
  OverlapPolicy overlap = OverlapPolicy::kSkip;
  std::shared_ptr<const TaskSpec> task;

  bool guaranteed() const { return task->period_ms != 0; }
};

// Errors: kInvalidArgument with the field, the limit and the cure.
absl::Status validate(const ScheduleSpec& spec);
// Whether it says how long a run takes at most, and waits for nothing but its turn.
//
// Errors: the same.
absl::Status check_guaranteed(const ScheduleSpec& spec, const TaskSpec& task);

struct ScheduleRecord {
  std::string id;    // another one each time that the name is given anew
  uint32_t uid = 0;  // who made it
  ScheduleSpec spec;
  int64_t created_unix_nano = 0;
  GroupHold paused;
  int64_t seen_unix_nano = 0;  // all times up to this one were decided about
  int64_t last_unix_nano = 0;  // the time of the newest run; 0: none
  std::string last_task;       // its id
  uint64_t runs = 0;
  uint64_t missed = 0;      // times that were missed and not made up for
  uint64_t overlapped = 0;  // times that were left out since a run went on
  uint64_t refused = 0;     // times at which the task was not accepted
  std::string last_refusal;
};

// When it fires.
class Timetable {
 public:
  // Errors: kInvalidArgument for a bad expression or an unknown time zone.
  static absl::StatusOr<Timetable> of(const ScheduleSpec& spec, int64_t created_unix_nano);
  // The first time after `after`, in ns since the Unix epoch. nullopt: never again.
  std::optional<int64_t> next(int64_t after) const;
  // Of a fixed interval: leaves out those after `after` that are sure to be too old to matter, all
  // but the newest `kept` + 1 -> the last one left out, and how many.
  std::pair<int64_t, uint64_t> leap(int64_t after, int64_t now, size_t kept) const;

 private:
  int64_t every_ = 0;  // ns; 0: by cron
  int64_t from_ = 0;
  std::optional<Cron> cron_;
  absl::TimeZone zone_;
};

struct DueRuns {
  std::vector<int64_t> times;   // to be run, oldest first
  uint64_t missed = 0;          // times that are given up
  int64_t seen = 0;             // all up to here are decided
  std::optional<int64_t> next;  // when to look again
};

// What is due of the times after `seen` up to `now`.
DueRuns due_runs(const Timetable& timetable, const ScheduleSpec& spec, int64_t seen, int64_t now);

// The task of the run at `time`: the same each time that it is asked for, so that it is accepted
// once.
TaskSpec task_of(const ScheduleRecord& record, int64_t time);
// What marks a task as one of this schedule.
inline constexpr char kScheduleLabel[] = "schedule";

}  // namespace zsync::daemon
