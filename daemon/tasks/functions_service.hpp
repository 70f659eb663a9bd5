// zsync.v1.Functions over the engine of tasks: translates, checks, delegates.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class TasksEngine;

std::unique_ptr<grpc::Service> make_functions_service(CallGate& gate, TasksEngine& engine);

}  // namespace zsync::daemon
