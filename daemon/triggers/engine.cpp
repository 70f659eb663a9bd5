#include "daemon/triggers/engine.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/triggers/trigger_store.hpp"
#include "zsync/flow.hpp"

namespace zsync::daemon {
namespace {

constexpr char kIdPrefix[] = "trig_";
constexpr std::chrono::milliseconds kStorePause{1000};  // before the disk is tried again

// What WatchEngine says of a request's field, as one of a trigger's.
absl::Status of_spec(const absl::Status& status) {
  std::optional<FaultDetail> detail = fault_detail(status);
  if (!detail) return status;
  detail->field = absl::StrCat("spec.", detail->field);
  return fault(status.code(), std::string(status.message()), *std::move(detail));
}

std::string next_step(const TriggerView& view) {
  const std::string resume =
      absl::StrCat("`zsyncctl watch trigger resume ", view.record.spec.name, "`");
  const bool asked = view.record.run_follows;
  if (asked && view.state != TriggerState::kRunning) return "a run at once: it was asked for";
  switch (view.state) {
    case TriggerState::kStarting:
      return "the directory is being read";
    case TriggerState::kIdle:
      return "a run when something changes";
    case TriggerState::kSettling:
      return "a run once the changes are quiet";
    case TriggerState::kRunning:
      if (asked) return "another run after this one: it was asked for";
      if (view.pending > 0) return "another run after this one, where content has changed";
      return "when this run has ended, one for what changes meanwhile";
    case TriggerState::kPaused:
      return absl::StrCat("nothing until ", resume, ": then one run for what has changed");
    case TriggerState::kStopped:
      return absl::StrCat("nothing until it is declared what the command writes, or ", resume);
    case TriggerState::kRootGone:
      return "it goes on when the directory is back";
    case TriggerState::kUnwatched:
      return "the directory is tried again in some seconds";
  }
  return "";
}

std::string cure_of(const TriggerRecord& record) {
  if (record.loop.empty()) return "";
  return absl::StrCat("the command changes what it is triggered by, ",
                      watching::Trigger::kFollowingRunsMax,
                      " times in a row: declare it with `--writes ", record.loop.front(),
                      "` (zsyncctl watch trigger add --replace ", record.spec.name, " ...)");
}

}  // namespace

TriggersEngine::TriggersEngine(Store& store, EventLog& events, UlidGenerator& ids,
                               TasksEngine& tasks, WatchEngine& watch, Clock clock)
    : store_(store),
      events_(events),
      ids_(ids),
      tasks_(tasks),
      watch_(watch),
      clock_(std::move(clock)) {}

TriggersEngine::~TriggersEngine() = default;

Task<absl::Status> TriggersEngine::start() {
  absl::Status loaded = store_.read([this](Database& db) { return load(db); });
  if (!loaded.ok()) co_return loaded;
  std::vector<EntryPtr> entries;
  {
    rt::LockGuard guard(mutex_);
    find_own_tasks();
    for (const auto& [name, entry] : entries_) entries.push_back(entry);
  }
  for (const EntryPtr& entry : entries) begin(follow(entry));
  co_return absl::OkStatus();
}

absl::Status TriggersEngine::load(Database& db) {
  return load_triggers(db, [this](TriggerRecord record) {
    auto entry = std::make_shared<Entry>();
    rt::LockGuard guard(mutex_);
    entry->record = std::move(record);
    entries_[entry->record.spec.name] = entry;
    return absl::OkStatus();
  });
}

// Tasks that were accepted although that could not be written down any more.
void TriggersEngine::find_own_tasks() {
  if (entries_.empty()) return;
  TaskFilter filter;
  filter.has_label = kTriggerLabel;
  filter.limit = SIZE_MAX;
  for (const TaskRecord& task : tasks_.list(filter)) {
    const auto found = entries_.find(task.spec->labels->at(kTriggerLabel));
    if (found == entries_.end()) continue;
    TriggerRecord& record = found->second->record;
    if (!record.running() || !record.last.task.empty()) continue;
    if (task_of(record).idempotency_key == task.spec->idempotency_key) record.last.task = task.id;
  }
}

void TriggersEngine::begin(Task<void> task, std::optional<TaskHandle<void>>* handle) {
  rt::LockGuard guard(mutex_);
  if (stopping_) return;
  TaskHandle<void> begun = runners_.spawn(std::move(task));
  if (handle) *handle = std::move(begun);
}

Task<void> TriggersEngine::stop() {
  {
    rt::LockGuard guard(mutex_);
    stopping_ = true;
  }
  runners_.cancel_all();
  co_await runners_.join_all();
  std::vector<TriggerRecord> unsaved;
  {
    rt::LockGuard guard(mutex_);
    for (const auto& [name, entry] : entries_) {
      if (std::exchange(entry->unsaved, false)) unsaved.push_back(entry->record);
    }
  }
  for (const TriggerRecord& record : unsaved) {
    (void)co_await commit(store_, [record](Database& db) { return put_trigger(db, record); });
  }
}

Task<absl::Status> TriggersEngine::save(EntryPtr entry, TriggerRecord record) {
  absl::Status committed =
      co_await commit(store_, [record](Database& db) { return put_trigger(db, record); });
  if (!committed.ok()) co_return committed;
  rt::LockGuard guard(mutex_);
  entry->record = std::move(record);
  entry->unsaved = false;
  co_return committed;
}

Task<void> TriggersEngine::save_surely(EntryPtr entry, TriggerRecord record) {
  while (!(co_await save(entry, record)).ok()) co_await sleep(kStorePause);
}

TriggerRecord TriggersEngine::record_of(const EntryPtr& entry) {
  rt::LockGuard guard(mutex_);
  return entry->record;
}

// The one to be replaced, or a new one that is known to nobody yet.
absl::StatusOr<TriggersEngine::EntryPtr> TriggersEngine::entry_for(const std::string& name,
                                                                   bool replace) {
  rt::LockGuard guard(mutex_);
  const auto found = entries_.find(name);
  if (found != entries_.end() && replace) return found->second;
  if (found != entries_.end()) {
    return fault(absl::StatusCode::kAlreadyExists,
                 absl::StrCat("trigger \"", name, "\" is there already"),
                 {"spec.name", "EXISTS", "", "choose another name, or replace it", {}});
  }
  if (entries_.size() >= kTriggersMax) {
    return fault(absl::StatusCode::kResourceExhausted,
                 absl::StrCat("there are ", entries_.size(), " triggers"),
                 {"spec.name",
                  "LIMIT",
                  absl::StrCat("triggers_max = ", kTriggersMax),
                  "remove one with `zsyncctl watch trigger remove`",
                  {}});
  }
  auto entry = std::make_shared<Entry>();
  entry->record.id = kIdPrefix + ids_.next();
  entry->record.created_unix_nano = clock_();
  return entry;
}

// -> the clock from which on changes count; `spec` gets the canonical path.
Task<absl::StatusOr<std::string>> TriggersEngine::begin_watching(TriggerSpec& spec) {
  WatchRequest request = spec.watch;
  request.sync = true;
  request.changed_content = false;
  absl::StatusOr<watching::Subscription> subscription =
      co_await watch_.subscribe(std::move(request));
  if (!subscription.ok()) co_return of_spec(subscription.status());
  spec.watch.path = subscription->root();
  absl::StatusOr<watching::Told> first = co_await subscription->next_told();
  if (!first.ok()) co_return of_spec(WatchEngine::explained(first.status()));
  co_return first->batch.clock;
}

Task<absl::StatusOr<TriggerView>> TriggersEngine::create(TriggerSpec spec, bool replace,
                                                         Submitter by, std::string project) {
  if (absl::Status status = validate(spec); !status.ok()) co_return status;
  Permit creating = co_await creating_.lock();
  absl::StatusOr<EntryPtr> found = entry_for(spec.name, replace);
  if (!found.ok()) co_return found.status();
  absl::StatusOr<std::string> clock = co_await begin_watching(spec);
  if (!clock.ok()) co_return clock.status();
  EntryPtr entry = *found;
  Permit turn = co_await entry->turn.lock();
  TriggerRecord record = record_of(entry);
  const bool fresh = record.clock.empty();
  if (fresh || !same_watch(record.spec.watch, spec.watch)) {
    record.clock = *clock;
    record.memory = nullptr;
  }
  record.uid = by.uid;
  record.project = std::move(project);
  record.spec = std::move(spec);
  record.paused = GroupHold();
  record.loop.clear();
  const std::string name = record.spec.name;
  if (absl::Status saved = co_await save(entry, std::move(record)); !saved.ok()) co_return saved;
  {
    rt::LockGuard guard(mutex_);
    ++entry->revision;
    entries_[name] = entry;
  }
  events_.append("trigger.created", name);
  if (fresh) begin(follow(entry));
  entry->news.notify_all();
  co_return view(entry);
}

absl::StatusOr<TriggersEngine::EntryPtr> TriggersEngine::find(const std::string& name) {
  if (auto found = entries_.find(name); found != entries_.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, entry] : entries_) names.push_back(known);
  return unknown_name("trigger", name, names, "zsyncctl watch trigger list");
}

