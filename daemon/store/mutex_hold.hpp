// MutexHold: absl::MutexLock that ThreadSanitizer can follow.
//
// The system's absl library is built without ThreadSanitizer, so the order that an absl::Mutex
// makes is invisible to it and every guarded field looks like a race. This hold tells it; elsewhere
// it costs nothing.
#pragma once

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define ZS_MUTEX_ACQUIRED(mutex) __tsan_acquire(mutex)
#define ZS_MUTEX_RELEASES(mutex) __tsan_release(mutex)
#endif
#endif
#ifndef ZS_MUTEX_ACQUIRED
#define ZS_MUTEX_ACQUIRED(mutex) static_cast<void>(mutex)
#define ZS_MUTEX_RELEASES(mutex) static_cast<void>(mutex)
#endif

namespace zsync::daemon {

// Lifetime: on the stack of the thread that holds the mutex; the mutex outlives it.
class ABSL_SCOPED_LOCKABLE MutexHold {
 public:
  explicit MutexHold(absl::Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
    ZS_MUTEX_ACQUIRED(mutex_);
  }
  ~MutexHold() ABSL_UNLOCK_FUNCTION() {
    ZS_MUTEX_RELEASES(mutex_);
    mutex_->Unlock();
  }
  MutexHold(const MutexHold&) = delete;
  MutexHold& operator=(const MutexHold&) = delete;

  // Lets go of the mutex until `condition` is signalled; may wake without a reason.
  void wait(absl::CondVar& condition) {
    ZS_MUTEX_RELEASES(mutex_);
    condition.Wait(mutex_);
    ZS_MUTEX_ACQUIRED(mutex_);
  }

 private:
  absl::Mutex* mutex_;
};

}  // namespace zsync::daemon

#undef ZS_MUTEX_ACQUIRED
#undef ZS_MUTEX_RELEASES
