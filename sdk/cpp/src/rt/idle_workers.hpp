// IdleWorkers: nothing waits in a queue while every worker sleeps.
//
//   1. Who makes something ready shows it (sequentially consistent), then wakes what take_one()
//   gives.
//   2. A worker that looks for work says so before its first look. While one does nobody is woken,
//      so the last one that has found something calls take_one() where there is more.
//   3. A worker that goes to sleep enters, then looks once more, then sleeps; waking is sticky.
//
// Checked in every order that x86 allows at small sizes (testing/idle_workers_model_test.cpp).
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "zsync/rt/lock.hpp"

namespace zsync::rt {

// `Atomic`, `Mutex`: the real ones, or models of them.
template <typename Sleeper, template <typename> typename Atomic = std::atomic,
          typename Mutex = Lock>
class IdleWorkers {
 public:
  // The one to be woken, which does not count as asleep any more; nullptr: nobody has to be.
  Sleeper* take_one() {
    if (count_.load(std::memory_order_seq_cst) == 0) return nullptr;
    if (searching_.load(std::memory_order_seq_cst) > 0) return nullptr;
    const std::lock_guard<Mutex> guard(mutex_);
    if (idle_.empty()) return nullptr;
    Sleeper* const woken = idle_.back();
    idle_.pop_back();
    show_count();
    return woken;
  }

  void enter(Sleeper& sleeper) {
    const std::lock_guard<Mutex> guard(mutex_);
    idle_.push_back(&sleeper);
    show_count();
  }
  void leave(Sleeper& sleeper) {
    const std::lock_guard<Mutex> guard(mutex_);
    std::erase(idle_, &sleeper);
    show_count();
  }

  void begin_search() { searching_.fetch_add(1, std::memory_order_seq_cst); }
  // True: nobody searches any more.
  bool end_search() { return searching_.fetch_sub(1, std::memory_order_seq_cst) == 1; }

  // Sleepers that entered; a guess.
  const Atomic<int>& count() const { return count_; }

 private:
  void show_count() { count_.store(static_cast<int>(idle_.size()), std::memory_order_seq_cst); }

  Atomic<int> searching_{0};
  Atomic<int> count_{0};  // written under the lock
  Mutex mutex_;
  std::vector<Sleeper*> idle_;  // guarded by mutex_
};

}  // namespace zsync::rt
