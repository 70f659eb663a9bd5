// zsync.v1.Triggers over the engine of triggers: translates, checks, delegates.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class TriggersEngine;

std::unique_ptr<grpc::Service> make_triggers_service(CallGate& gate, TriggersEngine& engine);

}  // namespace zsync::daemon
