// Answers every call of a user whom this daemon does not serve: who they are, and what would allow
// them.
//
// Their connections have a gRPC server of their own. A call's identity is read by descriptor
// number, and a number may be another connection's once the first is gone; so no connection of a
// stranger ever reaches the server that works.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <sys/types.h>

#include <memory>

namespace zsync::daemon {

std::unique_ptr<grpc::CallbackGenericService> make_stranger_service(uid_t daemon_uid);

}  // namespace zsync::daemon
