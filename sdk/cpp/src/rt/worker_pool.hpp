// WorkerPool: threads that run strands and steal from each other.
//
// A worker has, in the order in which it looks at them: the strand woken by the last one (`next_`),
// the branches that it has forked (the latest first), and what is ready (the earliest first), of
// which a part is for it alone. Thieves take the oldest branch, or half of what is ready. Strands
// whose class is not normal stand in the pool's Classes, at which a worker looks before all that.
//
// Parking without lost wake-ups: who puts a strand into another worker's or the common queue does
// so under its lock, then looks at the idle workers; a worker announces itself idle, then looks at
// every queue once more, then parks in its driver, whose wake() is sticky. Whichever came first,
// one of the two sees the other. What a worker puts into its own queues it will run itself, if need
// be: there the look at the idle workers is without a barrier. It may miss one that is just going
// to sleep; that one looks again after as long as a store takes to become visible.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "rt/blocking_pool.hpp"
#include "rt/classes.hpp"
#include "rt/driver.hpp"
#include "rt/idle_workers.hpp"
#include "rt/worker_counters.hpp"
#include "zsync/config.hpp"
#include "zsync/rt/backoff.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/rt/spin_lock.hpp"
#include "zsync/rt/timer.hpp"
#include "zsync/rt/work_deque.hpp"

namespace zsync::rt {

class WorkerPool;

// Intrusive FIFO of strands through TaskContext::queue_next.
class StrandQueue {
 public:
  bool empty() const { return head_ == nullptr; }
  TaskContext* front() const { return head_; }
  size_t size() const { return size_; }
  void push(TaskContext& context);
  TaskContext* pop();

 private:
  TaskContext* head_ = nullptr;
  TaskContext* tail_ = nullptr;
  size_t size_ = 0;
};

class Worker {
 public:
  Worker(WorkerPool& pool, int index, std::unique_ptr<Driver> driver);

  // Runs strands on this thread until `done` says so.
  template <typename Done>
  void run_until(const Done& done) {
    RunningThread& thread = running_thread();
    const std::atomic<size_t>& classed_waiting = classed_waiting_;
    while (!done()) {
      if (classed_waiting.load(std::memory_order_relaxed) != 0 && run_classed()) [[unlikely]]
        continue;
      if (TaskContext* context = next()) {
        counters_.running.store(context->root, std::memory_order_relaxed);
        run_strand(*context, thread);
      } else if (!run_any_class()) {
        park(done);
      }
    }
    counters_.running.store(nullptr, std::memory_order_relaxed);
  }

  // What is posted and the driver's affairs are brought to an end on this thread.
  void leave();

  // Strands that any worker may run. Owner.
  void push_shared(TaskContext& context) { ready_.push(&context); }
  // Strands and functions for this worker alone. Threads: any.
  void push_private(TaskContext& context);
  void post(std::function<void()> function);
  // A branch, or half of the shared strands of this worker, one of which is returned. By `thief`.
  TaskContext* steal_into(Worker& thief);
  // Moves what is ready and has a class by now to the pool's classes. On the worker's thread.
  void sort_ready();
  bool has_shared() const { return forks_.size() > 0 || ready_.size() > 0; }
  // Strands or functions for this worker alone are there.
  bool has_private();
  void wake() {
    counters_.wake_is_sent();
    driver_->wake();
  }
  void wake_if_parked() {
    if (parked_.load(std::memory_order_seq_cst)) driver_->wake();
  }

  // The strand woken by the running one goes next; what was there is put behind the others.
  void push_next(TaskContext& context);
  // Strands woken by timers, readiness and posted functions keep the order of their wake-ups.
  void push_event(TaskContext& context);
  void push_yielded(TaskContext& context);

  WorkDeque<TaskContext>& forks() { return forks_; }
  TimerQueue& timers() { return timers_; }
  Driver& driver() { return *driver_; }
  int index() const { return index_; }

  // What diagnostics look at. Threads: any.
  const WorkerCounters& counters() const { return counters_; }
  size_t branches() const { return forks_.size(); }
  size_t ready() const { return ready_.size(); }
  size_t ready_here_only() const { return private_count_.load(std::memory_order_relaxed); }
  bool parked() const { return parked_.load(std::memory_order_relaxed); }

