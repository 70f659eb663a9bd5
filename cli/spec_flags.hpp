// The flags that describe a task, the same for `run` and `tasks submit`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/command.hpp"
#include "cli/environment.hpp"
#include "zsync/v1/tasks.pb.h"

namespace zsync::cli {

// When another attempt follows a failed one.
struct RetryFlags {
  std::string backoff, backoff_max;
  double factor = 0;
  bool no_jitter = false;
  std::vector<std::string> on, not_on;
  std::string on_lost;
};

// What it may take of the machine, and how urgently.
struct MachineFlags {
  int nice = 0;
  std::string ionice;
  std::uint64_t memory = 0, processes = 0;
  double cpus = 0;
  unsigned io_weight = 0;
};

struct SpecFlags {
  std::string shell;
  EnvironmentFlags environment;
  std::string cwd;
  std::string group;
  int priority = 0;
  std::string timeout;
  std::string name;
  std::vector<std::string> labels;
  unsigned retries = 0;
  RetryFlags retry;
  std::vector<std::string> after, locks, resources;
  std::string delay, at;
  std::string start_deadline, deadline;
  MachineFlags machine;
  std::string idempotency_key;
  bool keep_children = false;
  bool tty = false;
  std::vector<std::string> matchers;
  std::string kill_grace;
};

void add_spec_flags(Command& app, SpecFlags& flags);

// Everything but the command itself: directory, environment and trace of the caller, and the flags.
//
// Errors: kInvalidArgument, naming the flag.
absl::StatusOr<v1::TaskSpec> make_spec(const SpecFlags& flags);

// The time that a task has which this program itself runs in, by ZSYNC_DEADLINE: whoever waits for
// the result has no use for it later.
void inherit_deadline(v1::TaskSpec& spec);

// Puts argv or the shell line in.
//
// Errors: kInvalidArgument when there is neither, both, or a word that is not UTF-8.
absl::Status set_command(v1::TaskSpec& spec, const SpecFlags& flags,
                         const std::vector<std::string>& command);

}  // namespace zsync::cli
