// zsync.v1.Traces over the event log.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class EventLog;

std::unique_ptr<grpc::Service> make_traces_service(CallGate& gate, EventLog& events);

}  // namespace zsync::daemon
