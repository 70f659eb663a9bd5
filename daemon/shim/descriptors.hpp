// What a shim keeps of the daemon's descriptors.
#pragma once

#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

// Leaves 0, 1, 2 on /dev/null and the socket `fd`, when it is one, and nothing else: a shim
// outlives the daemon. Invalid: it is none.
segment_log::Fd keep_only_socket(int fd);

}  // namespace zsync::daemon::shim
