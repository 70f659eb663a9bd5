// DedupWindow: which message ids a channel accepted lately, and as which message. Pure: no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace zsync::daemon {

inline constexpr size_t kDedupIdsMax = 262'144;  // of one channel

class DedupWindow {
 public:
  // An id is known for `window_ns` after its message was accepted.
  explicit DedupWindow(int64_t window_ns) : window_ns_(window_ns) {}

  // The message that had this id within the window before `now`.
  std::optional<uint64_t> find(const std::string& id, int64_t now) {
    forget(now);
    auto found = seqs_.find(id);
    if (found == seqs_.end()) return std::nullopt;
    return found->second;
  }
  // Ids come in the order of their times.
  void add(const std::string& id, uint64_t seq, int64_t time) {
    if (!seqs_.emplace(id, seq).second) return;
    order_.push_back({time, id});
  }
  // More ids would be within the window than are kept.
  bool full(int64_t now) {
    forget(now);
    return order_.size() >= kDedupIdsMax;
  }
  size_t size() const { return order_.size(); }

 private:
  struct Known {
    int64_t time;
    std::string id;
  };
  void forget(int64_t now) {
    while (!order_.empty() && order_.front().time + window_ns_ <= now) {
      seqs_.erase(order_.front().id);
      order_.pop_front();
    }
  }

  const int64_t window_ns_;
  std::deque<Known> order_;
  std::unordered_map<std::string, uint64_t> seqs_;
};

}  // namespace zsync::daemon
