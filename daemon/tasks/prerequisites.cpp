// What a task waits for besides its place: other tasks and locks.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/task_cycle.hpp"
#include "zsync/flow.hpp"

namespace zsync::daemon {
namespace {

constexpr std::chrono::milliseconds kStorePause{
    1000};  // before what the disk refused is tried again

absl::Status refused(std::string message, const char* reason, std::string hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {"spec.after", reason, "", std::move(hint), {}});
}

const char* wanted(DependencyCondition condition) {
  switch (condition) {
    case DependencyCondition::kOk:
      return "succeeded";
    case DependencyCondition::kFailed:
      return "failed";
    case DependencyCondition::kAny:
      return "ended";
  }
  return "ended";
}

std::string resource_reason(const TaskWaiting::Need& need,
                            const std::vector<std::string>& holders) {
  if (need.amount > need.capacity) {
    return absl::StrCat("it needs ", need.amount, " of \"", need.name, "\", and there are only ",
                        need.capacity, " at all: `zsyncctl tasks resource set ", need.name, " ",
                        need.amount, "` if there are more, or cancel it");
  }
  std::string reason = absl::StrCat("it needs ", need.amount, " of \"", need.name, "\", and ",
                                    need.capacity > need.used ? need.capacity - need.used : 0,
                                    " of ", need.capacity, " are free");
  if (!holders.empty()) absl::StrAppend(&reason, ": used by ", absl::StrJoin(holders, ", "));
  return reason;
}

std::string budget_reason(const TaskWaiting::Need& need, const std::string& group,
                          const std::vector<std::string>& holders) {
  const bool memory = need.name == "memory";
  const auto text = [memory](uint64_t amount) {
    return memory ? mib_text(amount) : cpus_text(amount);
  };
  std::string reason =
      absl::StrCat("it may take ", text(need.amount), memory ? " of memory, and " : ", and ");
  if (need.amount > need.capacity) {
    return absl::StrCat(reason, "all tasks of group \"", group, "\" together ", text(need.capacity),
                        ": `zsyncctl tasks group set ", group, memory ? " --memory" : " --cpus",
                        "` raises that, or cancel it");
  }
  absl::StrAppend(&reason, text(need.capacity > need.used ? need.capacity - need.used : 0),
                  " of the ", text(need.capacity), " of group \"", group, "\" are left");
  if (!holders.empty())
    absl::StrAppend(&reason, ": the rest is for ", absl::StrJoin(holders, ", "));
  return reason;
}

// Where a name stands in this call; several specs of one name have none.
std::map<std::string, std::optional<size_t>> names_of(const std::vector<TaskSpec>& specs) {
  std::map<std::string, std::optional<size_t>> names;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name.empty()) continue;
    auto [at, fresh] = names.emplace(specs[i].name, i);
    if (!fresh) at->second.reset();
  }
  return names;
}

}  // namespace

// An array stands for its tasks.
absl::Status TasksEngine::expand_arrays(std::vector<TaskDependency>& after) {
  auto is_array = [](const TaskDependency& one) {
    return absl::StartsWith(one.task, kArrayIdPrefix);
  };
  if (std::none_of(after.begin(), after.end(), is_array)) return absl::OkStatus();
  std::vector<TaskDependency> expanded;
  for (TaskDependency& dependency : after) {
    if (!is_array(dependency)) {
      expanded.push_back(std::move(dependency));
      continue;
    }
    const size_t before = expanded.size();
    for (const EntryPtr& entry : tasks_) {
      const auto& array = entry->task.record.spec->array;
      if (array && array->id == dependency.task) {
        expanded.push_back({entry->task.record.id, dependency.condition});
      }
    }
    if (expanded.size() == before) {
      return refused(absl::StrCat("it waits for an array that is not there: ", dependency.task),
                     "NOT_FOUND", "name an array that exists: `zsyncctl tasks list` shows them");
    }
  }
  if (expanded.size() > kAfterMax) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("it waits for ", expanded.size(), " tasks, those of arrays counted"),
                 {"spec.after",
                  "LIMIT",
                  absl::StrCat("after_max = ", kAfterMax),
                  "wait for smaller arrays, or for a task that waits for each",
                  {}});
  }
  after = std::move(expanded);
  return absl::OkStatus();
}

