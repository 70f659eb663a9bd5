// Ends of attempts that have given their place in the queue away and are on their way to the disk.
#pragma once

#include <cstdint>
#include <set>

namespace zsync::daemon {

// Who begins in such a place waits with being heard of until the end before it has been, so that
// events never show more running than are allowed to. Not thread-safe.
class OpenEnds {
 public:
  uint64_t open() {
    open_.insert(++newest_);
    return newest_;
  }
  void close(uint64_t end) { open_.erase(end); }

  // The newest end so far, open or not; 0: there was none.
  uint64_t newest() const { return newest_; }
  // Whether all up to `end` are closed.
  bool closed_to(uint64_t end) const { return open_.empty() || *open_.begin() > end; }

 private:
  std::set<uint64_t> open_;
  uint64_t newest_ = 0;
};

}  // namespace zsync::daemon
