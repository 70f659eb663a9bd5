#include "testing/sim_sockets.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "net/raw_address.hpp"
#include "testing/sim_world.hpp"
#include "zsync/udp.hpp"

namespace zsync::testing {
namespace {

constexpr size_t kDatagramsMax = 256;  // that wait in one socket; more are dropped

int refuse(int error) { return errno = error, -1; }

SocketAddress address_of(const sockaddr* address, socklen_t length) {
  net::RawAddress raw;
  std::memcpy(raw.get(), address, std::min<size_t>(length, sizeof raw));
  return raw.value();
}

void give(const SocketAddress& address, sockaddr* into, socklen_t* length) {
  const net::RawAddress raw(address);
  std::memcpy(into, raw.get(), std::min(*length, raw.length()));
  *length = raw.length();
}

std::string gathered(const msghdr& message) {
  std::string bytes;
  for (size_t i = 0; i < message.msg_iovlen; ++i) {
    bytes.append(static_cast<const char*>(message.msg_iov[i].iov_base), message.msg_iov[i].iov_len);
  }
  return bytes;
}

}  // namespace

SimSocket::SimSocket(SimWorld& world, SimHostState& host, int socket_type)
    : type(socket_type), world_(world), host_(host) {}

SimSocket::~SimSocket() {
  if (bound) host_.ports().give_back(kind(), local.port, *this);
  if (source) source->socket = nullptr;
  for (const std::shared_ptr<StreamEnd>& unaccepted : waiting) unaccepted->abort();
  if (end) end->close();
}

uint32_t SimSocket::ready() const {
  if (end) return end->ready();
  uint32_t events = error != 0 ? rt::kReadable | rt::kWritable : 0;
  if (!datagrams.empty() || !waiting.empty()) events |= rt::kReadable;
  if (type == SOCK_DGRAM) events |= rt::kWritable;
  return events;
}

void SimSocket::changed() {
  if (source) tell(world_, source);
}

// As a step of the system's: the listener is never called from within one of its own calls.
void SimSocket::tell(SimWorld& world, const std::shared_ptr<SimSource>& source) {
  const auto possible = [](const SimSource& watched) {
    // Of a stopped process: let it find out by its system call.
    const uint32_t ready =
        watched.socket ? watched.socket->ready() : rt::kReadable | rt::kWritable | rt::kHangup;
    const uint32_t wanted =
        watched.armed & rt::kNews ? watched.armed | rt::kReadable : watched.armed;
    return (ready & wanted) == 0 ? 0 : ready & (wanted | rt::kHangup);
  };
  if (source->told || !source->listener || possible(*source) == 0) return;
  source->told = true;
  world.after(rt::Duration(0), [watched = source, possible] {
    watched->told = false;
    const uint32_t events = possible(*watched);
    if (watched->listener && events != 0) watched->listener->on_ready(events);
  });
}

void SimSocket::receive(SimDatagram datagram) {
  if (datagrams.size() >= kDatagramsMax || !wants(datagram.from)) return;
  if (datagram.number < latest) ++world_.network().state().counts.overtaken;
  latest = std::max(latest, datagram.number);
  datagrams.push_back(std::move(datagram));
  changed();
}

// -- watching

absl::StatusOr<rt::FdSource*> SimSockets::watch(int fd, rt::FdListener& listener) {
  SimSocket* const socket = find(fd);
  if (!socket) return absl::ErrnoToStatus(errno, "watching a simulated socket");
  socket->source = std::make_shared<SimSource>();
  socket->source->socket = socket;
  socket->source->listener = &listener;
  sources_[socket->source.get()] = socket->source;
  return socket->source.get();
}

void SimSockets::arm(rt::FdSource& source, uint32_t events) {
  static_cast<SimSource&>(source).armed = events;
  if (events != 0) SimSocket::tell(world_, sources_.at(&source));
}

void SimSockets::unwatch(rt::FdSource& source) {
  static_cast<SimSource&>(source).listener = nullptr;
  sources_.erase(&source);
}

void SimSockets::stop(SimCrash how) {
  stopped_ = true;
  if (how == SimCrash::power_loss) {
    for (const auto& [fd, socket] : sockets_) {
      if (socket->end) std::exchange(socket->end, nullptr)->abort();
    }
  }
  sockets_.clear();
  // Who waits is cancelled as well; what cannot be cancelled wakes up to an error.
  for (const auto& [watched, source] : sources_) SimSocket::tell(world_, source);
}

SimSocket* SimSockets::find(int fd) {
  const auto found = sockets_.find(fd);
  if (found != sockets_.end()) return found->second.get();
  errno = stopped_ ? ESHUTDOWN : EBADF;
  return nullptr;
}

// -- making and naming

int SimSockets::socket(int family, int type) {
  if (stopped_) return refuse(ESHUTDOWN);
  if (family != AF_INET) return refuse(EAFNOSUPPORT);
  const int fd = world_.next_descriptor();
  sockets_[fd] = std::make_unique<SimSocket>(world_, host_, type);
  return fd;
}

int SimSockets::close(int fd) {
  if (!find(fd)) return -1;
  sockets_.erase(fd);
  return 0;
}

int SimSockets::bind_to(SimSocket& socket, SocketAddress address) {
  const bool here =
      address.ip.is_unspecified() || address.ip.is_loopback() || address.ip == host_.address();
  if (!here) return refuse(EADDRNOTAVAIL);
  if (socket.bound) return refuse(EINVAL);
  SimPorts& ports = host_.ports();
  if (address.port == 0) address.port = ports.choose(socket.kind());
  if (address.port == 0 || ports.taken(socket.kind(), address.port)) return refuse(EADDRINUSE);
  ports.take(socket.kind(), address.port, socket);
  socket.local = address;
  socket.bound = true;
  return 0;
}

bool SimSockets::bind_anywhere(SimSocket& socket) {
  return socket.bound || bind_to(socket, SocketAddress{}) == 0;
}

int SimSockets::bind(int fd, const sockaddr* address, socklen_t length) {
  SimSocket* const socket = find(fd);
  return socket ? bind_to(*socket, address_of(address, length)) : -1;
}

int SimSockets::listen(int fd, int backlog) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (!bind_anywhere(*socket)) return -1;
  socket->listening = true;
  socket->backlog = static_cast<size_t>(std::max(0, backlog));
  return 0;
}

