#include "daemon/channels/latest_values.hpp"

#include <algorithm>
#include <utility>

namespace zsync::daemon {

bool LatestValues::fits(std::string_view key, size_t data_bytes) const {
  const auto known = newest_.find(std::string(key));
  const bool fresh = known == newest_.end();
  if (fresh && newest_.size() >= keys_max_) return false;
  const uint64_t replaced = fresh ? 0 : cost(values_.at(known->second).data.size());
  return bytes_ - replaced + cost(data_bytes) <= bytes_max_ || bytes_ == replaced;
}

uint64_t LatestValues::push(Message message) {
  const std::string key(key_of(message));
  if (auto known = newest_.find(key); known != newest_.end()) forget(known->second);
  message.seq = next_++;
  bytes_ += cost(message.data.size());
  newest_[key] = message.seq;
  values_.emplace_hint(values_.end(), message.seq, std::move(message));
  return next_ - 1;
}

void LatestValues::restore(Message message) {
  const uint64_t next = std::max(next_, message.seq + 1);
  next_ = message.seq;
  push(std::move(message));
  next_ = next;
}

void LatestValues::forget(uint64_t seq) {
  auto found = values_.find(seq);
  bytes_ -= cost(found->second.data.size());
  newest_.erase(std::string(key_of(found->second)));
  values_.erase(found);
}

bool LatestValues::drop_oldest() {
  if (values_.empty()) return false;
  forget(values_.begin()->first);
  return true;
}

std::vector<Message> LatestValues::look(uint64_t seq, size_t max, size_t bytes_max) const {
  std::vector<Message> seen;
  size_t bytes = 0;
  for (auto at = values_.lower_bound(seq); at != values_.end() && seen.size() < max; ++at) {
    if (!seen.empty() && bytes + at->second.data.size() > bytes_max) break;
    bytes += at->second.data.size();
    seen.push_back(at->second);
  }
  return seen;
}

uint64_t LatestValues::seq_at_time(int64_t time_unix_nano) const {
  for (const auto& [seq, message] : values_) {
    if (message.time_unix_nano >= time_unix_nano) return seq;
  }
  return next_;
}

}  // namespace zsync::daemon
