// Fault: an absl::Status that also tells a program what was wrong and what to do.
//
// Engines make them; daemon/rpc sends them as zsync.v1.ErrorDetail in the trailer
// "zsync-error-bin".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace zsync::daemon {

struct FaultDetail {
  std::string field;                 // the request field at fault
  std::string reason;                // stable upper-snake word
  std::string limit;                 // "environment_bytes_max = 1048576"
  std::string hint;                  // what to do
  std::vector<std::string> closest;  // existing names nearest to the one given
};

absl::Status fault(absl::StatusCode code, std::string message, FaultDetail detail);

// What fault() attached; nullopt for a plain status.
std::optional<FaultDetail> fault_detail(const absl::Status& status);

}  // namespace zsync::daemon
