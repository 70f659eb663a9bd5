#include "zsync/rt/context.hpp"

#include <utility>

#include "rt/backoff.hpp"
#include "zsync/assert.hpp"
#include "zsync/executor.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {
namespace {

thread_local TaskContext* current = nullptr;
std::atomic<Scheduler*> global_scheduler{nullptr};

}  // namespace

bool TaskContext::publish(Operation& operation) {
  uintptr_t expected = 0;
  return word_.compare_exchange_strong(expected, reinterpret_cast<uintptr_t>(&operation),
                                       std::memory_order_acq_rel);
}

void TaskContext::retract() {
  Backoff backoff;
  uintptr_t word = word_.load(std::memory_order_acquire);
  while (true) {
    if (word & kLocked) {
      backoff.pause();
      word = word_.load(std::memory_order_acquire);
    } else if (word_.compare_exchange_weak(word, word & kCancelled, std::memory_order_acq_rel)) {
      return;
    }
  }
}

void TaskContext::cancel() {
  uintptr_t word = word_.fetch_or(kCancelled, std::memory_order_acq_rel);
  if (word & kCancelled) return;
  const uintptr_t pending = word & ~kFlags;
  if (!pending) return;
  uintptr_t expected = pending | kCancelled;
  if (!word_.compare_exchange_strong(expected, expected | kLocked, std::memory_order_acq_rel)) {
    return;  // it has completed meanwhile
  }
  auto* operation = reinterpret_cast<Operation*>(pending);
  if (operation->withdraw()) {
    operation->cancelled_ = true;
    word_.store(kCancelled, std::memory_order_release);
    schedule();
  } else {
    word_.fetch_and(~kLocked, std::memory_order_acq_rel);
  }
}

void TaskContext::schedule() { scheduler->schedule(*this); }

void TaskContext::yield() { scheduler->yield(*this); }

void TaskContext::finish() {
  if (group) group->keep_error(*this);
  {
    LockGuard guard(lock);
    done_.store(true, std::memory_order_release);
  }
  if (on_finish) {
    on_finish(owner, *this);  // the scope may destroy this frame
    return;
  }
  while (true) {
    Operation* joiner = nullptr;
    {
      LockGuard guard(lock);
      joiner = joiners.pop_claimed();
    }
    if (!joiner) break;
    joiner->wake();
  }
  if (group) group->child_ended(*this);
  if (counted) scheduler->strand_finished(*this);
  unref();
}

void TaskContext::destroy_frame() { frame.destroy(); }

TaskContext* current_context() noexcept { return current; }

TaskContext* exchange_current_context(TaskContext* context) noexcept {
  return std::exchange(current, context);
}

void set_global_scheduler(Scheduler* scheduler) noexcept {
  global_scheduler.store(scheduler, std::memory_order_release);
}

Scheduler& scheduler_for_spawn() {
  if (current) return *current->scheduler;
  Scheduler* global = global_scheduler.load(std::memory_order_acquire);
  ZS_ASSERT(global != nullptr,
            "spawn() outside a runtime: call it from a task, or init_global_runtime() first");
  return *global;
}

void run_strand(TaskContext& context) {
  context.reset_budget();
  TaskContext* outer = exchange_current_context(&context);
  context.resume_point.resume();
  exchange_current_context(outer);
}

}  // namespace zsync::rt
