// A lock for a few instructions between threads that rarely meet. Never held across a call that may
// block or suspend.
#pragma once

#include <atomic>

#include "absl/base/thread_annotations.h"
#include "zsync/rt/backoff.hpp"

namespace zsync::rt {

class ABSL_LOCKABLE SpinLock {
 public:
  SpinLock() = default;
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    if (locked_.exchange(true, std::memory_order_acquire)) [[unlikely]]
      wait_for_it();
  }
  void unlock() ABSL_UNLOCK_FUNCTION() { locked_.store(false, std::memory_order_release); }

 private:
  [[gnu::noinline]] void wait_for_it() {
    Backoff backoff;
    do {
      do backoff.pause();
      while (locked_.load(std::memory_order_relaxed));
    } while (locked_.exchange(true, std::memory_order_acquire));
  }

  std::atomic<bool> locked_{false};
};

class ABSL_SCOPED_LOCKABLE SpinGuard {
 public:
  explicit SpinGuard(SpinLock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_.lock();
  }
  ~SpinGuard() ABSL_UNLOCK_FUNCTION() { lock_.unlock(); }
  SpinGuard(const SpinGuard&) = delete;
  SpinGuard& operator=(const SpinGuard&) = delete;

 private:
  SpinLock& lock_;
};

}  // namespace zsync::rt
