#include "daemon/tasks/schedules.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/schedule_store.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

constexpr char kIdPrefix[] = "sched_";
constexpr std::chrono::seconds kLookAgain{60};  // at the wall clock, which may be set
constexpr std::chrono::milliseconds kStorePause{
    1000};  // before what the disk refused is tried again

PeriodicTask periodic(const ScheduleSpec& spec) {
  const uint64_t grace = spec.task->kill_grace_ms.value_or(0);  // which it has
  return {static_cast<int64_t>(spec.task->period_ms),
          static_cast<int64_t>(spec.task->timeout_ms + grace)};
}

GroupSettings settings_of(const std::vector<GroupRecord>& groups, const std::string& name) {
  for (const GroupRecord& group : groups) {
    if (group.name == name) return group.settings;
  }
  return {};
}

std::string in_seconds(int64_t ms) { return absl::StrCat(static_cast<double>(ms) / 1000.0, " s"); }

}  // namespace

Schedules::Schedules(Store& store, EventLog& events, UlidGenerator& ids, TasksEngine& tasks,
                     Clock clock)
    : store_(store), events_(events), ids_(ids), tasks_(tasks), clock_(std::move(clock)) {}

Schedules::~Schedules() = default;

Task<absl::Status> Schedules::start() {
  absl::Status loaded = store_.read([this](Database& db) { return load(db); });
  if (!loaded.ok()) co_return loaded;
  find_own_tasks();
  runners_.spawn(keep_time());
  co_return absl::OkStatus();
}

absl::Status Schedules::load(Database& db) {
  return load_schedules(db, [this](ScheduleRecord record) -> absl::Status {
    auto entry = std::make_shared<Entry>();
    absl::StatusOr<Timetable> timetable = Timetable::of(record.spec, record.created_unix_nano);
    if (!timetable.ok()) return timetable.status();
    entry->timetable = std::move(*timetable);
    entry->next = entry->timetable->next(record.seen_unix_nano);
    entry->record = std::move(record);
    rt::LockGuard guard(mutex_);
    entries_[entry->record.spec.name] = entry;
    return absl::OkStatus();
  });
}

// Tasks that were accepted although the schedule itself could not be written any more.
void Schedules::find_own_tasks() {
  rt::LockGuard guard(mutex_);
  if (entries_.empty()) return;
  TaskFilter filter;
  filter.has_label = kScheduleLabel;
  filter.oldest_first = true;
  filter.limit = SIZE_MAX;
  for (const TaskRecord& task : tasks_.list(filter)) {
    auto found = entries_.find(task.spec->labels->at(kScheduleLabel));
    if (found == entries_.end()) continue;
    Entry& entry = *found->second;
    if (!is_final(task.state)) entry.unfinished.push_back(task.id);
    absl::string_view key = *task.spec->idempotency_key;
    int64_t time = 0;
    if (!absl::ConsumePrefix(&key, absl::StrCat("schedule ", entry.record.id, " ")) ||
        !absl::SimpleAtoi(key, &time) || time <= entry.record.seen_unix_nano) {
      continue;
    }
    entry.record.seen_unix_nano = entry.record.last_unix_nano = time;
    entry.record.last_task = task.id;
    ++entry.record.runs;
    entry.next = entry.timetable->next(time);
  }
}

Task<void> Schedules::stop() {
  {
    rt::LockGuard guard(mutex_);
    stopping_ = true;
  }
  runners_.cancel_all();
  co_await runners_.join_all();
}

Task<void> Schedules::keep_time() {
  while (true) {
    const uint64_t seen = rearm_.epoch();
    std::optional<int64_t> at;
    {
      rt::LockGuard guard(mutex_);
      const int64_t now = clock_();
      for (const auto& [name, entry] : entries_) {
        if (!entry->next || entry->firing || entry->record.paused.on()) continue;
        if (*entry->next <= now) {
          entry->firing = true;
          runners_.spawn(fire(entry));
        } else {
          at = std::min(at.value_or(INT64_MAX), *entry->next);
        }
      }
    }
    if (at) {
      const std::chrono::nanoseconds left(std::max<int64_t>(0, *at - clock_()));
      const absl::Status waited = co_await timeout(
          rearm_.changed(seen), std::min<std::chrono::nanoseconds>(left, kLookAgain));
      if (absl::IsCancelled(waited)) co_return;
    } else {
      co_await rearm_.changed(seen);
    }
  }
}

