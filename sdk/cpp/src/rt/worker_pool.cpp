#include "rt/worker_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rt/process_life.hpp"
#include "zsync/spawn.hpp"

namespace zsync::rt {
namespace {

// Marks this thread as a worker's for the time of a loop.
class WorkerThread {
 public:
  WorkerThread(WorkerPool* pool, Worker* worker)
      : thread_(running_thread()),
        before_(std::exchange(
            thread_, {thread_.current, worker, pool, &worker->forks(), &pool->idle_count()})) {
    watch_thread_end();
  }
  ~WorkerThread() { thread_ = before_; }

 private:
  RunningThread& thread_;
  const RunningThread before_;
};

}  // namespace

void assert_may_block(const char* message) {
  ZS_ASSERT(running_thread().worker == nullptr && current_context() == nullptr, message);
}

WorkerPool::WorkerPool(const Config& config, size_t workers)
    : config_(config),
      classes_(*this, workers, config.on_deadline_miss, config.overload_policy),
      blocking_(config.blocking_threads_max, config.blocking_idle),
      forks_before_(forked_processes()) {}

absl::StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::create(const Config& config) {
  if (absl::Status status = config.validate(); !status.ok()) return status;
  watch_forks();
  size_t count = 1;
  if (config.model == ExecutionModel::multi_thread) {
    count = config.workers ? config.workers : usable_cpus();
  }
  std::unique_ptr<WorkerPool> pool(new WorkerPool(config, count));
  pool->live_ = std::vector<LiveList>(count + 1);
  absl::StatusOr<Drivers> drivers = make_drivers(config, count);
  if (!drivers.ok()) return drivers.status();
  pool->backing_ = std::move(drivers->backing);
  for (size_t i = 0; i < count; ++i) {
    pool->workers_.push_back(
        std::make_unique<Worker>(*pool, static_cast<int>(i), std::move(drivers->each[i])));
  }
  if (config.model != ExecutionModel::caller) {
    try {
      pool->start_threads();
    } catch (const std::system_error& error) {
      pool->stop();
      return absl::ResourceExhaustedError(absl::StrCat(
          "starting ", count, " worker threads: ", error.what(), "; lower Config::workers"));
    }
  }
  return pool;
}

WorkerPool::~WorkerPool() { stop(); }

void WorkerPool::start_threads() {
  {
    LockGuard guard(life_lock_);
    ended_.assign(workers_.size(), false);
  }
  threads_.reserve(workers_.size());
  for (auto& worker : workers_) {
    threads_.emplace_back([this, worker = worker.get()] { run_worker(*worker); });
  }
}

void WorkerPool::run_worker(Worker& worker) {
  WorkerThread mark(this, &worker);
  do {
    worker.run_until([this] { return leaving_.load(std::memory_order_acquire); });
  } while (!worker_may_end(worker));
  worker.driver().poll();  // descriptors that are being closed
  worker.leave();
}

bool WorkerPool::abandoned() const {
  if (forks_before_ != forked_processes()) return true;
  return thread_is_ending() && (running_thread().pool == this || blocking_.is_here());
}

void WorkerPool::assert_runs(const char* call) const {
  if (forks_before_ == forked_processes()) [[likely]]
    return;
  const std::string message = absl::StrCat(
      call,
      ": this runtime was created before fork(), and its threads are the parent's: in the "
      "child call exec or _exit, or create a runtime there");
  ZS_ASSERT(false, message.c_str());
}

TimerQueue& WorkerPool::timers() {
  Worker* worker = here();
  ZS_ASSERT(worker, "a timed wait outside its runtime: await it in a task");
  return worker->timers();
}

Driver* WorkerPool::driver() {
  Worker* worker = here();
  return worker ? &worker->driver() : nullptr;
}

int WorkerPool::current_worker() {
  Worker* worker = here();
  return worker ? worker->index() : -1;
}

void WorkerPool::post(int worker, std::function<void()> function) {
  visitors_.fetch_add(1, std::memory_order_relaxed);
  workers_[worker]->post(std::move(function));
  wake_if_resting();
  visitors_.fetch_sub(1, std::memory_order_release);
}

void WorkerPool::schedule(TaskContext& context) {
  const RunningThread& thread = running_thread();
  Worker* const worker = worker_of(thread);
  if (!worker) return schedule_from_outside(context);
  if (context.has_standing() && schedule_classed(context)) [[unlikely]]
    return;
  const int requested = std::exchange(context.next_worker, -1);
  if (const int home = requested >= 0 ? requested : context.pinned_worker; home >= 0) {
    workers_[home]->push_private(context);
  } else if (thread.current == nullptr) {
    worker->push_event(context);
  } else if (std::exchange(context.has_run, true)) {
    worker->push_next(context);
  } else {
    worker->push_shared(context);
    notify_one();
  }
}

void WorkerPool::schedule_from_outside(TaskContext& context) {
  assert_runs("waking a task");
  visitors_.fetch_add(1, std::memory_order_relaxed);
  if (!context.has_standing() || !schedule_classed(context)) {
    const int requested = std::exchange(context.next_worker, -1);
    if (const int home = requested >= 0 ? requested : context.pinned_worker; home >= 0) {
      workers_[home]->push_private(context);
    } else {
      inject(context);
    }
  }
  wake_if_resting();
  visitors_.fetch_sub(1, std::memory_order_release);
}

// Called by the running strand, so on its worker.
void WorkerPool::yield(TaskContext& context) {
  const RunningThread& thread = running_thread();
  // One that has got its class while it ran is found by sort_ready().
  if (!thread.forks && schedule_classed(context)) [[unlikely]]
    return;
  thread.worker->push_yielded(context);
}

void WorkerPool::inject(TaskContext& context) {
  {
    LockGuard guard(inject_lock_);
    injected_.push(context);
    injected_count_.store(injected_.size(), std::memory_order_seq_cst);
  }
  notify_one();
}

TaskContext* WorkerPool::pop_injected() {
  if (!has_injected()) return nullptr;
  LockGuard guard(inject_lock_);
  TaskContext* const context = injected_.pop();
  injected_count_.store(injected_.size(), std::memory_order_seq_cst);
  return context;
}

bool WorkerPool::work_available() {
  return has_injected() || classes_.waiting_shared() ||
         std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->has_shared(); });
}

