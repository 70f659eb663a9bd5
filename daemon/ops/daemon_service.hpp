// zsync.v1.Daemon: what this zsyncd is and how it is doing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/config/config.hpp"
#include "daemon/ops/doctor.hpp"

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
};

std::unique_ptr<grpc::Service> make_daemon_service(CallGate& gate, DaemonFacts facts);

}  // namespace zsync::daemon
