// UDP: datagrams, each of which arrives whole, twice or not at all, in any order.
//
//   absl::StatusOr<zsync::UdpSocket> socket = zsync::UdpSocket::bind(address);
//   absl::StatusOr<zsync::ReceivedDatagram> got = co_await socket->recv_from(buffer);
//
// One system call for many datagrams: send_many() and recv_many() where each has its own peer,
// send_segmented() and set_gro() for a stream of equal ones between two peers (Linux 4.18 and 5.0).
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/fd.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/socket.hpp"
#include "zsync/task.hpp"

namespace zsync {

// How a socket is made.
struct UdpOptions {
  bool reuse_port = false;  // several sockets of one user share the port: one a worker
  bool v6_only = false;     // an IPv6 socket leaves IPv4 peers alone
};

// What UdpSocket::recv_from() gives.
struct ReceivedDatagram {
  size_t bytes = 0;          // in the buffer; 0: an empty datagram, not an end
  SocketAddress from;        // who sent it
  size_t segment_bytes = 0;  // less than `bytes` with set_gro() only: the size of each of the
                             // datagrams that stand in the buffer; the last one may be shorter
};

// A place for a datagram in UdpSocket::recv_many().
struct DatagramSlot {
  std::span<std::byte> buffer;  // set by the caller
  ReceivedDatagram received;    // what is in it
  size_t lost_bytes = 0;        // not 0: one of this size did not fit and is gone; nothing is in it
};

// A datagram for UdpSocket::send_many().
struct OutgoingDatagram {
  std::span<const std::byte> bytes;  // up to kDatagramBytesMax
  SocketAddress to;                  // who gets it
};

// Lifetime: closes its descriptor; ends before its runtime. Neither moved nor destroyed while an
//           operation is pending; close() ends one that waits with kFailedPrecondition.
// Threads:  used by one task at a time for receiving and by one for sending; close() by either,
//           while the other one waits or is done.
class UdpSocket {
 public:
  static constexpr size_t kDatagramBytesMax = 65507;  // of one datagram; IPv4's limit
  static constexpr size_t kBatchMax = 64;             // datagrams in one recv_many(), send_many()

  // Holds nothing.
  UdpSocket() = default;
  // Receives at `address`; port 0: one that the system chooses, see local_address(). A socket that
  // only sends binds to any_v4() or any_v6(), port 0. To be called in a task.
  //
  // Errors: kAlreadyExists when another socket has the address; kNotFound for one that no interface
  //         has; kPermissionDenied for a port that needs a privilege; kUnimplemented without IPv4
  //         or IPv6; kResourceExhausted when this process has too many open files.
  static absl::StatusOr<UdpSocket> bind(SocketAddress address, UdpOptions options = {});
  // Takes over a datagram socket (also on failure) as it is. To be called in a task.
  static absl::StatusOr<UdpSocket> adopt(UniqueFd socket);

  // From now on only what `peer` sends is received, and send() sends there. Nothing is sent and
  // nothing is waited for. What had come before stays.
  //
  // Errors: kUnavailable for a network that cannot be reached; the system's.
  absl::Status connect(SocketAddress peer);

  // Completes when the system has taken the datagram, which is not the same as received.
  //
  // Errors: kInvalidArgument for one that is too long; kUnavailable when the peer or its network
  //         cannot be reached; of a connected socket also when the peer had no such port for an
  //         earlier one, and then this one was not sent. The system's.
  // Cancel: kCancelled; nothing was sent.
  Task<absl::Status> send_to(std::span<const std::byte> datagram, SocketAddress to);
  // The same to the peer of connect().
  //
  // Errors: kInvalidArgument also without a peer.
  Task<absl::Status> send(std::span<const std::byte> datagram);
  // Sends as many as the system takes at once, from the first on, waiting until it takes one -> how
  // many, at most kBatchMax: call it again with the rest. The datagrams outlive the task.
  //
  // Errors: as send_to(), of the first one; none was sent then.
  // Cancel: kCancelled; none was sent.
  Task<absl::StatusOr<size_t>> send_many(std::span<const OutgoingDatagram> datagrams);
  // Sends everything as datagrams of `segment_bytes`, the last one perhaps shorter. Where
  // has_segmentation() and a segment fits the network's packets, the system cuts up to 64 of them
  // from one call (GSO); elsewhere it is send_many() with the same result.
  //
  // Errors: kInvalidArgument for segments of 0 or more than kDatagramBytesMax bytes; as send_to().
  // Cancel, and on an error: a part may have been sent, in whole datagrams. kCancelled.
  Task<absl::Status> send_segmented(std::span<const std::byte> from, size_t segment_bytes,
                                    SocketAddress to);

  // Completes with the next datagram; never with a part of one.
  //
  // Errors: kOutOfRange when it is longer than `into`: it is gone. kUnavailable as send_to(). The
  //         system's.
  // Cancel: kCancelled; no datagram is lost.
  Task<absl::StatusOr<ReceivedDatagram>> recv_from(std::span<std::byte> into);
  // Waits for a datagram and fills a slot with each that is there -> how many slots, at most
  // kBatchMax. The slots outlive the task.
  //
  // Errors: kInvalidArgument for no slots; as recv_from(), but a datagram that does not fit is told
  //         in its slot.
  // Cancel: kCancelled; no datagram is lost.
  Task<absl::StatusOr<size_t>> recv_many(std::span<DatagramSlot> slots);

  // Lets the system put datagrams of one peer that have one size, and came together, into a buffer
  // as one (GRO): see ReceivedDatagram::segment_bytes. Buffers need 65535 bytes then.
  //
  // Errors: kUnimplemented where the system cannot: go on without.
  absl::Status set_gro(bool on);
  // Whether the system cuts datagrams (UDP_SEGMENT); asked once.
  static bool has_segmentation();

  // Where it receives, with the port that the system chose.
  absl::StatusOr<SocketAddress> local_address() const;
  // Errors: kFailedPrecondition without a peer.
  absl::StatusOr<SocketAddress> peer_address() const;

  // Closes the descriptor when its worker looks at its descriptors next.
  void close() { fd_.close(); }
  // Gives the descriptor away, still non-blocking; nothing may be pending.
  //
  // Errors: kResourceExhausted when this process has too many open files; it is closed then.
  absl::StatusOr<UniqueFd> release() { return fd_.release(); }
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  explicit UdpSocket(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

}  // namespace zsync
