// Traces: what led to what in the daemon, and how long each part took.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/traces.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// Errors, Cancel, Threads, Lifetime: as Tasks.
class Traces {
 public:
  // Use Client::traces().
  explicit Traces(internal::Connection& connection) : connection_(connection) {}

  // Those where something happened last come first. `limit`: 0 leaves it to the daemon.
  [[nodiscard]] absl::StatusOr<std::vector<v1::TraceSummary>> list(std::uint32_t limit = 0,
                                                                   const CallOptions& options = {});
  // `id`: of a trace, or its first 4 digits or more; of a task; or "last".
  //
  // Errors: kNotFound; kInvalidArgument where several traces begin so.
  [[nodiscard]] absl::StatusOr<v1::Trace> get(const std::string& id,
                                              const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
