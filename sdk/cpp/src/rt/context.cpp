#include "zsync/rt/context.hpp"

#include <sched.h>

#include <optional>
#include <typeinfo>
#include <utility>
#include <vector>

#include "zsync/assert.hpp"
#include "zsync/executor.hpp"
#include "zsync/rt/backoff.hpp"
#include "zsync/rt/frame.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/rt/scope.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {
namespace {

constinit thread_local RunningThread this_thread;
std::atomic<Scheduler*> global_scheduler{nullptr};

constexpr int kHoldTriesMax = 1000;  // then a dump goes on without this strand

}  // namespace

struct TaskContext::Extra {
  std::string name;
  std::vector<ExecutorState*> adopted;
  std::optional<Task<void>> draining;
  absl::Status refusal;
};

bool TaskContext::publish(Operation& operation) {
  uintptr_t expected = 0;
  return word_.compare_exchange_strong(expected, reinterpret_cast<uintptr_t>(&operation),
                                       std::memory_order_acq_rel);
}

void TaskContext::show(Operation& operation) {
  uintptr_t word = word_.load(std::memory_order_relaxed);
  while (!word_.compare_exchange_weak(word,
                                      reinterpret_cast<uintptr_t>(&operation) | (word & kCancelled),
                                      std::memory_order_acq_rel)) {
  }
}

