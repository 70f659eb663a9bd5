// What a running command and all that descends from its supervisor have used up to now, from /proc.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "daemon/shim/shim_protocol.hpp"

namespace zsync::daemon {

inline constexpr size_t kLiveProcessesMax = 4096;  // looked at; more are left out

struct LiveUsage {
  shim::Usage total;          // with what has ended; its peak of memory is the largest process's
  uint64_t memory_bytes = 0;  // resident now; what several share is counted for each
  uint32_t processes = 0;     // 0: none could be looked at
};

// Of the task whose command is `pid`. Blocks for some 20 us a process.
LiveUsage live_usage(pid_t pid);

}  // namespace zsync::daemon
