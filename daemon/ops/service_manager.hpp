// What the daemon tells the service manager (sd_notify), where there is one.
#pragma once

#include <string>

#include "zsync/task.hpp"

namespace zsync::daemon {

void tell_ready(const std::string& status);
void tell_reloading();
void tell_stopping();

// Feeds the watchdog at half its interval; returns at once when none is set. Cancel: throws
// Cancelled.
Task<void> feed_watchdog();

}  // namespace zsync::daemon