Task<void> Schedules::fire(EntryPtr entry) {
  Permit turn = co_await entry->turn.lock();
  ScheduleRecord record;
  DueRuns due;
  News news;
  {
    rt::LockGuard guard(mutex_);
    record = entry->record;
    const bool over = entry->removed || record.paused.on();
    if (over) entry->firing = false;
    if (over) co_return;
    due = due_runs(*entry->timetable, record.spec, record.seen_unix_nano, clock_());
  }
  if (due.missed > 0) {
    record.missed += due.missed;
    news.push_back({"schedule.missed", {{"times", absl::StrCat(due.missed)}}});
  }
  for (int64_t time : due.times) co_await run_at(entry, record, time, news);
  record.seen_unix_nano = std::max(record.seen_unix_nano, due.seen);
  while (true) {
    absl::Status committed =
        co_await commit(store_, [record](Database& db) { return put_schedule(db, record); });
    if (committed.ok()) break;
    co_await sleep(kStorePause);
  }
  {
    rt::LockGuard guard(mutex_);
    entry->record = record;
    entry->next = due.next;
    entry->firing = false;
  }
  // Whoever hears of it finds the record as it is told.
  for (const auto& [type, fields] : news) events_.append(type, record.spec.name, fields);
  rearm_.notify_all();
}

// One run: what becomes of it is in `record`, and on disk unless it is the last one.
Task<void> Schedules::run_at(EntryPtr entry, ScheduleRecord& record, int64_t time, News& news) {
  record.seen_unix_nano = std::max(record.seen_unix_nano, time);
  if (is_busy(*entry)) {
    ++record.overlapped;
    news.push_back({"schedule.overlapped",
                    {{"time_unix_nano", absl::StrCat(time)}, {"task", record.last_task}}});
    co_return;
  }
  while (true) {
    std::vector<TaskSpec> specs;
    specs.push_back(task_of(record, time));
    absl::StatusOr<std::vector<Submitted>> submitted =
        co_await tasks_.submit(std::move(specs), {record.uid, 0});
    if (submitted.ok()) {
      ++record.runs;
      record.last_unix_nano = time;
      record.last_task = submitted->front().id;
      entry->unfinished.push_back(record.last_task);
      news.push_back(
          {"schedule.fired", {{"time_unix_nano", absl::StrCat(time)}, {"task", record.last_task}}});
      co_return;
    }
    if (fault_detail(submitted.status())) {  // a rule, and not the disk
      ++record.refused;
      record.last_refusal = std::string(submitted.status().message());
      news.push_back({"schedule.refused",
                      {{"time_unix_nano", absl::StrCat(time)}, {"reason", record.last_refusal}}});
      co_return;
    }
    co_await sleep(kStorePause);
  }
}

// Whether the next run has to be left out. Of the task that fires: it has the turn.
bool Schedules::is_busy(Entry& entry) {
  std::erase_if(entry.unfinished, [this](const std::string& id) {
    const absl::StatusOr<TaskRecord> task = tasks_.get(id);
    return !task.ok() || is_final(task->state);
  });
  const size_t limit = entry.record.spec.overlap == OverlapPolicy::kQueue ? kScheduleQueuedMax : 1;
  return entry.unfinished.size() >= limit;
}

Task<absl::StatusOr<ScheduleView>> Schedules::create(ScheduleSpec spec, bool replace,
                                                     Submitter by) {
  if (absl::Status status = validate(spec); !status.ok()) co_return status;
  Permit creating = co_await creating_.lock();
  EntryPtr before;
  auto entry = std::make_shared<Entry>();
  {
    rt::LockGuard guard(mutex_);
    if (auto found = entries_.find(spec.name); found != entries_.end()) before = found->second;
    if (before && !replace) {
      co_return fault(absl::StatusCode::kAlreadyExists,
                      absl::StrCat("schedule \"", spec.name, "\" is there already"),
                      {"spec.name", "EXISTS", "", "choose another name, or replace it", {}});
    }
    if (!before && entries_.size() >= kSchedulesMax) {
      co_return fault(absl::StatusCode::kResourceExhausted,
                      absl::StrCat("there are ", entries_.size(), " schedules"),
                      {"spec.name",
                       "LIMIT",
                       absl::StrCat("schedules_max = ", kSchedulesMax),
                       "remove one",
                       {}});
    }
    if (absl::Status admitted = admit(spec); !admitted.ok()) co_return admitted;
    ScheduleRecord& record = entry->record;
    record.id = kIdPrefix + ids_.next();
    record.uid = by.uid;
    record.created_unix_nano = record.seen_unix_nano = clock_();
    record.spec = std::move(spec);
  }
  absl::StatusOr<Timetable> timetable =
      Timetable::of(entry->record.spec, entry->record.created_unix_nano);
  if (!timetable.ok()) co_return timetable.status();
  entry->timetable = std::move(*timetable);
  entry->next = entry->timetable->next(entry->record.seen_unix_nano);
  std::optional<Permit> turn;
  if (before) turn = co_await before->turn.lock();  // no run of the old one is under way
  const ScheduleRecord record = entry->record;
  absl::Status committed =
      co_await commit(store_, [record](Database& db) { return put_schedule(db, record); });
  if (!committed.ok()) co_return committed;
  ScheduleView made;
  {
    rt::LockGuard guard(mutex_);
    if (before) {
      before->removed = true;
      entry->unfinished = before->unfinished;
    }
    entries_[record.spec.name] = entry;
    made = view(*entry);
  }
  events_.append("schedule.created", record.spec.name);
  rearm_.notify_all();
  co_return made;
}

