// The triggers of a project: there while it is up.
#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/projects/engine.hpp"

namespace zsync::daemon {
namespace {

std::string below(const std::string& root, const std::string& path) {
  std::string whole = (std::filesystem::path(root) / path).lexically_normal().string();
  if (whole.size() > 1 && whole.back() == '/') whole.pop_back();
  return whole;
}

TriggerSpec trigger_of(const ProjectRecord& record, const TriggerEntry& entry) {
  TriggerSpec spec;
  spec.name = absl::StrCat(record.name, ".", entry.name);
  std::error_code error;
  const std::filesystem::path path =
      std::filesystem::canonical(below(record.root, entry.dir), error);
  spec.watch.path = error ? below(record.root, entry.dir) : path.string();
  spec.watch.globs = entry.globs;
  spec.watch.ignore = entry.ignore;
  if (entry.settle_ms != 0) spec.watch.settle = std::chrono::milliseconds(entry.settle_ms);
  spec.watch.max_wait = std::max(spec.watch.max_wait, spec.watch.settle);
  spec.writes = entry.writes;
  TaskSpec task;
  task.argv = entry.command.run;
  task.shell = entry.command.shell;
  task.cwd = below(record.root, entry.cwd);
  task.replace_env = !record.env.empty();
  std::map<std::string, std::string> env = record.env;
  env["ZSYNC_PROJECT"] = record.name;
  for (const auto& [name, value] : entry.env) env[name] = value;
  task.env = Environment(std::move(env));
  task.labels = {{kProjectLabel, record.name}};
  task.locks = entry.locks;
  task.matchers = entry.matchers;
  task.timeout_ms = entry.timeout_ms;
  task.deadline_ms = entry.deadline_ms;
  spec.task = std::make_shared<const TaskSpec>(std::move(task));
  return spec;
}

}  // namespace

// As the file has them: what is the same stays as it is, what the file has lost is removed.
Task<absl::Status> ProjectsEngine::set_triggers(const ProjectRecord& record,
                                                const ProjectSpec& spec, Submitter by) {
  std::set<std::string> kept;
  for (const TriggerEntry& entry : spec.triggers) {
    TriggerSpec wanted = trigger_of(record, entry);
    kept.insert(wanted.name);
    const absl::StatusOr<TriggerView> there = triggers_.get(wanted.name);
    if (there.ok() && there->record.project != record.name) {
      co_return fault(absl::StatusCode::kAlreadyExists,
                      absl::StrCat("trigger \"", wanted.name, "\" is there and not this project's"),
                      {"text",
                       "EXISTS",
                       "",
                       absl::StrCat("remove it: `zsyncctl watch trigger remove ", wanted.name, "`"),
                       {}});
    }
    if (there.ok() && same(there->record.spec, wanted)) continue;
    absl::StatusOr<TriggerView> made =
        co_await triggers_.create(std::move(wanted), true, by, record.name);
    if (!made.ok()) co_return made.status();
  }
  co_return co_await remove_triggers(record.name, std::move(kept));
}

Task<absl::Status> ProjectsEngine::remove_triggers(std::string project,
                                                   std::set<std::string> kept) {
  for (const TriggerView& trigger : triggers_.list(project)) {
    if (kept.contains(trigger.record.spec.name)) continue;
    absl::Status removed = co_await triggers_.remove(trigger.record.spec.name);
    if (!removed.ok() && !absl::IsNotFound(removed)) co_return removed;
  }
  co_return absl::OkStatus();
}

}  // namespace zsync::daemon