absl::StatusOr<TriggersEngine::EntryPtr> TriggersEngine::find_locked(const std::string& name) {
  rt::LockGuard guard(mutex_);
  return find(name);
}

// Directories that are gone and were not yet looked at by who follows them.
std::vector<std::string> TriggersEngine::gone_roots() {
  std::vector<std::string> gone;
  for (const watching::RootFacts& root : watch_.list()) {
    if (root.missing) gone.push_back(root.path);
  }
  return gone;
}

TriggerView TriggersEngine::view(const EntryPtr& entry) {
  const std::vector<std::string> gone = gone_roots();
  TriggerView view;
  {
    rt::LockGuard guard(mutex_);
    view.record = entry->record;
    view.pending = entry->pending;
    const bool missing =
        entry->root_gone ||
        (entry->watching && std::count(gone.begin(), gone.end(), view.record.spec.watch.path) > 0);
    view.reason = missing ? "the directory is gone" : entry->problem;
    view.state = view.record.running()       ? TriggerState::kRunning
                 : !view.record.loop.empty() ? TriggerState::kStopped
                 : view.record.paused.on()   ? TriggerState::kPaused
                 : missing                   ? TriggerState::kRootGone
                 : !entry->problem.empty()   ? TriggerState::kUnwatched
                 : !entry->begun             ? TriggerState::kStarting
                 : entry->watching->settling() || !entry->told.empty() || entry->pending > 0
                     ? TriggerState::kSettling
                     : TriggerState::kIdle;
  }
  view.record.memory = nullptr;
  view.next = next_step(view);
  view.cure = cure_of(view.record);
  return view;
}