int SimSockets::connect(int fd, const sockaddr* address, socklen_t length) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  SocketAddress peer = address_of(address, length);
  if (peer.ip.is_unspecified()) peer.ip = IpAddress::loopback_v4();
  if (socket->type == SOCK_DGRAM) {
    if (!bind_anywhere(*socket)) return -1;
    socket->peer = peer;
    return 0;
  }
  if (socket->end) return refuse(EISCONN);
  if (!bind_anywhere(*socket)) return refuse(EADDRNOTAVAIL);
  const IpAddress own = peer.ip.is_loopback() ? IpAddress::loopback_v4() : host_.address();
  socket->local.ip = own;
  socket->end = std::make_shared<StreamEnd>(world_.network().state(), host_, socket->local, peer);
  socket->end->set_socket(socket);
  socket->end->connect();
  return refuse(EINPROGRESS);
}

int SimSockets::accept(int fd) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (!socket->listening) return refuse(EINVAL);
  if (socket->waiting.empty()) return refuse(EAGAIN);
  auto accepted = std::make_unique<SimSocket>(world_, host_, SOCK_STREAM);
  accepted->end = std::move(socket->waiting.front());
  socket->waiting.pop_front();
  accepted->local = accepted->end->local();
  accepted->end->set_socket(accepted.get());
  const int number = world_.next_descriptor();
  sockets_[number] = std::move(accepted);
  return number;
}

int SimSockets::getsockname(int fd, sockaddr* address, socklen_t* length) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  give(socket->local, address, length);
  return 0;
}

int SimSockets::getpeername(int fd, sockaddr* address, socklen_t* length) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  const bool connected = socket->end ? socket->end->established() : socket->peer.has_value();
  if (!connected) return refuse(ENOTCONN);
  give(socket->end ? socket->end->peer() : *socket->peer, address, length);
  return 0;
}

int SimSockets::duplicate(int fd) {
  if (!find(fd)) return -1;
  return refuse(EOPNOTSUPP);  // what is simulated has no number outside
}

int SimSockets::shutdown(int fd, int how) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (!socket->end) return refuse(ENOTCONN);
  return how == SHUT_RD ? 0 : socket->end->shutdown_write();
}

// -- options

int SimSockets::getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (level != SOL_SOCKET || (name != SO_ERROR && name != SO_PROTOCOL)) return refuse(ENOPROTOOPT);
  int answer = socket->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
  if (name == SO_ERROR) {
    answer = std::exchange(socket->error, 0);
    if (socket->end) answer = socket->end->take_error();
  }
  std::memcpy(value, &answer, sizeof answer);
  *length = sizeof answer;
  return 0;
}

int SimSockets::setsockopt(int fd, int level, int name, const void*, socklen_t) {
  if (!find(fd)) return -1;
  const bool known = (level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_KEEPALIVE)) ||
                     (level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_KEEPIDLE ||
                                               name == TCP_KEEPINTVL || name == TCP_KEEPCNT));
  return known ? 0 : refuse(ENOPROTOOPT);
}