 private:
  friend class WorkerPool;
  static constexpr uint32_t kPollInterval = 61;  // strands between looks at driver and other queues
  static constexpr uint32_t kInjectedInterval = 8;  // strands between looks at the common queue
  static constexpr uint32_t kNextInRowMax = 3;      // strands in a row from the next slot
  static constexpr size_t kTimersAtOnce = 64;  // woken at one look, so that they are still warm
  static constexpr size_t kLootMax = 256;      // strands taken by one theft
  static constexpr int kLastLookPauses = 64;   // longer than a store waits to be seen by others

  // A strand with a class, if it is its turn. False: it is that of what next() gives.
  bool run_classed();
  // The same when there is nothing else.
  bool run_any_class();
  void run_in_class(TaskContext& context);
  bool has_normal() const;
  TaskContext* next();
  TaskContext* pop_own();
  TaskContext* pop_private();
  TaskContext* search();
  void take_events();
  bool run_posted();
  void park(absl::FunctionRef<bool()> done);
  std::optional<TimePoint> next_wake();
  bool has_work(absl::FunctionRef<bool()> done);

  WorkerPool& pool_;
  const std::atomic<size_t>& classed_waiting_;
  const int index_;
  std::unique_ptr<Driver> driver_;
  TimerQueue timers_;

  // -- owned by the worker's thread
  TaskContext* next_ = nullptr;
  uint32_t next_in_row_ = 0;
  uint32_t tick_ = 0;
  ClassTurns turns_;

  // -- shared
  WorkDeque<TaskContext> forks_;
  WorkDeque<TaskContext> ready_;
  std::atomic<bool> parked_{false};
  std::atomic<size_t> private_count_{0};
  Lock lock_;
  StrandQueue private_ ABSL_GUARDED_BY(lock_);
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(lock_);
  alignas(64) WorkerCounters counters_;
};

// Live tasks that were spawned by one worker, or from outside.
struct alignas(64) LiveList {
  SpinLock lock;
  TaskContext* head ABSL_GUARDED_BY(lock) = nullptr;
  size_t foreground ABSL_GUARDED_BY(lock) = 0;
  uint64_t next_id ABSL_GUARDED_BY(lock) = 0;
  uint64_t ids_end ABSL_GUARDED_BY(lock) = 0;
  std::atomic<size_t> count{0};  // written under the lock
};

class WorkerPool final : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<WorkerPool>> create(const Config& config);
  ~WorkerPool() override;

  void schedule(TaskContext& context) override;
  void yield(TaskContext& context) override;
  void strand_started(TaskContext& context) override;
  void strand_finished(TaskContext& context) override;
  void start(TaskContext& context) override;
  TimePoint now() override { return std::chrono::steady_clock::now(); }
  TimerQueue& timers() override;
  Driver* driver() override;
  int current_worker() override;
  void post(int worker, std::function<void()> function) override;
  void run_blocking(std::function<void()> function) override { blocking_.run(std::move(function)); }
  void forks_offered() override { notify_one(); }
  void assert_runs(const char* call) const override;
  Classes& classes() override { return classes_; }
  void sort_ready() override;

  // Workers that are parked.
  const std::atomic<int>& idle_count() const { return idle_.count(); }

  // On a plain thread: works itself in the caller model, else waits.
  void drive_until(TaskContext& target);
  void wait_idle();
  void stop();
  size_t active() const;
  size_t workers() const { return workers_.size(); }
  const Worker& worker(size_t index) const { return *workers_[index]; }
  size_t ready_outside() const { return injected_count_.load(std::memory_order_relaxed); }
  TimePoint started_at() const { return started_at_; }
  // Calls it for live tasks, at most `max`, in the order of their ids. A task may end meanwhile;
  // what is left of it stays until its call is over.
  void visit_live(size_t max, absl::FunctionRef<void(TaskContext&)> visit);
  const Backing& backing() const { return backing_; }
  // Nobody may wait for its threads: this one will not return to it, or they are another process's.
  bool abandoned() const;

