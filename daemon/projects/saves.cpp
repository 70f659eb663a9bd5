// Steps that need not run, since their inputs are as they were, and those that a saved file starts.
#include <chrono>
#include <set>
#include <utility>

#include "daemon/projects/engine.hpp"
#include "daemon/projects/step_files.hpp"
#include "watch/glob.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::milliseconds kWatchPause{1000};  // before a tree is watched anew; doubled
constexpr std::chrono::seconds kWatchPauseMax{30};

bool touches(const UnitSpec& step, const std::vector<FileChange>& changes) {
  const absl::StatusOr<watching::GlobSet> inputs = watching::GlobSet::compile(step.inputs);
  const absl::StatusOr<watching::GlobSet> outputs = watching::GlobSet::compile(step.outputs);
  if (!inputs.ok() || !outputs.ok()) return false;  // the file would not have been taken
  const auto is_input = [&](const std::string& path) {
    return inputs->matches(path) && (outputs->empty() || !outputs->matches(path));
  };
  for (const FileChange& change : changes) {
    if (change.is_directory) continue;
    if (is_input(change.path)) return true;
    if (!change.renamed_from.empty() && is_input(change.renamed_from)) return true;
  }
  return false;
}

}  // namespace

Task<void> ProjectsEngine::look_at_files(EntryPtr entry, std::string unit) {
  StepFiles files;
  std::string project;
  {
    rt::LockGuard guard(mutex_);
    project = entry->record.name;
    const UnitSpec* spec = entry->run.spec_of(unit);
    if (spec == nullptr) co_return;
    files = {entry->record.root, normalized(*spec), spec->inputs, spec->outputs};
  }
  const absl::StatusOr<StepLook> look =
      co_await rt::call_blocking([&files] { return look_at(files); });
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
  for (bool first = true; status.ok(); first = false) {
    absl::StatusOr<watching::Told> told = co_await feed->next();
    if (!told.ok()) {
      status = told.status();
      break;
    }
    entry->unwatched.clear();
    if (told->state) continue;
    // What happened before the watch began is not known: all inputs are looked at.
    std::set<std::string> touched;
    {
      rt::LockGuard guard(mutex_);
      for (const UnitRow& row : entry->run.rows()) {
        const UnitSpec* spec = entry->run.spec_of(row.unit);
        if (spec == nullptr || spec->inputs.empty()) continue;
        if (first || told->batch.fresh || touches(*spec, told->batch.changes)) {
          touched.insert(row.unit);
        }
      }
    }
    if (touched.empty() && !first) continue;
    const std::string cause = first ? "" : tell_settled(watch_, events_, root, *told, "");
    post(entry, [touched, cause](ProjectRun& run, int64_t now) {
      run.hears_saves(true);
      run.inputs_changed(touched, cause, now);
    });
  }
  post(entry, [](ProjectRun& run, int64_t) { run.hears_saves(true); });
  const std::string reason(WatchEngine::explained(status).message());
  if (std::exchange(entry->unwatched, reason) == reason) co_return;
  events_.append("project.unwatched", project, {{"reason", reason}});
}

}  // namespace zsync::daemon
