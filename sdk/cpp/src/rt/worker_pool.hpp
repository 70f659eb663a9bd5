// WorkerPool: threads that run strands and steal from each other.
//
// Parking without lost wake-ups: a poster puts the strand into a queue (under its lock), then looks
// at the idle workers; a worker announces itself idle, then looks at every queue once more, then
// parks in its driver, whose wake() is sticky. Whichever came first, one of the two sees the other.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "rt/blocking_pool.hpp"
#include "rt/driver.hpp"
#include "zsync/config.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/rt/timer.hpp"

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
  void run_until(const std::function<bool()>& done);
  // What is posted and the driver's affairs are brought to an end on this thread.
  void leave();

  // Strands that any worker may run. True when others were there. Threads: owner and thieves.
  bool push_shared(TaskContext& context);
  // Strands and functions for this worker alone. Threads: any.
  void push_private(TaskContext& context);
  void post(std::function<void()> function);
  // Half of the shared strands of this worker, one of which is returned.
  TaskContext* steal_into(Worker& thief);
  bool has_shared();
  void wake() { driver_->wake(); }

  // The strand woken by the running one goes next; what was there is put behind the others.
  void push_next(TaskContext& context);
  // Strands woken by timers, readiness and posted functions keep the order of their wake-ups.
  void push_event(TaskContext& context);
  // The running strand goes behind everything, the next one included.
  void push_yielded(TaskContext& context);

  TimerQueue& timers() { return timers_; }
  Driver& driver() { return *driver_; }
  int index() const { return index_; }

 private:
  friend class WorkerPool;
  static constexpr uint32_t kPollInterval = 61;  // strands between looks at driver and other queues
  static constexpr uint32_t kNextInRowMax = 3;   // strands in a row from the next slot

  TaskContext* next();
  TaskContext* pop_own();
  TaskContext* search();
  void take_events();
  bool run_posted();
  void park(const std::function<bool()>& done);

  WorkerPool& pool_;
  const int index_;
  std::unique_ptr<Driver> driver_;
  TimerQueue timers_;

  // -- owned by the worker's thread
  TaskContext* next_ = nullptr;
  uint32_t next_in_row_ = 0;
  uint32_t tick_ = 0;

  // -- shared
  std::atomic<bool> parked_{false};
  Lock lock_;
  StrandQueue shared_ ABSL_GUARDED_BY(lock_);
  StrandQueue private_ ABSL_GUARDED_BY(lock_);
  uint64_t next_ticket_ ABSL_GUARDED_BY(lock_) = 0;  // both queues together are one FIFO
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(lock_);
};

class WorkerPool final : public Scheduler {
 public:
  static absl::StatusOr<std::unique_ptr<WorkerPool>> create(const Config& config);
  ~WorkerPool() override;

  void schedule(TaskContext& context) override;
  void yield(TaskContext& context) override;
  void strand_started(TaskContext& context) override;
  void strand_finished(TaskContext& context) override;
  TimePoint now() override { return std::chrono::steady_clock::now(); }
  TimerQueue& timers() override;
  Driver* driver() override;
  int current_worker() override;
  void post(int worker, std::function<void()> function) override;
  void run_blocking(std::function<void()> function) override { blocking_.run(std::move(function)); }

  // On a plain thread: works itself in the caller model, else waits.
  void drive_until(TaskContext& target);
  void wait_idle();
  void stop();
  size_t active() const { return live_count_.load(std::memory_order_acquire); }
  size_t workers() const { return workers_.size(); }
  const Backing& backing() const { return backing_; }

 private:
  friend class Worker;

  explicit WorkerPool(const Config& config);
  void start_threads();
  // The worker whose thread this is, or nullptr.
  Worker* here();
  void schedule_from_outside(TaskContext& context);
  void inject(TaskContext& context);
  TaskContext* pop_injected();
  void notify_one();
  void enter_idle(Worker& worker);
  void leave_idle(Worker& worker);
  bool work_available();
  void cancel_all_live();
  void wait_for(const std::function<bool()>& done);

  const Config config_;
  Backing backing_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  BlockingPool blocking_;
  std::atomic<bool> stopping_{false};  // workers leave their loops
  std::atomic<bool> draining_{false};  // whatever is spawned now is cancelled at once
  std::atomic<uint64_t> next_id_{1};

  std::atomic<int> searching_{0};
  std::atomic<int> idle_count_{0};
  Lock idle_lock_;
  std::vector<Worker*> idle_ ABSL_GUARDED_BY(idle_lock_);

  // Plain threads and other runtimes' workers inside schedule() or post(): what they make ready may
  // end the runtime before they have left it, so stop() waits for them.
  std::atomic<int> visitors_{0};
  Lock inject_lock_;
  StrandQueue injected_ ABSL_GUARDED_BY(inject_lock_);

  // Live strands, for stop() and the counts.
  std::mutex live_mutex_;
  std::condition_variable live_changed_;
  TaskContext* live_ = nullptr;
  std::atomic<size_t> live_count_{0};
  size_t foreground_count_ = 0;  // guarded by live_mutex_
};

}  // namespace zsync::rt
