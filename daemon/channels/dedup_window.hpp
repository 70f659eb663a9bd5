// DedupWindow: which message ids a channel accepted lately, and as which message. Pure: no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace zsync::daemon {

class DedupWindow {
 public:
  // An id is known for `window_ns` after its message was accepted; at most `ids_max` are.
  DedupWindow(int64_t window_ns, size_t ids_max) : window_ns_(window_ns), ids_max_(ids_max) {}
  void set_limits(int64_t window_ns, size_t ids_max) {
    window_ns_ = window_ns;
    ids_max_ = ids_max;
  }

  // The message that had this id within the window before `now`.
  std::optional<uint64_t> find(const std::string& id, int64_t now) {
    forget(now);
    auto found = seqs_.find(id);
    if (found == seqs_.end()) return std::nullopt;
    return found->second;
  }
  // Ids come in the order of their times.
  void add(const std::string& id, uint64_t seq, int64_t time) {
    if (window_ns_ == 0) return;
    if (!seqs_.emplace(id, seq).second) return;
    order_.push_back({time, id});
  }
  // More ids would be within the window than are kept.
  bool full(int64_t now) {
    forget(now);
    return window_ns_ != 0 && order_.size() >= ids_max_;
  }
  // Every id that is known, in the order of their times.
  template <typename See>
  void each(const See& see) const {
    for (const Known& known : order_) see(known.id, seqs_.at(known.id), known.time);
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

  int64_t window_ns_;
  size_t ids_max_;
  std::deque<Known> order_;
  std::unordered_map<std::string, uint64_t> seqs_;
};

}  // namespace zsync::daemon
