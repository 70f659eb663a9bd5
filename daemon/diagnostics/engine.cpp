#include "daemon/diagnostics/engine.hpp"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/diagnostics/diagnostic_store.hpp"
#include "daemon/diagnostics/output_matching.hpp"
#include "daemon/diagnostics/source.hpp"
#include "daemon/store/commit.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::milliseconds kStorePause{
    1000};  // before what the disk refused is tried again
constexpr size_t kSweepMin = 1000;

std::vector<MatcherKind> kinds_of(const TaskSpec& spec) {
  std::vector<MatcherKind> kinds;
  for (const std::string& name : spec.matchers) {
    if (absl::StatusOr<MatcherKind> kind = matcher_of(name, "matchers"); kind.ok()) {
      kinds.push_back(*kind);
    }
  }
  return kinds;
}

DiagnosticCounts counts_in(const Findings& findings) {
  DiagnosticCounts counts;
  for (const auto& [path, diagnostics] : findings.by_path()) counts.add(diagnostics);
  counts.left_out = static_cast<uint32_t>(findings.left_out());
  return counts;
}

}  // namespace

DiagnosticsEngine::DiagnosticsEngine(Store& store, EventLog& events, TasksEngine& tasks,
                                     std::string default_cwd, Clock clock)
    : store_(store),
      events_(events),
      tasks_(tasks),
      default_cwd_(std::move(default_cwd)),
      clock_(std::move(clock)) {}

DiagnosticsEngine::~DiagnosticsEngine() = default;

Task<absl::Status> DiagnosticsEngine::start() {
  absl::Status loaded = store_.read([this](Database& db) -> absl::Status {
    rt::LockGuard guard(lock_);
    absl::StatusOr<uint64_t> generation = load_generation(db);
    if (!generation.ok()) return generation.status();
    generation_ = *generation;
    absl::Status status = load_sets(db, [this](DiagnosticSet set) {
      lock_.assert_held();
      sets_.load(std::move(set));
    });
    if (!status.ok()) return status;
    return load_runs(db, [this](const std::string& task, RunRow row) {
      lock_.assert_held();
      saved_[task] = row;
    });
  });
  if (!loaded.ok()) co_return loaded;
  {
    rt::LockGuard guard(lock_);
    started_ = true;
  }
  // What began before the line above is among these.
  TaskFilter filter;
  filter.has_matchers = true;
  filter.oldest_first = true;
  filter.limit = SIZE_MAX;
  std::vector<TaskRecord> tasks = tasks_.list(filter);
  std::sort(tasks.begin(), tasks.end(), [](const TaskRecord& a, const TaskRecord& b) {
    return std::tie(a.finished_unix_nano, a.id) < std::tie(b.finished_unix_nano, b.id);
  });
  std::vector<RunPtr> ended, running;
  for (const TaskRecord& task : tasks) {
    if (RunPtr run = task.attempt > 0 ? begin(task.id) : nullptr; run) {
      (is_final(task.state) ? ended : running).push_back(std::move(run));
    }
  }
  readers_.spawn(catch_up(std::move(ended), std::move(running)));
  co_return absl::OkStatus();
}

// Runs of one source replace one another in the order in which they ended.
Task<void> DiagnosticsEngine::catch_up(std::vector<RunPtr> ended, std::vector<RunPtr> running) {
  for (RunPtr& run : ended) co_await read(std::move(run));
  for (RunPtr& run : running) begin_reading(std::move(run));
}

// Nothing begins any more once stop() was called: it would not be cancelled, and an output that is
// followed may go on for long.
void DiagnosticsEngine::begin_reading(RunPtr run) {
  rt::LockGuard guard(lock_);
  if (started_) readers_.spawn(read(std::move(run)));
}

Task<void> DiagnosticsEngine::stop() {
  {
    rt::LockGuard guard(lock_);
    started_ = false;
  }
  readers_.cancel_all();
  co_await readers_.join_all();
}

void DiagnosticsEngine::follow(const std::string& task) {
  if (RunPtr run = begin(task)) begin_reading(std::move(run));
}

// nullptr: somebody reads it already.
DiagnosticsEngine::RunPtr DiagnosticsEngine::begin(const std::string& task) {
  rt::LockGuard guard(lock_);
  if (!started_) return nullptr;
  const auto [at, made] = runs_.try_emplace(task);
  if (!made) return nullptr;
  at->second = std::make_shared<Run>();
  at->second->task = task;
  if (const auto saved = saved_.find(task); saved != saved_.end()) {
    at->second->attempt = saved->second.attempt;
    at->second->counts = saved->second.counts;
  }
  return at->second;
}