 private:
  friend class Worker;

  WorkerPool(const Config& config, size_t workers);
  void start_threads();
  void run_worker(Worker& worker);
  // The worker whose thread this is, or nullptr.
  Worker* here() { return worker_of(running_thread()); }
  Worker* worker_of(const RunningThread& thread) {
    return thread.pool == this ? thread.worker : nullptr;
  }
  // A task that is counted, by the list of `worker` (nullptr: of those from elsewhere).
  void enlist(TaskContext& context, const Worker* worker);
  void schedule_from_outside(TaskContext& context);
  void inject(TaskContext& context);
  // False: the strand's class is normal.
  bool schedule_classed(TaskContext& context);
  void sort_injected();
  TaskContext* pop_injected();
  bool has_injected() const { return injected_count_.load(std::memory_order_seq_cst) > 0; }
  void notify_one();
  bool somebody_idle() const { return idle_.count().load(std::memory_order_relaxed) > 0; }
  bool work_available();
  void cancel_all_live();
  // Waits on a plain thread, or works itself in the caller model, until no task is left that has to
  // end before.
  enum class Awaited { kForeground, kAll };
  void wait_for(Awaited awaited);
  bool none_left(Awaited awaited);

  // Config::idle_timeout (resting.cpp). One decides that the threads end, with `leaving_` set, and
  // only then looks once more for tasks, each list under its lock. Who adds something looks at
  // `leaving_` afterwards, and starts the threads again.
  bool may_rest() const { return config_.idle_timeout && config_.model != ExecutionModel::caller; }
  // By a worker that is about to park: true when the threads end now, else `until` is brought
  // forward to when they may.
  bool rest(std::optional<TimePoint>& until);
  bool anything_to_do() ABSL_EXCLUSIVE_LOCKS_REQUIRED(life_lock_);
  // Tells runtimes of equal age without a task apart from those that had one meanwhile; nullopt:
  // there is one.
  std::optional<uint64_t> tasks_before_idle();
  // False when the worker has to go on. By its thread, which ends otherwise.
  bool worker_may_end(Worker& worker);
  void wake_from_rest();
  void wake_if_resting() {
    if (leaving_.load(std::memory_order_seq_cst)) wake_from_rest();
  }

  const Config config_;
  const TimePoint started_at_ = std::chrono::steady_clock::now();
  Backing backing_;
  Classes classes_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  BlockingPool blocking_;
  const uint32_t forks_before_;        // forked_processes() when it was created
  std::atomic<bool> stopping_{false};  // for good
  std::atomic<bool> leaving_{false};   // workers leave their loops
  std::atomic<bool> draining_{false};  // whatever is spawned now is cancelled at once
  static constexpr uint64_t kIdsAtOnce = 256;
  std::atomic<uint64_t> next_id_{1};

  IdleWorkers<Worker> idle_;

  Lock life_lock_;                                       // threads end and start
  std::vector<bool> ended_ ABSL_GUARDED_BY(life_lock_);  // by worker: its thread, to be joined
  uint64_t idle_mark_ ABSL_GUARDED_BY(life_lock_) = 0;   // tasks_before_idle() at ...
  TimePoint idle_since_ ABSL_GUARDED_BY(life_lock_);     // ... this time

  // Plain threads and other runtimes' workers inside schedule() or post(): what they make ready may
  // end the runtime before they have left it, so stop() waits for them. In one cache line with the
  // common queue: a thread that wakes a task writes to both.
  alignas(64) std::atomic<int> visitors_{0};
  Lock inject_lock_;
  StrandQueue injected_ ABSL_GUARDED_BY(inject_lock_);
  std::atomic<size_t> injected_count_{0};   // written under the lock
  std::atomic<bool> sort_injected_{false};  // some of them may have a class by now

  // For stop() and the counts: one list a worker, and the first for everybody else.
  alignas(64) std::vector<LiveList> live_;
  std::atomic<bool> awaited_{false};  // somebody waits for lists to become empty
  std::mutex live_mutex_;
  std::condition_variable live_changed_;
};

}  // namespace zsync::rt
