// What callers ask of projects: up, down, restart, get, list, follow, remove.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/projects/engine.hpp"
#include "daemon/store/commit.hpp"

namespace zsync::daemon {
namespace {

constexpr char kIdPrefix[] = "proj_";

absl::Status invalid(const char* field, std::string text, std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(text),
               {field, "INVALID", "", std::move(hint), {}});
}

// What of a directory's name can be a project's.
std::string name_of(const std::string& root) {
  std::string name = std::filesystem::path(root).filename().string();
  for (char& letter : name) {
    if (!is_project_word(std::string("x") + letter)) letter = '-';
  }
  name.erase(0, name.find_first_not_of("-_."));
  if (name.size() > kProjectNameBytesMax) name.resize(kProjectNameBytesMax);
  return name.empty() ? "project" : name;
}

absl::Status check(const ProjectWanted& wanted) {
  if (wanted.root.empty() || wanted.root[0] != '/' ||
      std::filesystem::path(wanted.root).lexically_normal().string() != wanted.root) {
    return invalid("root", absl::StrCat("root \"", wanted.root, "\" is no plain absolute path"),
                   "give the directory of the file, without . and .. and a slash at its end");
  }
  std::error_code error;
  if (!std::filesystem::is_directory(wanted.root, error)) {
    return invalid("root", absl::StrCat("root \"", wanted.root, "\" is no directory"),
                   "give the directory of the file");
  }
  if (wanted.file.empty() || wanted.file.find('/') != std::string::npos) {
    return invalid("file", absl::StrCat("\"", wanted.file, "\" is no name of a file"),
                   "give its name in root");
  }
  if (!wanted.name.empty() && !is_project_word(wanted.name)) {
    return invalid("name", absl::StrCat("\"", wanted.name, "\" is no name of a project"),
                   "use 1 to 63 letters, digits, '-', '_' and '.'");
  }
  size_t bytes = 0;
  for (const auto& [name, value] : wanted.env) bytes += name.size() + value.size() + 2;
  if (bytes > kEnvironmentBytesMax) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("env has ", bytes, " bytes, the limit is ", kEnvironmentBytesMax),
                 {"env",
                  "LIMIT",
                  absl::StrCat("environment_bytes_max = ", kEnvironmentBytesMax),
                  "pass fewer variables",
                  {}});
  }
  return absl::OkStatus();
}

absl::StatusOr<ProjectSpec> parse(const ProjectWanted& wanted) {
  ParsedProject parsed = parse_project(wanted.text);
  if (auto* spec = std::get_if<ProjectSpec>(&parsed)) return std::move(*spec);
  const std::vector<ProjectProblem>& problems = std::get<1>(parsed);
  std::string text = problem_line(wanted.file, problems.front());
  if (problems.size() > 1) absl::StrAppend(&text, " (and ", problems.size() - 1, " more)");
  return invalid("text", std::move(text), "`zsyncctl projects check` shows all of them");
}

absl::Status no_unit(const ProjectRun& run, const std::string& unit) {
  std::vector<std::string> names;
  for (const UnitRow& row : run.rows()) names.push_back(row.unit);
  const std::optional<std::string> meant = closest_match(unit, names);
  FaultDetail detail{"units", "NOT_FOUND", "", "`zsyncctl ps --project` shows them", {}};
  if (meant) detail.hint = absl::StrCat("did you mean ", *meant, "?");
  if (meant) detail.closest.push_back(*meant);
  return fault(absl::StatusCode::kNotFound, absl::StrCat("no step or service \"", unit, "\""),
               std::move(detail));
}

}  // namespace

absl::Status ProjectsEngine::check_units(const ProjectRun& run,
                                         const std::vector<std::string>& units) {
  for (const std::string& unit : units) {
    if (run.row_of(unit) == nullptr) return no_unit(run, unit);
  }
  return absl::OkStatus();
}

// The project of that directory, or a new one that is known to nobody yet.
absl::StatusOr<ProjectsEngine::EntryPtr> ProjectsEngine::entry_for(const ProjectWanted& wanted,
                                                                   const std::string& name) {
  rt::LockGuard guard(mutex_);
  EntryPtr entry;
  for (const auto& [known, other] : entries_) {
    if (other->record.root == wanted.root) entry = other;
  }
  const auto named = entries_.find(name);
  if (named != entries_.end() && named->second != entry) {
    return fault(absl::StatusCode::kAlreadyExists,
                 absl::StrCat("project \"", name, "\" is the one in ", named->second->record.root),
                 {"name",
                  "EXISTS",
                  "",
                  "give this one another name with --name, or forget the other one with `zsyncctl "
                  "projects rm`",
                  {}});
  }
  if (entry) return entry;
  if (entries_.size() >= kProjectsMax) {
    return fault(absl::StatusCode::kResourceExhausted,
                 absl::StrCat("there are ", entries_.size(), " projects"),
                 {"root",
                  "LIMIT",
                  absl::StrCat("projects_max = ", kProjectsMax),
                  "forget one with `zsyncctl projects rm`",
                  {}});
  }
  entry = std::make_shared<Entry>();
  entry->record.id = kIdPrefix + ids_.next();
  entry->record.root = wanted.root;
  entry->record.created_unix_nano = clock_();
  return entry;
}