Task<void> DiagnosticsEngine::read(RunPtr run) {
  co_await read_attempts(run);
  {
    rt::LockGuard guard(lock_);
    runs_.erase(run->task);
  }
  settled_.notify_all();
  // An attempt that began before the line above was told to nobody.
  const absl::StatusOr<TaskRecord> record = tasks_.get(run->task);
  if (record.ok() && record->attempt > run->attempt) follow(run->task);
}

Task<void> DiagnosticsEngine::read_attempts(RunPtr run) {
  absl::StatusOr<TaskRecord> record = tasks_.get(run->task);
  if (!record.ok() || record->attempt <= run->attempt) co_return;
  co_await begin_generation();
  const std::string cwd = record->spec->cwd.empty() ? default_cwd_ : record->spec->cwd;
  run->source = source_of(*record, cwd);
  run->kinds = kinds_of(*record->spec);
  const MatchContext context = co_await rt::call_blocking([cwd] { return context_in(cwd); });
  while (true) {
    const uint32_t attempt = run->attempt + 1;
    OutputMatching matching(run->kinds, context);
    const absl::Status status = co_await tasks_.output(
        run->task, 1, attempt, true,
        [&](OutputChunk chunk) { return take(*run, matching, std::move(chunk)); });
    if (absl::IsOutOfRange(status)) co_return;  // it never began; the next one is told of
    if (!status.ok()) (void)co_await tasks_.wait({run->task});
    matching.finish();
    publish(*run, matching);
    record = tasks_.get(run->task);
    const bool last = !record.ok() || (is_final(record->state) && record->attempt <= attempt);
    if (last) settle(*run, matching, record.ok() && record->state == TaskState::kSucceeded);
    co_await save(run, attempt);
    if (last) co_return;
  }
}

Task<absl::Status> DiagnosticsEngine::take(Run& run, OutputMatching& matching, OutputChunk chunk) {
  for (const segment_log::Record& record : chunk.batch.records) {
    if (record.gap) {
      matching.gap();
    } else {
      matching.feed(record.stream, record.payload);
    }
  }
  publish(run, matching);
  co_return absl::OkStatus();
}

// What was found since the last time replaces what there was on those paths.
void DiagnosticsEngine::publish(Run& run, OutputMatching& matching) {
  Findings& findings = matching.findings();
  const std::set<std::string> paths = findings.take_changed();
  bool differs = false;
  {
    rt::LockGuard guard(lock_);
    for (const std::string& path : paths) {
      SetKey key{path, run.source};
      if (!sets_.replace(key, findings.by_path().at(path), run.task, clock_())) continue;
      run.touched.insert(std::move(key));
      differs = true;
    }
    if (!paths.empty()) run.counts = counts_in(findings);
    run.counts.left_out = static_cast<uint32_t>(findings.left_out());
  }
  if (differs) changed_.notify_all();
}

void DiagnosticsEngine::settle(Run& run, OutputMatching& matching, bool succeeded) {
  const Findings& findings = matching.findings();
  {
    rt::LockGuard guard(lock_);
    if (succeeded) {
      for (const std::string& path : sets_.paths_of(run.source)) {
        if (findings.by_path().contains(path)) continue;
        SetKey key{path, run.source};
        if (sets_.replace(key, {}, run.task, clock_())) run.touched.insert(std::move(key));
      }
    }
    run.counts = counts_in(findings);
    run.settled = true;
  }
  changed_.notify_all();
  settled_.notify_all();
}

// Saved tasks that are not known any more.
std::vector<std::string> DiagnosticsEngine::forgotten() {
  std::vector<std::string> tasks;
  {
    rt::LockGuard guard(lock_);
    if (saved_.size() < sweep_at_) return tasks;
    for (const auto& [task, row] : saved_) tasks.push_back(task);
  }
  std::erase_if(tasks, [this](const std::string& task) { return tasks_.get(task).ok(); });
  rt::LockGuard guard(lock_);
  for (const std::string& task : tasks) saved_.erase(task);
  sweep_at_ = std::max(kSweepMin, 2 * saved_.size());
  return tasks;
}