absl::StatusOr<Schedules::EntryPtr> Schedules::find(const std::string& name) {
  if (auto found = entries_.find(name); found != entries_.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, entry] : entries_) names.push_back(known);
  return unknown_name("schedule", name, names, "zsyncctl tasks schedule list");
}

ScheduleView Schedules::view(const Entry& entry, GroupGuarantees& known) {
  ScheduleView view{entry.record, entry.next, {}};
  if (entry.record.paused.on()) view.next_unix_nano.reset();
  const ScheduleSpec& spec = entry.record.spec;
  if (!spec.guaranteed()) return view;
  const auto [at, made] = known.try_emplace(group_of(*spec.task));
  if (made) at->second = guarantees_of(at->first);
  view.guarantee = at->second.at(spec.name);
  return view;
}

ScheduleView Schedules::view(const Entry& entry) {
  GroupGuarantees none;
  return view(entry, none);
}

std::map<std::string, Guarantee> Schedules::guarantees_of(const std::string& group) {
  const std::map<std::string, PeriodicTask> all = guaranteed_of(group);
  std::vector<PeriodicTask> tasks;
  for (const auto& [name, task] : all) tasks.push_back(task);
  std::vector<std::optional<int64_t>> responses(tasks.size());
  const GroupSettings settings = settings_of(tasks_.groups(), group);
  if (settings.order == StartOrder::kRate) responses = worst_responses(tasks, settings.parallel);
  std::map<std::string, Guarantee> guarantees;
  for (const auto& [name, task] : all) {
    guarantees[name] = {responses[guarantees.size()], utilization(tasks)};
  }
  return guarantees;
}

std::map<std::string, PeriodicTask> Schedules::guaranteed_of(const std::string& group) {
  std::map<std::string, PeriodicTask> tasks;
  for (const auto& [name, entry] : entries_) {
    const ScheduleSpec& spec = entry->record.spec;
    if (spec.guaranteed() && group_of(*spec.task) == group) tasks[name] = periodic(spec);
  }
  return tasks;
}

absl::Status Schedules::admit(const ScheduleSpec& spec) {
  if (!spec.guaranteed()) return absl::OkStatus();
  const std::string& name = group_of(*spec.task);
  const auto refused = [](const char* field, std::string text, std::string limit,
                          std::string hint) {
    return fault(absl::StatusCode::kFailedPrecondition, std::move(text),
                 {field, "GUARANTEE", std::move(limit), std::move(hint), {}});
  };
  const GroupSettings group = settings_of(tasks_.groups(), name);
  if (group.order != StartOrder::kRate) {
    return refused("spec.task.group",
                   absl::StrCat("group \"", name, "\" does not start the shortest period first"),
                   "",
                   absl::StrCat("`zsyncctl tasks group set ", name,
                                " --order rate`, for one in which "
                                "only such schedules run"));
  }
  const TaskLimits& limits = spec.task->limits;
  if ((group.memory_bytes_max != 0 && limits.memory_bytes != 0) ||
      (group.cpu_millis_max != 0 && limits.cpu_millis != 0)) {
    return refused("spec.task.limits",
                   absl::StrCat("a run may have to wait for the budget of group \"", name, "\""),
                   "", "leave the limits out, or use a group without a budget");
  }
  std::map<std::string, PeriodicTask> all = guaranteed_of(name);
  all[spec.name] = periodic(spec);
  if (all.size() > kGuaranteedMax) {
    return refused("spec.guaranteed",
                   absl::StrCat("group \"", name, "\" has ", kGuaranteedMax, " such schedules"),
                   absl::StrCat("guaranteed_max = ", kGuaranteedMax), "use another group");
  }
  std::vector<PeriodicTask> tasks;
  for (const auto& [other, task] : all) tasks.push_back(task);
  const std::vector<std::optional<int64_t>> responses = worst_responses(tasks, group.parallel);
  size_t at = 0;
  for (const auto& [other, task] : all) {
    if (responses[at++]) continue;
    return refused(
        "spec.guaranteed",
        absl::StrCat("a run of \"", other, "\", which takes up to ", in_seconds(task.cost_ms),
                     " every ", in_seconds(task.period_ms), ", could be late"),
        absl::StrCat("utilization = ", absl::StrFormat("%.2f", utilization(tasks)), " of ",
                     group.parallel),
        "give it a shorter timeout or kill_grace, a longer period, or a group of its own");
  }
  return absl::OkStatus();
}

