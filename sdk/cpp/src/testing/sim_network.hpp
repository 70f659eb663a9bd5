// The simulated network: ways between hosts, the ports of a host, and the ends of streams.
//
// A stream is two StreamEnds that refer to each other weakly. An end is kept by its socket and by
// what it still has under way, so one that was closed goes on sending until everything has arrived,
// as a kernel does. Invariants
//   1. Segments are numbered; the receiver puts them in order, the sender sends a lost one again.
//   2. unread_ counts bytes from send() until the peer's program has read them: at most
//   kWindowBytes.
//   3. An end that has failed (error_) or was closed sends nothing more but what is under way.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "zsync/socket.hpp"
#include "zsync/testing/sim_host.hpp"

namespace zsync::testing {

class SimSocket;
class SimWorld;

class SimNetworkState {
 public:
  explicit SimNetworkState(SimWorld& world) : world_(world) {}

  SimWorld& world() { return world_; }
  const SimNetworkOptions& way(SimHostState& from, SimHostState& to) const;
  // How long a packet takes.
  rt::Duration latency(SimHostState& from, SimHostState& to);
  // Whether one that arrives now does so.
  bool passes(SimHostState& from, SimHostState& to);
  bool duplicates(SimHostState& from, SimHostState& to);

  void remember(const std::shared_ptr<class StreamEnd>& end);

  SimNetworkOptions options;
  std::map<std::pair<std::string, std::string>, SimNetworkOptions> ways;
  std::set<std::pair<std::string, std::string>> cuts;
  std::set<std::string> isolated;
  SimNetworkCounts counts;
  std::vector<std::weak_ptr<StreamEnd>> ends;  // that were connected

 private:
  SimWorld& world_;
};

// Who has which port of a host. Sockets take themselves out before they end.
class SimPorts {
 public:
  enum class Kind : uint8_t { datagram, stream };

  // 0: none is left. Ports of the system's choice count up, so that none is soon used again.
  uint16_t choose(Kind kind);
  bool taken(Kind kind, uint16_t port) const { return sockets_.contains({kind, port}); }
  void take(Kind kind, uint16_t port, SimSocket& socket) { sockets_[{kind, port}] = &socket; }
  void give_back(Kind kind, uint16_t port, const SimSocket& socket);
  SimSocket* find(Kind kind, uint16_t port) const;

 private:
  static constexpr uint16_t kFirst = 32768;

  std::map<std::pair<Kind, uint16_t>, SimSocket*> sockets_;
  uint16_t next_ = kFirst;
};

// One end of a stream.
class StreamEnd final : public std::enable_shared_from_this<StreamEnd> {
 public:
  StreamEnd(SimNetworkState& network, SimHostState& host, SocketAddress local, SocketAddress peer);

  // Sends what opens a connection, until somebody answers.
  void connect(int attempt = 0);
  // The two are connected from now on.
  static void join(const std::shared_ptr<StreamEnd>& a, const std::shared_ptr<StreamEnd>& b);

  // As the system calls: -1 with errno.
  ssize_t read(std::span<std::byte> into);
  ssize_t write(std::span<const std::byte> from);
  int shutdown_write();
  // The program has let go of it.
  void close();
  // Without a word to the peer but a reset.
  void abort();
  // Ends it here and now.
  void fail(int error);

  bool established() const { return established_; }
  int take_error() { return std::exchange(error_, 0); }
  // rt::kReadable | ...
  uint32_t ready() const;
  const SocketAddress& local() const { return local_; }
  const SocketAddress& peer() const { return peer_; }
  SimHostState& host() { return host_; }
  void set_socket(SimSocket* socket) { socket_ = socket; }
  void establish();

 private:
  struct Segment {
    uint64_t number;
    std::string bytes;
    bool end;  // nothing follows
  };

  void transmit(std::shared_ptr<const Segment> segment, int attempt);
  void arrive(const std::shared_ptr<const Segment>& segment, int attempt);
  void take(const Segment& segment);
  void was_read(size_t bytes);
  void reset_peer();
  void changed();
  void answer(SimHostState& server, int attempt);
  void connect_again(int attempt);

  SimNetworkState& network_;
  SimHostState& host_;
  const SocketAddress local_;
  const SocketAddress peer_;
  SimHostState* peer_host_ = nullptr;
  std::weak_ptr<StreamEnd> other_;
  SimSocket* socket_ = nullptr;  // nullptr: the program has closed it

  bool established_ = false;
  bool closed_ = false;
  bool failed_ = false;
  int error_ = 0;  // told once

  std::deque<char> received_;
  std::map<uint64_t, std::shared_ptr<const Segment>> early_;  // before one that is missing
  uint64_t next_expected_ = 0;
  bool peer_ended_ = false;

  uint64_t next_number_ = 0;
  size_t unread_ = 0;  // bytes
  bool ended_ = false;
};

}  // namespace zsync::testing
