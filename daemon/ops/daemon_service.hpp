// zsync.v1.Daemon: what this zsyncd is and how it is doing.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/ops/doctor.hpp"
#include "daemon/ops/takeover.hpp"
#include "daemon/ops/upgrade.hpp"
#include "zsync/task.hpp"

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;

// Figures that the composition root gathers from the parts.
struct StatsNow {
  uint64_t connections = 0;
  uint64_t tasks_queued = 0;
  uint64_t tasks_running = 0;
  uint64_t tasks_stored = 0;
  uint64_t channels = 0;
  uint64_t watch_roots = 0;
  uint64_t watch_directories = 0;
  uint64_t commits = 0;
  uint64_t commit_requests = 0;
  uint64_t event_seq = 0;
};

struct DaemonFacts {
  std::string instance;  // new with each start
  std::string socket;
  std::string state_dir;
  int64_t started_unix_nano = 0;
  std::function<LoadedConfig()> config;
  std::function<StatsNow()> stats;
  std::function<DoctorInputs()> doctor;
  std::function<void()> shut_down;
  // Checks a program and, unless told not to, has it take over once this has returned.
  std::function<Task<absl::StatusOr<Candidate>>(std::string program, bool check_only)> upgrade;
  // Where this program took over from another one, or got the process back from one.
  std::optional<Inheritance> taken_over;
  std::string program;  // its file
};

std::unique_ptr<grpc::Service> make_daemon_service(CallGate& gate, DaemonFacts facts);

}  // namespace zsync::daemon
