// Between the watch's types and the wire's. For services only.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "daemon/watch/engine.hpp"
#include "zsync/v1/watch.pb.h"

namespace zsync::daemon {

// Puts what a filter says into the request.
//
// Errors: kInvalidArgument for a negative or oversized duration.
absl::Status take_filter(v1::WatchFilter filter, WatchRequest& request);
v1::WatchFilter filter_to_proto(const WatchRequest& request);

}  // namespace zsync::daemon
