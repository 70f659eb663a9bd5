// A mutex of four bytes that clang's thread-safety analysis understands.
//
// Held for a few instructions only, never across a suspension. Who finds it taken looks a while,
// since the holder is about to be done, and then sleeps in the kernel. After Ulrich Drepper,
// "Futexes Are Tricky" (2011), mutex2.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"

namespace zsync::rt {

class ABSL_LOCKABLE Lock {
 public:
  Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    uint32_t free = kFree;
    if (!state_.compare_exchange_weak(free, kTaken, std::memory_order_acquire,
                                      std::memory_order_relaxed)) [[unlikely]] {
      wait_for_it();
    }
  }
  void unlock() ABSL_UNLOCK_FUNCTION() {
    if (state_.exchange(kFree, std::memory_order_release) == kAwaited) [[unlikely]]
      wake_one();
  }
  // Tells the analysis what it cannot see: the caller's caller holds it.
  void assert_held() const ABSL_ASSERT_EXCLUSIVE_LOCK() {}

 private:
  static constexpr uint32_t kFree = 0;
  static constexpr uint32_t kTaken = 1;
  static constexpr uint32_t kAwaited = 2;  // taken, and somebody sleeps or is about to

  void wait_for_it();
  // By address only: the lock may be gone by now, whoever took it next may have destroyed it.
  void wake_one();

  std::atomic<uint32_t> state_{kFree};
};

class ABSL_SCOPED_LOCKABLE LockGuard {
 public:
  explicit LockGuard(Lock& lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) { lock_.lock(); }
  ~LockGuard() ABSL_UNLOCK_FUNCTION() { lock_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace zsync::rt
