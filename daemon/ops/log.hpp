// The daemon's log: one line an entry on stderr, as text or JSON.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "daemon/config/config.hpp"

namespace zsync::daemon {

using LogField = std::pair<absl::string_view, std::string>;

// Sets how and how much is written. Threads: any.
void configure_log(LogFormat format, LogLevel level);

// Writes one line with one write(2). Threads: any.
void log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

}  // namespace zsync::daemon
