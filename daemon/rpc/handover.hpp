// What ThreadSanitizer cannot see of a hand-over between a call and gRPC.
//
// Debian's gRPC is not instrumented, so the order it keeps is invisible: what was written before a
// reactor was given to it is there for the reaction. These two say so to the sanitizer, and are
// nothing in any other build.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define ZS_TSAN 1
#endif
#endif

namespace zsync::daemon {

// Before gRPC may run a reaction of `call`.
inline void give_to_grpc([[maybe_unused]] void* call) {
#ifdef ZS_TSAN
  __tsan_release(call);
#endif
}

// First thing in a reaction of `call`.
inline void take_from_grpc([[maybe_unused]] void* call) {
#ifdef ZS_TSAN
  __tsan_acquire(call);
#endif
}

}  // namespace zsync::daemon
