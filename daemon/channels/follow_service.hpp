// Channels.Follow: observing a channel, and taking nothing away.
#pragma once

#include <grpcpp/grpcpp.h>

#include "daemon/channels/engine.hpp"
#include "daemon/rpc/bridge.hpp"

namespace zsync::daemon {

// The call in gRPC's own bytes, since many observe the same: what they get is encoded once for all.
Task<absl::Status> follow_channel(ChannelsEngine& engine, CallContext call,
                                  grpc::ByteBuffer request, StreamWriter<grpc::ByteBuffer>& out);

}  // namespace zsync::daemon
