#include "zsync/config.hpp"

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace zsync {
Config Config::optimal() {
  const ModelAdvice advice = recommended_execution_model();
  Config config;
  config.workers = advice.workers;
  config.model = advice.model;
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

std::vector<std::string> Config::warnings() const {
  std::vector<std::string> found;
  const CpuLimits cpus = cpu_limits();
  const size_t count = workers ? workers : cpus.usable;
  if (model == ExecutionModel::multi_thread && count > cpus.usable) {
    found.push_back(absl::StrCat("Config::workers is ", count, ", but this process may use ",
                                 cpus.usable, " of ", cpus.online, " CPUs (", cpus.reason,
                                 "): workers will take turns; set workers to 0"));
  }
  if (model == ExecutionModel::multi_thread && count == 1) {
    found.push_back(
        "ExecutionModel::multi_thread with one worker pays for thieves that never come; set "
        "ExecutionModel::one_thread");
  }
  const size_t threads = blocking_threads_max + (model == ExecutionModel::caller ? 0 : count);
  if (threads > cpus.threads_left) {
    found.push_back(absl::StrCat(threads, " threads may be started (workers and ",
                                 "Config::blocking_threads_max), but ", cpus.threads_left,
                                 " are left by ", cpus.threads_limit,
                                 "; lower blocking_threads_max, or raise that limit"));
  }
  if (blocking_idle.count() <= 0) {
    found.push_back(
        "Config::blocking_idle is 0: every spawn_blocking and file operation starts a thread; set "
        "it to some seconds");
  }
  const char* const word = std::getenv(kBackendVariable);
  if (backend && word && *word && absl::string_view(word) != name_of(*backend)) {
    found.push_back(absl::StrCat("Config::backend is ", name_of(*backend), ", but ",
                                 kBackendVariable, "=", word, " decides; unset it"));
  } else if (backend == Backend::io_uring && !probe_backends().io_uring) {
    found.push_back(absl::StrCat("Config::backend is io_uring, which will be refused: ",
                                 probe_backends().reason, "; or leave backend unset"));
  }
  return found;
}

}  // namespace zsync
