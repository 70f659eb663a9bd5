#include "testing/sim_network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "testing/sim_world.hpp"

namespace zsync::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kWindowBytes = 64 * 1024;
constexpr size_t kSegmentBytesMax = 1460;
constexpr rt::Duration kResendFirst = milliseconds(200);  // twice as long after each try
constexpr int kResendsMax = 9;                            // about 100 s
constexpr rt::Duration kConnectAgainFirst = seconds(1);
constexpr int kConnectsMax = 6;  // about 127 s
constexpr rt::Duration kNoSuchHost = seconds(3);
constexpr rt::Duration kWithinHost = microseconds(10);

std::pair<std::string, std::string> names(SimHostState& from, SimHostState& to) {
  return {from.name(), to.name()};
}

}  // namespace

const SimNetworkOptions& SimNetworkState::way(SimHostState& from, SimHostState& to) const {
  const auto own = ways.find(names(from, to));
  return own == ways.end() ? options : own->second;
}

rt::Duration SimNetworkState::latency(SimHostState& from, SimHostState& to) {
  ++counts.sent;
  if (&from == &to) return kWithinHost;
  const SimNetworkOptions& way = this->way(from, to);
  rt::Duration time = way.latency_min + world_.random_duration(way.latency_max - way.latency_min);
  if (world_.by_chance(way.straggler_percent))
    time += world_.random_duration(way.straggler_latency);
  return time;
}

bool SimNetworkState::passes(SimHostState& from, SimHostState& to) {
  if (&from == &to) return true;
  const bool cut = cuts.contains(names(from, to)) || isolated.contains(from.name()) ||
                   isolated.contains(to.name());
  if (!cut && !world_.by_chance(way(from, to).loss_percent)) return true;
  ++counts.lost;
  return false;
}

bool SimNetworkState::duplicates(SimHostState& from, SimHostState& to) {
  if (&from == &to || !world_.by_chance(way(from, to).duplicate_percent)) return false;
  ++counts.duplicated;
  return true;
}

void SimNetworkState::remember(const std::shared_ptr<StreamEnd>& end) {
  std::erase_if(ends, [](const std::weak_ptr<StreamEnd>& known) { return known.expired(); });
  ends.push_back(end);
}

// -- SimPorts

uint16_t SimPorts::choose(Kind kind) {
  for (int tries = UINT16_MAX - kFirst; tries > 0; --tries) {
    const uint16_t port = next_;
    next_ = next_ == UINT16_MAX ? kFirst : next_ + 1;
    if (!taken(kind, port)) return port;
  }
  return 0;
}

void SimPorts::give_back(Kind kind, uint16_t port, const SimSocket& socket) {
  const auto found = sockets_.find({kind, port});
  if (found != sockets_.end() && found->second == &socket) sockets_.erase(found);
}

SimSocket* SimPorts::find(Kind kind, uint16_t port) const {
  const auto found = sockets_.find({kind, port});
  return found == sockets_.end() ? nullptr : found->second;
}

// -- StreamEnd

StreamEnd::StreamEnd(SimNetworkState& network, SimHostState& host, SocketAddress local,
                     SocketAddress peer)
    : network_(network), host_(host), local_(local), peer_(peer) {}

void StreamEnd::connect(int attempt) {
  SimHostState* const server = peer_.ip.is_loopback() ? &host_ : network_.world().host_at(peer_.ip);
  const std::shared_ptr<StreamEnd> self = shared_from_this();
  if (!server) {
    return network_.world().after(kNoSuchHost, [self] { self->fail(EHOSTUNREACH); });
  }
  peer_host_ = server;
  network_.world().after(network_.latency(host_, *server),
                         [self, server, attempt] { self->answer(*server, attempt); });
}

void StreamEnd::connect_again(int attempt) {
  if (attempt >= kConnectsMax) return fail(ETIMEDOUT);
  const std::shared_ptr<StreamEnd> self = shared_from_this();
  network_.world().after(kConnectAgainFirst * (1 << attempt), [self, attempt] {
    if (!self->closed_ && !self->failed_) self->connect(attempt + 1);
  });
}