// -- reading and writing

ssize_t SimSockets::recv(int fd, std::span<std::byte> into) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (!socket->end) return refuse(ENOTCONN);
  return socket->end->read(into);
}

ssize_t SimSockets::send(int fd, std::span<const std::byte> from) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (!socket->end) return refuse(EPIPE);
  return socket->end->write(from);
}

ssize_t SimSockets::recvmsg(int fd, msghdr* message, int flags) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  if (socket->error != 0) return refuse(std::exchange(socket->error, 0));
  if (socket->datagrams.empty()) return refuse(EAGAIN);
  const SimDatagram datagram = std::move(socket->datagrams.front());
  socket->datagrams.pop_front();
  size_t copied = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) {
    const size_t size = std::min(message->msg_iov[i].iov_len, datagram.bytes.size() - copied);
    std::memcpy(message->msg_iov[i].iov_base, datagram.bytes.data() + copied, size);
    copied += size;
  }
  if (message->msg_name) {
    give(datagram.from, static_cast<sockaddr*>(message->msg_name), &message->msg_namelen);
  }
  message->msg_controllen = 0;
  message->msg_flags = copied < datagram.bytes.size() ? MSG_TRUNC : 0;
  return static_cast<ssize_t>(flags & MSG_TRUNC ? datagram.bytes.size() : copied);
}

ssize_t SimSockets::sendmsg(int fd, const msghdr* message) {
  SimSocket* const socket = find(fd);
  if (!socket) return -1;
  const std::string bytes = gathered(*message);
  if (socket->type == SOCK_STREAM) return send(fd, std::as_bytes(std::span(bytes)));
  if (message->msg_controllen > 0) return refuse(EINVAL);  // nothing here cuts datagrams
  if (bytes.size() > UdpSocket::kDatagramBytesMax) return refuse(EMSGSIZE);
  if (!message->msg_name && !socket->peer) return refuse(EDESTADDRREQ);
  if (socket->error != 0) return refuse(std::exchange(socket->error, 0));
  if (!bind_anywhere(*socket)) return -1;
  const SocketAddress to =
      message->msg_name
          ? address_of(static_cast<const sockaddr*>(message->msg_name), message->msg_namelen)
          : *socket->peer;
  const auto size = static_cast<ssize_t>(bytes.size());
  send_datagram(*socket, to, bytes);
  return size;
}

void SimSockets::send_datagram(SimSocket& from, const SocketAddress& to, std::string bytes) {
  SimNetworkState& network = world_.network().state();
  const bool local = to.ip.is_loopback() || to.ip.is_unspecified();
  SimHostState* const target = local ? &host_ : world_.host_at(to.ip);
  if (!target) return;  // it goes where nobody is
  const SocketAddress sender{local ? IpAddress::loopback_v4() : host_.address(), from.local.port};
  const SimDatagram datagram{sender, std::move(bytes), next_datagram_++};
  for (int copies = network.duplicates(host_, *target) ? 2 : 1; copies > 0; --copies) {
    world_.after(network.latency(host_, *target), [this, target, to, datagram] {
      SimNetworkState& network = world_.network().state();
      if (!network.passes(host_, *target)) return;
      SimSocket* const receiver = target->ports().find(SimPorts::Kind::datagram, to.port);
      if (receiver) return receiver->receive(datagram);
      // The answer to a port that nobody has.
      world_.after(network.latency(*target, host_), [this, target, to, sender = datagram.from] {
        if (world_.network().state().passes(*target, host_)) tell_unreachable(sender, to);
      });
    });
  }
}

void SimSockets::tell_unreachable(const SocketAddress& sender, const SocketAddress& target) {
  SimSocket* const socket = host_.ports().find(SimPorts::Kind::datagram, sender.port);
  if (!socket || socket->peer != target) return;  // only connected sockets are told
  socket->error = ECONNREFUSED;
  socket->changed();
}

int SimSockets::recvmmsg(int fd, std::span<mmsghdr> messages, int flags) {
  int count = 0;
  for (mmsghdr& message : messages) {
    const ssize_t size = recvmsg(fd, &message.msg_hdr, flags);
    if (size < 0) return count > 0 ? count : -1;
    message.msg_len = static_cast<unsigned>(size);
    ++count;
  }
  return count;
}

int SimSockets::sendmmsg(int fd, std::span<mmsghdr> messages) {
  int count = 0;
  for (mmsghdr& message : messages) {
    const ssize_t size = sendmsg(fd, &message.msg_hdr);
    if (size < 0) return count > 0 ? count : -1;
    message.msg_len = static_cast<unsigned>(size);
    ++count;
  }
  return count;
}

}  // namespace zsync::testing