// The end of an attempt is on disk at once, or not at all.
Task<void> DiagnosticsEngine::save(RunPtr run, uint32_t attempt) {
  const std::vector<std::string> gone = forgotten();
  std::vector<DiagnosticSet> sets;
  RunRow row{attempt, {}};
  {
    rt::LockGuard guard(lock_);
    row.counts = run->counts;
    std::set<SetKey> keys = run->touched;
    keys.merge(sets_.take_evicted());
    for (const SetKey& key : keys) {
      const DiagnosticSet* set = sets_.find(key);
      sets.push_back(set ? *set : DiagnosticSet{key, 0, "", 0, {}});
    }
  }
  auto work = [&](Database& db) {
    absl::Status status = put_run(db, run->task, row);
    for (const DiagnosticSet& set : sets) {
      if (status.ok()) status = put_set(db, set);
    }
    for (const std::string& task : gone) {
      if (status.ok()) status = delete_run(db, task);
    }
    return status;
  };
  while (!(co_await commit(store_, work)).ok()) co_await sleep(kStorePause);
  announce(*run);
  rt::LockGuard guard(lock_);
  saved_[run->task] = row;
  run->attempt = attempt;
  run->touched.clear();
}

void DiagnosticsEngine::announce(const Run& run) {
  if (run.touched.empty() && run.counts.left_out == 0) return;
  events_.append("diagnostics.changed", run.source,
                 {{"task", run.task},
                  {"paths", absl::StrCat(run.touched.size())},
                  {"errors", absl::StrCat(run.counts.errors)},
                  {"warnings", absl::StrCat(run.counts.warnings)},
                  {"notes", absl::StrCat(run.counts.notes)},
                  {"left_out", absl::StrCat(run.counts.left_out)}});
}

// Before the first version of this daemon is told, the disk knows that there are such.
Task<void> DiagnosticsEngine::begin_generation() {
  Permit turn = co_await generation_turn_.lock();
  uint64_t generation = 0;
  {
    rt::LockGuard guard(lock_);
    if (generation_begun_) co_return;
    generation = generation_ + 1;
  }
  auto work = [generation](Database& db) { return put_generation(db, generation); };
  while (!(co_await commit(store_, work)).ok()) co_await sleep(kStorePause);
  rt::LockGuard guard(lock_);
  sets_.begin_generation(generation);
  generation_begun_ = true;
}

// `only`: empty: all tasks.
Task<void> DiagnosticsEngine::wait_for_ended(std::string only) {
  std::vector<std::string> waiting;
  {
    rt::LockGuard guard(lock_);
    for (const auto& [task, run] : runs_) {
      if (!run->settled && (only.empty() || only == task)) waiting.push_back(task);
    }
  }
  std::erase_if(waiting, [this](const std::string& task) {
    const absl::StatusOr<TaskRecord> record = tasks_.get(task);
    return !record.ok() || !is_final(record->state);
  });
  auto is_settled = [this](const std::string& task) {
    rt::LockGuard guard(lock_);
    const auto run = runs_.find(task);
    return run == runs_.end() || run->second->settled;
  };
  while (true) {
    const uint64_t seen = settled_.epoch();
    std::erase_if(waiting, is_settled);
    if (waiting.empty()) co_return;
    co_await settled_.changed(seen);
  }
}

Task<DiagnosticsEngine::List> DiagnosticsEngine::list(DiagnosticFilter filter, std::string token,
                                                      size_t sets_max, size_t bytes_max) {
  co_await wait_for_ended("");
  rt::LockGuard guard(lock_);
  co_return List{sets_.list(filter, token, sets_max, bytes_max), sets_.left_out()};
}

DiagnosticSets::Changes DiagnosticsEngine::changes(const DiagnosticFilter& filter,
                                                   DiagnosticSets::Cursor& cursor,
                                                   size_t bytes_max) {
  rt::LockGuard guard(lock_);
  return sets_.changes(filter, cursor, bytes_max);
}

Task<std::optional<DiagnosticCounts>> DiagnosticsEngine::counts_of(std::string task) {
  co_await wait_for_ended(task);
  rt::LockGuard guard(lock_);
  if (const auto run = runs_.find(task); run != runs_.end()) co_return run->second->counts;
  if (const auto saved = saved_.find(task); saved != saved_.end()) co_return saved->second.counts;
  co_return std::nullopt;
}

}  // namespace zsync::daemon
