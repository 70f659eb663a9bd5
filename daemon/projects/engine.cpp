#include "daemon/projects/engine.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/projects/ports.hpp"
#include "daemon/store/commit.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::milliseconds kStorePause{1000};  // before the disk is tried again
constexpr std::chrono::seconds kLookAgain{60};          // at the wall clock, which may be set

std::string key_of(const ProjectRecord& record, const std::string& unit, uint64_t generation) {
  return absl::StrCat("project ", record.id, " ", unit, " ", generation);
}

}  // namespace

ProjectsEngine::ProjectsEngine(Store& store, EventLog& events, UlidGenerator& ids,
                               TasksEngine& tasks, TriggersEngine& triggers,
                               ChannelsEngine& channels, WatchEngine& watch, Clock clock)
    : store_(store),
      events_(events),
      ids_(ids),
      tasks_(tasks),
      triggers_(triggers),
      channels_(channels),
      watch_(watch),
      clock_(std::move(clock)) {}

ProjectsEngine::~ProjectsEngine() = default;

Task<absl::Status> ProjectsEngine::start() {
  absl::Status loaded = store_.read([this](Database& db) { return load(db); });
  if (!loaded.ok()) co_return loaded;
  begin(forget(tries()));  // before any of this daemon's own
  std::vector<EntryPtr> entries;
  {
    rt::LockGuard guard(mutex_);
    for (const auto& [name, entry] : entries_) entries.push_back(entry);
  }
  for (const EntryPtr& entry : entries) {
    find_own_tasks(entry);
    co_await make_channels_again(entry);
    begin(drive(entry));
    begin(watch_saves(entry));
  }
  co_return absl::OkStatus();
}

absl::Status ProjectsEngine::load(Database& db) {
  return load_projects(db, [this](ProjectRecord record, std::vector<UnitRow> rows) -> absl::Status {
    ParsedProject parsed = parse_project(record.text);
    const auto* spec = std::get_if<ProjectSpec>(&parsed);
    if (spec == nullptr) {  // of a zsyncd that knew other keys; what runs is left alone
      events_.append("project.unreadable", record.name,
                     {{"problem", problem_line(record.file, std::get<1>(parsed).front())}});
      return absl::OkStatus();
    }
    auto entry = std::make_shared<Entry>();
    entry->run.set_spec(*spec);
    entry->channels = channel_names(*spec);
    for (UnitRow& row : rows) {
      entry->run.restore(row);
      entry->stored[row.unit] = std::move(row);
    }
    entry->record = std::move(record);
    rt::LockGuard guard(mutex_);
    entries_[entry->record.name] = entry;
    return absl::OkStatus();
  });
}

// Tasks of units that an earlier daemon has submitted.
void ProjectsEngine::find_own_tasks(const EntryPtr& entry) {
  std::map<std::string, TaskRecord> by_key;
  TaskFilter filter;
  filter.has_label = kUnitLabel;
  filter.limit = SIZE_MAX;
  for (TaskRecord& task : tasks_.list(filter)) {
    std::string key = task.spec->idempotency_key;
    by_key.emplace(std::move(key), std::move(task));
  }
  const int64_t now = clock_();
  ProjectRun& run = entry->run;
  for (const UnitRow& row : run.rows()) {
    const auto found = by_key.find(key_of(entry->record, row.unit, row.generation));
    if (found == by_key.end()) continue;
    const TaskRecord& task = found->second;
    run.show_task(row.unit, task.id,
                  is_final(task.state) ? task.finished_unix_nano : task.started_unix_nano);
    if (!row.live) continue;
    run.adopt(row.unit, task.id);
    if (is_final(task.state)) {
      run.ended(row.unit, row.generation, end_of(task), now);
    } else {
      const ProjectAction action{ProjectAction::Kind::kStart, row.unit, row.generation};
      begin(watch_task(entry, action, task.id));
    }
  }
}

// Tries of an earlier daemon, whose results nobody waits for.
std::vector<std::string> ProjectsEngine::tries() {
  TaskFilter filter;
  filter.has_label = kProbeLabel;
  filter.limit = SIZE_MAX;
  std::vector<std::string> ids;
  for (const TaskRecord& task : tasks_.list(filter)) ids.push_back(task.id);
  return ids;
}

