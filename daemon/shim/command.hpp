// Starting the command itself.
#pragma once

#include <sys/types.h>

#include <string>

#include "daemon/shim/shim_protocol.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

struct Command {
  pid_t pid = 0;
  // Our non-blocking ends of stdout and stderr; of a terminal there is one, the first.
  segment_log::Fd output[2];
  segment_log::Fd input;  // the same of stdin; closed unless the spec streams it
  // When pid is 0: what failed, as the exit record will say it.
  int error = 0;
  int code = 0;
  std::string text;
};

// Forks and executes the spec's argv in a process group of its own, with a terminal in a session.
// Returns when exec has succeeded or failed.
Command start_command(const Spec& spec);

}  // namespace zsync::daemon::shim
