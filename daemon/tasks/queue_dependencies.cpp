// TaskQueue: tasks that wait for others, and whose priority those others have meanwhile.
#include <algorithm>

#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {
namespace {

void uncount(std::map<int32_t, uint32_t>& counted, int32_t priority) {
  if (auto found = counted.find(priority); --found->second == 0) counted.erase(found);
}

}  // namespace

void TaskQueue::depend(uint64_t order, const Task& task) {
  for (const QueuedTask::Dependency& dependency : task.after) {
    Dependants& dependants = dependants_[dependency.order];
    dependants.tasks[order] = dependency.condition;
    ++dependants.priorities[task.priority];
    inherit(dependency.order);
  }
}

void TaskQueue::undepend(uint64_t order, const Task& task) {
  for (const QueuedTask::Dependency& dependency : task.after) {
    auto found = dependants_.find(dependency.order);
    found->second.tasks.erase(order);
    uncount(found->second.priorities, task.priority);
    if (found->second.tasks.empty()) dependants_.erase(found);
    inherit(dependency.order);
  }
}

// A task counts as urgent as the most urgent of those that wait for it.
void TaskQueue::inherit(uint64_t order) {
  std::vector<uint64_t> changed{order};
  while (!changed.empty()) {
    auto found = queued_.find(changed.back());
    changed.pop_back();
    if (found == queued_.end()) continue;
    Task& task = *found->second;
    int32_t priority = task.own_priority;
    if (auto waiting = dependants_.find(found->first); waiting != dependants_.end()) {
      priority = std::max(priority, waiting->second.priorities.rbegin()->first);
    }
    if (priority == task.priority) continue;
    for (const QueuedTask::Dependency& dependency : task.after) {
      std::map<int32_t, uint32_t>& counted = dependants_.at(dependency.order).priorities;
      uncount(counted, task.priority);
      ++counted[priority];
      changed.push_back(dependency.order);
    }
    Ranking* ranking = ranking_of(task);
    if (ranking) ranking->erase(task.rank, aging_);
    if (task.group->sheds()) {
      task.group->sheddable.erase({task.priority, found->first});
      task.group->sheddable.emplace(priority, found->first);
    }
    task.priority = priority;
    set_rank(task);
    if (ranking) ranking->insert(task.rank, aging_);
    // It may be ahead now of the one that was woken for what it waits for, or that one behind
    // others.
    if (task.place == Place::kReady) wake_all(task.needs, nullptr, task.rank.since);
    if (task.place == Place::kWaiter && task.waits_for->used < task.waits_for->capacity) {
      unplace(found->first, task);
      make_ready(task, task.rank.since);
    }
  }
}

void TaskQueue::ended(uint64_t order, bool ok, int64_t now) {
  auto found = dependants_.find(order);
  if (found == dependants_.end()) return;
  const Dependants dependants = std::move(found->second);
  dependants_.erase(found);
  std::vector<std::pair<uint64_t, DependencyCondition>> tasks(dependants.tasks.begin(),
                                                              dependants.tasks.end());
  std::sort(tasks.begin(), tasks.end());
  for (const auto& [dependant, condition] : tasks) {
    Task& task = *queued_.at(dependant);
    std::erase_if(task.after,
                  [order](const auto& dependency) { return dependency.order == order; });
    if (!meets(condition, ok)) {
      (void)remove(dependant, now);
      skips_.push_back({Decision::Kind::kSkip, dependant, order});
    } else if (task.after.empty()) {
      settle(dependant, task, now);
    }
  }
}

}  // namespace zsync::daemon
