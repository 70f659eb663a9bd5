// Control groups of tasks, where the service manager delegated a subtree to the daemon.
#pragma once

#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace zsync::daemon {

// Threads: every member may be called from any thread after detect().
class TaskCgroups {
 public:
  // Looks whether this process's cgroup v2 directory was delegated (Delegate=yes); if so, moves
  // this process into its child `daemon`, so that tasks may have children of their own beside it.
  void detect();
  // The same with a directory that is known to be the daemon's own.
  void use(const std::string& directory);

  bool available() const { return !root_.empty(); }
  // Why there is none, with the cure; or where it is.
  const std::string& explanation() const { return explanation_; }

  // Whether tasks can have limits of this controller: memory, cpu, pids, io.
  bool holds(absl::string_view controller) const {
    return controllers_.count(std::string(controller)) != 0;
  }

  // Makes a directory for a task -> its path; empty where there is no delegation.
  std::string create(const std::string& task_id);
  // Removes it once it is empty.
  void remove(const std::string& task_id);
  // Writes one file of a task's directory.
  static absl::Status set(const std::string& directory, absl::string_view file,
                          absl::string_view value);

 private:
  std::string root_;
  std::string explanation_ = "not looked for yet";
  std::set<std::string> controllers_;
};

}  // namespace zsync::daemon
