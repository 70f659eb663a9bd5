// zsync.v1.Watch over the watch engine.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class EventLog;
class WatchEngine;

std::unique_ptr<grpc::Service> make_watch_service(CallGate& gate, WatchEngine& engine,
                                                  EventLog& events);

}  // namespace zsync::daemon
