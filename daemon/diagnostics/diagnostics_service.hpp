// zsync.v1.Diagnostics over the engine.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class DiagnosticsEngine;

std::unique_ptr<grpc::Service> make_diagnostics_service(CallGate& gate, DiagnosticsEngine& engine);

}  // namespace zsync::daemon
