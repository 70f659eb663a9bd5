// The variables of a task's command. Most tasks of a client have the same ones: equal ones are kept
// once.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace zsync::daemon {

// A value: copies share the variables, a change is seen by the one that was changed.
class Environment {
 public:
  using Variables = std::map<std::string, std::string>;

  Environment() = default;
  explicit Environment(Variables variables)
      : variables_(variables.empty() ? nullptr
                                     : std::make_shared<const Variables>(std::move(variables))) {}
  Environment(std::initializer_list<Variables::value_type> variables)
      : Environment(Variables(variables)) {}

  const Variables& variables() const;
  Variables::const_iterator begin() const { return variables().begin(); }
  Variables::const_iterator end() const { return variables().end(); }
  const std::string& at(const std::string& name) const { return variables().at(name); }
  void set(const std::string& name, std::string value);
  bool shares_with(const Environment& other) const { return variables_ == other.variables_; }

  friend bool operator==(const Environment& a, const Environment& b) {
    return a.shares_with(b) || a.variables() == b.variables();
  }

 private:
  friend class EnvironmentPool;
  std::shared_ptr<const Variables> variables_;  // null: none
};

// Remembers the environments in use, not longer. Threads: one at a time.
class EnvironmentPool {
 public:
  // Makes it share the variables of an equal one that was given before and is still in use.
  void share(Environment& environment);
  // Remembered ones, of which some may be out of use: at most twice the ones in use, and
  // kUnsweptMin.
  size_t size() const { return known_.size(); }

  static constexpr size_t kUnsweptMin = 64;

 private:
  // By hash: of two different ones with the same hash only the first is shared.
  absl::flat_hash_map<size_t, std::weak_ptr<const Environment::Variables>> known_;
  size_t sweep_at_ = kUnsweptMin;
  std::weak_ptr<const Environment::Variables> last_;  // what share() left the last one with
};

}  // namespace zsync::daemon
