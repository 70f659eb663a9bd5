// Who uses the machine's inotify watches: what /proc says.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace zsync::watching {

struct InotifyUser {
  pid_t pid = 0;
  std::string command;
  uint32_t instances = 0;
  uint64_t watches = 0;
};

struct InotifyUsage {
  std::vector<InotifyUser> users;  // most watches first
  uint64_t watches = 0;            // of all of them
  uint64_t instances = 0;
  uint64_t watches_max = 0;  // limits of the system for one user; 0: not known
  uint64_t instances_max = 0;
  uint64_t hidden = 0;  // processes of others, into which this one must not look
};

// Reads /proc/*/fdinfo: some milliseconds, longer where there are hundreds of thousands of watches.
// Those of other users are seen by root only.
InotifyUsage inotify_usage();

// The command that raises fs.inotify.max_user_watches enough for `watches`, at least to 524288.
std::string raise_watches_command(uint64_t watches);

}  // namespace zsync::watching
