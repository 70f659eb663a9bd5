#include "daemon/tasks/engine.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/deadlines.hpp"
#include "zsync/assert.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

constexpr char kIdPrefix[] = "task_";
constexpr size_t kCommandBytesMax = 80;       // of a command in an event
constexpr int64_t kAgingNs = 60'000'000'000;  // of waiting count as one point of priority
constexpr size_t kClosestMax = 5;             // names offered for a mistyped one
constexpr std::chrono::seconds kLookAgain{
    60};                                   // at the wall clock, while a task waits for its time
constexpr size_t kClosestSearched = 2000;  // newest tasks that are compared

}  // namespace

TasksEngine::TasksEngine(TasksOptions options, Store& store, EventLog& events, UlidGenerator& ids,
                         TaskCgroups& cgroups, Clock clock)
    : options_(std::move(options)),
      launcher_(options_.shim_program),
      store_(store),
      events_(events),
      ids_(ids),
      cgroups_(cgroups),
      clock_(std::move(clock)),
      queue_(options_.default_parallel, kAgingNs),
      retention_(
          options_.output_retention_bytes_max,
          std::chrono::duration_cast<std::chrono::nanoseconds>(options_.retention_age).count()) {}

TasksEngine::~TasksEngine() = default;

TaskRecord TasksEngine::with_slack(TaskRecord record) const {
  record.slack_nano = slack_of(record, clock_());
  return record;
}

std::string TasksEngine::attempt_dir(const std::string& id, uint32_t attempt) const {
  return absl::StrCat(options_.tasks_dir, "/", id, "/", attempt);
}

void TasksEngine::announce(const std::string& type, const TaskRecord& record, std::string waits) {
  std::map<std::string, std::string> attributes{{"state", std::string(state_name(record.state))},
                                                {"attempt", absl::StrCat(record.attempt)}};
  if (!record.spec->name.empty()) {
    attributes["name"] = record.spec->name;
  } else if (type == "task.queued") {
    attributes["command"] = command_text(*record.spec, kCommandBytesMax);
  }
  if (!waits.empty()) attributes["waits"] = std::move(waits);
  if (!record.reason.empty()) attributes["reason"] = record.reason;
  if (is_final(record.state)) attributes["exit_code"] = absl::StrCat(record.exit_code);
  if (record.not_before_unix_nano > 0) {
    attributes["not_before_unix_nano"] = absl::StrCat(record.not_before_unix_nano);
  }
  if (type == "task.deadline_missed") {
    const TaskDeadlines due = deadlines_of(record);
    const bool start = record.reason == kMissedStart;
    attributes["which"] = start ? "start_deadline" : "deadline";
    attributes["deadline_unix_nano"] = absl::StrCat(start ? due.start : due.end);
  }
  events_.append(type, record.id, std::move(attributes), record.spec->traceparent);
}

Task<absl::Status> TasksEngine::start() {
  std::error_code error;
  std::filesystem::create_directories(options_.tasks_dir, error);
  if (error) {
    co_return absl::UnavailableError(
        absl::StrCat("making \"", options_.tasks_dir, "\": ", error.message()));
  }
  std::vector<EntryPtr> was_running;
  std::vector<EntryPtr> was_called;
  std::vector<EntryPtr> was_queued;
  absl::Status loaded = store_.read([&](Database& db) -> absl::Status {
    rt::LockGuard guard(mutex_);
    absl::Status status = load_settings(db);
    if (status.ok()) status = load_known_functions(db);
    if (!status.ok()) return status;
    return load_tasks(db, environments_, [&](StoredTask task) {
      mutex_.assert_held();
      next_order_ = std::max(next_order_, task.order + 1);
      auto entry = std::make_shared<Entry>(std::move(task));
      const TaskRecord& record = entry->task.record;
      tasks_.insert(entry);
      by_order_.insert(entry);
      const std::string& key = record.spec->idempotency_key;
      if (!key.empty()) by_key_[key] = record.id;
      if (record.spec->function && !is_final(record.state)) {
        know_function(record.spec->function->name);
      }
      if (record.state == TaskState::kQueued) was_queued.push_back(entry);
      if (is_final(record.state)) retain(record);
      if (record.state == TaskState::kRunning) {
        queue_.add_running(queued_task(entry));
        (record.spec->function ? was_called : was_running).push_back(entry);
      }
    });
  });
  if (!loaded.ok()) co_return loaded;
  for (const EntryPtr& entry : was_running) runners_.spawn(resume(entry));
  runners_.spawn(keep_time());
  rt::LockGuard guard(mutex_);
  for (const EntryPtr& entry : was_queued) enqueue(entry);
  resume_calls(std::move(was_called));
  dispatch();
  co_return absl::OkStatus();
}

