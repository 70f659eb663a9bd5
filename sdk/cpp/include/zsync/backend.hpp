// Backend: how workers wait for descriptors and timers, and what this machine has of it.
#pragma once

#include <string>

namespace zsync {
// What a worker waits with.
enum class Backend {
  // A ring for each worker; Linux 5.19, better 6.1. After a kill -9 the kernel closes what the ring
  // knew a moment later than the process ends: a listener may still take connections then.
  io_uring,
  libuv,  // epoll through libuv; everywhere
};

// "io_uring", "libuv".
const char* name_of(Backend backend) noexcept;

// The variable that decides before Config::backend does: "io_uring" or "libuv".
inline constexpr char kBackendVariable[] = "ZSYNC_BACKEND";

// What a try with a ring of its own showed.
struct BackendProbe {
  bool io_uring = false;       // a ring can be had
  std::string reason;          // one line: why there is no io_uring, and the cure; else empty
  bool defer_taskrun = false;  // the kernel's work waits for the worker instead of interrupting it
  bool single_issuer = false;  // the kernel may rely on one thread a ring
};

// Tried once, at the first call; a filter that is installed later is not seen.
//
// Threads: any. Cost: a few system calls once.
const BackendProbe& probe_backends();

}  // namespace zsync
