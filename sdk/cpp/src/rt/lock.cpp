#include "zsync/rt/lock.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "zsync/rt/backoff.hpp"

namespace zsync::rt {
namespace {

constexpr int kLooksMax = 100;  // before it sleeps: about as long as a few cache misses

}  // namespace

void Lock::wait_for_it() {
  for (int look = 0; look < kLooksMax; ++look) {
    uint32_t state = state_.load(std::memory_order_relaxed);
    if (state == kAwaited) break;  // others sleep already, so it takes longer
    if (state == kFree && state_.compare_exchange_weak(state, kTaken, std::memory_order_acquire,
                                                       std::memory_order_relaxed)) {
      return;
    }
    cpu_relax();
  }
  // Taken as awaited, since others may sleep too; at worst the next unlock wakes nobody.
  while (state_.exchange(kAwaited, std::memory_order_acquire) != kFree) {
    (void)::syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kAwaited, nullptr, nullptr, 0);
  }
}

void Lock::wake_one() {
  (void)::syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace zsync::rt
