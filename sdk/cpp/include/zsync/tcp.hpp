// TCP: streams of bytes between machines.
//
//   absl::StatusOr<zsync::TcpListener> listener = zsync::TcpListener::bind(address);
//   absl::StatusOr<zsync::TcpStream> client = co_await listener->accept();
//
// Small writes go out at once: TCP_NODELAY is on for streams that are connected or accepted here,
// because a request that waits for the acknowledgement of the one before costs up to 40 ms. Gather
// small pieces with write_pieces(), or turn it off with set_nodelay(false).
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/fd.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/socket.hpp"
#include "zsync/task.hpp"

namespace zsync {

// When a silent peer counts as gone.
struct TcpKeepalive {
  std::chrono::seconds idle{60};      // silence before the first probe; 1 s to 32767 s
  std::chrono::seconds interval{10};  // between probes; 1 s to 32767 s
  int probes = 6;                     // without an answer, then the connection fails; 1 to 127
};

// One end of a connection.
//
// Lifetime: closes its descriptor; ends before its runtime. Neither moved nor destroyed while an
//           operation is pending; close() ends one that waits with kFailedPrecondition.
// Threads:  used by one task at a time for reading and by one for writing; close() by either, while
//           the other one waits or is done.
class TcpStream {
 public:
  // Holds nothing.
  TcpStream() = default;
  // Connects to a listener. It takes as long as the system tries (about two minutes to a machine
  // that does not answer): use timeout().
  //
  // Errors: kUnavailable when nobody listens there or the network or machine cannot be reached;
  //         kDeadlineExceeded when the system has given up; kNotFound when this machine has no
  //         address or no port left to connect from; kUnimplemented without IPv4 or IPv6;
  //         kResourceExhausted when this process has too many open files.
  // Cancel: kCancelled; the peer may have seen a connection, which ends at once.
  static Task<absl::StatusOr<TcpStream>> connect(SocketAddress peer);
  // Takes over a connected stream socket (also on failure) as it is. To be called in a task.
  static absl::StatusOr<TcpStream> adopt(UniqueFd socket);

  // Reads what is there, waiting for at least one byte -> bytes read; 0: the end.
  //
  // Errors: kUnavailable when the peer reset the connection; kDeadlineExceeded when it is gone
  //         (set_keepalive(), or what was written is not acknowledged); the system's.
  // Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into) { return fd_.read_some(into); }
  // Fills `into`.
  //
  // Errors: kOutOfRange when the peer ends before; as read_some().
  // Cancel: kCancelled; what was read before is in `into`, how much is not known any more.
  Task<absl::Status> read_exact(std::span<std::byte> into);

  // Writes everything, which is not the same as received; never raises SIGPIPE.
  //
  // Errors: kFailedPrecondition "write: Broken pipe" when the peer is gone; as read_some().
  // Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from) { return fd_.write_all(from); }
  // The same for text, which has to outlive the task.
  Task<absl::Status> write_all(std::string_view from) {
    return fd_.write_all(std::as_bytes(std::span(from)));
  }
  // Writes the pieces one after the other, a header and its body for example, in as few system
  // calls and packets as they fit. The pieces and what they point to outlive the task.
  //
  // Errors, Cancel: as write_all().
  Task<absl::Status> write_pieces(std::span<const std::span<const std::byte>> pieces);

  // Completes when the peer has closed its end, or the connection has failed. Cancel: kCancelled.
  Task<absl::Status> hangup() { return fd_.hangup(); }
  // The peer sees the end once it has read everything; this end can still read.
  absl::Status shutdown_write();

  // false: the system gathers small writes while one is not acknowledged (Nagle's algorithm).
  absl::Status set_nodelay(bool on);
  // Asks a silent peer whether it is there; nullopt, the default: never.
  //
  // Errors: kInvalidArgument for a number out of its range.
  absl::Status set_keepalive(std::optional<TcpKeepalive> keepalive);

  // Where the other end is. Errors: kFailedPrecondition when the connection is gone; the system's.
  absl::StatusOr<SocketAddress> peer_address() const;
  // Where this end is. Errors: the system's.
  absl::StatusOr<SocketAddress> local_address() const;

  // Closes the descriptor when its worker looks at its descriptors next. Bytes that came and were
  // not read turn the peer's end into a reset: shut down and read to the end before where it
  // counts.
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
  explicit TcpStream(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

// How a listener's socket is made.
struct TcpListenerOptions {
  int backlog = 1024;       // connections that wait for accept(); net.core.somaxconn caps it
  bool reuse_port = false;  // several listeners of one user share the port: one a worker
  bool v6_only = false;     // an IPv6 listener leaves IPv4 peers alone
};

// Lifetime, Threads: as TcpStream; one task at a time.
class TcpListener {
 public:
  // Holds nothing.
  TcpListener() = default;
  // Listens at `address`; port 0: one that the system chooses, see local_address(). A port whose
  // last connections are not quite over can be taken (SO_REUSEADDR). To be called in a task.
  //
  // Errors: kAlreadyExists when somebody listens there; kNotFound for an address that no interface
  //         has; kPermissionDenied for a port that needs a privilege; kUnimplemented as connect().
  static absl::StatusOr<TcpListener> bind(SocketAddress address, TcpListenerOptions options = {});
  // Takes over a listening socket (also on failure), from a service manager for example; streams it
  // accepts have TCP_NODELAY on. To be called in a task.
  static absl::StatusOr<TcpListener> adopt(UniqueFd socket);

  // Completes with the next connection; it belongs to the worker on which the task runs then. A
  // connection that its peer gave up while it waited is passed over.
  //
  // Errors: kResourceExhausted when this process has too many open files: the connection goes on
  //         waiting, so pause before the next try. The system's.
  // Cancel: kCancelled; no connection is lost.
  Task<absl::StatusOr<TcpStream>> accept();

  // Where it listens, with the port that the system chose.
  absl::StatusOr<SocketAddress> local_address() const;

  // Stops listening when its worker looks at its descriptors next; connections that wait are reset.
  void close() { fd_.close(); }
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  explicit TcpListener(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

}  // namespace zsync
