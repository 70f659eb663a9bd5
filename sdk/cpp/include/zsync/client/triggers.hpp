// Triggers: task templates that changes below a directory submit, kept by zsyncd.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/triggers.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// A trigger is named by its name; kNotFound names the closest one.
//
// Errors, Cancel, Threads, Lifetime: as Tasks.
class Triggers {
 public:
  // Use Client::triggers().
  explicit Triggers(internal::Connection& connection) : connection_(connection) {}

  // Returns once the trigger is on disk and its directory is watched: what changes from then on
  // makes a run.
  //
  // Errors: kInvalidArgument and kNotFound, naming the field; kAlreadyExists unless
  //         `request.replace`; kResourceExhausted (triggers_max, limits of the system).
  [[nodiscard]] absl::StatusOr<v1::Trigger> create(const v1::CreateTriggerRequest& request,
                                                   const CallOptions& options = {});
  // One trigger: its state, its newest run, what comes next.
  [[nodiscard]] absl::StatusOr<v1::Trigger> get(const std::string& name,
                                                const CallOptions& options = {});
  // By name; those of one project, or all.
  [[nodiscard]] absl::StatusOr<v1::ListTriggersReply> list(const std::string& project = "",
                                                           const CallOptions& options = {});
  // No further runs; what changes meanwhile makes one run when it is resumed.
  [[nodiscard]] absl::StatusOr<v1::Trigger> pause(const std::string& name,
                                                  const CallOptions& options = {});
  // Lets one go on that is paused, or was stopped as a loop.
  [[nodiscard]] absl::StatusOr<v1::Trigger> resume(const std::string& name,
                                                   const CallOptions& options = {});
  // A run now; while one is under way, another one after it.
  [[nodiscard]] absl::StatusOr<v1::Trigger> run(const std::string& name,
                                                const CallOptions& options = {});
  // Forgets a trigger; its tasks stay.
  [[nodiscard]] absl::Status remove(const std::string& name, const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
