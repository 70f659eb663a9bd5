#include "zsync/config.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace zsync {
namespace {

// This process's cgroup v2 directory, or empty.
std::string cgroup_directory() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::", 0) == 0) return "/sys/fs/cgroup" + line.substr(3);
  }
  return {};
}

// CPUs granted by cpu.max along the cgroup path; 0: no quota.
double cgroup_quota() {
  double granted = 0;
  for (std::string path = cgroup_directory(); path.size() > std::string("/sys/fs/cgroup").size();
       path.resize(path.find_last_of('/'))) {
    std::ifstream file(path + "/cpu.max");
    std::string quota;
    double period = 0;
    if (!(file >> quota >> period) || quota == "max" || period <= 0) continue;
    const double cpus = std::atof(quota.c_str()) / period;
    granted = granted == 0 ? cpus : std::min(granted, cpus);
  }
  return granted;
}

}  // namespace

size_t usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  size_t cpus = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  if (const double quota = cgroup_quota(); quota > 0) {
    cpus = std::min(cpus, static_cast<size_t>(std::max(1.0, std::ceil(quota))));
  }
  return cpus;
}

Config Config::optimal() {
  Config config;
  config.workers = usable_cpus();
  config.model = config.workers > 1 ? ExecutionModel::multi_thread : ExecutionModel::one_thread;
  return config;
}

Config Config::for_cli() {
  Config config;
  config.model = ExecutionModel::caller;
  config.workers = 1;
  config.blocking_threads_max = 8;
  return config;
}

Config Config::for_server() {
  Config config = optimal();
  config.model = ExecutionModel::multi_thread;
  config.blocking_threads_max = 512;
  return config;
}

Config Config::for_embedded() {
  Config config;
  config.model = ExecutionModel::one_thread;
  config.workers = 1;
  config.blocking_threads_max = 2;
  return config;
}

absl::Status Config::validate() const {
  if (workers > kWorkersMax) {
    return absl::InvalidArgumentError(absl::StrCat("Config::workers is ", workers,
                                                   ", the limit is ", kWorkersMax,
                                                   " threads; 0 takes what the machine has"));
  }
  if (model != ExecutionModel::multi_thread && workers > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Config::workers is ", workers,
        " but the model runs one thread; set ExecutionModel::multi_thread, or workers to 1"));
  }
  if (blocking_threads_max == 0 || blocking_threads_max > kBlockingThreadsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Config::blocking_threads_max is ", blocking_threads_max, "; it has to be 1 to ",
        kBlockingThreadsMax, " threads (files and spawn_blocking need one)"));
  }
  if (idle_timeout && idle_timeout->count() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("Config::idle_timeout is ", idle_timeout->count(),
                     " ms; it has to be 0 or more, or nullopt to keep the threads"));
  }
  return absl::OkStatus();
}

}  // namespace zsync
