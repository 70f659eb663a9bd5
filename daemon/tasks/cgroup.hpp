// Control groups of tasks, where the service manager delegated a subtree to the daemon.
#pragma once

#include <string>

namespace zsync::daemon {

// Threads: every member may be called from any thread after detect().
class TaskCgroups {
 public:
  // Looks whether this process's cgroup v2 directory was delegated (Delegate=yes); if so, moves
  // this process into its child `daemon`, so that tasks may have children of their own beside it.
  void detect();

  bool available() const { return !root_.empty(); }
  // Why there is none, with the cure; or where it is.
  const std::string& explanation() const { return explanation_; }

  // Makes a directory for a task -> its path; empty where there is no delegation.
  std::string create(const std::string& task_id);
  // Removes it once it is empty.
  void remove(const std::string& task_id);

 private:
  std::string root_;
  std::string explanation_ = "not looked for yet";
};

}  // namespace zsync::daemon
