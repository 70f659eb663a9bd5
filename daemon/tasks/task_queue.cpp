#include "daemon/tasks/task_queue.hpp"

#include <algorithm>
#include <iterator>

namespace zsync::daemon {

TaskQueue::Group& TaskQueue::find_or_make(const std::string& name) {
  auto [at, fresh] = groups_.try_emplace(name);
  if (fresh) at->second.settings.parallel = default_parallel_;
  return at->second;
}

void TaskQueue::note(Group& group) {
  const bool open = !group.settings.paused.on();
  if (open && !group.ready.empty() && group.running < group.settings.parallel) {
    startable_.insert(&group);
  } else {
    startable_.erase(&group);
  }
}

bool TaskQueue::has_place(const Group& group, uint64_t order) const {
  const bool kept = reserver_ && *reserver_ != order && queued_.at(*reserver_)->group == &group;
  return !group.settings.paused.on() && group.running + (kept ? 1 : 0) < group.settings.parallel;
}

void TaskQueue::set_rank(Task& task) {
  const StartOrder order = task.group->settings.order;
  if (order == StartOrder::kRate) {
    task.rank.priority = 0;
    task.rank.deadline = task.period > 0 ? task.period : INT64_MAX;
  } else if (order == StartOrder::kDeadline) {
    task.rank.priority = 0;
    task.rank.deadline = task.deadline > 0 ? task.deadline : task.rank.since + kUndatedSlackNs;
  } else {
    task.rank.priority = task.priority;
    task.rank.deadline = task.deadline > 0 ? task.deadline : INT64_MAX;
  }
}

// Where it is ranked now; null: nowhere.
Ranking* TaskQueue::ranking_of(const Task& task) {
  if (task.place == Place::kReady) return &task.group->ready;
  return task.place == Place::kWaiter ? &task.waits_for->waiters[waits_as(task)] : nullptr;
}

void TaskQueue::set_group(const std::string& name, const GroupSettings& settings, int64_t now) {
  Group& group = find_or_make(name);
  const bool other_order = group.settings.order != settings.order;
  group.settings = settings;
  group.sheddable.clear();
  if (group.sheds()) {
    for (const auto& [order, task] : queued_) {
      if (task->group == &group) group.sheddable.emplace(task->priority, order);
    }
  }
  note_load(group);
  if (other_order) {
    for (auto& [order, task] : queued_) {
      if (task->group != &group) continue;
      Ranking* ranking = ranking_of(*task);
      if (ranking) ranking->erase(task->rank, aging_);
      set_rank(*task);
      if (ranking) ranking->insert(task->rank, aging_);
    }
  }
  const uint64_t mib = settings.memory_bytes_max >> 20;
  resize(group.memory, settings.memory_bytes_max == 0 ? kAnyAmount : static_cast<uint32_t>(mib),
         now);
  resize(group.cpu, settings.cpu_millis_max == 0 ? kAnyAmount : settings.cpu_millis_max, now);
  if (reserver_ && settings.paused.on() && queued_.at(*reserver_)->group == &group) {
    drop_reserver(queued_.at(*reserver_)->needs, now);
  }
  note(group);
}

void TaskQueue::add(const QueuedTask& task, int64_t now) {
  if (running_.contains(task.order) || queued_.contains(task.order)) return;
  auto made = std::make_unique<Task>();
  Task& added = *made;
  added.group = &find_or_make(task.group);
  added.own_priority = added.priority = task.priority;
  added.rank.order = task.order;
  added.not_before = task.not_before_unix_nano;
  added.deadline = task.deadline_unix_nano;
  added.period = task.period_ns;
  const int64_t start = task.start_deadline_unix_nano;
  added.expires_start = start > 0 && (added.deadline == 0 || start < added.deadline);
  added.expires = added.expires_start ? start : added.deadline;
  added.after = task.after;
  added.needs = needs_of(task);
  queued_.emplace(task.order, std::move(made));
  ++added.group->queued;
  if (added.expires > 0) expiring_.emplace(added.expires, task.order);
  if (auto waiting = dependants_.find(task.order); waiting != dependants_.end()) {
    added.priority = std::max(added.priority, waiting->second.priorities.rbegin()->first);
  }
  if (added.group->sheds()) added.group->sheddable.emplace(added.priority, task.order);
  note_load(*added.group);
  depend(task.order, added);
  settle(task.order, added, now);
}

void TaskQueue::settle(uint64_t order, Task& task, int64_t now) {
  if (!task.after.empty()) {
    task.place = Place::kTasks;
    begin_wait(task, QueueWait::Cause::kTasks, now);
  } else if (task.not_before > now) {
    task.place = Place::kTime;
    begin_wait(task, QueueWait::Cause::kTime, now);
    delayed_.emplace(task.not_before, order);
  } else {
    make_ready(task, now);
  }
}

void TaskQueue::make_ready(Task& task, int64_t now) {
  task.place = Place::kReady;
  begin_wait(task, QueueWait::Cause::kPlace, now);
  if (task.rank.since == 0) task.rank.since = now;
  set_rank(task);
  task.group->ready.insert(task.rank, aging_);
  note(*task.group);
}

// Out of the structure that its place names; it is in none then.
void TaskQueue::unplace(uint64_t order, Task& task) {
  switch (task.place) {
    case Place::kTime:
      delayed_.erase({task.not_before, order});
      break;
    case Place::kReady:
      task.group->ready.erase(task.rank, aging_);
      note(*task.group);
      break;
    case Place::kWaiter: {
      auto waiters = task.waits_for->waiters.find(waits_as(task));
      waiters->second.erase(task.rank, aging_);
      if (waiters->second.empty()) task.waits_for->waiters.erase(waiters);
      break;
    }
    case Place::kOversized:
      task.waits_for->oversized.erase(order);
      break;
    case Place::kTasks:
      break;
  }
  task.place = Place::kTasks;
  patient_.erase({task.rank.since, order});
}

std::unique_ptr<TaskQueue::Task> TaskQueue::take_out(uint64_t order) {
  auto found = queued_.find(order);
  std::unique_ptr<Task> task = std::move(found->second);
  unplace(order, *task);
  queued_.erase(found);
  if (task->expires > 0) expiring_.erase({task->expires, order});
  --task->group->queued;
  task->group->sheddable.erase({task->priority, order});
  note_load(*task->group);
  return task;
}

void TaskQueue::add_running(const QueuedTask& task) {
  if (running_.contains(task.order)) return;
  Group& group = find_or_make(task.group);
  Needs needs = needs_of(task);
  take(task.order, needs);
  running_.emplace(task.order, Running{&group, std::move(needs)});
  ++group.running;
  note(group);
}

bool TaskQueue::remove(uint64_t order, int64_t now) {
  auto found = queued_.find(order);
  if (found == queued_.end()) return false;
  const bool reserves = reserver_ == order;
  if (reserves) reserver_.reset();
  const std::unique_ptr<Task> task = take_out(order);
  undepend(order, *task);
  wake_all(task->needs, nullptr, now);
  let_go(task->needs);
  return true;
}

void TaskQueue::finished(uint64_t order, int64_t now) {
  auto found = running_.find(order);
  if (found == running_.end()) return;
  const Running ran = std::move(found->second);
  running_.erase(found);
  --ran.group->running;
  release(order, ran.needs);
  wake_all(ran.needs, nullptr, now);
  let_go(ran.needs);
  note(*ran.group);
}

std::optional<Decision> TaskQueue::next(int64_t now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const uint64_t order = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    make_ready(*queued_.at(order), now);
  }
  if (!skips_.empty()) {
    const Decision skip = skips_.back();
    skips_.pop_back();
    return skip;
  }
  if (!expiring_.empty() && expiring_.begin()->first <= now) {
    const uint64_t order = expiring_.begin()->second;
    const bool start = queued_.at(order)->expires_start;
    (void)remove(order, now);
    return Decision{start ? Decision::Kind::kMissedStart : Decision::Kind::kMissed, order, 0};
  }
  if (std::optional<Decision> start = next_start(now)) return start;
  return next_shed(now);
}