Task<void> ProjectsEngine::forget(std::vector<std::string> tries) {
  for (const std::string& id : tries) {
    (void)co_await tasks_.cancel(id, true, std::nullopt);
    (void)co_await tasks_.remove(id);
  }
}

void ProjectsEngine::begin(Task<void> task) {
  rt::LockGuard guard(mutex_);
  if (!stopping_) runners_.spawn(std::move(task));
}

Task<void> ProjectsEngine::stop() {
  {
    rt::LockGuard guard(mutex_);
    stopping_ = true;
  }
  runners_.cancel_all();
  co_await runners_.join_all();
}

Task<void> ProjectsEngine::drive(EntryPtr entry) {
  while (true) {
    const uint64_t seen = entry->news.epoch();
    {
      Permit turn = co_await entry->turn.lock();
      if (entry->removed) co_return;
      co_await advance(entry);
    }
    std::optional<int64_t> at;
    {
      rt::LockGuard guard(mutex_);
      at = entry->run.wakeup();
    }
    if (!at) {
      co_await entry->news.changed(seen);
      continue;
    }
    const std::chrono::nanoseconds left(std::max<int64_t>(0, *at - clock_()));
    const absl::Status waited = co_await timeout(
        entry->news.changed(seen), std::min<std::chrono::nanoseconds>(left, kLookAgain));
    if (absl::IsCancelled(waited)) co_return;
  }
}

// Takes what has happened, writes down what follows from it, and does that. Of who has the turn.
Task<void> ProjectsEngine::advance(EntryPtr entry) {
  ProjectRun run;
  std::deque<News> pending;
  {
    rt::LockGuard guard(mutex_);
    run = entry->run;
    pending.swap(entry->pending);
  }
  const int64_t now = clock_();
  for (const News& news : pending) news(run, now);
  const std::vector<ProjectAction> actions = run.step(now);
  for (const ProjectAction& action : actions) {
    if (action.kind == ProjectAction::Kind::kStart) allot_port(run, action.unit);
  }
  while (true) {
    absl::Status saved = co_await save(entry, &run, nullptr);
    if (saved.ok()) break;
    co_await sleep(kStorePause);
  }
  publish(entry, std::move(run));
  for (const ProjectAction& action : actions) {
    if (action.kind == ProjectAction::Kind::kStart) co_await start_unit(entry, action);
    if (action.kind == ProjectAction::Kind::kStop) co_await stop_unit(entry, action);
    if (action.kind == ProjectAction::Kind::kLook) begin(look_at_files(entry, action.unit));
    if (action.kind != ProjectAction::Kind::kProbe) continue;
    const UnitSpec* spec = entry->run.spec_of(action.unit);
    ReadinessProbe probe{
        spec->ready, entry->run.task_of(action.unit), 0, {}, {entry->record.uid, 0}};
    probe.port =
        spec->port_kind == PortKind::kFixed ? spec->port : entry->run.row_of(action.unit)->port;
    if (probe.ready.kind == ReadyKind::kExec) {
      probe.exec_task = task_of(entry->record, entry->run, action.unit, probe.ready.exec);
      probe.exec_task.labels.edit()[kProbeLabel] = action.unit;
      probe.exec_task.labels.edit().erase(kUnitLabel);
    }
    begin(watch_readiness(entry, action, std::move(probe)));
  }
}

