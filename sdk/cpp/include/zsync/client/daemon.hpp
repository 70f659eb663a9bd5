// Daemon: what the zsyncd behind a client is and how it is doing.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/daemon.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// How long Daemon::upgrade waits unless it is told otherwise.
inline constexpr std::chrono::seconds kUpgradeTimeout{120};

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
  // Whether another program of zsyncd could take over: it reads the configuration and a copy of the
  // store. `program`: its absolute path; empty: the file that the daemon was started from, as it is
  // now.
  //
  // Errors: kInvalidArgument naming `program`; kFailedPrecondition with the program's own words.
  [[nodiscard]] absl::StatusOr<v1::UpgradeReply> check_upgrade(const std::string& program = "",
                                                               const CallOptions& options = {});
  // Has that program take over in the same process, and returns once it serves. Running commands,
  // channels and the socket stay; every client goes on where it was.
  //
  // Errors: those of check_upgrade; kFailedPrecondition when the program failed before it served,
  //         and the one before goes on; kDeadlineExceeded without a timeout after kUpgradeTimeout.
  [[nodiscard]] absl::StatusOr<v1::DaemonInfo> upgrade(const std::string& program = "",
                                                       const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
