// Config: how many threads a runtime uses and how they behave.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "zsync/backend.hpp"
#include "zsync/priority.hpp"

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
  DeadlineMissCallback on_deadline_miss;                    // told of tasks that are late
  OverloadPolicy overload_policy = OverloadPolicy::reject;  // of tasks that declare their cost

  // recommended_execution_model(): the affinity mask and the cgroup's CPU quota decide.
  static Config optimal();
  // For short programs: the calling thread does the work.
  static Config for_cli();
  // For services: one worker a usable CPU.
  static Config for_server();
  // For small machines: one thread, few blocking threads.
  static Config for_embedded();

  // Errors: kInvalidArgument naming the field, its limit and what to do.
  absl::Status validate() const;
  // What works but is hardly meant, on this machine: one line each, with what to do. Reads files of
  // the system.
  std::vector<std::string> warnings() const;
};

// What the system lets this process have.
struct CpuLimits {
  size_t online = 1;    // CPUs of the machine
  size_t affinity = 1;  // of which this thread may run on so many (sched_setaffinity, taskset)
  double quota = 0;     // CPUs by cpu.max of a cgroup v2 above this process; 0: no quota
  size_t usable = 1;    // affinity, reduced by the quota rounded up; at least 1
  std::string reason;   // what decided `usable`: "affinity", "cpu.max in /sys/fs/cgroup/...", ...
  size_t threads_left = 0;    // threads that may still be started by pids.max and RLIMIT_NPROC
  std::string threads_limit;  // which of them decided; empty: neither is set
};

// Threads: any. Reads files of the system each time.
CpuLimits cpu_limits();
// CpuLimits::usable.
size_t usable_cpus();

// Who should run the tasks, on this machine.
struct ModelAdvice {
  ExecutionModel model = ExecutionModel::multi_thread;  // for Config::model
  size_t workers = 1;                                   // threads
  std::string reason;                                   // one line
};

// multi_thread with a worker for each usable CPU; one_thread where there is one CPU; caller where
// the system lets no more threads be started.
ModelAdvice recommended_execution_model();

// "caller", "one_thread", "multi_thread".
const char* name_of(ExecutionModel model) noexcept;

}  // namespace zsync
