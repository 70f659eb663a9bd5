// What identity rests on, tried once when the daemon starts.
#pragma once

#include "absl/status/status.h"

namespace zsync::daemon {

// Makes one call to a gRPC server of its own over a socket pair, and compares how gRPC names the
// caller with the descriptor it was given. Blocks; a few milliseconds.
//
// Errors: kFailedPrecondition when this gRPC names callers in another way, so that nobody could be
//         told from anybody; kDeadlineExceeded after kSelfTestMax.
absl::Status test_caller_names();

}  // namespace zsync::daemon
