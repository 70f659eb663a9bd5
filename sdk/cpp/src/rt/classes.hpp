// Classes: what a scheduler knows of tasks that are not simply normal.
//
// A task has a standing here from its spawn, if it has a class, or as long as it holds or waits for
// a mutex that others want; then TaskContext::has_standing() is set, and whoever makes a strand of
// it ready comes here first. Its own urgency comes from its options, the effective one is the
// highest of that and of the tasks that wait for a mutex that it holds.
//
// One lock guards the classes of every scheduler of the process, because a mutex may be shared by
// tasks of two. It is taken for tasks with a standing only.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rt/processor_demand.hpp"
#include "rt/ready_classes.hpp"
#include "zsync/priority.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/spawn.hpp"

namespace zsync::rt {

// Guards every Classes and the mutexes that are contended (rt/inheritance.hpp).
extern Lock class_lock;

// What is known of a task.
struct Standing {
  uint64_t id = 0;
  std::string name;
  Urgency base;
  Urgency effective;
  Urgency when_late;                  // base, once the deadline has passed
  std::optional<TimePoint> deadline;  // its own
  bool missed = false;
  bool reserves = false;           // is in the processor demand
  std::vector<const void*> holds;  // mutexes for which others wait
  std::vector<const void*> waits;  // one for each of its strands that waits for a mutex
};

// What has to be done once class_lock is free.
struct Aftermath {
  std::vector<TaskContext*> normal;  // strands, in no list, whose class is normal by now
  std::vector<TaskContext*> shed;    // tasks to be cancelled, referred to
};

class Classes {
 public:
  Classes(Scheduler& scheduler, size_t workers, DeadlineMissCallback on_miss,
          OverloadPolicy policy);

  // A task that has been counted begins with `options`, which name a class. Errors: why its body
  // must not run: kDeadlineExceeded, kResourceExhausted.
  absl::Status enter(TaskContext& task, const SpawnOptions& options);
  // The same for zsync/periodic.hpp, with the relative deadline that it is ordered by.
  void enter_periodic(TaskContext& task, Duration deadline);
  // A task with a standing has ended, and is still counted.
  void ended(TaskContext& task);

  // A strand is ready, for the worker `home` or, -1, for any. False: its class is normal, and it is
  // the caller's.
  bool push(TaskContext& strand, int home);
  // The first for `worker` of at least that rank, counted with its aging.
  TaskContext* pop(int worker, Rank least);

  // Strands that are ready, in all and for one worker.
  const std::atomic<size_t>& waiting() const { return waiting_; }
  bool waiting_shared() const { return shared_.load(std::memory_order_seq_cst) > 0; }
  bool waiting_for(int worker) const {
    return waiting_shared() || pinned_[worker].load(std::memory_order_seq_cst) > 0;
  }
  // Whether there may be one above normal.
  bool above_normal() const { return above_.load(std::memory_order_relaxed) > 0; }

  // When the next task will be late; the last point in time: none is watched.
  TimePoint next_deadline() const {
    return TimePoint(Duration(next_deadline_.load(std::memory_order_relaxed)));
  }
  // Tells of the tasks that are late at `now`.
  void expire(TimePoint now);

  std::optional<TimePoint> deadline_of(TaskContext& task);
  // Whether a strand's class is not normal now.
  bool has_class(TaskContext& strand);

  // -- for rt/inheritance: under class_lock
  Standing* find(TaskContext& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  Standing& find_or_make(TaskContext& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  // Forgets it if nothing is left to be known.
  void tidy(TaskContext& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  // Its ready strands go where they belong now.
  void set_effective(TaskContext& task, Standing& standing, const Urgency& urgency,
                     Aftermath& aftermath) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);

  // By whoever has let go of class_lock. Threads: any.
  static void settle(Aftermath& aftermath);

 private:
  absl::Status reserve(TaskContext& task, Standing& standing, const SpawnOptions& options,
                       TimePoint now, Aftermath& aftermath)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  TaskContext* shed(uint64_t job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  void watch(TimePoint deadline, TaskContext& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  void unwatch(TimePoint deadline, TaskContext& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  void put(TaskContext& strand, const Urgency& urgency, int home)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  void publish_counts(int home) ABSL_EXCLUSIVE_LOCKS_REQUIRED(class_lock);
  void tell(const std::vector<DeadlineMiss>& misses);

  Scheduler& scheduler_;
  const DeadlineMissCallback on_miss_;
  const OverloadPolicy policy_;

  ReadyClasses<TaskContext> ready_ ABSL_GUARDED_BY(class_lock);
  std::unordered_map<TaskContext*, Standing> standings_ ABSL_GUARDED_BY(class_lock);
  std::set<std::pair<TimePoint, TaskContext*>> watched_ ABSL_GUARDED_BY(class_lock);
  ProcessorDemand demand_ ABSL_GUARDED_BY(class_lock);
  size_t pinned_sum_ ABSL_GUARDED_BY(class_lock) = 0;

  // Written under class_lock.
  std::atomic<size_t> waiting_{0};
  std::atomic<size_t> shared_{0};
  std::atomic<size_t> above_{0};
  const std::unique_ptr<std::atomic<size_t>[]> pinned_;
  std::atomic<int64_t> next_deadline_;  // nanoseconds of the steady clock
};

}  // namespace zsync::rt
