// Priority inheritance: who waits for whose mutex, and what class the holders have by that.
//
// A mutex tells of itself only while somebody waits for it, by its address and under its own lock,
// which is taken before class_lock.
//
// Invariants
//   1. A task that was ever told as a holder has TaskContext::set_held(), which happens before its
//      end; so its end waits for class_lock, and a holder that is not done() has its scheduler.
//   2. A mutex is known while it has waiters that were told; the holder is unknown or outlives
//   that.
#pragma once

#include "rt/classes.hpp"

namespace zsync::rt {

inline constexpr int kInheritanceDepthMax = 16;  // mutexes in a chain

// `waiter` waits for a mutex that `holder` holds; nullptr: nobody knows who.
void mutex_waiter_added(const void* mutex, TaskContext* holder, TaskContext& waiter);
// It does not any more. Ignored when it was not told before.
void mutex_waiter_removed(const void* mutex, TaskContext& waiter);
// Another task holds it, or nobody that is known.
void mutex_holder_changed(const void* mutex, TaskContext* holder);

// What a task's class is after a change, and by that the one of those whose mutexes it waits for.
void recompute_urgency(TaskContext& task, Aftermath& aftermath)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
// The holder of these mutexes has ended while others wait for them.
void forget_holder(const std::vector<const void*>& mutexes)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);

}  // namespace zsync::rt
