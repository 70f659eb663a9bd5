#include "daemon/tasks/task_queue.hpp"

#include <iterator>

namespace zsync::daemon {

TaskQueue::Group& TaskQueue::find_or_make(const std::string& name) {
  return groups_.try_emplace(name, Group{default_parallel_, 0, {}}).first->second;
}

void TaskQueue::note(const std::string& name, const Group& group) {
  if (!group.queue.empty() && group.running < group.parallel) {
    ready_.insert(name);
  } else {
    ready_.erase(name);
  }
}

void TaskQueue::set_parallel(const std::string& name, uint32_t parallel) {
  Group& group = find_or_make(name);
  group.parallel = parallel;
  note(name, group);
}

void TaskQueue::add(const std::string& name, int32_t priority, uint64_t order,
                    const std::string& id) {
  Group& group = find_or_make(name);
  if (group.queue.insert({priority, order, id}).second) ++queued_;
  note(name, group);
}

void TaskQueue::add_running(const std::string& name) {
  Group& group = find_or_make(name);
  ++group.running;
  ++running_;
  note(name, group);
}

bool TaskQueue::remove(const std::string& name, int32_t priority, uint64_t order,
                       const std::string& id) {
  auto found = groups_.find(name);
  if (found == groups_.end() || found->second.queue.erase({priority, order, id}) == 0) return false;
  --queued_;
  note(name, found->second);
  return true;
}

std::optional<std::string> TaskQueue::start_next() {
  if (ready_.empty()) return std::nullopt;
  const std::string name = *ready_.begin();
  Group& group = groups_.at(name);
  const std::string id = group.queue.begin()->id;
  group.queue.erase(group.queue.begin());
  --queued_;
  ++group.running;
  ++running_;
  note(name, group);
  return id;
}

void TaskQueue::finished(const std::string& name) {
  Group& group = find_or_make(name);
  if (group.running > 0) {
    --group.running;
    --running_;
  }
  note(name, group);
}

std::optional<size_t> TaskQueue::position(const std::string& name, int32_t priority, uint64_t order,
                                          const std::string& id) const {
  auto found = groups_.find(name);
  if (found == groups_.end()) return std::nullopt;
  auto at = found->second.queue.find({priority, order, id});
  if (at == found->second.queue.end()) return std::nullopt;
  return static_cast<size_t>(std::distance(found->second.queue.begin(), at));
}

GroupRecord TaskQueue::group(const std::string& name) const {
  auto found = groups_.find(name);
  if (found == groups_.end()) return {name, default_parallel_, 0, 0};
  const Group& group = found->second;
  return {name, group.parallel, static_cast<uint32_t>(group.queue.size()), group.running};
}

std::vector<GroupRecord> TaskQueue::groups() const {
  std::vector<GroupRecord> list;
  for (const auto& [name, group] : groups_) list.push_back(this->group(name));
  return list;
}

}  // namespace zsync::daemon
