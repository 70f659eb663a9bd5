#include <algorithm>
#include <utility>

#include "rt/worker_pool.hpp"

namespace zsync::rt {

void StrandQueue::push(TaskContext& context) {
  context.queue_next = nullptr;
  (tail_ ? tail_->queue_next : head_) = &context;
  tail_ = &context;
  ++size_;
}

TaskContext* StrandQueue::pop() {
  TaskContext* first = head_;
  if (!first) return nullptr;
  head_ = first->queue_next;
  if (!head_) tail_ = nullptr;
  first->queue_next = nullptr;
  --size_;
  return first;
}

Worker::Worker(WorkerPool& pool, int index, std::unique_ptr<Driver> driver)
    : pool_(pool),
      classed_waiting_(pool.classes().waiting()),
      index_(index),
      driver_(std::move(driver)) {}

void Worker::push_private(TaskContext& context) {
  {
    LockGuard guard(lock_);
    private_.push(context);
    private_count_.store(private_.size(), std::memory_order_relaxed);
  }
  if (parked_.load(std::memory_order_seq_cst)) wake();
}

void Worker::post(std::function<void()> function) {
  {
    LockGuard guard(lock_);
    posted_.push_back(std::move(function));
  }
  if (parked_.load(std::memory_order_seq_cst)) wake();
}

void Worker::push_next(TaskContext& context) {
  if (TaskContext* displaced = std::exchange(next_, &context)) {
    push_shared(*displaced);
    pool_.notify_one();
  }
}

void Worker::push_event(TaskContext& context) {
  context.has_run = true;
  push_shared(context);
  // A single one is about to run here; waking somebody for it would cost more than it gains.
  if (next_ || ready_.size() > 1) pool_.notify_one();
}

void Worker::push_yielded(TaskContext& context) {
  // What was woken goes first in any case: it stays where thieves do not look for it.
  if (next_ && next_in_row_ >= kNextInRowMax) push_shared(*std::exchange(next_, nullptr));
  if (context.pinned_worker >= 0) return push_private(context);
  push_shared(context);
  if (pool_.somebody_idle() && ready_.size() > 1) pool_.notify_one();
}

TaskContext* Worker::steal_into(Worker& thief) {
  if (TaskContext* fork = forks_.steal()) return fork;
  TaskContext* const first = ready_.steal();
  if (!first) return nullptr;
  for (size_t more = std::min(ready_.size() / 2, kLootMax); more > 0; --more) {
    TaskContext* const context = ready_.steal();
    if (!context) break;
    thief.push_shared(*context);
  }
  return first;
}

TaskContext* Worker::pop_private() {
  if (private_count_.load(std::memory_order_relaxed) == 0) return nullptr;
  LockGuard guard(lock_);
  TaskContext* const context = private_.pop();
  private_count_.store(private_.size(), std::memory_order_relaxed);
  return context;
}

TaskContext* Worker::pop_own() {
  if (next_ && next_in_row_ < kNextInRowMax) {
    ++next_in_row_;
    return std::exchange(next_, nullptr);
  }
  next_in_row_ = 0;
  if (TaskContext* context = forks_.pop()) return context;
  // In turn, so that neither of the two waits for the other to be empty.
  if (tick_ % 2 == 0) {
    if (TaskContext* context = pop_private()) return context;
  }
  if (TaskContext* context = ready_.pop_oldest()) return context;
  if (TaskContext* context = pop_private()) return context;
  return std::exchange(next_, nullptr);
}

void Worker::take_events() {
  pool_.assert_runs("a task that goes on after fork()");
  driver_->poll();
  const TimePoint now = pool_.now();
  timers_.fire(now, kTimersAtOnce);
  if (pool_.classes_.next_deadline() <= now) [[unlikely]]
    pool_.classes_.expire(now);
  run_posted();
}

bool Worker::run_posted() {
  std::vector<std::function<void()>> functions;
  {
    LockGuard guard(lock_);
    functions.swap(posted_);
  }
  for (auto& function : functions) function();
  return !functions.empty();
}

TaskContext* Worker::next() {
  if (++tick_ % kPollInterval == 0) {
    take_events();
    if (TaskContext* context = pool_.pop_injected()) return context;
    if (TaskContext* context = ready_.pop_oldest()) return context;  // behind forks without an end
  } else if (tick_ % kInjectedInterval == 0) {
    if (TaskContext* context = pool_.pop_injected()) return context;
  }
  if (TaskContext* context = pop_own()) return context;
  // Looking here costs less than asking the kernel; the interval above keeps events from waiting.
  if (TaskContext* context = pool_.pop_injected()) return context;
  take_events();
  if (TaskContext* context = pop_own()) return context;
  return search();
}

TaskContext* Worker::search() {
  pool_.idle_.begin_search();
  TaskContext* found = pool_.pop_injected();
  const size_t count = pool_.workers_.size();
  for (size_t i = 1; !found && i < count; ++i) {
    found = pool_.workers_[(index_ + i) % count]->steal_into(*this);
    if (found) counters_.steals.add(1);
  }
  const bool last = pool_.idle_.end_search();
  // While one searched nobody was woken, so it passes the search on.
  if (found && last && pool_.work_available()) pool_.notify_one();
  return found;
}

bool Worker::has_work(absl::FunctionRef<bool()> done) {
  return done() || pool_.work_available() || pool_.classes_.waiting_for(index_) || has_private();
}

bool Worker::has_private() {
  LockGuard guard(lock_);
  return !private_.empty() || !posted_.empty();
}

void Worker::park(absl::FunctionRef<bool()> done) {
  counters_.park_begins();
  parked_.store(true, std::memory_order_seq_cst);
  pool_.idle_.enter(*this);
  bool work = has_work(done);
  if (!work && pool_.workers_.size() > 1) {
    for (int i = 0; i < kLastLookPauses; ++i) cpu_relax();
    work = pool_.work_available();
  }
  if (!work) {
    std::optional<TimePoint> until = next_wake();
    if (!pool_.may_rest() || !pool_.rest(until)) {
      counters_.parks.add(1);
      driver_->park(until);
      counters_.park_ends();
    }
  }
  pool_.idle_.leave(*this);
  parked_.store(false, std::memory_order_seq_cst);
}

std::optional<TimePoint> Worker::next_wake() {
  const TimePoint deadline = pool_.classes_.next_deadline();
  const std::optional<TimePoint> timer = timers_.next_wake();
  if (deadline == TimePoint::max()) return timer;
  return timer ? std::min(*timer, deadline) : deadline;
}

void Worker::leave() {
  while (run_posted()) driver_->poll();
  driver_->leave();
}

}  // namespace zsync::rt