void TaskQueue::note_load(Group& group) {
  if (group.sheds() && group.queued > group.settings.queued_max) {
    overfull_.insert(&group);
  } else {
    overfull_.erase(&group);
  }
}

// Of what could not start: the oldest one of the lowest priority.
std::optional<Decision> TaskQueue::next_shed(int64_t now) {
  if (overfull_.empty()) return std::nullopt;
  const uint64_t order = (*overfull_.begin())->sheddable.begin()->second;
  (void)remove(order, now);
  return Decision{Decision::Kind::kShed, order, 0};
}

std::optional<Decision> TaskQueue::next_start(int64_t now) {
  elect_reserver(now);
  if (reserver_) {
    Task& first = *queued_.at(*reserver_);
    if (first.place == Place::kReady && has_place(*first.group, *reserver_) &&
        blocking(*reserver_, first) == nullptr) {
      return start(*reserver_, now);
    }
  }
  for (auto at = startable_.begin(); at != startable_.end();) {
    Group& group = **at;
    const uint64_t order = group.ready.first(now, aging_).order;
    if (!has_place(group, order)) {  // the last place is kept
      ++at;
      continue;
    }
    Task& task = *queued_.at(order);
    Resource* taken = blocking(order, task);
    if (taken == nullptr) return start(order, now);
    park(order, task, *taken, now);
    at = startable_.begin();
  }
  return std::nullopt;
}

