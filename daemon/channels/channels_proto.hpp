// Channels between the wire and the engine.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/channel.hpp"
#include "daemon/channels/channel_group.hpp"
#include "daemon/channels/named_channel.hpp"
#include "zsync/v1/channels.pb.h"

namespace zsync::daemon {

v1::Channel to_proto(const ChannelInfo& info, const std::vector<GroupInfo>& groups = {});
v1::ChannelGroup to_proto(const GroupInfo& info, const std::string& channel);
v1::RecvBatch to_proto(Delivery delivery);
v1::AckReply to_proto(const Settled& settled);
v1::SendReply to_proto(const Accepted& accepted);

void set_ns(int64_t ns, google::protobuf::Duration& duration);
// Errors: kInvalidArgument, naming `field`, when it is negative or over `max_ns`.
absl::StatusOr<int64_t> to_ns(const google::protobuf::Duration& duration, const char* field,
                              int64_t max_ns);

// Errors: kInvalidArgument naming field and limit.
absl::StatusOr<ChannelSpec> from_proto(const v1::ChannelSpec& proto);
absl::StatusOr<ChannelPolicy> from_proto(const v1::ChannelPolicy& proto);
absl::StatusOr<GroupSpec> from_proto(const v1::GroupSpec& proto);
absl::StatusOr<std::vector<MessageExtraPtr>> extras_of(const v1::SendRequest& request);
absl::StatusOr<Settling> from_proto(const v1::AckRequest& request, Settling::Kind kind);
absl::StatusOr<Settling> from_proto(const v1::NackRequest& request, Settling::Kind kind);
absl::StatusOr<Settling> from_proto(const v1::ExtendRequest& request, Settling::Kind kind);

}  // namespace zsync::daemon
