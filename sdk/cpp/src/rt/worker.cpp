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
    : pool_(pool), index_(index), driver_(std::move(driver)) {}

bool Worker::push_shared(TaskContext& context) {
  LockGuard guard(lock_);
  const bool others = !shared_.empty();
  context.queue_ticket = next_ticket_++;
  shared_.push(context);
  return others;
}

void Worker::push_private(TaskContext& context) {
  {
    LockGuard guard(lock_);
    context.queue_ticket = next_ticket_++;
    private_.push(context);
  }
  if (parked_.load(std::memory_order_seq_cst)) driver_->wake();
}

void Worker::post(std::function<void()> function) {
  {
    LockGuard guard(lock_);
    posted_.push_back(std::move(function));
  }
  if (parked_.load(std::memory_order_seq_cst)) driver_->wake();
}

void Worker::push_next(TaskContext& context) {
  if (TaskContext* displaced = std::exchange(next_, &context)) {
    push_shared(*displaced);
    pool_.notify_one();
  }
}

void Worker::push_event(TaskContext& context) {
  context.has_run = true;
  // A single one is about to run here; waking somebody for it would cost more than it gains.
  if (push_shared(context) || next_) pool_.notify_one();
}

void Worker::push_yielded(TaskContext& context) {
  if (TaskContext* displaced = std::exchange(next_, nullptr)) push_shared(*displaced);
  if (context.pinned_worker >= 0) {
    push_private(context);
  } else {
    push_shared(context);
  }
  pool_.notify_one();
}

bool Worker::has_shared() {
  LockGuard guard(lock_);
  return !shared_.empty();
}

TaskContext* Worker::steal_into(Worker& thief) {
  StrandQueue loot;
  {
    LockGuard guard(lock_);
    for (size_t count = (shared_.size() + 1) / 2; count > 0; --count) loot.push(*shared_.pop());
  }
  TaskContext* first = loot.pop();
  if (loot.empty()) return first;
  LockGuard guard(thief.lock_);
  while (TaskContext* context = loot.pop()) {
    context->queue_ticket = thief.next_ticket_++;
    thief.shared_.push(*context);
  }
  return first;
}

TaskContext* Worker::pop_own() {
  if (next_ && next_in_row_ < kNextInRowMax) {
    ++next_in_row_;
    return std::exchange(next_, nullptr);
  }
  next_in_row_ = 0;
  {
    LockGuard guard(lock_);
    const TaskContext* mine = private_.front();
    const TaskContext* anybodys = shared_.front();
    if (mine && (!anybodys || mine->queue_ticket < anybodys->queue_ticket)) return private_.pop();
    if (anybodys) return shared_.pop();
  }
  return std::exchange(next_, nullptr);
}

void Worker::take_events() {
  driver_->poll();
  timers_.fire(pool_.now());
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
  }
  if (TaskContext* context = pop_own()) return context;
  // Looking here costs less than asking the kernel; the interval above keeps events from waiting.
  if (TaskContext* context = pool_.pop_injected()) return context;
  take_events();
  if (TaskContext* context = pop_own()) return context;
  return search();
}

TaskContext* Worker::search() {
  pool_.searching_.fetch_add(1, std::memory_order_seq_cst);
  TaskContext* found = pool_.pop_injected();
  const size_t count = pool_.workers_.size();
  for (size_t i = 1; !found && i < count; ++i) {
    found = pool_.workers_[(index_ + i) % count]->steal_into(*this);
  }
  const bool last = pool_.searching_.fetch_sub(1, std::memory_order_seq_cst) == 1;
  // While one searched nobody was woken, so it passes the search on.
  if (found && last && pool_.work_available()) pool_.notify_one();
  return found;
}

void Worker::park(const std::function<bool()>& done) {
  parked_.store(true, std::memory_order_seq_cst);
  pool_.enter_idle(*this);
  bool work = done() || pool_.work_available();
  if (!work) {
    LockGuard guard(lock_);
    work = !private_.empty() || !posted_.empty();
  }
  if (!work) driver_->park(timers_.next_deadline());
  pool_.leave_idle(*this);
  parked_.store(false, std::memory_order_seq_cst);
}

void Worker::leave() {
  while (run_posted()) driver_->poll();
  driver_->leave();
}

void Worker::run_until(const std::function<bool()>& done) {
  while (!done()) {
    if (TaskContext* context = next()) {
      run_strand(*context);
    } else {
      park(done);
    }
  }
}

}  // namespace zsync::rt
