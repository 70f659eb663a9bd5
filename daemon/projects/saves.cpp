// Steps that need not run, since their inputs are as they were, and those that a saved file starts.
#include <atomic>
#include <chrono>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/projects/engine.hpp"
#include "daemon/projects/step_files.hpp"
#include "watch/glob.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::milliseconds kWatchPause{1000};  // before a tree is watched anew; doubled
constexpr std::chrono::seconds kWatchPauseMax{30};
constexpr size_t kChangesHere = 1000;  // more are not matched on a worker thread

// Which files are inputs of a step.
struct StepInputs {
  std::string step;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;

  bool touched_by(const std::vector<FileChange>& changes) const {
    const absl::StatusOr<watching::GlobSet> in = watching::GlobSet::compile(inputs);
    const absl::StatusOr<watching::GlobSet> out = watching::GlobSet::compile(outputs);
    if (!in.ok() || !out.ok()) return false;  // the file would not have been taken
    const auto is_input = [&](const std::string& path) {
      return in->matches(path) && (out->empty() || !out->matches(path));
    };
    for (const FileChange& change : changes) {
      if (change.is_directory) continue;
      if (is_input(change.path)) return true;
      if (!change.renamed_from.empty() && is_input(change.renamed_from)) return true;
    }
    return false;
  }
};

}  // namespace

Task<void> ProjectsEngine::look_at_files(EntryPtr entry, std::string unit) {
  const Permit turn = co_await looks_.acquire();
  StepFiles files;
  std::string project;
  {
    rt::LockGuard guard(mutex_);
    project = entry->record.name;
    const UnitSpec* spec = entry->run.spec_of(unit);
    if (spec == nullptr) co_return;
    files = {entry->record.root, normalized(*spec), spec->inputs, spec->outputs};
  }
  std::atomic<bool> stop{false};
  const absl::StatusOr<StepLook> look = co_await rt::call_blocking(
      [&files, &stop] { return look_at(files, &stop); }, [&stop] { stop.store(true); });
  if (absl::IsCancelled(look.status())) co_return;
  if (!look.ok()) {  // then it runs: it may know better
    events_.append("project.inputs_unread", project,
                   {{"unit", unit}, {"reason", std::string(look.status().message())}});
  }
  post(entry, [unit, look](ProjectRun& run, int64_t now) {
    run.looked(unit, look.ok() ? look->print : "", look.ok() && look->outputs_there, now);
  });
}

// For as long as a step that is started by saved files is wanted, the project's directory is
// watched.
Task<void> ProjectsEngine::watch_saves(EntryPtr entry) {
  std::chrono::milliseconds pause = kWatchPause;
  bool followed = false;
  while (true) {
    const uint64_t seen = entry->changed.epoch();
    bool watches = false;
    {
      rt::LockGuard guard(mutex_);
      if (entry->removed) co_return;
      watches = entry->run.starts_on_save();
    }
    if (!watches) {
      pause = kWatchPause;
      if (std::exchange(followed, false)) {
        post(entry, [](ProjectRun& run, int64_t) { run.hears_saves(false); });
      }
      co_await entry->changed.changed(seen);
      continue;
    }
    followed = true;
    const auto first = co_await race(take_saves(entry), until_unwatched(entry));
    if (first.index == 1) continue;
    if (std::exchange(entry->heard, false)) pause = kWatchPause;
    co_await sleep(pause);
    pause = std::min<std::chrono::milliseconds>(2 * pause, kWatchPauseMax);
  }
}

Task<void> ProjectsEngine::until_unwatched(EntryPtr entry) {
  while (true) {
    const uint64_t seen = entry->changed.epoch();
    {
      rt::LockGuard guard(mutex_);
      if (entry->removed || !entry->run.starts_on_save()) co_return;
    }
    co_await entry->changed.changed(seen);
  }
}

// Completes when the directory cannot be watched (any more).
Task<void> ProjectsEngine::take_saves(EntryPtr entry) {
  WatchRequest request;
  std::string project, root;
  {
    rt::LockGuard guard(mutex_);
    project = entry->record.name;
    root = request.path = entry->record.root;
  }
  absl::StatusOr<WatchFeed> feed = co_await WatchFeed::open(watch_, std::move(request));
  absl::Status status = feed.status();
  // What happened before the watch began is not known: all inputs are looked at.
  bool unsure = true;
  while (status.ok()) {
    absl::StatusOr<watching::Told> told = co_await feed->next();
    status = told.status();
    if (!told.ok() || told->state) continue;
    entry->heard = true;
    entry->unwatched.clear();
    unsure |= told->batch.fresh;
    std::set<std::string> steps = co_await touched_steps(entry, told->batch.changes, unsure);
    if (std::exchange(unsure, false)) {
      post(entry, [steps](ProjectRun& run, int64_t now) {
        run.hears_saves(true);
        run.inputs_unsure(steps, now);
      });
    } else if (!steps.empty()) {
      const std::string cause = tell_settled(watch_, events_, root, *told, "");
      post(entry,
           [steps, cause](ProjectRun& run, int64_t now) { run.inputs_changed(steps, cause, now); });
    }
  }
  post(entry, [](ProjectRun& run, int64_t) { run.hears_saves(true); });
  const std::string reason(WatchEngine::explained(status).message());
  if (std::exchange(entry->unwatched, reason) == reason) co_return;
  events_.append("project.unwatched", project, {{"reason", reason}});
}

// Steps of which these are inputs; `all`: those that have any.
Task<std::set<std::string>> ProjectsEngine::touched_steps(EntryPtr entry,
                                                          const std::vector<FileChange>& changes,
                                                          bool all) {
  std::vector<StepInputs> candidates;
  {
    rt::LockGuard guard(mutex_);
    for (const UnitRow& row : entry->run.rows()) {
      const UnitSpec* spec = entry->run.spec_of(row.unit);
      if (spec == nullptr || spec->inputs.empty()) continue;
      candidates.push_back({row.unit, spec->inputs, spec->outputs});
    }
  }
  const auto match = [&] {
    std::set<std::string> steps;
    for (const StepInputs& candidate : candidates) {
      if (all || candidate.touched_by(changes)) steps.insert(candidate.step);
    }
    return steps;
  };
  if (all || changes.size() <= kChangesHere) co_return match();
  co_return co_await rt::call_blocking(match);
}

}  // namespace zsync::daemon
