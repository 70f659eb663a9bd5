// Schedules: submits each schedule's task at its times, and remembers which times were decided.
//
// The task of a run carries the run's time in its idempotency key. It is on disk before the
// schedule moves on; a daemon that was killed in between finds it and moves on, so no run comes
// twice.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/events/event_log.hpp"
#include "daemon/store/store.hpp"
#include "daemon/store/ulid.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/rate_analysis.hpp"
#include "daemon/tasks/schedule.hpp"
#include "zsync/executor.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

struct Guarantee {
  std::optional<int64_t> response_max_ms;  // nullopt: it may be late
  double utilization = 0;
};

// As a caller sees it.
struct ScheduleView {
  ScheduleRecord record;
  std::optional<int64_t> next_unix_nano;  // nullopt: it is paused
  std::optional<Guarantee> guarantee;     // of one that is guaranteed
};

class Schedules {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch

  Schedules(Store& store, EventLog& events, UlidGenerator& ids, TasksEngine& tasks, Clock clock);
  ~Schedules();

  // Reads the store, decides about what was missed, and begins to fire. After TasksEngine::start().
  Task<absl::Status> start();
  // Idempotent; before TasksEngine::stop().
  Task<void> stop();

  // Errors: kInvalidArgument; kAlreadyExists unless `replace`; kResourceExhausted; of a guaranteed
  // one kFailedPrecondition where it, or another one of its group, could be late.
  Task<absl::StatusOr<ScheduleView>> create(ScheduleSpec spec, bool replace, Submitter by);
  // Errors: kNotFound with the closest name.
  absl::StatusOr<ScheduleView> get(const std::string& name);
  std::vector<ScheduleView> list();
  // The next `count` times, without regard to a pause.
  absl::StatusOr<std::vector<int64_t>> upcoming(const std::string& name, uint32_t count);
  // What comes up while it is paused is not missed.
  Task<absl::StatusOr<ScheduleView>> set_paused(std::string name, bool paused, Submitter by);
  // Its tasks stay.
  Task<absl::Status> remove(std::string name);

  // Schedules that will fire again.
  size_t active();

 private:
  struct Entry {
    Mutex turn;  // held over each change's commit
    ScheduleRecord record;
    std::optional<Timetable> timetable;
    std::optional<int64_t> next;
    std::deque<std::string>
        unfinished;  // tasks, oldest first; those that have ended are dropped late
    bool firing = false;
    bool removed = false;
  };
  using EntryPtr = std::shared_ptr<Entry>;
  // Events that are told once the record is on disk: type, attributes.
  using News = std::vector<std::pair<std::string, std::map<std::string, std::string>>>;

  absl::StatusOr<EntryPtr> find(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  using GroupGuarantees = std::map<std::string, std::map<std::string, Guarantee>>;
  ScheduleView view(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The same, with the guarantees of groups that are `known`; others are added.
  ScheduleView view(const Entry& entry, GroupGuarantees& known)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of all guaranteed schedules of a group, by name.
  std::map<std::string, Guarantee> guarantees_of(const std::string& group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Their periods and costs.
  std::map<std::string, PeriodicTask> guaranteed_of(const std::string& group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status admit(const ScheduleSpec& spec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status load(Database& db);
  void find_own_tasks();
  Task<void> keep_time();
  Task<void> fire(EntryPtr entry);
  Task<void> run_at(EntryPtr entry, ScheduleRecord& record, int64_t time, News& news);
  bool is_busy(Entry& entry);

  Store& store_;
  EventLog& events_;
  UlidGenerator& ids_;
  TasksEngine& tasks_;
  const Clock clock_;

  rt::Lock mutex_;
  std::map<std::string, EntryPtr> entries_ ABSL_GUARDED_BY(mutex_);  // by name
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Mutex creating_;
  Notify rearm_;
  Executor runners_;
};

}  // namespace zsync::daemon