Task<void> TasksEngine::stop() {
  {
    rt::LockGuard guard(mutex_);
    stopping_ = true;
  }
  runners_.cancel_all();
  co_await runners_.join_all();
}

void TasksEngine::enqueue(const EntryPtr& entry) {
  const TaskRecord& record = entry->task.record;
  if (record.spec->takes_input() && !entry->input) {
    entry->input = to_shim(bounded<ShimOrder>(kInputQueued));
  }
  queue_.add(queued_task(entry), clock_());
  // What it waits for may have ended already, also otherwise than it had to.
  for (const TaskDependency& dependency : record.spec->after) {
    auto other = tasks_.find(dependency.task);
    if (other == tasks_.end() || !is_final((*other)->task.record.state)) continue;
    queue_.ended((*other)->task.order, (*other)->task.record.state == TaskState::kSucceeded,
                 clock_());
  }
}

// Of those that it waits for, one that is not known any more had ended well: this task would have
// been skipped before the other one could be removed.
QueuedTask TasksEngine::queued_task(const EntryPtr& entry) {
  const TaskRecord& record = entry->task.record;
  QueuedTask task;
  task.order = entry->task.order;
  task.group = group_of(*record.spec);
  task.priority = record.spec->priority;
  task.not_before_unix_nano = record.not_before_unix_nano;
  const TaskDeadlines due = deadlines_of(record);
  if (record.attempt == 0) task.start_deadline_unix_nano = due.start;
  task.deadline_unix_nano = due.end;
  task.period_ns = static_cast<int64_t>(record.spec->period_ms) * 1'000'000;
  task.locks = record.spec->locks;
  for (const auto& [resource, amount] : record.spec->resources) {
    task.resources.emplace_back(resource, amount);
  }
  if (record.spec->function) task.resources.push_back(place_needed(*record.spec));
  task.memory_mib = budget_mib(record.spec->limits.memory_bytes);
  task.cpu_millis = record.spec->limits.cpu_millis;
  for (const TaskDependency& dependency : record.spec->after) {
    auto other = tasks_.find(dependency.task);
    if (other == tasks_.end()) continue;
    task.after.push_back({(*other)->task.order, dependency.condition});
  }
  return task;
}

void TasksEngine::retain(const TaskRecord& ended) {
  retention_.ended(ended.finished_unix_nano, ended.id, ended.output_bytes);
}

void TasksEngine::begin_attempt(const EntryPtr& entry) {
  TaskRecord& record = entry->task.record;
  record.state = TaskState::kRunning;
  ++record.attempt;
  record.started_unix_nano = clock_();
  record.finished_unix_nano = 0;
  record.not_before_unix_nano = 0;
  record.exit_code = record.signal = 0;
  record.reason.clear();
  record.output_bytes = record.output_records = 0;
  record.usage = {};
  entry->task.boot_id = options_.boot_id;
  if (record.spec->function) {
    functions_.starting.push_back(entry);
    return;
  }
  record.limits_note = limits_note(record.spec->limits, cgroups_);
  entry->shim_version = 0;
  entry->orders = to_shim(unbounded<ShimOrder>());
  if (!record.spec->matchers.empty() && options_.matched_attempt) {
    options_.matched_attempt(record.id);
  }
  std::vector<uint64_t> behind;
  open_ends_.add_sharing(OpenEnds::Place::of(*record.spec), behind);
  runners_.spawn(run(entry, entry->take_waits(), std::move(behind)));
}

