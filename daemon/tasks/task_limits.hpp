// What a command may take of the machine, and how urgently: priorities and limits of one task.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace zsync::daemon {

class TaskCgroups;
namespace shim {
struct Spec;
}

inline constexpr int32_t kNiceMin = -20;
inline constexpr int32_t kNiceMax = 19;
inline constexpr uint32_t kIoLevelMax = 7;
inline constexpr uint64_t kMemoryBytesMin = 1 << 20;
inline constexpr uint32_t kCpuMillisMin = 10;
inline constexpr uint32_t kCpuMillisMax = 4'096'000;
inline constexpr uint64_t kBudgetMemoryBytesMax = 1ull << 50;  // of a group
inline constexpr uint32_t kIoWeightMax = 10'000;

inline constexpr uint32_t kTerminalSizeMax = 1000;  // rows or columns

// As in ioprio_set(2).
enum class IoClass : uint8_t { kInherited = 0, kBestEffort = 2, kIdle = 3 };

struct TaskPriorities {
  int32_t nice = 0;  // added to the daemon's own
  IoClass io_class = IoClass::kInherited;
  uint32_t io_level = 0;  // of kBestEffort
};

// 0: none.
struct TaskLimits {
  uint64_t memory_bytes = 0;
  uint32_t cpu_millis = 0;  // thousandths of a CPU
  uint64_t processes = 0;
  uint32_t io_weight = 0;
};

// Errors: kInvalidArgument with the field, the limit and the cure.
absl::Status validate(const TaskPriorities& priorities);
absl::Status validate(const TaskLimits& limits);

// What a task with this limit takes of its group's budget of memory.
inline uint32_t budget_mib(uint64_t memory_bytes) {
  const uint64_t mib = (memory_bytes + (1 << 20) - 1) >> 20;
  return static_cast<uint32_t>(mib < UINT32_MAX ? mib : UINT32_MAX);
}

// How they are held on this machine; empty: all of them by a cgroup, or there are none.
std::string limits_note(const TaskLimits& limits, const TaskCgroups& cgroups);

// Puts them into `spec.cgroup`, and into `spec` what that cannot hold.
//
// Errors: what the file system says of the cgroup.
absl::Status apply_limits(const TaskLimits& limits, const TaskCgroups& cgroups, shim::Spec& spec);

}  // namespace zsync::daemon
