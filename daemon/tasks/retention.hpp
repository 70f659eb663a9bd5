// Retention: which ended tasks are forgotten, because they are old or their output is too much.
// Pure: no clock, no files, no threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace zsync::daemon {

class Retention {
 public:
  Retention(uint64_t output_bytes_max, int64_t age_max_nano)
      : output_bytes_max_(output_bytes_max), age_max_nano_(age_max_nano) {}

  // A task has ended.
  void ended(int64_t finished_unix_nano, const std::string& id, uint64_t output_bytes);
  // It runs again, or is gone already.
  void forget(int64_t finished_unix_nano, const std::string& id);
  // Who has to go now, the one that ended first before the others; `pinned` ones stay.
  std::vector<std::string> due(int64_t now_unix_nano,
                               const std::function<bool(const std::string& id)>& pinned) const;

  uint64_t output_bytes() const { return output_bytes_; }

 private:
  using Key = std::pair<int64_t, std::string>;  // when it finished, id

  const uint64_t output_bytes_max_;
  const int64_t age_max_nano_;
  std::set<Key> by_age_;
  std::map<Key, uint64_t> with_output_;  // bytes
  uint64_t output_bytes_ = 0;
};

}  // namespace zsync::daemon
