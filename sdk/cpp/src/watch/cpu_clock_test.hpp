// The processor time of this thread: what a test of cost measures, since other programs take none
// of it.
#pragma once

#include <time.h>

#include <chrono>

namespace zsync::watching {

struct ThreadCpuClock {
  static std::chrono::nanoseconds now() {
    timespec used{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
  }
};

}  // namespace zsync::watching