// One transaction: the record where it is given, and the rows that differ from what is on disk.
Task<absl::Status> ProjectsEngine::save(EntryPtr entry, const ProjectRun* run,
                                        const ProjectRecord* record) {
  std::vector<UnitRow> changed;
  std::vector<std::string> gone;
  std::map<std::string, UnitRow> stored;
  for (UnitRow& row : run->rows()) {
    const auto before = entry->stored.find(row.unit);
    if (before == entry->stored.end() || before->second != row) changed.push_back(row);
    stored[row.unit] = std::move(row);
  }
  for (const auto& [unit, row] : entry->stored) {
    if (!stored.contains(unit)) gone.push_back(unit);
  }
  if (changed.empty() && gone.empty() && record == nullptr) co_return absl::OkStatus();
  const std::string id = record != nullptr ? record->id : entry->record.id;
  std::optional<ProjectRecord> written;
  if (record != nullptr) written = *record;
  absl::Status committed =
      co_await commit(store_, [id, changed, gone, written](Database& db) -> absl::Status {
        absl::Status status;
        if (written) status = put_project(db, *written);
        for (const UnitRow& row : changed) {
          if (status.ok()) status = put_unit(db, id, row);
        }
        for (const std::string& unit : gone) {
          if (status.ok()) status = delete_unit(db, id, unit);
        }
        return status;
      });
  if (committed.ok()) entry->stored = std::move(stored);
  co_return committed;
}

void ProjectsEngine::publish(const EntryPtr& entry, ProjectRun run) {
  std::vector<UnitView> views;
  {
    rt::LockGuard guard(mutex_);
    entry->run = std::move(run);
    views = entry->run.views(clock_());
  }
  for (const UnitView& unit : views) {
    UnitState& told = entry->told[unit.name];
    if (told == unit.state) continue;
    told = unit.state;
    std::map<std::string, std::string> fields = {{"unit", unit.name}};
    if (!unit.reason.empty()) fields["reason"] = unit.reason;
    if (!unit.task.empty()) fields["task"] = unit.task;
    events_.append(absl::StrCat("project.", unit_state_name(unit.state)), entry->record.name,
                   fields);
  }
  entry->changed.notify_all();
}

std::set<uint16_t> ProjectsEngine::ports_taken() {
  std::set<uint16_t> taken;
  rt::LockGuard guard(mutex_);
  for (const auto& [name, entry] : entries_) {
    for (const UnitRow& row : entry->run.rows()) taken.insert(row.port);
  }
  return taken;
}

// The same port as before, unless another program has it now.
void ProjectsEngine::allot_port(ProjectRun& run, const std::string& unit) {
  const UnitSpec* spec = run.spec_of(unit);
  if (spec == nullptr || spec->port_kind != PortKind::kAuto) return;
  const uint16_t before = run.row_of(unit)->port;
  if (before != 0 && port_is_free(before)) return;
  std::set<uint16_t> taken = ports_taken();
  for (const UnitRow& row : run.rows()) taken.insert(row.port);
  absl::StatusOr<uint16_t> port = free_port(taken);
  if (port.ok()) run.set_port(unit, *port);
}

void ProjectsEngine::post(const EntryPtr& entry, News news) {
  {
    rt::LockGuard guard(mutex_);
    entry->pending.push_back(std::move(news));
  }
  entry->news.notify_all();
}

Task<void> ProjectsEngine::start_unit(EntryPtr entry, ProjectAction action) {
  const UnitSpec* spec = entry->run.spec_of(action.unit);
  if (spec == nullptr) co_return;  // restored, and its file has lost it
  TaskSpec task = task_of(entry->record, entry->run, action.unit, spec->command);
  task.idempotency_key = key_of(entry->record, action.unit, action.generation);
  task.traceparent = action.cause;
  if (spec->port_kind == PortKind::kFixed && !port_is_free(spec->port)) {
    post(entry, [action, port = spec->port](ProjectRun& run, int64_t now) {
      run.launch_failed(action.unit, action.generation,
                        absl::StrCat("port ", port, " is in use by another program"), now);
    });
    co_return;
  }
  while (true) {
    std::vector<TaskSpec> specs{task};
    absl::StatusOr<std::vector<Submitted>> submitted =
        co_await tasks_.submit(std::move(specs), {entry->record.uid, 0});
    if (submitted.ok()) {
      const std::string id = submitted->front().id;
      post(entry, [action, id](ProjectRun& run, int64_t now) {
        run.launched(action.unit, action.generation, id, now);
      });
      begin(watch_task(entry, action, id));
      co_return;
    }
    if (fault_detail(submitted.status())) {  // a rule, and not the disk
      post(entry,
           [action, why = std::string(submitted.status().message())](ProjectRun& run, int64_t now) {
             run.launch_failed(action.unit, action.generation, why, now);
           });
      co_return;
    }
    co_await sleep(kStorePause);
  }
}