Decision TaskQueue::start(uint64_t order, int64_t now) {
  if (reserver_ == order) reserver_.reset();
  const std::unique_ptr<Task> task = take_out(order);
  begin_wait(*task, QueueWait::Cause::kNothing, now);
  ++task->group->running;
  take(order, task->needs);
  note(*task->group);
  wake_all(task->needs, nullptr, now);  // there may be some left
  running_.emplace(order, Running{task->group, std::move(task->needs)});
  Decision decision{Decision::Kind::kStart, order, 0};
  if (task->waited) decision.waits = std::move(*task->waited);
  return decision;
}

std::optional<int64_t> TaskQueue::wake_at() const {
  std::optional<int64_t> at;
  if (!skips_.empty()) return 0;
  if (!delayed_.empty()) at = delayed_.begin()->first;
  if (!expiring_.empty()) at = std::min(at.value_or(INT64_MAX), expiring_.begin()->first);
  return at;
}

std::optional<TaskWaiting> TaskQueue::explain(uint64_t order, int64_t now) const {
  auto found = queued_.find(order);
  if (found == queued_.end()) return std::nullopt;
  const Task& task = *found->second;
  TaskWaiting waiting;
  if (task.not_before > now) waiting.not_before_unix_nano = task.not_before;
  waiting.after = task.after;
  waiting.priority = task.priority;
  for (const Need& need : task.needs) {
    const Resource& resource = *need.resource;
    const bool kept = reserved_against(order, resource);
    if (kept) waiting.reserved_for = reserver_;
    if (!kept && resource.used + need.amount <= resource.capacity) continue;
    waiting.needs.push_back({resource.name,
                             resource.lock,
                             resource.budget,
                             need.amount,
                             resource.capacity,
                             resource.used,
                             {resource.holders.begin(), resource.holders.end()}});
  }
  const absl::btree_set<Rank>& ranks = task.group->ready.ranks();
  if (task.place == Place::kReady) {
    waiting.before_it = static_cast<size_t>(std::distance(ranks.begin(), ranks.find(task.rank)));
  }
  return waiting;
}

GroupRecord TaskQueue::group(const std::string& name) const {
  GroupRecord record;
  record.name = name;
  record.settings.parallel = default_parallel_;
  if (auto found = groups_.find(name); found != groups_.end()) {
    record.settings = found->second.settings;
    record.queued = found->second.queued;
    record.running = found->second.running;
    record.memory_bytes_used = found->second.memory.used << 20;
    record.cpu_millis_used = found->second.cpu.used;
  }
  return record;
}

std::vector<GroupRecord> TaskQueue::groups() const {
  std::vector<GroupRecord> list;
  for (const auto& [name, group] : groups_) list.push_back(this->group(name));
  return list;
}

}  // namespace zsync::daemon
