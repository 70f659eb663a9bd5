#include "zsync/tcp.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "io/socket_calls.hpp"
#include "io/stream.hpp"
#include "net/raw_address.hpp"

namespace zsync {
namespace {

constexpr size_t kPiecesPerCall = 64;             // of write_pieces(), in one system call
constexpr std::chrono::seconds kPauseMax{32767};  // the kernel's, of a keepalive
constexpr int kProbesMax = 127;                   // the kernel's

constexpr char kNoKernel[] =
    "TCP outside a task of a runtime: a simulation has no kernel but that of its SimHosts";

absl::Status set_tcp(rt::SocketCalls& calls, int socket, int name, int value, const char* doing) {
  return net::set_option(calls, socket, IPPROTO_TCP, name, value, doing);
}

// 0 when the connection stands, EINPROGRESS while it does not, else why it failed.
int connect_result(rt::SocketCalls& calls, int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (calls.getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  if (error != 0) return error;
  sockaddr_in6 peer;
  size = sizeof peer;
  if (calls.getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) == 0) return 0;
  return errno == ENOTCONN ? EINPROGRESS : errno;
}

// A port that nobody listens at can be the one that the system chose for this very socket.
bool is_connected_to_itself(rt::SocketCalls& calls, int socket) {
  const absl::StatusOr<SocketAddress> own = net::local_address(calls, socket);
  const absl::StatusOr<SocketAddress> peer = net::peer_address(calls, socket);
  return own.ok() && peer.ok() && *own == *peer;
}

// Connections that failed while they waited in the queue: accept() has taken them out of it.
bool is_of_the_connection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case ENONET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
      return true;
    default:
      return false;
  }
}

absl::Status accept_status(int error) {
  if (error != EMFILE && error != ENFILE) return rt::errno_status("accepting a connection", error);
  return absl::ResourceExhaustedError(absl::StrCat(
      "accepting a connection: too many open files in ",
      error == EMFILE ? "this process" : "the system",
      "; it goes on waiting: close some, or raise the limit (",
      error == EMFILE ? "ulimit -n" : "fs.file-max", "), and pause before the next try"));
}

// Where in the pieces a write goes on.
struct Rest {
  std::span<const std::span<const std::byte>> pieces;
  size_t written = 0;  // of the first piece

  void advance(size_t bytes) {
    written += bytes;
    while (!pieces.empty() && written >= pieces.front().size()) {
      written -= pieces.front().size();
      pieces = pieces.subspan(1);
    }
  }
  ssize_t send_to(const rt::Fd& socket) const {
    std::array<iovec, kPiecesPerCall> vectors;
    const size_t count = std::min(pieces.size(), vectors.size());
    for (size_t i = 0; i < count; ++i) {
      const std::span<const std::byte> bytes = pieces[i].subspan(i == 0 ? written : 0);
      vectors[i] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    }
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    return socket.sockets().sendmsg(socket.get(), &message);
  }
};

}  // namespace

absl::StatusOr<TcpStream> TcpStream::adopt(UniqueFd socket) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(socket));
  if (!fd.ok()) return fd.status();
  return TcpStream(*std::move(fd));
}

Task<absl::StatusOr<TcpStream>> TcpStream::connect(SocketAddress peer) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  rt::SocketCalls& calls = rt::sockets_here(kNoKernel);
  absl::StatusOr<rt::NewSocket> socket = net::new_socket(calls, "connect", peer, SOCK_STREAM);
  if (!socket.ok()) co_return socket.status();
  const absl::Status quick = set_tcp(calls, socket->get(), TCP_NODELAY, 1, "connect");
  if (!quick.ok()) co_return quick;
  const net::RawAddress raw(peer);
  int error = calls.connect(socket->get(), raw.get(), raw.length()) == 0 ? 0 : errno;
  absl::StatusOr<TcpStream> stream = adopt(UniqueFd(socket->release()));
  if (!stream.ok()) co_return stream;
  if (error == EINTR) error = EINPROGRESS;  // it goes on all the same
  while (error == EINPROGRESS) {
    if (absl::Status ready = co_await stream->fd_.writable(); !ready.ok()) co_return ready;
    error = connect_result(calls, stream->get());
  }
  if (error == 0 && is_connected_to_itself(calls, stream->get())) error = ECONNREFUSED;
  if (error != 0) co_return net::address_status("connect", peer, error);
  co_return stream;
}