// At the server.
void StreamEnd::answer(SimHostState& server, int attempt) {
  if (closed_ || failed_) return;
  if (!network_.passes(host_, server)) return connect_again(attempt);
  SimSocket* const listener = server.ports().find(SimPorts::Kind::stream, peer_.port);
  const std::shared_ptr<StreamEnd> self = shared_from_this();
  std::shared_ptr<StreamEnd> accepted;
  if (listener && listener->listening) {
    if (listener->waiting.size() > listener->backlog) return connect_again(attempt);
    accepted = std::make_shared<StreamEnd>(network_, server, peer_, local_);
    accepted->peer_host_ = &host_;
    join(self, accepted);
    accepted->established_ = true;
    listener->waiting.push_back(accepted);
    listener->changed();
  }
  network_.world().after(network_.latency(server, host_), [self, &server, accepted, attempt] {
    if (self->closed_ || self->failed_) return;
    if (!self->network_.passes(server, self->host_)) {
      if (accepted) accepted->fail(ETIMEDOUT);
      return self->connect_again(attempt);
    }
    if (accepted) return self->establish();
    ++self->network_.counts.refused;
    self->fail(ECONNREFUSED);
  });
}

void StreamEnd::join(const std::shared_ptr<StreamEnd>& a, const std::shared_ptr<StreamEnd>& b) {
  a->other_ = b;
  b->other_ = a;
  a->network_.remember(a);
  b->network_.remember(b);
}

void StreamEnd::establish() {
  established_ = true;
  changed();
}

ssize_t StreamEnd::read(std::span<std::byte> into) {
  if (received_.empty()) {
    if (error_ != 0) return errno = take_error(), -1;
    if (peer_ended_ || failed_ || into.empty()) return 0;
    return errno = established_ ? EAGAIN : ENOTCONN, -1;
  }
  const size_t count = std::min(into.size(), received_.size());
  for (size_t i = 0; i < count; ++i) into[i] = static_cast<std::byte>(received_[i]);
  received_.erase(received_.begin(), received_.begin() + static_cast<ptrdiff_t>(count));
  if (const std::shared_ptr<StreamEnd> other = other_.lock(); other && peer_host_) {
    network_.world().after(network_.latency(host_, *peer_host_),
                           [other, count] { other->was_read(count); });
  }
  return static_cast<ssize_t>(count);
}

void StreamEnd::was_read(size_t bytes) {
  unread_ -= std::min(bytes, unread_);
  changed();
}

ssize_t StreamEnd::write(std::span<const std::byte> from) {
  if (error_ != 0) return errno = take_error(), -1;
  if (failed_ || ended_) return errno = EPIPE, -1;
  if (!established_) return errno = ENOTCONN, -1;
  const size_t count = std::min(from.size(), kWindowBytes - unread_);
  if (count == 0 && !from.empty()) return errno = EAGAIN, -1;
  unread_ += count;
  const char* const bytes = reinterpret_cast<const char*>(from.data());
  for (size_t begin = 0; begin < count; begin += kSegmentBytesMax) {
    const size_t size = std::min(kSegmentBytesMax, count - begin);
    transmit(std::make_shared<const Segment>(
                 Segment{next_number_++, std::string(bytes + begin, size), false}),
             0);
  }
  return static_cast<ssize_t>(count);
}

int StreamEnd::shutdown_write() {
  if (!established_ || failed_) return errno = ENOTCONN, -1;
  if (std::exchange(ended_, true)) return 0;
  transmit(std::make_shared<const Segment>(Segment{next_number_++, "", true}), 0);
  return 0;
}

void StreamEnd::transmit(std::shared_ptr<const Segment> segment, int attempt) {
  if (failed_) return;
  const std::shared_ptr<StreamEnd> self = shared_from_this();
  network_.world().after(
      network_.latency(host_, *peer_host_),
      [self, segment = std::move(segment), attempt] { self->arrive(segment, attempt); });
}

