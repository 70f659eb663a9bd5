// Periodic tasks: which ones fit together, and jobs that are released without drift.
//
//   zsync::PeriodicSet set;
//   const zsync::PeriodicOptions control{.name = "control", .period = 10ms, .cost = 2ms};
//   if (zsync::Admission answer = set.admit(control); !answer.admitted) return answer.reason;
//   zsync::PeriodicHandle running = zsync::spawn_periodic(step, control);
//
// Rate-monotonic: the shorter the deadline, which is the period unless it is said, the higher the
// priority (Liu, Layland 1973; for shorter deadlines Leung, Whitehead 1982). Periodic tasks run
// before Priority::critical and after tasks with a SpawnOptions::deadline, which the analysis knows
// nothing of: use one kind or the other where guarantees matter.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "zsync/flow.hpp"
#include "zsync/spawn.hpp"

namespace zsync {

// A periodic task: what it needs, and how it is started.
struct PeriodicOptions {
  std::string name;          // shown in diagnostics; unique in a PeriodicSet
  rt::Duration period{0};    // between two releases; above zero
  rt::Duration cost{0};      // run time of one job, at most; for PeriodicSet only
  rt::Duration deadline{0};  // after the release, at most the period; zero: the period
};

// The longest time from a task's release to its end, all higher ones released with it.
struct ResponseTime {
  std::string name;       // PeriodicOptions::name
  rt::Duration response;  // exact; where it is above `deadline`: at least that
  rt::Duration deadline;  // after the release
};

// What PeriodicSet::admit() answers.
struct Admission {
  // By what a set was found to keep its deadlines.
  enum class Test : uint8_t {
    none,           // it does not keep them
    liu_layland,    // utilization <= n (2^(1/n) - 1), where every deadline is the period
    response_time,  // every response time is within its deadline
  };

  bool admitted = false;   // it keeps its deadlines beside all the others
  Test by = Test::none;    // what showed that
  double utilization = 0;  // of one worker: the sum of cost / period
  double bound = 0;        // Liu and Layland's for that number of tasks
  // Of the set with the new task, the highest priority first; empty when `reason` names a bad
  // value.
  std::vector<ResponseTime> response_times;
  std::string reason;  // why it was not admitted, and what to do
};

// Periodic tasks that one worker runs in time. The analysis is exact for tasks that may be
// preempted at any moment (Joseph, Pandya: Finding Response Times in a Real-Time System, 1986;
// Audsley et al.: Applying New Scheduling Theory to Static Priority Pre-emptive Scheduling, 1993).
// Nothing is preempted here, so `blocking_max` is what any strand of the worker runs without a
// scheduling point; it is added to every response time.
//
// Threads: one at a time.
class PeriodicSet {
 public:
  static constexpr size_t kTasksMax = 1000;                                 // of one set
  static constexpr rt::Duration kPeriodMax = std::chrono::hours(24 * 365);  // of one task

  // `blocking_max`: see above.
  explicit PeriodicSet(rt::Duration blocking_max = rt::Duration{0});

  // Adds the task if it and all the others keep their deadlines.
  Admission admit(PeriodicOptions task);
  // False: there is none of that name.
  bool remove(const std::string& name);
  // Of the present set.
  Admission analyse() const;
  // Tasks that were admitted.
  size_t size() const { return tasks_.size(); }

 private:
  const rt::Duration blocking_;
  std::vector<PeriodicOptions> tasks_;  // the highest priority first
};

// What a job is told.
struct Release {
  uint64_t number = 0;  // of the release, from 0; those that were missed are counted
  rt::TimePoint time;   // when it was due; `number` periods after the first one
  uint64_t missed = 0;  // releases before it that passed while the last job ran
};

// Since the start of a periodic task.
struct PeriodicStats {
  uint64_t jobs = 0;      // that have ended
  uint64_t overruns = 0;  // of these, after their deadline
  uint64_t missed = 0;    // releases without a job
};

namespace rt {

struct PeriodicCounts {
  std::atomic<uint64_t> jobs{0};
  std::atomic<uint64_t> overruns{0};
  std::atomic<uint64_t> missed{0};
};

// As launch(), with the class of periodic tasks.
void launch_periodic(Scheduler& scheduler, TaskContext& context, const PeriodicOptions& options);
// Fails an assertion on values that cannot be run.
void assert_periodic(const PeriodicOptions& options);
// A job has ended -> the next release.
Release after_job(const Release& release, const PeriodicOptions& options, TimePoint now,
                  PeriodicCounts& counts);

template <typename Function>
Task<void> release_jobs(Function job, PeriodicOptions options,
                        std::shared_ptr<PeriodicCounts> counts) {
  Scheduler& scheduler = *current_context()->scheduler;
  Release release{.time = scheduler.now()};
  while (true) {
    co_await sleep_until(release.time);
    if constexpr (std::is_invocable_v<Function&, const Release&>) {
      co_await job(release);
    } else {
      co_await job();
    }
    release = after_job(release, options, scheduler.now(), *counts);
  }
}

}  // namespace rt

// Lifetime: a handle that is not detached cancels the task when it is destroyed.
// Threads:  as TaskHandle.
class PeriodicHandle {
 public:
  // Use spawn_periodic().
  PeriodicHandle(TaskHandle<void> task, std::shared_ptr<rt::PeriodicCounts> counts)
      : task_(std::move(task)), counts_(std::move(counts)) {}

  // Ends the task: a job that runs is cancelled. Returns at once.
  void cancel() { task_.cancel(); }
  // Lets the task go on without a handle.
  void detach() && { task_.detach(); }
  // The same for a named handle.
  void detach() & { task_.detach(); }
  // Whether the task has ended: it was cancelled, or a job threw.
  bool done() const { return task_.done(); }
  // Completes when the task has ended. Errors: throws what a job threw, Cancelled after cancel().
  auto operator co_await() { return task_.operator co_await(); }

  // Threads: any.
  PeriodicStats stats() const {
    return {counts_->jobs.load(std::memory_order_relaxed),
            counts_->overruns.load(std::memory_order_relaxed),
            counts_->missed.load(std::memory_order_relaxed)};
  }
  // TaskHandle::id().
  uint64_t id() const { return task_.id(); }

 private:
  TaskHandle<void> task_;
  std::shared_ptr<rt::PeriodicCounts> counts_;
};

// Starts a task that calls `job` at once and then every period: a coroutine function, without a
// parameter or with a `const Release&`, which is valid until the job ends. Releases do not drift.
// Jobs do not overlap, and releases that pass while one runs do not come in a burst: they are
// missed, and told to the next job. PeriodicOptions::cost is not looked at: ask a PeriodicSet
// first.
//
// Errors: a job that throws ends the task; it surfaces at the await of the handle.
template <typename Function>
[[nodiscard]] PeriodicHandle spawn_periodic(Function job, PeriodicOptions options) {
  rt::assert_periodic(options);
  auto counts = std::make_shared<rt::PeriodicCounts>();
  Task<void> task = rt::release_jobs(std::move(job), options, counts);
  task.become_strand().become_task();
  rt::TaskContext& strand = task.release_strand();
  rt::launch_periodic(rt::scheduler_for_spawn(), strand, options);
  return PeriodicHandle(TaskHandle<void>(strand), std::move(counts));
}

}  // namespace zsync
