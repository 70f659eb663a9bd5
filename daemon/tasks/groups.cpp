// Groups and resources: their settings, what they take, and what they tell.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/deadlines.hpp"
#include "daemon/tasks/engine.hpp"

namespace zsync::daemon {

// What was set once beats the configuration.
absl::Status TasksEngine::load_settings(Database& db) {
  const int64_t now = clock_();
  for (const auto& [name, settings] : options_.groups) {
    cgroups_.set_budget(name, settings);
    queue_.set_group(name, settings, now);
  }
  for (const auto& [name, capacity] : options_.resources) queue_.set_capacity(name, capacity, now);
  absl::Status status =
      load_groups(db, [this, now](const std::string& name, const GroupSettings& settings) {
        mutex_.assert_held();
        cgroups_.set_budget(name, settings);
        queue_.set_group(name, settings, now);
      });
  if (!status.ok()) return status;
  return load_resources(db, [this, now](const std::string& name, uint32_t capacity) {
    mutex_.assert_held();
    queue_.set_capacity(name, capacity, now);
  });
}

std::vector<GroupRecord> TasksEngine::groups() {
  rt::LockGuard guard(mutex_);
  return queue_.groups();
}

Task<absl::StatusOr<GroupRecord>> TasksEngine::set_group(std::string name, GroupChange change,
                                                         Submitter by) {
  Permit turn = co_await settings_turn_.lock();
  GroupSettings settings;
  {
    rt::LockGuard guard(mutex_);
    absl::StatusOr<GroupSettings> wanted =
        changed(name, queue_.group(name).settings, change, {clock_(), by.uid, by.pid});
    if (!wanted.ok()) co_return wanted.status();
    settings = *wanted;
  }
  absl::Status committed = co_await commit(
      store_, [name, settings](Database& db) { return put_group(db, name, settings); });
  if (!committed.ok()) co_return committed;
  cgroups_.set_budget(name, settings);
  rt::LockGuard guard(mutex_);
  queue_.set_group(name, settings, clock_());
  dispatch();
  co_return queue_.group(name);
}

std::vector<ResourceRecord> TasksEngine::resources() {
  rt::LockGuard guard(mutex_);
  std::vector<ResourceRecord> resources = queue_.resources();
  std::erase_if(resources, [](const ResourceRecord& resource) {  // places at workers
    return !resource.lock && resource.name.find('/') != std::string::npos;
  });
  return resources;
}

Task<absl::StatusOr<ResourceRecord>> TasksEngine::set_resource(std::string name,
                                                               uint32_t capacity) {
  if (name.empty() || name.size() > kNameBytesMax || name.find_first_of(":/") != name.npos) {
    co_return fault(absl::StatusCode::kInvalidArgument,
                    absl::StrCat("\"", name, "\" is no name of a resource"),
                    {"name",
                     "LIMIT",
                     absl::StrCat("name_bytes_max = ", kNameBytesMax),
                     "use 1 to 128 letters, digits, dots, dashes",
                     {}});
  }
  if (capacity > kResourceCapacityMax) {
    co_return fault(absl::StatusCode::kInvalidArgument,
                    absl::StrCat("capacity ", capacity, " of \"", name, "\" is too large"),
                    {"capacity",
                     "LIMIT",
                     absl::StrCat("capacity_max = ", kResourceCapacityMax),
                     absl::StrCat("give 0 to ", kResourceCapacityMax),
                     {}});
  }
  Permit turn = co_await settings_turn_.lock();
  absl::Status committed = co_await commit(
      store_, [name, capacity](Database& db) { return put_resource(db, name, capacity); });
  if (!committed.ok()) co_return committed;
  rt::LockGuard guard(mutex_);
  queue_.set_capacity(name, capacity, clock_());
  dispatch();
  for (ResourceRecord& resource : queue_.resources()) {
    if (!resource.lock && resource.name == name) co_return std::move(resource);
  }
  co_return absl::InternalError("the resource vanished");
}

absl::StatusOr<std::vector<TaskSpec>> TasksEngine::members_of(const TaskSpec& spec,
                                                              const ArraySpec& array) {
  return expand(spec, array, kArrayIdPrefix + ids_.next());
}

std::string TasksEngine::id_of(uint64_t order) {
  rt::LockGuard guard(mutex_);
  auto found = by_order_.find(order);
  return found == by_order_.end() ? "" : (*found)->task.record.id;
}

// What validate() cannot know: the time, and which resources there are.
absl::Status TasksEngine::check_needs(const std::vector<TaskSpec>& specs, int64_t now) {
  for (const TaskSpec& spec : specs) {
    if (absl::Status status = check_deadlines(spec, now); !status.ok()) return status;
    if (spec.function) {
      if (absl::Status status = check_function(*spec.function); !status.ok()) return status;
    }
    if (absl::Status status = check_budget(spec, queue_.group(group_of(spec))); !status.ok()) {
      return status;
    }
    for (const ResourceNeed& need : spec.resources) {
      if (queue_.capacity(need.name)) continue;
      FaultDetail detail{"spec.resources", "NOT_FOUND", "", "", {}};
      std::vector<std::string> names;
      for (const ResourceRecord& resource : queue_.resources()) {
        if (queue_.capacity(resource.name)) names.push_back(resource.name);
      }
      const std::optional<std::string> closest = closest_match(need.name, names);
      if (closest) detail.closest.push_back(*closest);
      detail.hint = absl::StrCat(closest ? absl::StrCat("did you mean ", *closest, "? else ") : "",
                                 "say how many there are: `zsyncctl tasks resource set ", need.name,
                                 " ", need.amount, "`");
      return fault(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("no resource \"", need.name, "\""), std::move(detail));
    }
  }
  return absl::OkStatus();
}

// Another attempt by hand is as good as a new task.
absl::Status TasksEngine::check_retry(const TaskRecord& record) {
  const TaskDeadlines due = deadlines_of(record);
  const int64_t now = clock_();
  const bool too_late_to_start = record.attempt == 0 && due.start > 0 && due.start <= now;
  if (too_late_to_start || (due.end > 0 && due.end <= now)) {
    return fault(
        absl::StatusCode::kFailedPrecondition,
        absl::StrCat(record.id, ": its ", too_late_to_start ? "start deadline " : "deadline ",
                     utc_text(too_late_to_start ? due.start : due.end), " has passed"),
        {"id", "DEADLINE", "", "submit it anew with a later one", {}});
  }
  rt::LockGuard guard(mutex_);
  const Admission::Wanted one{{group_of(*record.spec), 1}};
  absl::Status status = admission_.admit(one, queue_);
  if (status.ok()) admission_.arrived(one);
  return status;
}

void TasksEngine::tell_overload() {
  for (const Admission::Overload& news : admission_.news(queue_)) {
    const GroupRecord group = queue_.group(news.group);
    events_.append(news.begins ? "group.overloaded" : "group.recovered", news.group,
                   {{"queued", absl::StrCat(group.queued)},
                    {"queued_max", absl::StrCat(group.settings.queued_max)},
                    {"policy", std::string(overload_name(group.settings.overload))}});
  }
}

void TasksEngine::explain_group(const TaskWaiting& waiting, const std::string& name,
                                std::vector<std::string>& reasons) {
  const GroupRecord group = queue_.group(name);
  if (group.settings.paused.on()) {
    reasons.push_back(
        absl::StrCat("group \"", name, "\" is paused by ", held_by(group.settings.paused),
                     ": nothing of it starts until `zsyncctl tasks group resume ", name, "`"));
  }
  if (!waiting.after.empty() || waiting.not_before_unix_nano > 0) return;
  reasons.push_back(absl::StrCat("group \"", name, "\" runs ", group.running, " of at most ",
                                 group.settings.parallel, " tasks at once"));
  reasons.push_back(absl::StrCat(waiting.before_it, " queued tasks of that group start before it",
                                 group.settings.order == StartOrder::kDeadline
                                     ? ", by their deadlines"
                                 : group.settings.order == StartOrder::kRate ? ", by their periods"
                                                                             : ""));
}

}  // namespace zsync::daemon
