#include "daemon/tasks/task_queue.hpp"

#include <iterator>

namespace zsync::daemon {

TaskQueue::Group& TaskQueue::find_or_make(const std::string& name) {
  return groups_.try_emplace(name, Group{default_parallel_, 0, 0, {}}).first->second;
}

void TaskQueue::note(Group& group) {
  if (!group.ready.empty() && group.running < group.parallel) {
    startable_.insert(&group);
  } else {
    startable_.erase(&group);
  }
}

void TaskQueue::set_parallel(const std::string& name, uint32_t parallel) {
  Group& group = find_or_make(name);
  group.parallel = parallel;
  note(group);
}

void TaskQueue::add(const QueuedTask& task) {
  if (running_.contains(task.order)) return;
  Group& group = find_or_make(task.group);
  auto [at, fresh] =
      waiting_.try_emplace(task.order, Waiting{&group, task.priority, task.not_before_unix_nano});
  if (!fresh) return;
  ++group.queued;
  if (task.not_before_unix_nano > 0) {
    delayed_.emplace(task.not_before_unix_nano, task.order);
  } else {
    make_ready(task.order, at->second);
  }
}

void TaskQueue::make_ready(uint64_t order, Waiting& task) {
  task.ready = true;
  task.group->ready.insert({task.priority, order});
  note(*task.group);
}

void TaskQueue::add_running(uint64_t order, const std::string& name) {
  Group& group = find_or_make(name);
  if (!running_.emplace(order, &group).second) return;
  ++group.running;
  note(group);
}

bool TaskQueue::remove(uint64_t order) {
  auto found = waiting_.find(order);
  if (found == waiting_.end()) return false;
  const Waiting task = found->second;
  waiting_.erase(found);
  --task.group->queued;
  if (task.ready) {
    task.group->ready.erase({task.priority, order});
  } else {
    delayed_.erase({task.not_before, order});
  }
  note(*task.group);
  return true;
}

void TaskQueue::take_delayed(int64_t now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const uint64_t order = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    make_ready(order, waiting_.at(order));
  }
}

std::optional<uint64_t> TaskQueue::start_next(int64_t now) {
  take_delayed(now);
  if (startable_.empty()) return std::nullopt;
  Group& group = **startable_.begin();
  const uint64_t order = group.ready.begin()->order;
  (void)remove(order);
  ++group.running;
  running_.emplace(order, &group);
  note(group);
  return order;
}

void TaskQueue::finished(uint64_t order) {
  auto found = running_.find(order);
  if (found == running_.end()) return;
  Group& group = *found->second;
  running_.erase(found);
  --group.running;
  note(group);
}

std::optional<int64_t> TaskQueue::wake_at() const {
  if (delayed_.empty()) return std::nullopt;
  return delayed_.begin()->first;
}

std::optional<size_t> TaskQueue::position(uint64_t order) const {
  auto found = waiting_.find(order);
  if (found == waiting_.end() || !found->second.ready) return std::nullopt;
  const std::set<Key>& ready = found->second.group->ready;
  return static_cast<size_t>(
      std::distance(ready.begin(), ready.find({found->second.priority, order})));
}

GroupRecord TaskQueue::group(const std::string& name) const {
  auto found = groups_.find(name);
  if (found == groups_.end()) return {name, default_parallel_, 0, 0};
  const Group& group = found->second;
  return {name, group.parallel, group.queued, group.running};
}

std::vector<GroupRecord> TaskQueue::groups() const {
  std::vector<GroupRecord> list;
  for (const auto& [name, group] : groups_) list.push_back(this->group(name));
  return list;
}

}  // namespace zsync::daemon
