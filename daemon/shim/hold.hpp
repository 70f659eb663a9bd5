// Holding an attempt back until zsyncd has its start on disk: what a shim does first then overlaps
// with the wait for the disk.
#pragma once

#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

// Waits for kGo. False: the connection is lost, or somebody asked this shim to end; then nothing
// may be executed, and the exit file says so.
bool wait_for_go(const segment_log::Fd& connection, const segment_log::Fd& signals,
                 const segment_log::Fd& exit_file);

}  // namespace zsync::daemon::shim
