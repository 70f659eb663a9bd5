// Silence: which named states of a root make a subscriber silent, and what it is still to be told
// of them. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace zsync::watching {

struct StateNews {
  std::string name;
  bool entered = false;  // else left

  friend bool operator==(const StateNews&, const StateNews&) = default;
};

// Threads: one at a time.
class Silence {
 public:
  Silence() = default;
  // While a state of `defer` is held changes are kept back, while one of `drop` is held they are
  // never told.
  Silence(const std::vector<std::string>& defer, const std::vector<std::string>& drop) {
    for (const std::string& name : defer) drops_[name] = false;
    for (const std::string& name : drop) drops_[name] = true;
  }

  [[nodiscard]] bool concerns(const std::string& name) const { return drops_.contains(name); }
  [[nodiscard]] bool drops(const std::string& name) const {
    const auto found = drops_.find(name);
    return found != drops_.end() && found->second;
  }

  void enter(const std::string& name) {
    if (concerns(name) && held_.insert(name).second) news_.push_back({name, true});
  }
  // Who was not told that it was entered does not hear that it was left.
  void leave(const std::string& name) {
    if (held_.erase(name) == 0) return;
    const auto entered = std::find(news_.begin(), news_.end(), StateNews{name, true});
    if (entered == news_.end()) {
      news_.push_back({name, false});
    } else {
      news_.erase(entered);
    }
  }

  [[nodiscard]] bool silent() const { return !held_.empty(); }
  [[nodiscard]] bool dropping() const {
    return std::any_of(held_.begin(), held_.end(),
                       [this](const std::string& name) { return drops(name); });
  }
  [[nodiscard]] const std::set<std::string>& held() const { return held_; }

  [[nodiscard]] bool has_news() const { return !news_.empty(); }
  std::optional<StateNews> take_news() {
    if (news_.empty()) return std::nullopt;
    StateNews first = std::move(news_.front());
    news_.pop_front();
    return first;
  }

 private:
  std::map<std::string, bool> drops_;  // by name
  std::set<std::string> held_;
  // 1. Of one name at most "left" and "entered", in this order.
  std::deque<StateNews> news_;
};

}  // namespace zsync::watching
