// Control groups of tasks, where the service manager delegated a subtree to the daemon.
#pragma once

#include <map>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "daemon/tasks/task.hpp"
#include "zsync/rt/lock.hpp"

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

  // Makes a directory for a task -> its path; empty where there is no delegation. Where its group
  // has a budget, it stands in one of the group, which holds all of them together.
  std::string create(const std::string& task_id, const std::string& group = {});
  // Removes it once it is empty, and the group's with the last one.
  void remove(const std::string& task_id, const std::string& group = {});
  // What runs in the group's directory, and what will, may have this much together from now on.
  void set_budget(const std::string& group, const GroupSettings& budget);
  // A line of cpu.max; 0: any amount.
  static std::string cpu_max(uint64_t millis);
  // Writes one file of a task's directory.
  static absl::Status set(const std::string& directory, absl::string_view file,
                          absl::string_view value);

 private:
  struct Budget {
    uint64_t memory_bytes;
    uint32_t cpu_millis;
  };
  std::string directory_of(const std::string& group) const;
  void write_budget(const std::string& directory, const Budget& budget) const;

  std::string root_;
  std::string explanation_ = "not looked for yet";
  std::set<std::string> controllers_;
  rt::Lock lock_;
  std::map<std::string, Budget> budgets_ ABSL_GUARDED_BY(lock_);  // of the groups that have one
};

}  // namespace zsync::daemon