Operation* TaskContext::hold() noexcept {
  uintptr_t word = word_.load(std::memory_order_acquire);
  for (int tries = 0; tries < kHoldTriesMax; ++tries) {
    if ((word & ~kFlags) == 0) return nullptr;
    if (word & kLocked) {
      tries < kHoldTriesMax / 2 ? cpu_relax() : (void)sched_yield();
      word = word_.load(std::memory_order_acquire);
    } else if (word_.compare_exchange_weak(word, word | kLocked, std::memory_order_acq_rel)) {
      return reinterpret_cast<Operation*>(word & ~kFlags);
    }
  }
  return nullptr;
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
  if (!(root->marks_.load(std::memory_order_relaxed) & kStirred)) {
    root->marks_.fetch_or(kStirred, std::memory_order_relaxed);
  }
  uintptr_t word = word_.fetch_or(kCancelled, std::memory_order_acq_rel);
  if (word & kCancelled) return;
  const uintptr_t pending = word & ~kFlags;
  if (!pending) return;
  const uintptr_t held = pending | kCancelled | kLocked;
  uintptr_t expected = pending | kCancelled;
  Backoff backoff;
  while (!word_.compare_exchange_strong(expected, held, std::memory_order_acq_rel)) {
    if (expected != held) return;  // it has completed meanwhile
    backoff.pause();               // somebody looks at it
    expected = pending | kCancelled;
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

void TaskContext::link() {
  linked_ = true;
  TaskContext* strand = this;
  while (!strand->is_task() && strand->scope->link()) strand = &strand->scope->parent();
}

void TaskContext::schedule() { scheduler->schedule(*this); }

void TaskContext::yield() { scheduler->yield(*this); }

void TaskContext::break_chain() {
  if (std::exchange(chain, Chain::kDetached) == Chain::kInline) scope->settle();
}

inline std::coroutine_handle<> TaskContext::tell_end() noexcept {
  if (!is_task()) return scope->child_finished(*this);
  return end_task();
}

std::coroutine_handle<> TaskContext::finish() noexcept {
  if (FrameBlock::of(*this).header().has(FrameHeader::kBody | FrameHeader::kExtra)) [[unlikely]]
    return finish_rest();
  return tell_end();
}

std::coroutine_handle<> TaskContext::finish_rest() noexcept {
  FrameBlock::of(*this).destroy_body();
  const Extra* const extra = extra_.load(std::memory_order_relaxed);
  if (extra && !extra->adopted.empty()) return drain();
  return tell_end();
}

// Goes on as the strand's outermost coroutine, so it ends in finish() again.
std::coroutine_handle<> TaskContext::drain() noexcept {
  Extra& own = extra();
  own.draining.emplace(drain_executors(std::exchange(own.adopted, {})));
  return own.draining->start_in(*this);
}

std::coroutine_handle<> TaskContext::end_task() noexcept {
  if (group) group->keep_error(*this);
  if (Operation* const joiner = take_joiner()) joiner->wake();
  if (group) group->child_ended(*this);
  if (counted) scheduler->strand_finished(*this);
  unref();
  return std::noop_coroutine();
}

Operation* TaskContext::take_joiner() noexcept {
  Backoff backoff;
  uintptr_t word = joiner_.load(std::memory_order_acquire);
  while (true) {
    if (word & kLocked) {
      backoff.pause();
      word = joiner_.load(std::memory_order_acquire);
      continue;
    }
    const bool in_select = word != 0 && !(word & kAlone);
    if (!joiner_.compare_exchange_weak(word, in_select ? word | kLocked : kDone,
                                       std::memory_order_acq_rel)) {
      continue;
    }
    auto* joiner = reinterpret_cast<Operation*>(word & ~kJoinFlags);
    if (in_select) {
      if (!joiner->try_claim()) joiner = nullptr;
      joiner_.store(kDone, std::memory_order_release);
    }
    return joiner;
  }
}

uintptr_t TaskContext::lock_joiner() noexcept {
  Backoff backoff;
  uintptr_t word = joiner_.load(std::memory_order_relaxed);
  while (true) {
    if (word & kLocked) {
      backoff.pause();
      word = joiner_.load(std::memory_order_relaxed);
    } else if (joiner_.compare_exchange_weak(word, word | kLocked, std::memory_order_acquire)) {
      return word;
    }
  }
}

void TaskContext::free() noexcept {
  FrameBlock& block = FrameBlock::of(*this);
  if (block.header().has(FrameHeader::kExtra)) {
    delete extra_.load(std::memory_order_relaxed);
    block.header().flags &= static_cast<uint8_t>(~FrameHeader::kExtra);
  }
  block.free();
}

bool TaskContext::was_cancelled() noexcept {
  const std::exception_ptr& thrown = error();
  return thrown && *thrown.__cxa_exception_type() == typeid(Cancelled);
}

void TaskContext::refuse(absl::Status reason) {
  extra().refusal = std::move(reason);
  FrameBlock::of(*this).set_error(std::make_exception_ptr(Cancelled()));
  finish();
}

absl::Status TaskContext::cancel_reason() const {
  const Extra* const extra = extra_.load(std::memory_order_acquire);
  if (extra && !extra->refusal.ok()) return extra->refusal;
  return absl::CancelledError("task was cancelled");
}

TaskContext::Extra& TaskContext::extra() {
  Extra* extra = extra_.load(std::memory_order_relaxed);
  if (!extra) {
    extra_.store(extra = new Extra, std::memory_order_release);
    FrameBlock::of(*this).header().flags |= FrameHeader::kExtra;
  }
  return *extra;
}

void TaskContext::adopt(ExecutorState* executor) { extra().adopted.push_back(executor); }

const std::string& TaskContext::name() const {
  static const std::string* const none = new std::string;
  const Extra* const extra = root->extra_.load(std::memory_order_acquire);
  return extra ? extra->name : *none;
}

void TaskContext::set_name(std::string name) { extra().name = std::move(name); }

Start JoinOperation::start() {
  if (!context()) target_.scheduler->assert_runs("TaskHandle::join()");
  if (target_.done()) return try_claim() ? Start::kFinished : Start::kWaiting;
  const uintptr_t word = target_.lock_joiner();
  if (word & TaskContext::kDone) {
    target_.joiner_.store(word, std::memory_order_release);
    return try_claim() ? Start::kFinished : Start::kWaiting;
  }
  ZS_ASSERT(word == 0, "two waits for the end of one task at a time: join it once");
  if (!begin_wait()) {
    target_.joiner_.store(word, std::memory_order_release);
    return Start::kFinished;
  }
  const auto self = reinterpret_cast<uintptr_t>(static_cast<Operation*>(this));
  target_.joiner_.store(is_alone() ? self | TaskContext::kAlone : self, std::memory_order_release);
  return Start::kWaiting;
}

bool JoinOperation::withdraw() noexcept {
  const uintptr_t word = target_.lock_joiner();
  const auto self = reinterpret_cast<uintptr_t>(static_cast<Operation*>(this));
  const bool mine = (word & ~TaskContext::kJoinFlags) == self;
  target_.joiner_.store(mine ? 0 : word, std::memory_order_release);
  return mine;
}

RunningThread& running_thread() noexcept { return this_thread; }

TaskContext* current_context() noexcept { return this_thread.current; }

void set_global_scheduler(Scheduler* scheduler) noexcept {
  global_scheduler.store(scheduler, std::memory_order_release);
}

Scheduler& scheduler_for_spawn() {
  if (TaskContext* current = this_thread.current) return *current->scheduler;
  Scheduler* global = global_scheduler.load(std::memory_order_acquire);
  ZS_ASSERT(global != nullptr,
            "spawn() outside a runtime: call it from a task, or init_global_runtime() first");
  return *global;
}

}  // namespace zsync::rt