Task<absl::StatusOr<ProjectView>> ProjectsEngine::up(ProjectWanted wanted, Submitter by) {
  if (absl::Status status = check(wanted); !status.ok()) co_return status;
  absl::StatusOr<ProjectSpec> spec = parse(wanted);
  if (!spec.ok()) co_return spec.status();
  const std::string name = !wanted.name.empty()  ? wanted.name
                           : !spec->name.empty() ? spec->name
                                                 : name_of(wanted.root);
  Permit creating = co_await creating_.lock();
  absl::StatusOr<EntryPtr> found = entry_for(wanted, name);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  Permit turn = co_await entry->turn.lock();
  const std::string name_before = entry->record.name;
  ProjectRecord record = entry->record;
  record.uid = by.uid;
  record.name = name;
  record.file = wanted.file;
  record.text = std::move(wanted.text);
  record.env = std::move(wanted.env);
  ProjectRun run;
  {
    rt::LockGuard guard(mutex_);
    run = entry->run;
  }
  run.set_spec(*spec);
  if (absl::Status status = check_units(run, wanted.units); !status.ok()) co_return status;
  if (absl::Status made = co_await make_channels(record.file, *spec); !made.ok()) co_return made;
  // A project that was refused because of them is not up; what is there of them is replaced by the
  // next try.
  if (wanted.units.empty()) {
    absl::Status set = co_await set_triggers(record, *spec, by);
    if (!set.ok()) co_return set;
  }
  if (!name_before.empty() && name_before != name) {
    if (absl::Status gone = co_await remove_triggers(name_before, {}); !gone.ok()) co_return gone;
  }
  run.want(wanted.units, clock_());
  if (absl::Status saved = co_await save(entry, &run, &record); !saved.ok()) co_return saved;
  {
    rt::LockGuard guard(mutex_);
    entry->record = std::move(record);
    entry->channels = channel_names(*spec);
    if (name_before != name) entries_.erase(name_before);
    entries_[name] = entry;
  }
  events_.append("project.up", name);
  publish(entry, std::move(run));
  if (name_before.empty()) {
    begin(drive(entry));
    begin(watch_saves(entry));
  }
  entry->news.notify_all();
  co_return view_locked(*entry);
}

Task<absl::StatusOr<ProjectView>> ProjectsEngine::down(std::string project,
                                                       std::vector<std::string> units, bool wait) {
  absl::StatusOr<EntryPtr> found = find_locked(project);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  {
    Permit turn = co_await entry->turn.lock();
    ProjectRun run;
    {
      rt::LockGuard guard(mutex_);
      run = entry->run;
    }
    if (absl::Status status = check_units(run, units); !status.ok()) co_return status;
    if (units.empty()) {
      absl::Status gone = co_await remove_triggers(entry->record.name, {});
      if (!gone.ok()) co_return gone;
    }
    run.unwant(units, clock_());
    if (absl::Status saved = co_await save(entry, &run, nullptr); !saved.ok()) co_return saved;
    events_.append("project.down", entry->record.name);
    publish(entry, std::move(run));
  }
  entry->news.notify_all();
  while (wait) {
    const uint64_t seen = entry->changed.epoch();
    {
      rt::LockGuard guard(mutex_);
      const std::vector<UnitRow> rows = entry->run.rows();
      wait = std::any_of(rows.begin(), rows.end(),
                         [](const UnitRow& row) { return row.live && !row.wanted; });
    }
    if (wait) co_await entry->changed.changed(seen);
  }
  co_return view_locked(*entry);
}

Task<absl::StatusOr<ProjectView>> ProjectsEngine::restart(std::string project, std::string unit) {
  absl::StatusOr<EntryPtr> found = find_locked(project);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  {
    Permit turn = co_await entry->turn.lock();
    ProjectRun run;
    {
      rt::LockGuard guard(mutex_);
      run = entry->run;
    }
    if (absl::Status status = check_units(run, {unit}); !status.ok()) co_return status;
    run.start_anew(unit, clock_());
    if (absl::Status saved = co_await save(entry, &run, nullptr); !saved.ok()) co_return saved;
    events_.append("project.restart", entry->record.name, {{"unit", unit}});
    publish(entry, std::move(run));
  }
  entry->news.notify_all();
  co_return view_locked(*entry);
}

