// absl::Status to gRPC's, with the detail in its trailer.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"

namespace zsync::daemon {

// Adds the trailer "zsync-error-bin" to the call when the status has a detail.
grpc::Status to_grpc(const absl::Status& status, grpc::ServerContextBase& context);

}  // namespace zsync::daemon