// Turns what each spec waits for into ids: first the names of this call, then tasks that exist.
absl::Status TasksEngine::resolve_after(std::vector<TaskSpec>& specs,
                                        const std::vector<std::string>& ids,
                                        const std::map<std::string, std::string>& known) {
  if (std::all_of(specs.begin(), specs.end(), [](const auto& spec) { return spec.after.empty(); }))
    return absl::OkStatus();
  const std::map<std::string, std::optional<size_t>> names = names_of(specs);
  std::vector<std::vector<size_t>> waits_for(specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].after.empty()) continue;
    std::vector<TaskDependency>& after = specs[i].after.edit();
    if (absl::Status status = expand_arrays(after); !status.ok()) return status;
    for (TaskDependency& dependency : after) {
      if (auto named = names.find(dependency.task); named != names.end()) {
        if (!named->second) {
          return refused(
              absl::StrCat("several tasks of this call are named \"", dependency.task, "\""),
              "AMBIGUOUS", "give each task that others wait for a name of its own");
        }
        waits_for[i].push_back(*named->second);
        dependency.task = ids[*named->second];
      } else if (auto existing = known.find(dependency.task); existing != known.end()) {
        dependency.task = existing->second;
      } else {
        absl::StatusOr<EntryPtr> entry = find(dependency.task);
        if (!entry.ok()) {
          return refused(
              absl::StrCat("it waits for a task that is not there: ", entry.status().message()),
              "NOT_FOUND", "name a task that exists, or one of the same call");
        }
        dependency.task = (*entry)->task.record.id;
      }
    }
    for (size_t a = 1; a < after.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        if (after[a].task == after[b].task) {
          return refused(absl::StrCat("it waits for ", after[a].task, " twice"), "INVALID",
                         "name each task once");
        }
      }
    }
  }
  if (const std::vector<size_t> cycle = find_cycle(waits_for); !cycle.empty()) {
    return refused(absl::StrCat("tasks of this call wait for each other: ",
                                absl::StrJoin(cycle, " after ",
                                              [&](std::string* out, size_t at) {
                                                absl::StrAppend(out, "\"", specs[at].name, "\"");
                                              })),
                   "CYCLE", "leave one of these out");
  }
  return absl::OkStatus();
}

// The end of a task that never begins.
Task<void> TasksEngine::end_unstarted(EntryPtr entry, TaskState state, std::string reason,
                                      EntryPtr because) {
  while (true) {
    Permit turn = co_await entry->turn.lock();
    StoredTask task = snapshot(entry);
    if (is_final(task.record.state)) {  // it was canceled meanwhile
      let_go(because);
      co_return;
    }
    task.record.state = state;
    task.record.reason = reason;
    task.record.not_before_unix_nano = 0;
    task.record.finished_unix_nano = clock_();
    absl::Status committed =
        co_await commit(store_, [task](Database& db) { return update_task(db, task); });
    if (!committed.ok()) {
      turn.release();
      co_await sleep(kStorePause);
      continue;
    }
    {
      rt::LockGuard guard(mutex_);
      entry->task = task;
      if (entry->input) entry->input->close();
      retain(task.record);
      if (state == TaskState::kTimedOut) announce("task.deadline_missed", task.record);
      announce("task.finished", task.record);
      queue_.ended(task.order, false, clock_());
      dispatch();
    }
    entry->changed.notify_all();
    let_go(because);
    co_return;
  }
}

// One that waited for it is skipped, on disk as well: nothing needs its result any more.
void TasksEngine::let_go(const EntryPtr& because) {
  if (!because) return;
  {
    rt::LockGuard guard(mutex_);
    --because->skipping;
  }
  because->changed.notify_all();
}

std::string TasksEngine::title_of(uint64_t order) {
  auto found = by_order_.find(order);
  if (found == by_order_.end()) return "a task that was removed";
  const TaskRecord& record = (*found)->task.record;
  return record.spec->name.empty() ? record.id
                                   : absl::StrCat("\"", record.spec->name, "\" (", record.id, ")");
}

std::string TasksEngine::skip_reason(const EntryPtr& entry, uint64_t because) {
  const TaskRecord& other = at_order(because)->task.record;
  std::string reason = absl::StrCat(title_of(because), " is ", state_name(other.state));
  for (const TaskDependency& dependency : entry->task.record.spec->after) {
    if (dependency.task != other.id) continue;
    absl::StrAppend(&reason, ", and this task starts only if it ",
                    dependency.condition == DependencyCondition::kOk ? "succeeds" : "fails");
  }
  return reason;
}

void TasksEngine::explain_needs(const TaskWaiting& waiting, const std::string& group,
                                std::vector<std::string>& reasons) {
  for (const QueuedTask::Dependency& dependency : waiting.after) {
    auto other = by_order_.find(dependency.order);
    if (other == by_order_.end()) continue;
    reasons.push_back(absl::StrCat("it starts once ", title_of(dependency.order), " has ",
                                   wanted(dependency.condition), ", which is ",
                                   state_name((*other)->task.record.state)));
  }
  for (const TaskWaiting::Need& need : waiting.needs) {
    if (!need.lock && need.name.find('/') != std::string::npos) {
      explain_places(need.name, reasons);
      continue;
    }
    std::vector<std::string> holders;
    for (uint64_t holder : need.holders) holders.push_back(title_of(holder));
    if (!need.lock) {
      reasons.push_back(need.budget ? budget_reason(need, group, holders)
                                    : resource_reason(need, holders));
      continue;
    }
    reasons.push_back(absl::StrCat("lock \"", need.name, "\" is ",
                                   holders.empty() ? "kept" : "held by ",
                                   absl::StrJoin(holders, ", ")));
  }
  if (waiting.reserved_for) {
    reasons.push_back(absl::StrCat("what it needs is kept for ", title_of(*waiting.reserved_for),
                                   ", which has waited longest for several things at once"));
  }
}

}  // namespace zsync::daemon
