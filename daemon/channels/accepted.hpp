// What became of a send, and who waits.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "zsync/rt/lock.hpp"

namespace zsync::daemon {

struct Accepted {
  uint64_t count = 0;        // the first `count` messages were accepted
  uint64_t last_seq = 0;     // of the last accepted one
  uint64_t duplicates = 0;   // accepted earlier, by their id
  absl::Status status;       // why the rest was not
  int64_t room_wait_ns = 0;  // that it waited for room
};

// Counts somebody who waits.
class Waiting {
 public:
  Waiting(rt::Lock& lock, uint32_t& count) : lock_(lock), count_(count) {
    rt::LockGuard guard(lock_);
    ++count_;
  }
  ~Waiting() {
    rt::LockGuard guard(lock_);
    --count_;
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  rt::Lock& lock_;
  uint32_t& count_;
};

}  // namespace zsync::daemon
