// The receiving calls of zsync.v1.Channels: one channel, a consumer of a group, or several at once.
#pragma once

#include "daemon/channels/engine.hpp"
#include "daemon/rpc/bridge.hpp"
#include "zsync/v1/channels.pb.h"

namespace zsync::daemon {

Task<absl::Status> receive(ChannelsEngine& engine, CallContext call,
                           StreamReader<v1::RecvRequest>& in, StreamWriter<v1::RecvBatch>& out);

}  // namespace zsync::daemon
