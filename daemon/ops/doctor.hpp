// What the machine offers and what is short, with the cure for each shortfall.
#pragma once

#include <string>
#include <vector>

#include "zsync/diagnostics.hpp"

namespace zsync::daemon {

struct Finding {
  enum class Level { kOk = 1, kNote = 2, kWarning = 3, kError = 4 };
  Level level = Level::kOk;
  std::string topic;
  std::string text;
  std::string cure;  // a command where there is one; empty when all is well
};

struct DoctorInputs {
  std::string backend;  // of the runtime
  RuntimeStats runtime;
  std::string state_dir;
  std::string cgroups;  // TaskCgroups::explanation()
  bool cgroups_available = false;
};

// How the runtime is doing: its workers, what waits for them, and how fast they wake.
Finding runtime_finding(const RuntimeStats& stats);

// Looks at this process and machine. Reads files below /proc and /sys.
std::vector<Finding> examine(const DoctorInputs& inputs);

}  // namespace zsync::daemon
