#include "daemon/tasks/task_limits.hpp"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/fault/fault.hpp"
#include "daemon/shim/shim_protocol.hpp"
#include "daemon/tasks/cgroup.hpp"

namespace zsync::daemon {
namespace {

absl::Status out_of_range(const char* field, std::string message, std::string limit,
                          const char* hint) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {field, "LIMIT", std::move(limit), hint, {}});
}

}  // namespace

absl::Status validate(const TaskPriorities& priorities) {
  if (priorities.nice < kNiceMin || priorities.nice > kNiceMax) {
    return out_of_range("spec.nice", absl::StrCat("nice is ", priorities.nice),
                        absl::StrCat("nice = ", kNiceMin, "..", kNiceMax),
                        "19 gives way to everybody, 0 is as the daemon, below 0 needs root");
  }
  if (priorities.io_level > kIoLevelMax) {
    return out_of_range("spec.io_level", absl::StrCat("io_level is ", priorities.io_level),
                        absl::StrCat("io_level_max = ", kIoLevelMax), "0 is first, 7 last");
  }
  if (priorities.io_level != 0 && priorities.io_class != IoClass::kBestEffort) {
    return out_of_range("spec.io_level", "only the best-effort class has levels", "io_level = 0",
                        "give io_class best effort too, or leave io_level out");
  }
  return absl::OkStatus();
}

absl::Status validate(const TaskLimits& limits) {
  if (limits.memory_bytes != 0 && limits.memory_bytes < kMemoryBytesMin) {
    return out_of_range("spec.limits.memory_bytes",
                        absl::StrCat("memory_bytes is ", limits.memory_bytes),
                        absl::StrCat("memory_bytes_min = ", kMemoryBytesMin),
                        "no program starts in less than 1 MiB; give bytes, or a unit as in 512MiB");
  }
  if (limits.cpu_millis != 0 &&
      (limits.cpu_millis < kCpuMillisMin || limits.cpu_millis > kCpuMillisMax)) {
    return out_of_range("spec.limits.cpu_millis", absl::StrCat("cpu_millis is ", limits.cpu_millis),
                        absl::StrCat("cpu_millis = ", kCpuMillisMin, "..", kCpuMillisMax),
                        "1000 is one whole CPU");
  }
  if (limits.io_weight > kIoWeightMax) {
    return out_of_range("spec.limits.io_weight", absl::StrCat("io_weight is ", limits.io_weight),
                        absl::StrCat("io_weight = 1..", kIoWeightMax), "others have 100");
  }
  return absl::OkStatus();
}

std::string limits_note(const TaskLimits& limits, const TaskCgroups& cgroups) {
  std::vector<std::string> notes;
  const auto unless = [&](const char* controller, bool wanted, const char* otherwise) {
    if (wanted && !cgroups.holds(controller)) notes.push_back(otherwise);
  };
  unless("memory", limits.memory_bytes != 0,
         "memory: the address space of each process (RLIMIT_AS)");
  unless("cpu", limits.cpu_millis != 0, "cpu: not held");
  unless("pids", limits.processes != 0,
         "processes: all of the same user together, and not held for root (RLIMIT_NPROC)");
  unless("io", limits.io_weight != 0, "io weight: not held");
  if (notes.empty()) return {};
  return absl::StrCat(
      absl::StrJoin(notes, "; "), "; because ",
      cgroups.available() ? "the daemon's cgroup has no such controller" : cgroups.explanation());
}

absl::Status apply_limits(const TaskLimits& limits, const TaskCgroups& cgroups, shim::Spec& spec) {
  const bool grouped = !spec.cgroup.empty();
  const auto held = [&](const char* controller) { return grouped && cgroups.holds(controller); };
  std::vector<std::pair<const char*, std::string>> files;
  if (limits.memory_bytes != 0) {
    if (held("memory")) {
      files.emplace_back("memory.max", absl::StrCat(limits.memory_bytes));
    } else {
      spec.memory_bytes_max = limits.memory_bytes;
    }
  }
  if (limits.processes != 0) {
    if (held("pids")) {
      files.emplace_back("pids.max", absl::StrCat(limits.processes + 1));  // and the supervisor
    } else {
      spec.processes_max = limits.processes;
    }
  }
  if (limits.cpu_millis != 0 && held("cpu")) {
    files.emplace_back("cpu.max", TaskCgroups::cpu_max(limits.cpu_millis));
  }
  if (limits.io_weight != 0 && held("io")) {
    files.emplace_back("io.weight", absl::StrCat(limits.io_weight));
  }
  for (const auto& [file, value] : files) {
    absl::Status set = TaskCgroups::set(spec.cgroup, file, value);
    if (!set.ok()) return set;
  }
  return absl::OkStatus();
}

}  // namespace zsync::daemon
