// The calls of channels of the form `request`: those who ask and those who reply.
#pragma once

#include "absl/status/statusor.h"
#include "daemon/channels/engine.hpp"
#include "daemon/rpc/bridge.hpp"
#include "zsync/v1/channels.pb.h"

namespace zsync::daemon {

Task<absl::StatusOr<v1::RequestReply>> ask(ChannelsEngine& engine, CallContext call,
                                           v1::RequestRequest request);
// Until the channel is closed and drained, or the responder wants no more.
Task<absl::Status> respond(ChannelsEngine& engine, CallContext call,
                           StreamReader<v1::ReplyRequest>& in, StreamWriter<v1::InquiryBatch>& out);

}  // namespace zsync::daemon
