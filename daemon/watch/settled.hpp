// The time in which a batch of changes settled, as an event and the span that causes what follows.
#pragma once

#include <string>

#include "daemon/events/event_log.hpp"
#include "daemon/watch/engine.hpp"

namespace zsync::daemon {

// Tells `watch.settled`, as part of the caller's trace where it has one. -> the traceparent for
// what the batch causes; empty where nobody saw when its first change came.
std::string tell_settled(WatchEngine& engine, EventLog& events, const std::string& path,
                         const watching::Told& told, const std::string& caller_traceparent);

}  // namespace zsync::daemon