void TasksEngine::dispatch() {
  if (stopping_) return;
  while (const std::optional<Decision> decision = queue_.next(clock_())) {
    const EntryPtr entry = at_order(decision->order);
    switch (decision->kind) {
      case Decision::Kind::kStart:
        if (!decision->waits.empty()) {
          entry->waits = std::make_unique<const std::string>(
              queue_waits_text(decision->waits, group_of(*entry->task.record.spec)));
        }
        begin_attempt(entry);
        break;
      case Decision::Kind::kSkip: {
        const EntryPtr because = at_order(decision->because);
        ++because->skipping;
        runners_.spawn(end_unstarted(entry, TaskState::kSkipped,
                                     skip_reason(entry, decision->because), because));
        break;
      }
      case Decision::Kind::kMissedStart:
        runners_.spawn(end_unstarted(entry, TaskState::kTimedOut, kMissedStart));
        break;
      case Decision::Kind::kMissed:
        runners_.spawn(end_unstarted(entry, TaskState::kTimedOut, kMissedDeadline));
        break;
      case Decision::Kind::kShed: {
        const std::string& name = group_of(*entry->task.record.spec);
        admission_.overloaded(name);
        runners_.spawn(end_unstarted(
            entry, TaskState::kCanceled,
            absl::StrCat("shed: group \"", name, "\" was given more than the ",
                         queue_.group(name).settings.queued_max, " that wait in it")));
        break;
      }
    }
  }
  if (!functions_.starting.empty()) {
    std::vector<uint64_t> behind;
    for (const EntryPtr& entry : functions_.starting) {
      open_ends_.add_sharing(OpenEnds::Place::of(*entry->task.record.spec), behind);
    }
    runners_.spawn(launch_calls(std::exchange(functions_.starting, {}), std::move(behind)));
  }
  tell_overload();
  rearm();
}

int64_t TasksEngine::next_look() const {
  const auto& directs = functions_.direct_ends;
  return std::min({queue_.wake_at().value_or(INT64_MAX),
                   functions_.pool.wake_at().value_or(INT64_MAX),
                   directs.empty() ? INT64_MAX : directs.begin()->first});
}

void TasksEngine::rearm() {
  if (next_look() < armed_for_) rearm_.notify_all();
}

// Looks again when the next task's time has come. The wall clock may be set while it sleeps.
Task<void> TasksEngine::keep_time() {
  while (true) {
    const uint64_t seen = rearm_.epoch();
    int64_t at = INT64_MAX;
    {
      rt::LockGuard guard(mutex_);
      at = armed_for_ = next_look();
    }
    if (at != INT64_MAX) {
      const std::chrono::nanoseconds left(std::max<int64_t>(0, at - clock_()));
      const absl::Status waited = co_await timeout(
          rearm_.changed(seen), std::min<std::chrono::nanoseconds>(left, kLookAgain));
      if (absl::IsCancelled(waited)) co_return;
    } else {
      co_await rearm_.changed(seen);
    }
    Tidings tidings;
    rt::LockGuard guard(mutex_);
    look_at_calls(tidings);
    dispatch();
  }
}

