// From a status to what a person reads and a script tests.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "zsync/v1/tasks.pb.h"

namespace zsync::cli {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitUnreachable = 4,
  kExitDenied = 5,
  kExitDeadline = 6,
  kExitConflict = 7,
  kExitTimedOut = 124,   // run: the command was ended by its timeout, as timeout(1) says it
  kExitRunFailed = 125,  // run: zsync's own failure
  kExitCannotExecute = 126,
  kExitCommandNotFound = 127,
  kExitInterrupted = 130,
  kExitPipeClosed = 141,  // 128 + SIGPIPE: the reader of stdout is gone
};

// A mistake on the command line: exit code 2.
absl::Status usage_error(const std::string& message);

int exit_code_of(const absl::Status& status);

// The code of the command that a task ran, as a shell would report it.
int exit_code_of(const v1::Task& task);

// "zsyncctl: MESSAGE", then hint, limit and closest names where the daemon sent them. Ends in '\n'.
std::string error_text(const absl::Status& status);

// The candidate nearest to `word`, or empty when none is near.
std::string closest(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace zsync::cli
