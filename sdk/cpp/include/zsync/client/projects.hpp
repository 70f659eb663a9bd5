// Projects: the steps and services of a zsync.yaml, brought up and kept running.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/projects.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// A project is named by its name, or by the absolute path of its directory; kNotFound names the
// closest ones.
//
// Errors, Cancel, Threads, Lifetime: as Tasks.
class Projects {
 public:
  // Called with the project as it is, and after each change; false ends the call well.
  using FollowCallback = std::function<bool(const v1::Project&)>;

  // Use Client::projects().
  explicit Projects(internal::Connection& connection) : connection_(connection) {}

  // What is wrong with the text of a zsync.yaml, line by line; changes nothing.
  [[nodiscard]] absl::StatusOr<v1::CheckProjectReply> check(const std::string& text,
                                                            const CallOptions& options = {});
  // Brings a project up; returns once that is on disk, which is not once it is ready: follow()
  // tells that. What runs and is not changed goes on.
  //
  // Errors: kInvalidArgument with the first problem of the file; kAlreadyExists when a project of
  //         another directory has the name.
  [[nodiscard]] absl::StatusOr<v1::Project> up(const v1::UpProjectRequest& request,
                                               const CallOptions& options = {});
  // Stops these units and what waits for them, or all; with `wait` it returns once every process is
  // gone.
  [[nodiscard]] absl::StatusOr<v1::Project> down(const std::string& project,
                                                 const std::vector<std::string>& units = {},
                                                 bool wait = true, const CallOptions& options = {});
  // Starts a step or service anew.
  [[nodiscard]] absl::StatusOr<v1::Project> restart(const std::string& project,
                                                    const std::string& unit,
                                                    const CallOptions& options = {});
  // One project, and how each of its units stands.
  [[nodiscard]] absl::StatusOr<v1::Project> get(const std::string& project,
                                                const CallOptions& options = {});
  // All projects, by name.
  [[nodiscard]] absl::StatusOr<std::vector<v1::Project>> list(const CallOptions& options = {});
  // Ends when the project is removed. With Options::resume it goes on after a restart of the
  // daemon.
  [[nodiscard]] absl::Status follow(const std::string& project, const FollowCallback& callback,
                                    const CallOptions& options = {});
  // Forgets a project; its tasks stay. Errors: kFailedPrecondition unless it is down.
  [[nodiscard]] absl::Status remove(const std::string& project, const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
