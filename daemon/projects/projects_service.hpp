// zsync.v1.Projects over the engine of projects.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class ProjectsEngine;

std::unique_ptr<grpc::Service> make_projects_service(CallGate& gate, ProjectsEngine& engine);

}  // namespace zsync::daemon