absl::StatusOr<ScheduleView> Schedules::get(const std::string& name) {
  rt::LockGuard guard(mutex_);
  absl::StatusOr<EntryPtr> entry = find(name);
  if (!entry.ok()) return entry.status();
  return view(**entry);
}

std::vector<ScheduleView> Schedules::list() {
  rt::LockGuard guard(mutex_);
  std::vector<ScheduleView> views;
  GroupGuarantees known;
  for (const auto& [name, entry] : entries_) views.push_back(view(*entry, known));
  return views;
}

absl::StatusOr<std::vector<int64_t>> Schedules::upcoming(const std::string& name, uint32_t count) {
  if (count > kUpcomingMax) {
    return fault(absl::StatusCode::kInvalidArgument, absl::StrCat(count, " times are too many"),
                 {"count",
                  "LIMIT",
                  absl::StrCat("upcoming_max = ", kUpcomingMax),
                  "ask for at most 1000",
                  {}});
  }
  std::optional<Timetable> timetable;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> entry = find(name);
    if (!entry.ok()) return entry.status();
    timetable = (*entry)->timetable;
  }
  std::vector<int64_t> times;
  std::optional<int64_t> at = timetable->next(clock_());
  for (; at && times.size() < count; at = timetable->next(*at)) times.push_back(*at);
  return times;
}

Task<absl::StatusOr<ScheduleView>> Schedules::set_paused(std::string name, bool paused,
                                                         Submitter by) {
  EntryPtr entry;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(name);
    if (!found.ok()) co_return found.status();
    entry = *found;
  }
  Permit turn = co_await entry->turn.lock();
  ScheduleRecord record;
  {
    rt::LockGuard guard(mutex_);
    if (entry->removed) co_return find(name).status();
    record = entry->record;
    if (record.paused.on() == paused) co_return view(*entry);
    record.paused = paused ? GroupHold{clock_(), by.uid, by.pid} : GroupHold();
    if (!paused) record.seen_unix_nano = clock_();
  }
  absl::Status committed =
      co_await commit(store_, [record](Database& db) { return put_schedule(db, record); });
  if (!committed.ok()) co_return committed;
  ScheduleView changed;
  {
    rt::LockGuard guard(mutex_);
    entry->record = record;
    entry->next = entry->timetable->next(record.seen_unix_nano);
    changed = view(*entry);
  }
  events_.append(paused ? "schedule.paused" : "schedule.resumed", name);
  rearm_.notify_all();
  co_return changed;
}

Task<absl::Status> Schedules::remove(std::string name) {
  EntryPtr entry;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<EntryPtr> found = find(name);
    if (!found.ok()) co_return found.status();
    entry = *found;
  }
  Permit turn = co_await entry->turn.lock();
  {
    rt::LockGuard guard(mutex_);
    if (entry->removed) co_return find(name).status();
  }
  absl::Status committed =
      co_await commit(store_, [name](Database& db) { return delete_schedule(db, name); });
  if (!committed.ok()) co_return committed;
  {
    rt::LockGuard guard(mutex_);
    entry->removed = true;
    entries_.erase(name);
  }
  events_.append("schedule.removed", name);
  co_return absl::OkStatus();
}

size_t Schedules::active() {
  rt::LockGuard guard(mutex_);
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& named) {
    return named.second->next.has_value() && !named.second->record.paused.on();
  }));
}

}  // namespace zsync::daemon
