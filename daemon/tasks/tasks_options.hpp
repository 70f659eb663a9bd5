// What the engine of tasks is given when it is made, and by those who call it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

struct TasksOptions {
  std::string tasks_dir;              // attempt directories live in TASKS_DIR/ID/N
  std::string shim_program;           // zsync-shim
  std::string boot_id;                // of this run of the machine
  std::vector<std::string> base_env;  // NAME=VALUE handed to every command that does not clear it
  std::vector<std::string> own_env;   // set last: ZSYNC_SOCKET
  std::string default_cwd = "/";
  uint64_t open_files_soft = 0;  // RLIMIT_NOFILE of commands; 0: the daemon's own
  uint64_t kill_grace_ms = 10'000;
  uint64_t output_bytes_max = 4ull << 30;            // one task
  uint64_t output_retention_bytes_max = 1ull << 30;  // finished tasks together
  std::chrono::milliseconds retention_age{7 * 24 * 3600 * 1000};
  uint64_t queued_max = 1'000'000;
  uint32_t default_parallel = 1;
  std::map<std::string, GroupSettings> groups;  // from the configuration, until they are changed
  std::map<std::string, uint32_t> resources;    // likewise: their capacities
  std::function<uint64_t()> random_bits;        // for the jitter of retries
  // Told when an attempt of a task with matchers begins; must neither wait nor call the engine.
  std::function<void(const std::string& id)> matched_attempt;
};

struct Submitter {
  uint32_t uid = 0;
  int32_t pid = 0;
};

struct Submitted {
  std::string id;
  bool existing = false;  // an idempotency key matched
};

struct TaskFilter {
  std::vector<TaskState> states;  // empty: all
  std::string group;
  std::string name;
  std::map<std::string, std::string> labels;
  std::string has_label;  // with any value
  std::string array;
  bool has_matchers = false;
  bool oldest_first = false;
  std::string after;  // id of the last one of the page before
  size_t limit = 100;
};

}  // namespace zsync::daemon
