// TaskQueue: locks and counted resources.
#include <algorithm>

#include "daemon/tasks/task_queue.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kElectedFrom = 16;  // eldest tasks that are looked at for the reservation

}  // namespace

TaskQueue::Needs TaskQueue::needs_of(const QueuedTask& task) {
  Needs needs;
  for (const std::string& name : task.locks) {
    Resource& lock = locks_[name];
    lock.name = name;
    lock.lock = true;
    needs.push_back({&lock, 1});
  }
  for (const auto& [name, amount] : task.resources) {
    Resource& resource = resources_[name];
    resource.name = name;
    needs.push_back({&resource, amount});
  }
  Group& group = find_or_make(task.group);
  if (task.memory_mib != 0) needs.push_back({&group.memory, task.memory_mib});
  if (task.cpu_millis != 0) needs.push_back({&group.cpu, task.cpu_millis});
  for (const Need& need : needs) ++need.resource->users;
  return needs;
}

// A lock exists while somebody has to do with it.
void TaskQueue::let_go(const Needs& needs) {
  for (const Need& need : needs) {
    if (--need.resource->users == 0 && need.resource->lock) locks_.erase(need.resource->name);
  }
}

bool TaskQueue::reserved_against(uint64_t order, const Resource& resource) const {
  if (!reserver_ || *reserver_ == order) return false;
  const Needs& needs = queued_.at(*reserver_)->needs;
  return std::any_of(needs.begin(), needs.end(),
                     [&](const Need& need) { return need.resource == &resource; });
}

TaskQueue::Resource* TaskQueue::blocking(uint64_t order, const Task& task) const {
  for (const Need& need : task.needs) {
    if (need.resource->used + need.amount > need.resource->capacity ||
        reserved_against(order, *need.resource)) {
      return need.resource;
    }
  }
  return nullptr;
}

void TaskQueue::park(uint64_t order, Task& task, Resource& resource, int64_t now) {
  unplace(order, task);
  begin_wait(task,
             resource.lock     ? QueueWait::Cause::kLock
             : resource.budget ? QueueWait::Cause::kBudget
                               : QueueWait::Cause::kResource,
             now);
  task.waits_for = &resource;
  bool oversized = false;
  bool several = task.needs.size() > 1;
  for (const Need& need : task.needs) {
    oversized |= need.resource == &resource && need.amount > resource.capacity;
    several |= need.amount > 1;
  }
  if (oversized) {
    task.place = Place::kOversized;
    resource.oversized.insert(order);
  } else {
    task.place = Place::kWaiter;
    resource.waiters[waits_as(task)].insert(task.rank, aging_);
    if (several) patient_.emplace(task.rank.since, order);
  }
  // It may have been the one that was woken for another resource.
  wake_all(task.needs, &resource, now);
}

// The first one of each group that fits looks again.
void TaskQueue::wake(Resource& resource, int64_t now) {
  if (resource.used >= resource.capacity) return;
  if (reserved_against(0, resource)) {
    Task& task = *queued_.at(*reserver_);
    if (task.place != Place::kWaiter || blocking(*reserver_, task) != nullptr) return;
    unplace(*reserver_, task);
    make_ready(task, now);
    return;
  }
  const uint64_t left = resource.capacity - resource.used;
  for (auto at = resource.waiters.begin(); at != resource.waiters.end();) {
    Group* const group = at->first.first;
    const Rank* best = nullptr;
    for (; at != resource.waiters.end() && at->first.first == group; ++at) {
      if (at->first.second > left) continue;
      const Rank& first = at->second.first(now, aging_);
      if (best == nullptr || Ranking::before(first, *best, now, aging_)) best = &first;
    }
    if (best == nullptr) continue;
    const uint64_t order = best->order;  // the last one to leave takes its entry along
    Task& task = *queued_.at(order);
    unplace(order, task);
    make_ready(task, now);
  }
}

std::pair<TaskQueue::Group*, uint32_t> TaskQueue::waits_as(const Task& task) {
  for (const Need& need : task.needs) {
    if (need.resource == task.waits_for) return {task.group, need.amount};
  }
  return {task.group, 0};
}

void TaskQueue::wake_all(const Needs& needs, const Resource* except, int64_t now) {
  for (const Need& need : needs) {
    if (need.resource != except) wake(*need.resource, now);
  }
}

void TaskQueue::take(uint64_t order, const Needs& needs) {
  for (const Need& need : needs) {
    need.resource->used += need.amount;
    need.resource->holders.insert(order);
  }
}

void TaskQueue::release(uint64_t order, const Needs& needs) {
  for (const Need& need : needs) {
    need.resource->used -= need.amount;
    need.resource->holders.erase(order);
  }
}

// The eldest of those that need several things gets them kept, one task at a time, so that all of
// them come to be free together.
void TaskQueue::elect_reserver(int64_t now) {
  if (reserver_) return;
  size_t looked = 0;
  for (const auto& [since, order] : patient_) {
    if (now - since < kReserveAfterNs || ++looked > kElectedFrom) return;
    Task& task = *queued_.at(order);
    if (!has_place(*task.group, order)) continue;
    reserver_ = order;
    if (blocking(order, task) == nullptr) {
      unplace(order, task);
      make_ready(task, now);
    }
    return;
  }
}

void TaskQueue::drop_reserver(const Needs& needs, int64_t now) {
  reserver_.reset();
  wake_all(needs, nullptr, now);
}

void TaskQueue::set_capacity(const std::string& name, uint32_t capacity, int64_t now) {
  Resource& resource = resources_[name];
  resource.name = name;
  resource.configured = true;
  resize(resource, capacity, now);
}

void TaskQueue::resize(Resource& resource, uint32_t capacity, int64_t now) {
  resource.capacity = capacity;
  const absl::flat_hash_set<uint64_t> oversized = std::move(resource.oversized);
  resource.oversized.clear();
  for (uint64_t order : oversized) {
    Task& task = *queued_.at(order);
    task.place = Place::kTasks;
    make_ready(task, now);
  }
  wake(resource, now);
}

std::optional<uint32_t> TaskQueue::capacity(const std::string& name) const {
  auto found = resources_.find(name);
  if (found == resources_.end() || !found->second.configured) return std::nullopt;
  return found->second.capacity;
}

uint32_t TaskQueue::waiting_for(const std::string& name) const {
  auto found = resources_.find(name);
  if (found == resources_.end()) return 0;
  return found->second.users - static_cast<uint32_t>(found->second.holders.size());
}

std::vector<ResourceRecord> TaskQueue::resources() const {
  std::vector<ResourceRecord> list;
  for (const auto* known : {&resources_, &locks_}) {
    for (const auto& [name, resource] : *known) {
      list.push_back({name,
                      resource.lock,
                      resource.capacity,
                      static_cast<uint32_t>(std::min<uint64_t>(resource.used, UINT32_MAX)),
                      {resource.holders.begin(), resource.holders.end()}});
    }
  }
  return list;
}

}  // namespace zsync::daemon
