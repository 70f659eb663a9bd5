// Everything that descends from the shim, and signals to it.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "daemon/shim/shim_protocol.hpp"

namespace zsync::daemon::shim {

// As a child subreaper the shim is the ancestor of whatever the command starts, daemonized or not;
// what moved into the task's own cgroup belongs to it as well.
class ProcessTree {
 public:
  // Moves the calling process into the cgroup directory. Returns why not, or "" (also for an empty
  // path).
  std::string join_cgroup(const std::string& directory);

  // All members but the caller, as they are at this moment.
  std::vector<pid_t> members() const;
  // Whether a control group was joined that is this command's alone.
  bool has_cgroup() const { return !procs_path_.empty(); }

  // Signals every member, again and again until no new one shows up. Returns how many were
  // signaled.
  size_t send(int signal) const;

  // Of all members that have ended and whose end was collected, by the caller or by one another.
  Usage usage() const;

 private:
  std::string procs_path_;  // of a cgroup that held nobody else; else empty
};

}  // namespace zsync::daemon::shim
