#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "zsync/config.hpp"

namespace zsync {
namespace {

constexpr size_t kNoLimit = SIZE_MAX;

// This process's cgroup v2 directories, its own first, without the root.
std::vector<std::string> cgroup_directories() {
  static const std::string kRoot = "/sys/fs/cgroup";
  std::vector<std::string> found;
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) != 0) continue;
    std::string path = kRoot + line.substr(3);
    for (; path.size() > kRoot.size(); path.resize(path.find_last_of('/'))) {
      if (path.back() != '/') found.push_back(path);
    }
  }
  return found;
}

void apply_quota(const std::string& folder, CpuLimits& limits) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return;
  const double cpus = std::atof(quota.c_str()) / period;
  if (limits.quota > 0 && cpus >= limits.quota) return;
  limits.quota = cpus;
  const auto usable = static_cast<size_t>(std::max(1.0, std::ceil(cpus)));
  if (usable >= limits.usable) return;
  limits.usable = usable;
  limits.reason = absl::StrCat("cpu.max in ", folder, " grants ", cpus);
}

void apply_threads(size_t left, std::string limit, CpuLimits& limits) {
  if (left >= limits.threads_left) return;
  limits.threads_left = left;
  limits.threads_limit = std::move(limit);
}

void apply_pids(const std::string& folder, CpuLimits& limits) {
  size_t most = 0;
  size_t now = 0;
  if (!(std::ifstream(folder + "/pids.max") >> most)) return;  // "max" is no number
  std::ifstream(folder + "/pids.current") >> now;
  apply_threads(most > now ? most - now : 0, absl::StrCat("pids.max in ", folder), limits);
}

// RLIMIT_NPROC counts every thread of the user, which cannot be read in one place; so it is an
// upper bound. Root is not bound by it.
void apply_process_limit(CpuLimits& limits) {
  rlimit limit{};
  if (::geteuid() == 0 || ::getrlimit(RLIMIT_NPROC, &limit) != 0) return;
  if (limit.rlim_cur == RLIM_INFINITY) return;
  apply_threads(limit.rlim_cur, "RLIMIT_NPROC (ulimit -u)", limits);
}

}  // namespace

CpuLimits cpu_limits() {
  CpuLimits limits;
  limits.online = static_cast<size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  limits.affinity = limits.online;
  limits.threads_left = kNoLimit;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    limits.affinity = static_cast<size_t>(std::max(1, CPU_COUNT(&set)));
  }
  limits.usable = limits.affinity;
  limits.reason = limits.affinity < limits.online ? "affinity" : "all of them";
  for (const std::string& folder : cgroup_directories()) {
    apply_quota(folder, limits);
    apply_pids(folder, limits);
  }
  apply_process_limit(limits);
  return limits;
}

size_t usable_cpus() { return cpu_limits().usable; }

ModelAdvice recommended_execution_model() {
  const CpuLimits limits = cpu_limits();
  const std::string cpus =
      absl::StrCat(limits.usable, " of ", limits.online, " CPUs usable (", limits.reason, ")");
  if (limits.threads_left < limits.usable) {
    return {ExecutionModel::caller, 1,
            absl::StrCat(limits.threads_left, " threads are left by ", limits.threads_limit,
                         ": the calling thread does the work")};
  }
  if (limits.usable == 1) {
    return {ExecutionModel::one_thread, 1,
            cpus + ": a second worker would only take turns with the first"};
  }
  return {ExecutionModel::multi_thread, std::min(limits.usable, Config::kWorkersMax),
          cpus + ": a worker for each"};
}

const char* name_of(ExecutionModel model) noexcept {
  switch (model) {
    case ExecutionModel::caller:
      return "caller";
    case ExecutionModel::one_thread:
      return "one_thread";
    case ExecutionModel::multi_thread:
      break;
  }
  return "multi_thread";
}

}  // namespace zsync