Task<absl::StatusOr<std::vector<Submitted>>> TasksEngine::submit(std::vector<TaskSpec> specs,
                                                                 Submitter submitter) {
  if (specs.empty() || specs.size() > kSubmitBatchMax) {
    co_return fault(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("one call submits 1 to ", kSubmitBatchMax, " tasks, not ", specs.size()),
        {"specs",
         "LIMIT",
         absl::StrCat("submit_batch_max = ", kSubmitBatchMax),
         "submit them in several calls",
         {}});
  }
  bool keyed = false;
  for (const TaskSpec& spec : specs) {
    if (absl::Status status = validate(spec); !status.ok()) co_return status;
    keyed |= !spec.idempotency_key.empty();
  }
  if (!keyed) co_return co_await submit_unkeyed(std::move(specs), submitter, {});

  Permit turn = co_await keyed_submits_.lock();
  std::vector<Submitted> result(specs.size());
  std::vector<TaskSpec> fresh;
  std::vector<size_t> fresh_at;
  std::map<std::string, std::string> named;  // tasks of this call that exist already
  absl::flat_hash_map<std::string, size_t> in_this_call;
  std::vector<std::pair<size_t, size_t>> repeats;  // the same key twice in this call
  {
    rt::LockGuard guard(mutex_);
    for (size_t i = 0; i < specs.size(); ++i) {
      const std::string& key = specs[i].idempotency_key;
      auto known = key.empty() ? by_key_.end() : by_key_.find(key);
      if (known != by_key_.end()) {
        auto task = tasks_.find(known->second);
        if (task != tasks_.end() &&
            clock_() - (*task)->task.record.created_unix_nano < kIdempotencyNs) {
          result[i] = {known->second, true};
          if (!specs[i].name.empty()) named[specs[i].name] = known->second;
          continue;
        }
      }
      if (!key.empty() && !in_this_call.emplace(key, i).second) {
        repeats.emplace_back(i, in_this_call[key]);
        continue;
      }
      fresh_at.push_back(i);
      fresh.push_back(std::move(specs[i]));
    }
  }
  if (!fresh.empty()) {
    absl::StatusOr<std::vector<Submitted>> made =
        co_await submit_unkeyed(std::move(fresh), submitter, std::move(named));
    if (!made.ok()) co_return made.status();
    for (size_t i = 0; i < fresh_at.size(); ++i) result[fresh_at[i]] = (*made)[i];
  }
  for (auto [again, first] : repeats) result[again] = {result[first].id, true};
  co_return result;
}

Task<absl::StatusOr<std::vector<Submitted>>> TasksEngine::submit_unkeyed(
    std::vector<TaskSpec> specs, Submitter submitter, std::map<std::string, std::string> known) {
  std::vector<StoredTask> tasks;
  std::vector<Submitted> result;
  Admission::Wanted wanted;
  {
    rt::LockGuard guard(mutex_);
    if (stopping_) co_return absl::UnavailableError("zsyncd is stopping: submit again in a moment");
    if (queue_.queued() + specs.size() > options_.queued_max) {
      co_return fault(absl::StatusCode::kResourceExhausted,
                      absl::StrCat(queue_.queued(), " tasks are queued"),
                      {"specs",
                       "LIMIT",
                       absl::StrCat("tasks.queued_max = ", options_.queued_max),
                       "wait until some have run",
                       {}});
    }
    const int64_t now = clock_();
    if (absl::Status status = check_needs(specs, now); !status.ok()) co_return status;
    std::vector<std::string> new_ids;
    for (size_t i = 0; i < specs.size(); ++i) new_ids.push_back(kIdPrefix + ids_.next());
    if (absl::Status status = resolve_after(specs, new_ids, known); !status.ok()) co_return status;
    for (const TaskSpec& spec : specs) ++wanted[group_of(spec)];
    if (absl::Status status = admission_.admit(wanted, queue_); !status.ok()) {
      tell_overload();
      co_return status;
    }
    for (size_t i = 0; i < specs.size(); ++i) {
      TaskSpec& spec = specs[i];
      StoredTask task;
      task.order = next_order_++;
      task.record.id = new_ids[i];
      task.record.not_before_unix_nano = not_before_of(spec, now);
      environments_.share(spec.env);
      task.record.spec = std::make_shared<const TaskSpec>(std::move(spec));
      task.record.created_unix_nano = now;
      task.record.submitter_uid = submitter.uid;
      task.record.submitter_pid = submitter.pid;
      result.push_back({task.record.id, false});
      tasks.push_back(std::move(task));
    }
  }
  // The tasks outlive the call in the store's hands, so they are shared with its work.
  auto arrival = std::make_shared<TaskArrival>(std::move(tasks), std::move(wanted));
  absl::Status committed = co_await commit(
      store_,
      [arrival](Database& db) {
        for (const StoredTask& task : arrival->tasks) {
          absl::Status status = insert_task(db, task, encode_task_spec(*task.record.spec));
          if (!status.ok()) return status;
        }
        return absl::OkStatus();
      },
      [this, arrival](absl::Status status) {
        if (!status.ok()) return;
        rt::LockGuard guard(arrived_lock_);
        arrived_.push_back(arrival);
      });
  if (!committed.ok()) {
    rt::LockGuard guard(mutex_);
    admission_.arrived(arrival->wanted);
    co_return committed;
  }
  adopt_arrived();
  co_return result;
}