Task<void> ProjectsEngine::stop_unit(EntryPtr entry, ProjectAction action) {
  const std::string task = entry->run.task_of(action.unit);
  absl::StatusOr<TaskRecord> canceled = co_await tasks_.cancel(task, false, std::nullopt);
  if (canceled.ok() || !absl::IsNotFound(canceled.status())) co_return;
  post(entry, [action](ProjectRun& run, int64_t now) {
    run.ended(action.unit, action.generation, {false, true, "its task is gone"}, now);
  });
}

Task<void> ProjectsEngine::watch_task(EntryPtr entry, ProjectAction action, std::string task) {
  absl::StatusOr<std::vector<TaskRecord>> ended = co_await tasks_.wait({task});
  UnitEnd end{false, true, "its task is gone"};
  if (ended.ok()) end = end_of(ended->front());
  post(entry, [action, end](ProjectRun& run, int64_t now) {
    run.ended(action.unit, action.generation, end, now);
  });
}

Task<void> ProjectsEngine::watch_readiness(EntryPtr entry, ProjectAction action,
                                           ReadinessProbe probe) {
  absl::Status status = co_await wait_until_ready(&tasks_, std::move(probe));
  if (absl::IsCancelled(status) || absl::IsAborted(status)) co_return;
  post(entry, [action, status](ProjectRun& run, int64_t now) {
    if (status.ok()) {
      run.became_ready(action.unit, action.generation, now);
    } else {
      run.not_ready(action.unit, action.generation, std::string(status.message()), now);
    }
  });
}

TaskSpec ProjectsEngine::task_of(const ProjectRecord& record, const ProjectRun& run,
                                 const std::string& unit, const ProjectCommand& command) {
  const UnitSpec& spec = *run.spec_of(unit);
  TaskSpec task;
  task.argv = command.run;
  task.shell = command.shell;
  task.cwd = (std::filesystem::path(record.root) / spec.cwd).lexically_normal().string();
  if (task.cwd.size() > 1 && task.cwd.back() == '/') task.cwd.pop_back();
  task.replace_env = !record.env.empty();
  std::map<std::string, std::string> env = record.env;
  env["ZSYNC_PROJECT"] = record.name;
  env["ZSYNC_UNIT"] = unit;
  for (const auto& [name, port] : run.ports_for(unit)) {
    env[name] = absl::StrCat(port);
    if (name == port_variable(unit)) env["PORT"] = absl::StrCat(port);
  }
  for (const auto& [name, value] : spec.env) env[name] = value;
  task.env = Environment(std::move(env));
  task.name = absl::StrCat(record.name, ".", unit);
  if (task.name.size() > kNameBytesMax) task.name.resize(kNameBytesMax);
  task.labels = {{kProjectLabel, record.name}, {kUnitLabel, unit}};
  if (spec.service) task.group = kServicesGroup;
  task.locks = spec.locks;
  task.timeout_ms = spec.timeout_ms;
  task.deadline_ms = spec.deadline_ms;
  task.matchers = spec.matchers;
  return task;
}

UnitEnd ProjectsEngine::end_of(const TaskRecord& task) {
  UnitEnd end{task.state == TaskState::kSucceeded, task.state == TaskState::kCanceled, ""};
  switch (task.state) {
    case TaskState::kCanceled:
      break;
    case TaskState::kSucceeded:
      end.reason = "exit code 0";
      break;
    case TaskState::kFailed:
      end.reason = task.reason.empty() ? absl::StrCat("exit code ", task.exit_code) : task.reason;
      break;
    case TaskState::kSignaled:
      end.reason = absl::StrCat("ended by signal ", task.signal);
      break;
    default:
      end.reason = absl::StrCat(std::string(state_name(task.state)),
                                task.reason.empty() ? "" : ": ", task.reason);
  }
  return end;
}

}  // namespace zsync::daemon
