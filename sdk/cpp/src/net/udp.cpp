#include "zsync/udp.hpp"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "io/socket_calls.hpp"
#include "net/raw_address.hpp"

namespace zsync {
namespace {

constexpr size_t kSegmentsMax = 64;  // in one system call; the kernel's limit since 4.18

constexpr char kReceiving[] = "receiving a datagram";

// Room for the size of a segment, sent or received.
union ControlBuffer {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

// One datagram as sendmsg() and recvmsg() see it. Stays where it is: the message points into it.
struct Envelope {
  void address_to(const SocketAddress& peer) {
    address = net::RawAddress(peer);
    message.msg_name = address.get();
    message.msg_namelen = address.length();
  }
  void hold(std::span<const std::byte> datagram) {
    bytes = {const_cast<std::byte*>(datagram.data()), datagram.size()};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
  }
  void cut_into(size_t segment_bytes) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    const auto size = static_cast<uint16_t>(segment_bytes);
    std::memcpy(CMSG_DATA(header), &size, sizeof size);
  }
  void receive_into(std::span<std::byte> buffer) {
    hold(buffer);
    message.msg_name = address.get();
    message.msg_namelen = sizeof address;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
  }

  msghdr message{};
  iovec bytes{};
  net::RawAddress address;
  ControlBuffer control{};
};

// `length`: of the whole datagram, which may be more than the buffer held.
DatagramSlot opened(msghdr& message, const net::RawAddress& from, size_t length) {
  DatagramSlot slot;
  slot.received.from = from.value();
  if (message.msg_flags & MSG_TRUNC) {
    slot.lost_bytes = length;
    return slot;
  }
  slot.received.bytes = slot.received.segment_bytes = length;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_UDP || header->cmsg_type != UDP_GRO) continue;
    int segment_bytes = 0;
    std::memcpy(&segment_bytes, CMSG_DATA(header), sizeof segment_bytes);
    slot.received.segment_bytes = static_cast<size_t>(segment_bytes);
  }
  return slot;
}

// -> 0 or the errno.
int receive_once(const rt::Fd& socket, std::span<std::byte> into, DatagramSlot& slot) {
  Envelope envelope;
  envelope.receive_into(into);
  const ssize_t count = socket.sockets().recvmsg(socket.get(), &envelope.message, MSG_TRUNC);
  if (count < 0) return errno;
  slot = opened(envelope.message, envelope.address, static_cast<size_t>(count));
  return 0;
}

// -> slots filled, or -1 with errno.
int receive_batch(const rt::Fd& socket, std::span<DatagramSlot> slots) {
  std::array<Envelope, UdpSocket::kBatchMax> envelopes;
  std::array<mmsghdr, UdpSocket::kBatchMax> messages{};
  const size_t wanted = std::min(slots.size(), messages.size());
  for (size_t i = 0; i < wanted; ++i) {
    envelopes[i].receive_into(slots[i].buffer);
    messages[i].msg_hdr = envelopes[i].message;
  }
  const int count =
      socket.sockets().recvmmsg(socket.get(), std::span(messages).first(wanted), MSG_TRUNC);
  for (int i = 0; i < count; ++i) {
    const std::span<std::byte> buffer = slots[i].buffer;
    slots[i] = opened(messages[i].msg_hdr, envelopes[i].address, messages[i].msg_len);
    slots[i].buffer = buffer;
  }
  return count;
}

// -> 0 or the errno. `to` may be null; `segment_bytes` 0: one datagram.
int send_once(const rt::Fd& socket, std::span<const std::byte> from, const SocketAddress* to,
              size_t segment_bytes = 0) {
  Envelope envelope;
  envelope.hold(from);
  if (to) envelope.address_to(*to);
  if (segment_bytes > 0) envelope.cut_into(segment_bytes);
  return socket.sockets().sendmsg(socket.get(), &envelope.message) >= 0 ? 0 : errno;
}

