// The groups of rows of bench-runtime, and the runtime they run on.
#pragma once

#include <utility>

#include "tests/bench/runtime/rows.hpp"
#include "zsync/zsync.hpp"

namespace zsync::bench {

void spawn_rows(const Settings& settings);
void fork_join_rows(const Settings& settings);
void channel_rows(const Settings& settings);
void lock_rows(const Settings& settings);
void yield_rows(const Settings& settings);
void sleep_rows(const Settings& settings);
void lateness_rows(const Settings& settings);
void wake_rows(const Settings& settings);
void memory_rows(const Settings& settings);
void life_rows(const Settings& settings);
void unix_rows(const Settings& settings);
void tcp_rows(const Settings& settings);

// Worker threads that steal from each other, also where there is only one; everything else as
// Config::optimal() has it.
inline Config config_of(const Settings& settings) {
  Config config = Config::optimal();
  config.model = ExecutionModel::multi_thread;
  config.workers = settings.threads;
  return config;
}

// Runs `task` on a worker; the clock is read inside it.
inline void run_on(const Settings& settings, Task<void> task) {
  run(std::move(task), config_of(settings));
}

}  // namespace zsync::bench
