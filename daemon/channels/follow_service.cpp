#include "daemon/channels/follow_service.hpp"

#include <memory>
#include <utility>

#include "daemon/channels/channels_proto.hpp"
#include "daemon/channels/follower.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/v1/channels.grpc.pb.h"

namespace zsync::daemon {
namespace {

using ChannelPtr = ChannelsEngine::ChannelPtr;

absl::StatusOr<v1::FollowChannelRequest> parsed(grpc::ByteBuffer bytes) {
  v1::FollowChannelRequest request;
  const grpc::Status status =
      grpc::SerializationTraits<v1::FollowChannelRequest>::Deserialize(&bytes, &request);
  if (status.ok()) return request;
  return fault(absl::StatusCode::kInvalidArgument, "the request is no FollowChannelRequest",
               {"", "INVALID", "", "make it with the generated class of your client", {}});
}

grpc::ByteBuffer to_bytes(const v1::RecvBatch& batch) {
  grpc::ByteBuffer bytes;
  bool own = false;
  (void)grpc::SerializationTraits<v1::RecvBatch>::Serialize(batch, &bytes, &own);
  return bytes;
}

// Not copied: gRPC holds the run until it is written.
grpc::ByteBuffer to_bytes(const SharedRunPtr& run) {
  auto* held = new SharedRunPtr(run);
  const grpc::Slice slice(
      const_cast<char*>(run->bytes.data()), run->bytes.size(),
      [](void* held) { delete static_cast<SharedRunPtr*>(held); }, held);
  return {&slice, 1};
}

std::string encode(std::vector<Message> messages) {
  Delivery delivery;
  delivery.messages = std::move(messages);
  return to_proto(std::move(delivery)).SerializeAsString();
}

}  // namespace

Task<absl::Status> follow_channel(ChannelsEngine& engine, CallContext call, grpc::ByteBuffer bytes,
                                  StreamWriter<grpc::ByteBuffer>& out) {
  const absl::StatusOr<v1::FollowChannelRequest> request = parsed(std::move(bytes));
  if (!request.ok()) co_return request.status();
  absl::StatusOr<ChannelPtr> found = co_await engine.find_to_read(request->channel());
  if (!found.ok()) co_return found.status();
  const ChannelPtr channel = *std::move(found);
  absl::Status fits =
      channel->check_form({ChannelForm::kQueue, ChannelForm::kLatest, ChannelForm::kBroadcast});
  if (!fits.ok()) co_return fits;
  absl::StatusOr<uint64_t> from = co_await channel->resolve(
      {request->from_seq(), false, request->from_start(), request->from_time_unix_nano()});
  if (!from.ok()) co_return from.status();
  NamedChannel::Follower follower(channel, *from, call.peer.pid);
  while (true) {
    absl::StatusOr<Delivery> delivery = co_await follower.next_encoded(encode);
    if (!delivery.ok()) co_return delivery.status();
    const bool closed = delivery->closed;
    follower.enter(Phase::kSending);
    grpc::ByteBuffer message =
        delivery->run ? to_bytes(delivery->run) : to_bytes(to_proto(std::move(*delivery)));
    if (absl::Status status = co_await out.write(std::move(message)); !status.ok()) {
      co_return status;
    }
    if (closed) co_return absl::OkStatus();
  }
}

}  // namespace zsync::daemon
