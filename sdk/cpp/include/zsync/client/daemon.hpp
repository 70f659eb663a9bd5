// Daemon: what the zsyncd behind a client is and how it is doing.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/daemon.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// Errors, Cancel, Threads, Lifetime: as Tasks.
class Daemon {
 public:
  // Use Client::daemon().
  explicit Daemon(internal::Connection& connection) : connection_(connection) {}

  // What it is, what it can do, its limits.
  [[nodiscard]] absl::StatusOr<v1::DaemonInfo> info(const CallOptions& options = {});
  // What it has to do at this moment.
  [[nodiscard]] absl::StatusOr<v1::DaemonStats> stats(const CallOptions& options = {});
  // Every setting and where it came from.
  [[nodiscard]] absl::StatusOr<v1::DaemonConfig> config(const CallOptions& options = {});
  // What is wrong or missing on its machine, with the cure.
  [[nodiscard]] absl::StatusOr<v1::DoctorReply> doctor(const CallOptions& options = {});
  // Returns once the drain has begun.
  [[nodiscard]] absl::Status shutdown(const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