Task<absl::Status> TcpStream::read_exact(std::span<std::byte> into) {
  return rt::read_exact(fd_, into);
}

Task<absl::Status> TcpStream::write_pieces(std::span<const std::span<const std::byte>> pieces) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  Rest rest{pieces};
  rest.advance(0);
  while (!rest.pieces.empty()) {
    const ssize_t count = rest.send_to(fd_);
    if (count >= 0) {
      rest.advance(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      if (absl::Status ready = co_await fd_.writable(); !ready.ok()) co_return ready;
    } else if (errno != EINTR) {
      co_return rt::errno_status("write", errno);
    }
  }
  co_return absl::OkStatus();
}

absl::Status TcpStream::shutdown_write() { return rt::shutdown_write(fd_); }

absl::Status TcpStream::set_nodelay(bool on) {
  return set_tcp(fd_.sockets(), get(), TCP_NODELAY, on, "setting TCP_NODELAY");
}

absl::Status TcpStream::set_keepalive(std::optional<TcpKeepalive> keepalive) {
  constexpr const char* kDoing = "setting a keepalive";
  if (keepalive) {
    using std::chrono::seconds;
    const auto in_range = [](seconds pause) { return pause >= seconds(1) && pause <= kPauseMax; };
    if (!in_range(keepalive->idle) || !in_range(keepalive->interval) || keepalive->probes < 1 ||
        keepalive->probes > kProbesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat(kDoing, ": idle ", keepalive->idle.count(), " s and interval ",
                       keepalive->interval.count(), " s are 1 to ", kPauseMax.count(), ", probes ",
                       keepalive->probes, " 1 to ", kProbesMax));
    }
    const std::pair<int, int> values[] = {
        {TCP_KEEPIDLE, static_cast<int>(keepalive->idle.count())},
        {TCP_KEEPINTVL, static_cast<int>(keepalive->interval.count())},
        {TCP_KEEPCNT, keepalive->probes}};
    for (const auto& [name, value] : values) {
      if (absl::Status set = set_tcp(fd_.sockets(), get(), name, value, kDoing); !set.ok())
        return set;
    }
  }
  return net::set_option(fd_.sockets(), get(), SOL_SOCKET, SO_KEEPALIVE, keepalive.has_value(),
                         kDoing);
}

absl::StatusOr<SocketAddress> TcpStream::peer_address() const {
  return net::peer_address(fd_.sockets(), get());
}

absl::StatusOr<SocketAddress> TcpStream::local_address() const {
  return net::local_address(fd_.sockets(), get());
}

absl::StatusOr<TcpListener> TcpListener::bind(SocketAddress address, TcpListenerOptions options) {
  rt::SocketCalls& calls = rt::sockets_here(kNoKernel);
  absl::StatusOr<rt::NewSocket> socket = net::new_bound_socket(
      calls, "listen", address, SOCK_STREAM,
      {.reuse_address = true, .reuse_port = options.reuse_port, .v6_only = options.v6_only});
  if (!socket.ok()) return socket.status();
  if (calls.listen(socket->get(), options.backlog) != 0) {
    return net::address_status("listen", address, errno);
  }
  return adopt(UniqueFd(socket->release()));
}

absl::StatusOr<TcpListener> TcpListener::adopt(UniqueFd socket) {
  // Accepted sockets get it from the listening one: a system call less for each.
  absl::Status quick =
      set_tcp(rt::sockets_here(kNoKernel), socket.get(), TCP_NODELAY, 1, "adopting a listener");
  if (!quick.ok()) return quick;
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(socket));
  if (!fd.ok()) return fd.status();
  return TcpListener(*std::move(fd));
}

Task<absl::StatusOr<TcpStream>> TcpListener::accept() {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    if (fd_.begin_read()) {
      UniqueFd socket(fd_.sockets().accept(get()));
      const int error = socket ? 0 : errno;
      if (error != EAGAIN) fd_.end_read();
      if (error == 0) co_return TcpStream::adopt(std::move(socket));
      if (error == EINTR || is_of_the_connection(error)) continue;
      if (error != EAGAIN) co_return accept_status(error);
    }
    if (absl::Status news = co_await fd_.news(); !news.ok()) co_return news;
  }
}

absl::StatusOr<SocketAddress> TcpListener::local_address() const {
  return net::local_address(fd_.sockets(), get());
}

}  // namespace zsync