absl::StatusOr<TriggerView> TriggersEngine::get(const std::string& name) {
  absl::StatusOr<EntryPtr> entry = find_locked(name);
  if (!entry.ok()) return entry.status();
  return view(*entry);
}

std::vector<TriggerView> TriggersEngine::list(const std::string& project) {
  std::vector<EntryPtr> entries;
  {
    rt::LockGuard guard(mutex_);
    for (const auto& [name, entry] : entries_) {
      if (project.empty() || entry->record.project == project) entries.push_back(entry);
    }
  }
  std::vector<TriggerView> views;
  for (const EntryPtr& entry : entries) views.push_back(view(entry));
  return views;
}

Task<absl::StatusOr<TriggerView>> TriggersEngine::set_paused(std::string name, bool paused,
                                                             Submitter by) {
  absl::StatusOr<EntryPtr> found = find_locked(name);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  {
    Permit turn = co_await entry->turn.lock();
    TriggerRecord record = record_of(entry);
    const bool stays = paused ? record.paused.on() : record.watches();
    if (stays) co_return view(entry);
    record.paused = paused ? GroupHold{clock_(), by.uid, by.pid} : GroupHold();
    if (!paused) record.loop.clear();
    if (absl::Status saved = co_await save(entry, std::move(record)); !saved.ok()) co_return saved;
  }
  events_.append(paused ? "trigger.paused" : "trigger.resumed", name);
  entry->news.notify_all();
  co_return view(entry);
}

Task<absl::StatusOr<TriggerView>> TriggersEngine::run(std::string name) {
  absl::StatusOr<EntryPtr> found = find_locked(name);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  {
    Permit turn = co_await entry->turn.lock();
    TriggerRecord record = record_of(entry);
    record.run_follows = true;
    if (absl::Status saved = co_await save(entry, std::move(record)); !saved.ok()) co_return saved;
  }
  entry->news.notify_all();
  co_return view(entry);
}

Task<absl::Status> TriggersEngine::remove(std::string name) {
  Permit creating = co_await creating_.lock();
  absl::StatusOr<EntryPtr> found = find_locked(name);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  Permit turn = co_await entry->turn.lock();
  absl::Status committed =
      co_await commit(store_, [name](Database& db) { return delete_trigger(db, name); });
  if (!committed.ok()) co_return committed;
  {
    rt::LockGuard guard(mutex_);
    entry->removed = true;
    entry->unsaved = false;
    entries_.erase(name);
  }
  events_.append("trigger.removed", name);
  entry->news.notify_all();
  co_return absl::OkStatus();
}

size_t TriggersEngine::active() {
  rt::LockGuard guard(mutex_);
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& named) {
    return named.second->record.watches();
  }));
}

}  // namespace zsync::daemon
