// SimSockets: the sockets of one simulated process, behind the system calls that use them.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "io/socket_calls.hpp"
#include "testing/sim_network.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync::testing {

class SimSocket;

// What a driver's source is here.
struct SimSource final : rt::FdSource {
  SimSocket* socket = nullptr;         // nullptr: its process was stopped
  rt::FdListener* listener = nullptr;  // nullptr: not watched any more
  uint32_t armed = 0;
  bool told = false;  // of what is on its way to the listener
};

struct SimDatagram {
  SocketAddress from;
  std::string bytes;
  uint64_t number;  // in the order of sending
};

class SimSocket {
 public:
  SimSocket(SimWorld& world, SimHostState& host, int type);
  ~SimSocket();

  // Tells whoever waits what has become possible.
  void changed();
  static void tell(SimWorld& world, const std::shared_ptr<SimSource>& source);
  uint32_t ready() const;
  void receive(SimDatagram datagram);
  // Datagrams of others than the peer of connect() are not for it.
  bool wants(const SocketAddress& from) const { return !peer || *peer == from; }

  const int type;  // SOCK_STREAM, SOCK_DGRAM
  SocketAddress local;
  bool bound = false;
  int error = 0;  // told once
  std::shared_ptr<SimSource> source;
  // Of datagrams.
  std::optional<SocketAddress> peer;
  std::deque<SimDatagram> datagrams;
  uint64_t latest = 0;  // number
  // Of a listener.
  bool listening = false;
  size_t backlog = 0;
  std::deque<std::shared_ptr<StreamEnd>> waiting;
  // Of a stream.
  std::shared_ptr<StreamEnd> end;

 private:
  SimPorts::Kind kind() const {
    return type == SOCK_STREAM ? SimPorts::Kind::stream : SimPorts::Kind::datagram;
  }
  friend class SimSockets;

  SimWorld& world_;
  SimHostState& host_;
};

class SimSockets final : public rt::SocketCalls {
 public:
  SimSockets(SimWorld& world, SimHostState& host) : world_(world), host_(host) {}

  absl::StatusOr<rt::FdSource*> watch(int fd, rt::FdListener& listener);
  void arm(rt::FdSource& source, uint32_t events);
  void unwatch(rt::FdSource& source);
  // Every later call fails.
  void stop(SimCrash how);

  // -- rt::SocketCalls
  int socket(int family, int type) override;
  int close(int fd) override;
  int bind(int fd, const sockaddr* address, socklen_t length) override;
  int listen(int fd, int backlog) override;
  int connect(int fd, const sockaddr* address, socklen_t length) override;
  int accept(int fd) override;
  ssize_t recv(int fd, std::span<std::byte> into) override;
  ssize_t send(int fd, std::span<const std::byte> from) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message) override;
  int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override;
  int sendmmsg(int fd, std::span<mmsghdr> messages) override;
  int shutdown(int fd, int how) override;
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length) override;
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length) override;
  int getsockname(int fd, sockaddr* address, socklen_t* length) override;
  int getpeername(int fd, sockaddr* address, socklen_t* length) override;
  int set_nonblocking(int fd) override { return find(fd) ? 0 : -1; }
  int duplicate(int fd) override;
  bool knows(int fd) const override { return sockets_.contains(fd); }

 private:
  // nullptr with errno.
  SimSocket* find(int fd);
  int bind_to(SimSocket& socket, SocketAddress address);
  bool bind_anywhere(SimSocket& socket);
  void send_datagram(SimSocket& from, const SocketAddress& to, std::string bytes);
  void tell_unreachable(const SocketAddress& sender, const SocketAddress& target);

  SimWorld& world_;
  SimHostState& host_;
  bool stopped_ = false;
  std::map<int, std::unique_ptr<SimSocket>> sockets_;
  std::map<rt::FdSource*, std::shared_ptr<SimSource>> sources_;
  uint64_t next_datagram_ = 1;
};

}  // namespace zsync::testing
