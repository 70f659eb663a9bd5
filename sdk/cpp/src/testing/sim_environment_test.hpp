// SimEnvironment: ZSYNC_SIM_* as a test wants it, whatever ./dev sim has set.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace zsync::testing {

// Lifetime: the variables are unset until it ends, and then as they were.
class SimEnvironment {
 public:
  SimEnvironment() {
    for (const char* name : {"ZSYNC_SIM_SEED", "ZSYNC_SIM_TIMES", "ZSYNC_SIM_POLICY"}) {
      const char* value = std::getenv(name);
      before_.emplace_back(name, value ? std::optional<std::string>(value) : std::nullopt);
      ::unsetenv(name);
    }
  }
  SimEnvironment(const SimEnvironment&) = delete;
  SimEnvironment& operator=(const SimEnvironment&) = delete;
  ~SimEnvironment() {
    for (const auto& [name, value] : before_) {
      value ? ::setenv(name, value->c_str(), 1) : ::unsetenv(name);
    }
  }

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> before_;
};

}  // namespace zsync::testing
