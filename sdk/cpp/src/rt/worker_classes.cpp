// What workers do with strands whose class is not normal (rt/classes.hpp).
#include <utility>

#include "rt/worker_pool.hpp"

namespace zsync::rt {

bool WorkerPool::schedule_classed(TaskContext& context) {
  const int requested = std::exchange(context.next_worker, -1);
  const bool has_run = std::exchange(context.has_run, true);
  const int home = requested >= 0 ? requested : context.pinned_worker;
  if (!classes_.push(context, home)) {
    context.next_worker = static_cast<int16_t>(requested);
    context.has_run = has_run;
    return false;
  }
  // From here on the strand may be running elsewhere.
  if (home >= 0) {
    workers_[home]->wake_if_parked();
  } else {
    notify_one();
  }
  return true;
}

void WorkerPool::sort_ready() {
  sort_injected_.store(true, std::memory_order_release);
  for (auto& worker : workers_) {
    post(worker->index(), [worker = worker.get()] { worker->sort_ready(); });
  }
}

void WorkerPool::sort_injected() {
  if (!sort_injected_.exchange(false, std::memory_order_acq_rel)) return;
  StrandQueue taken;
  {
    LockGuard guard(inject_lock_);
    std::swap(taken, injected_);
    injected_count_.store(0, std::memory_order_seq_cst);
  }
  while (TaskContext* context = taken.pop()) {
    if (!context->has_standing() || !schedule_classed(*context)) inject(*context);
  }
}

void Worker::sort_ready() {
  pool_.sort_injected();
  std::vector<TaskContext*> strands;
  while (TaskContext* context = pop_private()) strands.push_back(context);
  for (TaskContext* context : strands) {
    context->next_worker = static_cast<int16_t>(index_);
    if (context->has_standing() && pool_.schedule_classed(*context)) continue;
    context->next_worker = -1;
    push_private(*context);
  }
  strands.clear();
  if (next_) strands.push_back(std::exchange(next_, nullptr));
  while (TaskContext* context = ready_.pop_oldest()) strands.push_back(context);
  for (TaskContext* context : strands) {
    if (!context->has_standing() || !pool_.schedule_classed(*context)) push_shared(*context);
  }
  if (ready_.size() > 1) pool_.notify_one();
}

bool Worker::has_normal() const {
  return next_ || has_shared() || private_count_.load(std::memory_order_relaxed) > 0 ||
         pool_.has_injected();
}

bool Worker::run_classed() {
  Classes& classes = pool_.classes_;
  if (!classes.waiting_for(index_)) return false;
  if (++tick_ % kPollInterval == 0) take_events();
  const std::optional<Rank> least = turns_.next(classes.above_normal(), has_normal());
  TaskContext* const context = least ? classes.pop(index_, *least) : nullptr;
  turns_.took(context != nullptr);
  if (context) run_in_class(*context);
  return context != nullptr;
}

bool Worker::run_any_class() {
  if (classed_waiting_.load(std::memory_order_relaxed) == 0) return false;
  TaskContext* const context = pool_.classes_.pop(index_, Rank::kLow);
  if (context) run_in_class(*context);
  return context != nullptr;
}

// Its branches are not offered as forks: they have its class.
void Worker::run_in_class(TaskContext& context) {
  RunningThread& thread = running_thread();
  auto* const forks = std::exchange(thread.forks, nullptr);
  run_strand(context, thread);
  thread.forks = forks;
}

}  // namespace zsync::rt
