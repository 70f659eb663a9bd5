// What of the caller's environment a command gets.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace zsync::cli {

struct EnvironmentFlags {
  std::vector<std::string> set;   // K=V
  std::vector<std::string> pass;  // names of further variables of the caller
  bool clear = false;             // only `set` and `pass`
};

// Whether a variable is captured without being asked for.
bool is_captured(const std::string& name);

// The command's whole environment. Values that are not UTF-8 cannot be sent and are left out,
// unless they were asked for by name.
//
// Errors: kInvalidArgument for a pair without a key, a variable asked for that is unset or not
// UTF-8.
absl::StatusOr<std::map<std::string, std::string>> capture_environment(
    const char* const* environment, const EnvironmentFlags& flags);

}  // namespace zsync::cli