// At the peer.
void StreamEnd::arrive(const std::shared_ptr<const Segment>& segment, int attempt) {
  const std::shared_ptr<StreamEnd> self = shared_from_this();
  if (failed_) return;
  if (!network_.passes(host_, *peer_host_)) {
    if (attempt >= kResendsMax) return fail(ETIMEDOUT);
    return network_.world().after(kResendFirst * (1 << attempt), [self, segment, attempt] {
      self->transmit(segment, attempt + 1);
    });
  }
  const std::shared_ptr<StreamEnd> other = other_.lock();
  if (other && !other->failed_ && (!other->closed_ || segment->bytes.empty())) {
    other->early_[segment->number] = segment;
    while (!other->early_.empty() && other->early_.begin()->first == other->next_expected_) {
      const std::shared_ptr<const Segment> next = other->early_.begin()->second;
      other->early_.erase(other->early_.begin());
      other->take(*next);
    }
    return;
  }
  if (segment->bytes.empty()) return;  // an end that nobody is there to see
  // Nobody is there to read it: a reset comes back.
  network_.world().after(network_.latency(*peer_host_, host_), [self] {
    if (self->network_.passes(*self->peer_host_, self->host_)) self->fail(ECONNRESET);
  });
}

void StreamEnd::take(const Segment& segment) {
  ++next_expected_;
  received_.insert(received_.end(), segment.bytes.begin(), segment.bytes.end());
  if (segment.end) peer_ended_ = true;
  changed();
}

void StreamEnd::close() {
  socket_ = nullptr;
  if (std::exchange(closed_, true) || failed_ || !established_) return;
  if (!received_.empty()) {
    reset_peer();
  } else {
    (void)shutdown_write();
  }
}

void StreamEnd::abort() {
  socket_ = nullptr;
  if (established_ && !failed_) reset_peer();
  closed_ = failed_ = true;
}

void StreamEnd::reset_peer() {
  failed_ = true;
  const std::shared_ptr<StreamEnd> other = other_.lock();
  if (!other) return;
  network_.world().after(network_.latency(host_, *peer_host_),
                         [other, &network = network_, &from = host_, &to = *peer_host_] {
                           if (network.passes(from, to)) other->fail(ECONNRESET);
                         });
}

void StreamEnd::fail(int error) {
  if (failed_) return;
  failed_ = true;
  error_ = error;
  if (error == ECONNRESET) ++network_.counts.resets;
  changed();
}

uint32_t StreamEnd::ready() const {
  if (failed_) return rt::kReadable | rt::kWritable | rt::kHangup;
  uint32_t events = 0;
  if (!received_.empty() || peer_ended_) events |= rt::kReadable;
  if (established_ && (ended_ || unread_ < kWindowBytes)) events |= rt::kWritable;
  if (peer_ended_) events |= rt::kHangup;
  return events;
}

void StreamEnd::changed() {
  if (socket_) socket_->changed();
}

// -- SimNetwork

SimNetwork::SimNetwork(std::unique_ptr<SimNetworkState> state) : state_(std::move(state)) {}

SimNetwork::~SimNetwork() = default;

void SimNetwork::set_options(const SimNetworkOptions& options) { state_->options = options; }

void SimNetwork::set_options(const std::string& from, const std::string& to,
                             const SimNetworkOptions& options) {
  state_->ways[{from, to}] = options;
}

void SimNetwork::cut(const std::string& from, const std::string& to) {
  state_->cuts.insert({from, to});
}

void SimNetwork::partition(const std::string& a, const std::string& b) {
  cut(a, b);
  cut(b, a);
}

void SimNetwork::isolate(const std::string& host) { state_->isolated.insert(host); }

void SimNetwork::heal(const std::string& a, const std::string& b) {
  state_->cuts.erase({a, b});
  state_->cuts.erase({b, a});
  state_->isolated.erase(a);
  state_->isolated.erase(b);
}

void SimNetwork::heal() {
  state_->cuts.clear();
  state_->isolated.clear();
}

void SimNetwork::reset_connections(const std::string& a, const std::string& b) {
  for (const std::weak_ptr<StreamEnd>& known : state_->ends) {
    const std::shared_ptr<StreamEnd> end = known.lock();
    if (!end) continue;
    SimHostState* const peer = state_->world().host_at(end->peer().ip);
    const std::string& here = end->host().name();
    const std::string there = peer ? peer->name() : here;
    if ((here == a && there == b) || (here == b && there == a)) end->fail(ECONNRESET);
  }
}

const SimNetworkCounts& SimNetwork::counts() const { return state_->counts; }

}  // namespace zsync::testing