// -> datagrams sent, or -1 with errno.
int send_batch(const rt::Fd& socket, std::span<const OutgoingDatagram> datagrams) {
  std::array<Envelope, UdpSocket::kBatchMax> envelopes;
  std::array<mmsghdr, UdpSocket::kBatchMax> messages{};
  const size_t wanted = std::min(datagrams.size(), messages.size());
  for (size_t i = 0; i < wanted; ++i) {
    envelopes[i].hold(datagrams[i].bytes);
    envelopes[i].address_to(datagrams[i].to);
    messages[i].msg_hdr = envelopes[i].message;
  }
  return socket.sockets().sendmmsg(socket.get(), std::span(messages).first(wanted));
}

absl::Status send_status(int error, size_t bytes, const SocketAddress* to) {
  if (error == EMSGSIZE) {
    return absl::InvalidArgumentError(
        absl::StrCat("sending a datagram of ", bytes, " bytes: it is too long; at most ",
                     UdpSocket::kDatagramBytesMax, " go, and fewer over networks that do not cut"));
  }
  if (error == EDESTADDRREQ) {
    return absl::InvalidArgumentError(
        "sending a datagram: the socket has no peer; connect() it or use send_to()");
  }
  return to ? net::address_status("sending a datagram to", *to, error)
            : rt::errno_status("sending a datagram", error);
}

Task<absl::Status> send_one(rt::Fd& fd, std::span<const std::byte> datagram,
                            const SocketAddress* to) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    const int error = send_once(fd, datagram, to);
    if (error == 0) co_return absl::OkStatus();
    if (error == EINTR) continue;
    if (error != EAGAIN) co_return send_status(error, datagram.size(), to);
    if (absl::Status ready = co_await fd.writable(); !ready.ok()) co_return ready;
  }
}

// The system cannot cut these: the segment is longer than a packet, or the device cannot sum them.
bool is_uncuttable(int error) { return error == EINVAL || error == EIO || error == EMSGSIZE; }

// Up to a batch of segments, as datagrams of their own.
std::vector<OutgoingDatagram> segments_of(std::span<const std::byte> from, size_t segment_bytes,
                                          const SocketAddress& to) {
  std::vector<OutgoingDatagram> segments;
  while (!from.empty() && segments.size() < UdpSocket::kBatchMax) {
    const size_t size = std::min(segment_bytes, from.size());
    segments.push_back({from.first(size), to});
    from = from.subspan(size);
  }
  return segments;
}

}  // namespace

absl::StatusOr<UdpSocket> UdpSocket::adopt(UniqueFd socket) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(socket));
  if (!fd.ok()) return fd.status();
  return UdpSocket(*std::move(fd));
}

absl::StatusOr<UdpSocket> UdpSocket::bind(SocketAddress address, UdpOptions options) {
  rt::SocketCalls& calls = rt::sockets_here(
      "UDP outside a task of a runtime: a simulation has no kernel but that of its SimHosts");
  absl::StatusOr<rt::NewSocket> socket =
      net::new_bound_socket(calls, "bind", address, SOCK_DGRAM,
                            {.reuse_port = options.reuse_port, .v6_only = options.v6_only});
  if (!socket.ok()) return socket.status();
  return adopt(UniqueFd(socket->release()));
}

absl::Status UdpSocket::connect(SocketAddress peer) {
  const net::RawAddress raw(peer);
  if (fd_.sockets().connect(get(), raw.get(), raw.length()) == 0) return absl::OkStatus();
  return net::address_status("connect", peer, errno);
}

Task<absl::Status> UdpSocket::send_to(std::span<const std::byte> datagram, SocketAddress to) {
  co_return co_await send_one(fd_, datagram, &to);
}

Task<absl::Status> UdpSocket::send(std::span<const std::byte> datagram) {
  return send_one(fd_, datagram, nullptr);
}

Task<absl::StatusOr<size_t>> UdpSocket::send_many(std::span<const OutgoingDatagram> datagrams) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  if (datagrams.empty()) co_return size_t{0};
  while (true) {
    const int count = send_batch(fd_, datagrams);
    if (count >= 0) co_return static_cast<size_t>(count);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) {
      co_return send_status(errno, datagrams.front().bytes.size(), &datagrams.front().to);
    }
    if (absl::Status ready = co_await fd_.writable(); !ready.ok()) co_return ready;
  }
}

