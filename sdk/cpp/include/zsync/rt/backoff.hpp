// Backoff: waiting for somebody who is a few instructions from being done.
#pragma once

#include <sched.h>

namespace zsync::rt {

inline void cpu_relax() { __builtin_ia32_pause(); }

class Backoff {
 public:
  void pause() {
    if (++spins_ < kSpinsMax) {
      cpu_relax();
    } else {
      sched_yield();
    }
  }

 private:
  static constexpr int kSpinsMax = 64;  // beyond that whoever is waited for was preempted
  int spins_ = 0;
};

}  // namespace zsync::rt
