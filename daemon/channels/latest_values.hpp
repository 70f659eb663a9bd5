// LatestValues: the newest message of each key of a channel of the form `latest`. Pure: no clock,
// no files, no threads, no waiting.
//
// A message replaces the one of its key, so a reader that is slow sees the newest value of each key
// and misses what it was in between; it never holds anything up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/channels/channel.hpp"

namespace zsync::daemon {

class LatestValues {
 public:
  LatestValues(uint64_t keys_max, uint64_t bytes_max)
      : keys_max_(keys_max), bytes_max_(bytes_max) {}

  // Whether a message of that key and size may come: as the first of its key it needs a place.
  bool fits(std::string_view key, size_t data_bytes) const;
  // Appends, and forgets the one before of its key; its seq.
  uint64_t push(Message message);
  // The same of a value that another one had, with its seq; they come in order.
  void restore(Message message);
  void skip_to(uint64_t next_seq) { next_ = std::max(next_, next_seq); }
  void each(const std::function<void(const Message&)>& see) const {
    for (const auto& [seq, message] : values_) see(message);
  }
  // Forgets the value that has not changed for the longest time; false: there is none.
  bool drop_oldest();
  // The newest values from `seq` on, in the order in which they were sent.
  std::vector<Message> look(uint64_t seq, size_t max, size_t bytes_max) const;
  // The first of them at or after that time; next_seq() when there is none.
  uint64_t seq_at_time(int64_t time_unix_nano) const;

  uint64_t next_seq() const { return next_; }
  uint64_t first_seq() const { return values_.empty() ? next_ : values_.begin()->first; }
  uint64_t size() const { return values_.size(); }
  uint64_t bytes() const { return bytes_; }
  // How many were replaced or dropped.
  uint64_t dropped() const { return next_ - 1 - values_.size(); }

 private:
  static std::string_view key_of(const Message& message) {
    return message.extra ? std::string_view(message.extra->key) : std::string_view();
  }
  static uint64_t cost(size_t data_bytes) { return data_bytes + kMessageOverheadBytes; }
  void forget(uint64_t seq);

  const uint64_t keys_max_;
  const uint64_t bytes_max_;
  std::map<uint64_t, Message> values_;
  std::unordered_map<std::string, uint64_t> newest_;  // of each key
  uint64_t bytes_ = 0;
  uint64_t next_ = 1;
};

}  // namespace zsync::daemon