absl::StatusOr<ProjectsEngine::EntryPtr> ProjectsEngine::find(const std::string& project) {
  if (auto found = entries_.find(project); found != entries_.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    if (entry->record.root == project) return entry;
    names.push_back(name);
  }
  FaultDetail detail{"project",
                     "NOT_FOUND",
                     "",
                     "`zsyncctl projects list` shows them, `zsyncctl up` makes one",
                     {}};
  if (const std::optional<std::string> meant = closest_match(project, names); meant) {
    detail.hint = absl::StrCat("did you mean ", *meant, "?");
    detail.closest.push_back(*meant);
  }
  return fault(absl::StatusCode::kNotFound,
               project.starts_with('/')
                   ? absl::StrCat("the project in ", project, " was never brought up")
                   : absl::StrCat("no project \"", project, "\""),
               std::move(detail));
}

absl::StatusOr<ProjectsEngine::EntryPtr> ProjectsEngine::find_locked(const std::string& project) {
  rt::LockGuard guard(mutex_);
  return find(project);
}

ProjectView ProjectsEngine::view(const Entry& entry) {
  const ProjectRecord& whole = entry.record;
  ProjectView view;
  view.record.id = whole.id;
  view.record.uid = whole.uid;
  view.record.name = whole.name;
  view.record.root = whole.root;
  view.record.file = whole.file;
  view.record.created_unix_nano = whole.created_unix_nano;
  view.units = entry.run.views(clock_());
  view.channels = entry.channels;
  view.settled = entry.run.settled() && entry.pending.empty();
  view.healthy = entry.run.healthy();
  return view;
}

ProjectView ProjectsEngine::view_locked(const Entry& entry) {
  rt::LockGuard guard(mutex_);
  return view(entry);
}

absl::StatusOr<ProjectView> ProjectsEngine::get(const std::string& project) {
  rt::LockGuard guard(mutex_);
  absl::StatusOr<EntryPtr> entry = find(project);
  if (!entry.ok()) return entry.status();
  return view(**entry);
}

std::vector<ProjectView> ProjectsEngine::list() {
  rt::LockGuard guard(mutex_);
  std::vector<ProjectView> views;
  for (const auto& [name, entry] : entries_) views.push_back(view(*entry));
  return views;
}

Task<absl::Status> ProjectsEngine::follow(std::string project, Sink sink) {
  absl::StatusOr<EntryPtr> found = find_locked(project);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  while (true) {
    const uint64_t seen = entry->changed.epoch();
    ProjectView now;
    {
      rt::LockGuard guard(mutex_);
      if (entry->removed) co_return absl::OkStatus();
      now = view(*entry);
    }
    if (absl::Status status = co_await sink(std::move(now)); !status.ok()) co_return status;
    co_await entry->changed.changed(seen);
  }
}

Task<absl::Status> ProjectsEngine::remove(std::string project) {
  Permit creating = co_await creating_.lock();
  absl::StatusOr<EntryPtr> found = find_locked(project);
  if (!found.ok()) co_return found.status();
  EntryPtr entry = *found;
  Permit turn = co_await entry->turn.lock();
  {
    rt::LockGuard guard(mutex_);
    for (const UnitRow& row : entry->run.rows()) {
      if (!row.wanted && !row.live) continue;
      co_return fault(absl::StatusCode::kFailedPrecondition,
                      absl::StrCat("project \"", entry->record.name, "\" is up"),
                      {"project", "UP", "", "bring it down first: zsyncctl down", {}});
    }
  }
  if (absl::Status gone = co_await remove_triggers(entry->record.name, {}); !gone.ok()) {
    co_return gone;
  }
  const std::string id = entry->record.id;
  absl::Status committed =
      co_await commit(store_, [id](Database& db) { return delete_project(db, id); });
  if (!committed.ok()) co_return committed;
  {
    rt::LockGuard guard(mutex_);
    entry->removed = true;
    entries_.erase(entry->record.name);
  }
  events_.append("project.removed", entry->record.name);
  entry->changed.notify_all();
  entry->news.notify_all();
  co_return absl::OkStatus();
}

size_t ProjectsEngine::active() {
  rt::LockGuard guard(mutex_);
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& named) {
    return named.second->run.active();
  }));
}

}  // namespace zsync::daemon
