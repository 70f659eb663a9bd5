// zsync.v1.Tasks over the engine: translates, checks, delegates.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class DiagnosticsEngine;
class Schedules;
class TasksEngine;

std::unique_ptr<grpc::Service> make_tasks_service(CallGate& gate, TasksEngine& engine,
                                                  Schedules& schedules,
                                                  DiagnosticsEngine& diagnostics);

}  // namespace zsync::daemon
