// SharedRuns: messages as they go over the wire, encoded once for all who observe a channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/channels/channel.hpp"

namespace zsync::daemon {

inline constexpr size_t kSharedRunsMax = 16;            // kept of one channel
inline constexpr size_t kSharedRunsBytesMax = 2 << 20;  // of all of them

// Messages one behind the other, without a gap.
struct SharedRun {
  uint64_t first = 0;
  uint64_t last = 0;
  size_t count = 0;
  std::string bytes;
};
using SharedRunPtr = std::shared_ptr<const SharedRun>;
using EncodeMessages = std::function<std::string(std::vector<Message>)>;

// The newest runs. Whoever finds one goes on behind it, so those who read the same soon read in
// step, and each message is encoded once.
//
// Threads: its owner's lock.
class SharedRuns {
 public:
  // The run that begins with that message; null: there is none.
  SharedRunPtr find(uint64_t first) const {
    for (auto run = runs_.rbegin(); run != runs_.rend(); ++run) {
      if ((*run)->first == first) return *run;
    }
    return nullptr;
  }
  void keep(SharedRunPtr run) {
    if (run->bytes.size() > kSharedRunsBytesMax) return;
    bytes_ += run->bytes.size();
    runs_.push_back(std::move(run));
    while (runs_.size() > kSharedRunsMax || bytes_ > kSharedRunsBytesMax) {
      bytes_ -= runs_.front()->bytes.size();
      runs_.pop_front();
    }
  }
  void clear() {
    runs_.clear();
    bytes_ = 0;
  }

 private:
  std::deque<SharedRunPtr> runs_;
  size_t bytes_ = 0;
};

}  // namespace zsync::daemon
