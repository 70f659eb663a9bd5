// Config: how many threads a runtime uses and how they behave.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "zsync/backend.hpp"

namespace zsync {

// Who runs the tasks.
enum class ExecutionModel {
  caller,        // the thread that is in run(), block_on() or wait_idle(); no thread is started
  one_thread,    // one worker thread
  multi_thread,  // several worker threads that steal from each other
};

// Values of a runtime; validate() tells what is wrong with them.
struct Config {
  static constexpr size_t kWorkersMax = 1024;          // threads
  static constexpr size_t kBlockingThreadsMax = 4096;  // threads

  ExecutionModel model = ExecutionModel::multi_thread;  // who runs the tasks
  size_t workers = 0;                // threads; 0: as many as this process may use
  size_t blocking_threads_max = 64;  // threads for spawn_blocking and files, started on demand
  std::chrono::milliseconds blocking_idle{5000};  // a blocking thread without work ends after this
  // How workers wait for descriptors; nullopt: io_uring where the system lets it, else libuv. The
  // variable ZSYNC_BACKEND decides before this does. What is named and refused is an error.
  std::optional<Backend> backend;
  // A runtime that has no task for this long ends its worker threads; the next task starts them
  // again, which spawn() waits for. nullopt: they stay. No effect with ExecutionModel::caller.
  std::optional<std::chrono::milliseconds> idle_timeout;

  // Fitted to the machine: affinity mask and cgroup CPU quota decide the number of workers.
  static Config optimal();
  // For short programs: the calling thread does the work.
  static Config for_cli();
  // For services: one worker a usable CPU.
  static Config for_server();
  // For small machines: one thread, few blocking threads.
  static Config for_embedded();

  // Errors: kInvalidArgument naming the field, its limit and what to do.
  absl::Status validate() const;
};

// CPUs this process may use: the affinity mask, reduced by a cgroup v2 quota; at least 1.
size_t usable_cpus();

}  // namespace zsync