void TasksEngine::adopt_arrived() {
  rt::LockGuard guard(mutex_);
  std::vector<std::shared_ptr<TaskArrival>> arrived;
  {
    rt::LockGuard arrived_guard(arrived_lock_);
    arrived.swap(arrived_);
  }
  if (arrived.empty()) return;  // another call has adopted them together with its own
  EventLog::Together together(events_);
  std::vector<EntryPtr> added;
  for (const auto& arrival : arrived) {
    for (StoredTask& task : arrival->tasks) {
      auto entry = std::make_shared<Entry>(std::move(task));
      const TaskRecord& record = entry->task.record;
      tasks_.insert(entry);
      by_order_.insert(entry);
      const std::string& key = record.spec->idempotency_key;
      if (!key.empty()) by_key_[key] = record.id;
      added.push_back(std::move(entry));
    }
  }
  for (const EntryPtr& entry : added) {  // each may wait for any of the others
    enqueue(entry);
    announce("task.queued", entry->task.record);
  }
  for (const auto& arrival : arrived) admission_.arrived(arrival->wanted);
  dispatch();
  for (const auto& arrival : arrived) {
    for (const auto& [name, count] : arrival->wanted) {
      const GroupRecord group = queue_.group(name);
      if (group.settings.queued_max > 0 && group.queued > group.settings.queued_max) {
        admission_.overloaded(name);
      }
    }
  }
  tell_overload();
}

absl::Status TasksEngine::not_found(const std::string& id) {
  std::vector<std::string> candidates;
  size_t looked = 0;
  for (auto it = tasks_.rbegin(); it != tasks_.rend() && looked < kClosestSearched;
       ++it, ++looked) {
    candidates.push_back((*it)->task.record.id);
    if (const std::string& name = (*it)->task.record.spec->name; !name.empty()) {
      candidates.push_back(name);
    }
  }
  std::vector<std::string> closest;
  if (std::optional<std::string> match = closest_match(id, candidates)) closest.push_back(*match);
  return fault(absl::StatusCode::kNotFound, absl::StrCat("no task \"", id, "\""),
               {"id", "NOT_FOUND", "",
                closest.empty() ? "`zsyncctl tasks list` shows what there is"
                                : absl::StrCat("did you mean ", closest[0], "?"),
                closest});
}