Task<absl::Status> UdpSocket::send_segmented(std::span<const std::byte> from, size_t segment_bytes,
                                             SocketAddress to) {
  if (segment_bytes == 0 || segment_bytes > kDatagramBytesMax) {
    co_return absl::InvalidArgumentError(absl::StrCat(
        "sending segments of ", segment_bytes, " bytes: they have 1 to ", kDatagramBytesMax));
  }
  const size_t at_once = segment_bytes * std::min(kSegmentsMax, kDatagramBytesMax / segment_bytes);
  bool cut = has_segmentation() && at_once > segment_bytes;
  while (!from.empty()) {
    if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
    if (cut && from.size() > segment_bytes) {
      const size_t size = std::min(at_once, from.size());
      const int error = send_once(fd_, from.first(size), &to, segment_bytes);
      if (error == 0) {
        from = from.subspan(size);
      } else if (error == EAGAIN) {
        if (absl::Status ready = co_await fd_.writable(); !ready.ok()) co_return ready;
      } else if (is_uncuttable(error)) {
        cut = false;
      } else if (error != EINTR) {
        co_return send_status(error, segment_bytes, &to);
      }
      continue;
    }
    const std::vector<OutgoingDatagram> segments = segments_of(from, segment_bytes, to);
    const absl::StatusOr<size_t> sent = co_await send_many(segments);
    if (!sent.ok()) co_return sent.status();
    from = from.subspan(std::min(*sent * segment_bytes, from.size()));
  }
  co_return absl::OkStatus();
}

Task<absl::StatusOr<ReceivedDatagram>> UdpSocket::recv_from(std::span<std::byte> into) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    DatagramSlot slot;
    const int error = fd_.begin_read() ? receive_once(fd_, into, slot) : EAGAIN;
    if (error != EAGAIN) fd_.end_read();
    if (error == 0 && slot.lost_bytes > 0) {
      co_return absl::OutOfRangeError(absl::StrCat(kReceiving, ": it had ", slot.lost_bytes,
                                                   " bytes, the buffer ", into.size(),
                                                   "; it is gone: use a larger buffer"));
    }
    if (error == 0) co_return slot.received;
    if (error == EINTR) continue;
    if (error != EAGAIN) co_return rt::errno_status(kReceiving, error);
    if (absl::Status news = co_await fd_.news(); !news.ok()) co_return news;
  }
}

Task<absl::StatusOr<size_t>> UdpSocket::recv_many(std::span<DatagramSlot> slots) {
  if (slots.empty()) {
    co_return absl::InvalidArgumentError(absl::StrCat(kReceiving, ": there are no slots"));
  }
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    if (fd_.begin_read()) {
      const int count = receive_batch(fd_, slots);
      const int error = count < 0 ? errno : 0;
      if (error != EAGAIN) fd_.end_read();
      if (count > 0) co_return static_cast<size_t>(count);
      if (error == EINTR) continue;
      if (error != 0 && error != EAGAIN) co_return rt::errno_status(kReceiving, error);
    }
    if (absl::Status news = co_await fd_.news(); !news.ok()) co_return news;
  }
}

absl::Status UdpSocket::set_gro(bool on) {
  const int value = on;
  if (fd_.sockets().setsockopt(get(), SOL_UDP, UDP_GRO, &value, sizeof value) == 0) {
    return absl::OkStatus();
  }
  if (errno != ENOPROTOOPT) return rt::errno_status("setting UDP_GRO", errno);
  return absl::UnimplementedError(
      "setting UDP_GRO: this system does not have it (Linux 5.0); go on without");
}

bool UdpSocket::has_segmentation() {
  static const bool known = [] {
    rt::SocketCalls& calls = rt::kernel_sockets();
    const rt::NewSocket probe(calls, calls.socket(AF_INET, SOCK_DGRAM));
    return probe && net::set_option(calls, probe.get(), SOL_UDP, UDP_SEGMENT, 0, "probing").ok();
  }();
  return known;
}

absl::StatusOr<SocketAddress> UdpSocket::local_address() const {
  return net::local_address(fd_.sockets(), get());
}

absl::StatusOr<SocketAddress> UdpSocket::peer_address() const {
  return net::peer_address(fd_.sockets(), get());
}

}  // namespace zsync
