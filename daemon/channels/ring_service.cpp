#include "daemon/channels/ring_service.hpp"

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/server.hpp"
#include "zsync/timeout.hpp"
#include "zsync/unix_socket.hpp"
#include "zsync/v1/channels.pb.h"

namespace zsync::daemon {
namespace {

constexpr std::chrono::seconds kRequestTimeout{10};
constexpr uint32_t kRequestBytesMax = 1024;
constexpr size_t kSizeBytes = 4;

std::string framed(const std::string& body) {
  std::string frame;
  for (size_t byte = 0; byte < kSizeBytes; ++byte) {
    frame.push_back(static_cast<char>(body.size() >> (8 * byte)));
  }
  return frame + body;
}

Task<absl::StatusOr<v1::OpenRingRequest>> read_request(UnixStream& stream) {
  std::array<std::byte, sizeof(kDescriptorsMagic) - 1 + kSizeBytes> start;
  if (absl::Status read = co_await stream.read_exact(start); !read.ok()) co_return read;
  uint32_t size = 0;
  for (size_t byte = kSizeBytes; byte > 0; --byte) {
    size = (size << 8) | std::to_integer<uint32_t>(start[start.size() - kSizeBytes + byte - 1]);
  }
  if (size > kRequestBytesMax) {
    co_return absl::InvalidArgumentError(absl::StrCat(
        "a request of ", size, " bytes (ring_request_bytes_max = ", kRequestBytesMax, ")"));
  }
  std::string body(size, '\0');
  absl::Status read =
      co_await stream.read_exact(std::as_writable_bytes(std::span(body.data(), body.size())));
  if (!read.ok()) co_return read;
  v1::OpenRingRequest request;
  if (!request.ParseFromString(body)) {
    co_return absl::InvalidArgumentError("this is no OpenRingRequest");
  }
  co_return request;
}

struct Seat {
  std::shared_ptr<Ring> ring;
  RingEnd end;
};

absl::StatusOr<Seat> take_seat(ChannelsEngine& engine, const v1::OpenRingRequest& request,
                               pid_t pid, int connection) {
  const absl::StatusOr<ChannelsEngine::ChannelPtr> channel = engine.find(request.channel());
  if (!channel.ok()) return channel.status();
  if (absl::Status fits = (*channel)->check_form({ChannelForm::kRing}); !fits.ok()) return fits;
  if (request.end() != v1::RING_END_SENDER && request.end() != v1::RING_END_RECEIVER) {
    return fault(absl::StatusCode::kInvalidArgument, "which end of the ring?",
                 {"end", "INVALID", "", "use RING_END_SENDER or RING_END_RECEIVER", {}});
  }
  const RingEnd end = request.end() == v1::RING_END_SENDER ? RingEnd::kSender : RingEnd::kReceiver;
  const std::shared_ptr<Ring>& ring = (*channel)->ring();
  if (absl::Status taken = ring->enter(end, pid, engine.now(), connection); !taken.ok()) {
    return taken;
  }
  return Seat{ring, end};
}

v1::OpenRingReply refusal(const absl::Status& status) {
  v1::OpenRingReply reply;
  reply.set_code(static_cast<int>(status.code()));
  reply.set_message(std::string(status.message()));
  if (const std::optional<FaultDetail> detail = fault_detail(status)) {
    v1::ErrorDetail& proto = *reply.mutable_detail();
    proto.set_field(detail->field);
    proto.set_reason(detail->reason);
    proto.set_limit(detail->limit);
    proto.set_hint(detail->hint);
    for (const std::string& one : detail->closest) proto.add_closest(one);
  }
  return reply;
}

Task<void> serve_end(ChannelsEngine& engine, UniqueFd connection, pid_t pid) {
  absl::StatusOr<UnixStream> stream = UnixStream::adopt(std::move(connection));
  if (!stream.ok()) co_return;
  absl::StatusOr<v1::OpenRingRequest> request =
      co_await timeout(read_request(*stream), kRequestTimeout);
  absl::StatusOr<Seat> seat = request.ok() ? take_seat(engine, *request, pid, stream->get())
                                           : absl::StatusOr<Seat>(request.status());
  if (!seat.ok()) {
    const std::string frame = framed(refusal(seat.status()).SerializeAsString());
    (void)co_await stream->write_all(frame);
    // The server has a copy of the descriptor (RpcServer), so closing this one says nothing.
    ::shutdown(stream->get(), SHUT_RDWR);
    co_return;
  }
  v1::OpenRingReply reply;
  reply.set_message_bytes_max(engine.message_bytes_max());
  const std::string frame = framed(reply.SerializeAsString());
  const Ring::Descriptors fds = seat->ring->descriptors();
  absl::Status over = co_await stream->send_fds(std::as_bytes(std::span(frame)), fds);
  if (over.ok()) over = co_await stream->hangup();
  // A cancel leaves the place to the next program.
  if (!absl::IsCancelled(over)) seat->ring->leave(seat->end);
}

}  // namespace

void take_ring_end(ChannelsEngine& engine, UniqueFd connection, Peer peer) {
  engine.keep(serve_end(engine, std::move(connection), peer.pid));
}

}  // namespace zsync::daemon
