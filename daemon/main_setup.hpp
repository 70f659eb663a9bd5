// What the configuration is for the parts of the daemon: the options of each.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "daemon/channels/engine.hpp"
#include "daemon/config/config.hpp"
#include "daemon/store/store.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/watch/engine.hpp"

namespace zsync::daemon {

// From the system's source of randomness. Threads: any.
uint64_t random_bits();

// Of the store in `dir`, with every version of its schema.
StoreOptions store_options(const std::string& dir);
// zsyncd --check DIR: reads the store in `dir` as if to serve it.
absl::Status check_state(const std::string& dir);

// `socket`: what commands find the daemon by. `open_files_soft`: the limit that they begin with.
TasksOptions tasks_options(const Config& config, const std::string& socket,
                           uint64_t open_files_soft);
ChannelsOptions channels_options(const Config& config);
WatchEngineOptions watch_options(const Config& config);

}  // namespace zsync::daemon