absl::StatusOr<TasksEngine::EntryPtr> TasksEngine::find(const std::string& id) {
  if (id.empty()) {
    return fault(absl::StatusCode::kInvalidArgument, "no task id is given",
                 {"id", "INVALID", "", "give an id, a unique prefix of one, or a name", {}});
  }
  if (auto exact = tasks_.find(id); exact != tasks_.end()) return *exact;
  std::vector<EntryPtr> matches;
  for (const std::string& prefix : {id, kIdPrefix + id}) {
    for (auto it = tasks_.lower_bound(prefix);
         it != tasks_.end() && absl::StartsWith((*it)->task.record.id, prefix) &&
         matches.size() <= kClosestMax;
         ++it) {
      matches.push_back(*it);
    }
  }
  if (matches.empty()) {
    for (const EntryPtr& entry : tasks_) {
      if (entry->task.record.spec->name == id) matches.push_back(entry);
      if (matches.size() > kClosestMax) break;
    }
  }
  if (matches.empty()) return not_found(id);
  if (matches.size() == 1) return matches[0];
  FaultDetail detail{"id", "AMBIGUOUS", "", "give more of the id", {}};
  for (const EntryPtr& match : matches) detail.closest.push_back(match->task.record.id);
  return fault(absl::StatusCode::kInvalidArgument,
               absl::StrCat("\"", id, "\" names ",
                            matches.size() > kClosestMax ? "many" : "several", " tasks"),
               std::move(detail));
}

const TasksEngine::EntryPtr& TasksEngine::at_order(uint64_t order) const {
  const auto found = by_order_.find(order);
  ZS_ASSERT(found != by_order_.end(), "the queue names a task that is not there");
  return *found;
}

StoredTask TasksEngine::snapshot(const EntryPtr& entry) {
  rt::LockGuard guard(mutex_);
  return entry->task;
}

absl::StatusOr<TaskRecord> TasksEngine::current(const EntryPtr& entry) {
  return snapshot(entry).record;
}

absl::StatusOr<TaskRecord> TasksEngine::get(const std::string& id) {
  rt::LockGuard guard(mutex_);
  absl::StatusOr<EntryPtr> entry = find(id);
  if (!entry.ok()) return entry.status();
  return with_slack((*entry)->task.record);
}

std::vector<TaskRecord> TasksEngine::list(const TaskFilter& filter) {
  std::vector<TaskRecord> page;
  auto matches = [&filter](const TaskRecord& record) {
    const TaskSpec& spec = *record.spec;
    if (!filter.states.empty() && std::find(filter.states.begin(), filter.states.end(),
                                            record.state) == filter.states.end()) {
      return false;
    }
    if (!filter.group.empty() && group_of(spec) != filter.group) return false;
    if (!filter.name.empty() && spec.name != filter.name) return false;
    if (!filter.has_label.empty() && !spec.labels->contains(filter.has_label)) return false;
    if (filter.has_matchers && spec.matchers.empty()) return false;
    if (!filter.array.empty() && (!spec.array || spec.array->id != filter.array)) return false;
    return std::all_of(filter.labels.begin(), filter.labels.end(), [&spec](const auto& label) {
      auto found = spec.labels->find(label.first);
      return found != spec.labels.end() && found->second == label.second;
    });
  };
  auto take = [&](const EntryPtr& entry) {
    if (matches(entry->task.record)) page.push_back(with_slack(entry->task.record));
    return page.size() < filter.limit;
  };
  rt::LockGuard guard(mutex_);
  if (filter.oldest_first) {
    auto it = filter.after.empty() ? tasks_.begin() : tasks_.upper_bound(filter.after);
    while (it != tasks_.end() && take(*it)) ++it;
  } else {
    auto it = filter.after.empty() ? tasks_.end() : tasks_.lower_bound(filter.after);
    while (it != tasks_.begin() && take(*--it)) {
    }
  }
  return page;
}

size_t TasksEngine::stored() {
  rt::LockGuard guard(mutex_);
  return tasks_.size();
}
size_t TasksEngine::queued() {
  rt::LockGuard guard(mutex_);
  return queue_.queued();
}
size_t TasksEngine::running() {
  rt::LockGuard guard(mutex_);
  return queue_.running();
}

}  // namespace zsync::daemon
