#include "daemon/ops/service_manager.hpp"

#include <systemd/sd-daemon.h>
#include <time.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "zsync/flow.hpp"

namespace zsync::daemon {

void tell_ready(const std::string& status) {
  sd_notify(0, absl::StrCat("READY=1\nSTATUS=", status).c_str());
}

void tell_reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  sd_notify(
      0, absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", now.tv_sec * 1'000'000 + now.tv_nsec / 1000)
             .c_str());
}

void tell_stopping() { sd_notify(0, "STOPPING=1"); }

Task<void> feed_watchdog() {
  uint64_t interval_us = 0;
  if (sd_watchdog_enabled(0, &interval_us) <= 0) co_return;
  while (true) {
    sd_notify(0, "WATCHDOG=1");
    co_await sleep(std::chrono::microseconds(interval_us / 2));
  }
}

}  // namespace zsync::daemon