void WorkerPool::notify_one() {
  if (Worker* const woken = idle_.take_one()) woken->wake();
}

void WorkerPool::strand_started(TaskContext& context) { enlist(context, here()); }

void WorkerPool::start(TaskContext& context) {
  const RunningThread& thread = running_thread();
  Worker* const worker = worker_of(thread);
  enlist(context, worker);
  if (!worker) return schedule_from_outside(context);
  if (thread.current == nullptr) return worker->push_event(context);
  context.has_run = true;
  worker->push_shared(context);
  notify_one();
}

void WorkerPool::enlist(TaskContext& context, const Worker* worker) {
  if (!worker) assert_runs("spawn() or block_on()");
  context.live_list = static_cast<uint16_t>(worker ? worker->index() + 1 : 0);
  context.counted = true;
  LiveList& list = live_[context.live_list];
  {
    SpinGuard guard(list.lock);
    if (list.next_id == list.ids_end) {
      list.next_id = next_id_.fetch_add(kIdsAtOnce, std::memory_order_relaxed);
      list.ids_end = list.next_id + kIdsAtOnce;
    }
    context.id = list.next_id++;
    context.live_previous = nullptr;
    context.live_next = list.head;
    if (list.head) list.head->live_previous = &context;
    list.head = &context;
    list.count.store(list.count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (!context.background) ++list.foreground;
  }
  if (draining_.load(std::memory_order_seq_cst)) context.cancel();
}

void WorkerPool::strand_finished(TaskContext& context) {
  if (context.end_concerns_classes()) [[unlikely]]
    classes_.ended(context);
  LiveList& list = live_[context.live_list];
  bool empty = false;
  {
    SpinGuard guard(list.lock);
    (context.live_previous ? context.live_previous->live_next : list.head) = context.live_next;
    if (context.live_next) context.live_next->live_previous = context.live_previous;
    list.count.store(list.count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    if (!context.background) --list.foreground;
    empty = list.foreground == 0;
  }
  if (!empty || !awaited_.load(std::memory_order_seq_cst)) return;
  std::lock_guard<std::mutex> guard(live_mutex_);
  live_changed_.notify_all();
}

size_t WorkerPool::active() const {
  size_t sum = 0;
  for (const LiveList& list : live_) sum += list.count.load(std::memory_order_acquire);
  return sum;
}

bool WorkerPool::none_left(Awaited awaited) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // A task may come into one list by one that leaves another, so all are held at once.
  for (LiveList& list : live_) list.lock.lock();
  bool none = true;
  for (LiveList& list : live_) {
    if (awaited == Awaited::kAll ? list.head != nullptr : list.foreground > 0) none = false;
  }
  for (LiveList& list : live_) list.lock.unlock();
  return none;
}

void WorkerPool::wait_for(Awaited awaited) {
  if (config_.model == ExecutionModel::caller) {
    WorkerThread mark(this, workers_[0].get());
    workers_[0]->run_until([this, awaited] { return none_left(awaited); });
    workers_[0]->leave();
    return;
  }
  awaited_.store(true, std::memory_order_seq_cst);
  std::unique_lock<std::mutex> guard(live_mutex_);
  live_changed_.wait(guard, [this, awaited] { return none_left(awaited); });
}

void WorkerPool::drive_until(TaskContext& target) {
  if (config_.model == ExecutionModel::caller) {
    WorkerThread mark(this, workers_[0].get());
    workers_[0]->run_until([&target] { return target.done(); });
    workers_[0]->leave();
    return;
  }
  JoinOperation operation(target);
  block_on_operation(operation);
}

void WorkerPool::wait_idle() {
  assert_runs("Runtime::wait_idle()");
  ZS_ASSERT(!here(), "Runtime::wait_idle() on a worker waits for itself: use an Executor there");
  ZS_ASSERT(!blocking_.is_here(),
            "Runtime::wait_idle() in spawn_blocking() waits for itself: use an Executor");
  wait_for(Awaited::kForeground);
}

void WorkerPool::visit_live(size_t max, absl::FunctionRef<void(TaskContext&)> visit) {
  std::vector<TaskContext*> live;
  for (LiveList& list : live_) {
    SpinGuard guard(list.lock);
    for (TaskContext* context = list.head; context; context = context->live_next) {
      context->ref();
      live.push_back(context);
    }
  }
  std::sort(live.begin(), live.end(),
            [](const TaskContext* a, const TaskContext* b) { return a->id < b->id; });
  for (TaskContext* context : live) {
    if (max > 0) {
      --max;
      visit(*context);
    }
    context->unref();
  }
}

void WorkerPool::cancel_all_live() {
  std::vector<TaskContext*> live;
  for (LiveList& list : live_) {
    SpinGuard guard(list.lock);
    for (TaskContext* context = list.head; context; context = context->live_next) {
      context->ref();
      live.push_back(context);
    }
  }
  for (TaskContext* context : live) {
    context->cancel();
    context->unref();
  }
}

void WorkerPool::stop() {
  assert_runs("Runtime::stop()");
  ZS_ASSERT(!here(),
            "Runtime::stop() on a worker waits for itself: call it where run() was called");
  ZS_ASSERT(!blocking_.is_here(),
            "Runtime::stop() in spawn_blocking() waits for itself: call it where run() was called");
  if (stopping_.load()) return;
  // 1. Nothing new starts for long; what lives is cancelled and unwinds.
  draining_.store(true, std::memory_order_seq_cst);
  cancel_all_live();
  const bool driven = config_.model == ExecutionModel::caller || threads_.size() == workers_.size();
  if (driven) wait_for(Awaited::kAll);
  // 2. The workers leave their loops.
  {
    LockGuard guard(life_lock_);  // so nobody is starting threads
    stopping_.store(true);
    leaving_.store(true, std::memory_order_seq_cst);
  }
  for (auto& worker : workers_) worker->wake();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  // 3. Functions that block end by themselves.
  blocking_.stop();
  // 4. What was posted while the workers left: closing descriptors, for example.
  for (auto& worker : workers_) {
    WorkerThread mark(this, worker.get());
    worker->leave();
  }
  // 5. Whoever woke the last tasks has left.
  while (visitors_.load(std::memory_order_acquire) > 0) sched_yield();
}

}  // namespace zsync::rt
