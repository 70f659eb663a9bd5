#include "rt/inheritance.hpp"

#include <algorithm>

namespace zsync::rt {
namespace {

// A mutex that somebody waits for.
struct Contended {
  TaskContext* holder = nullptr;
  std::vector<TaskContext*> waiters;  // once for each strand
};

using ContendedMutexes = std::unordered_map<const void*, Contended>;

ContendedMutexes& contended() ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock) {
  static auto* const mutexes = new ContendedMutexes;
  return *mutexes;
}

void erase_one(std::vector<const void*>& list, const void* entry) {
  const auto found = std::find(list.begin(), list.end(), entry);
  if (found != list.end()) list.erase(found);
}

Standing* known(TaskContext& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock) {
  return task.scheduler->classes().find(task);
}

void recompute(TaskContext& task, int depth, Aftermath& aftermath)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock) {
  Standing* const standing = known(task);
  if (!standing) return;
  Urgency urgency = standing->base;
  for (const void* mutex : standing->holds) {
    for (TaskContext* waiter : contended()[mutex].waiters) {
      if (const Standing* other = known(*waiter)) urgency = std::max(urgency, other->effective);
    }
  }
  if (urgency == standing->effective) return;
  task.scheduler->classes().set_effective(task, *standing, urgency, aftermath);
  if (depth == kInheritanceDepthMax) return;
  for (const void* mutex : standing->waits) {
    const auto found = contended().find(mutex);
    if (found != contended().end() && found->second.holder) {
      recompute(*found->second.holder, depth + 1, aftermath);
    }
  }
}

void set_holder(const void* mutex, Contended& record, TaskContext* holder, Aftermath& aftermath)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock) {
  if (TaskContext* const before = std::exchange(record.holder, nullptr)) {
    if (Standing* standing = known(*before)) {
      erase_one(standing->holds, mutex);
      recompute(*before, 1, aftermath);
      before->scheduler->classes().tidy(*before);
    }
  }
  if (!holder || holder->done()) return;
  holder->scheduler->classes().find_or_make(*holder).holds.push_back(mutex);
  record.holder = holder;
  recompute(*holder, 1, aftermath);
}

}  // namespace

void mutex_waiter_added(const void* mutex, TaskContext* holder, TaskContext& waiter) {
  Aftermath aftermath;
  {
    LockGuard guard(class_lock);
    Contended& record = contended()[mutex];
    record.waiters.push_back(&waiter);
    waiter.scheduler->classes().find_or_make(waiter).waits.push_back(mutex);
    if (record.holder != holder) {
      set_holder(mutex, record, holder, aftermath);
    } else if (holder) {
      recompute(*holder, 1, aftermath);
    }
  }
  Classes::settle(aftermath);
}

void mutex_waiter_removed(const void* mutex, TaskContext& waiter) {
  Aftermath aftermath;
  {
    LockGuard guard(class_lock);
    const auto found = contended().find(mutex);
    if (found == contended().end()) return;
    std::vector<TaskContext*>& waiters = found->second.waiters;
    const auto position = std::find(waiters.begin(), waiters.end(), &waiter);
    if (position == waiters.end()) return;
    waiters.erase(position);
    erase_one(known(waiter)->waits, mutex);
    waiter.scheduler->classes().tidy(waiter);
    if (waiters.empty()) {
      set_holder(mutex, found->second, nullptr, aftermath);
      contended().erase(found);
    } else if (TaskContext* const holder = found->second.holder) {
      recompute(*holder, 1, aftermath);
    }
  }
  Classes::settle(aftermath);
}

void mutex_holder_changed(const void* mutex, TaskContext* holder) {
  Aftermath aftermath;
  {
    LockGuard guard(class_lock);
    const auto found = contended().find(mutex);
    if (found == contended().end()) return;
    set_holder(mutex, found->second, holder, aftermath);
  }
  Classes::settle(aftermath);
}

void recompute_urgency(TaskContext& task, Aftermath& aftermath) { recompute(task, 0, aftermath); }

void forget_holder(const std::vector<const void*>& mutexes) {
  for (const void* mutex : mutexes) contended()[mutex].holder = nullptr;
}

}  // namespace zsync::rt
