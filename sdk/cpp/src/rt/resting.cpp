// Config::idle_timeout: the threads of a runtime without tasks end, and start again for the next.
#include <cerrno>
#include <cstring>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "rt/worker_pool.hpp"
#include "zsync/assert.hpp"

namespace zsync::rt {

bool WorkerPool::rest(std::optional<TimePoint>& until) {
  const std::optional<uint64_t> mark = tasks_before_idle();
  if (!mark) return false;  // the worker that ends the last one comes here as well
  LockGuard guard(life_lock_);
  if (idle_mark_ != *mark) {
    idle_mark_ = *mark;
    idle_since_ = now();
  }
  const TimePoint rest_at = idle_since_ + *config_.idle_timeout;
  if (now() < rest_at) {
    if (!until || *until > rest_at) until = rest_at;
    return false;
  }
  if (leaving_.exchange(true, std::memory_order_seq_cst)) return true;
  if (anything_to_do()) {
    leaving_.store(stopping_.load(), std::memory_order_seq_cst);
    return true;
  }
  for (auto& worker : workers_) worker->wake();
  return true;
}

bool WorkerPool::anything_to_do() {
  if (stopping_.load() || tasks_before_idle() != idle_mark_ || has_injected()) return true;
  for (const auto& worker : workers_) {
    if (worker->has_private()) return true;
  }
  return false;
}

std::optional<uint64_t> WorkerPool::tasks_before_idle() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // As in none_left(): one may come by another that leaves.
  for (LiveList& list : live_) list.lock.lock();
  uint64_t sum = 1;
  bool none = true;
  for (LiveList& list : live_) {
    sum += list.next_id;
    if (list.head) none = false;
  }
  for (LiveList& list : live_) list.lock.unlock();
  if (!none) return std::nullopt;
  return sum;
}

bool WorkerPool::worker_may_end(Worker& worker) {
  LockGuard guard(life_lock_);
  if (!leaving_.load(std::memory_order_relaxed)) return false;
  ended_[worker.index()] = true;
  return true;
}

void WorkerPool::wake_from_rest() {
  if (here()) return;  // it is on its way out: whoever adds a task comes from outside
  LockGuard guard(life_lock_);
  if (stopping_.load() || !leaving_.load(std::memory_order_relaxed)) return;
  // Those that have not ended yet go on.
  leaving_.store(false, std::memory_order_seq_cst);
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (!ended_[i]) continue;
    threads_[i].join();
    ended_[i] = false;
    try {
      threads_[i] = std::thread([this, worker = workers_[i].get()] { run_worker(*worker); });
    } catch (const std::system_error& error) {
      const std::string message =
          absl::StrCat("spawn(): the idle runtime cannot start its threads again: ", error.what(),
                       "; raise the limit of threads (ulimit -u), or set no Config::idle_timeout");
      ZS_ASSERT(false, message.c_str());
    }
  }
}

}  // namespace zsync::rt
