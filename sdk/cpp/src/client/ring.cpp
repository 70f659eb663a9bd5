#include "zsync/client/ring.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "connection.hpp"
#include "ring/bell.hpp"
#include "ring/ends.hpp"
#include "zsync/client/channels.hpp"
#include "zsync/client/error.hpp"
#include "zsync/fd.hpp"

namespace zsync::client {
namespace {

using ring::Bell;

constexpr std::size_t kPublishEvery = 64;    // messages, so that the receiver begins meanwhile
constexpr std::uint64_t kCheckEvery = 1024;  // publications, between two looks at the daemon
constexpr std::uint32_t kReplyBytesMax = 64 << 10;
constexpr std::chrono::seconds kOpenTimeout{10};
constexpr int kDescriptors = 3;  // memory, the sender's bell, the receiver's

absl::Status gone() {
  return absl::UnavailableError("zsyncd is gone, and with it what was in the ring");
}

absl::StatusOr<UniqueFd> connect_to(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return absl::ErrnoToStatus(errno, "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  timeval limit{};
  limit.tv_sec = kOpenTimeout.count();
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return absl::UnavailableError(absl::StrCat("connect to ", path, ": ", std::strerror(errno)));
  }
  return socket;
}

std::string framed(const v1::OpenRingRequest& request) {
  const std::string body = request.SerializeAsString();
  const auto size = static_cast<std::uint32_t>(body.size());
  std::string frame = "ZSYNCFD1";
  for (int byte = 0; byte < 4; ++byte) frame.push_back(static_cast<char>(size >> (8 * byte)));
  return frame + body;
}

// Reads some of a reply, and the descriptors that come with its first byte.
ssize_t receive(int socket, char* into, std::size_t bytes, std::vector<UniqueFd>& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kDescriptors)];
  iovec part{into, bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return got;
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return got;
}

absl::Status receive_all(int socket, char* into, std::size_t bytes, std::vector<UniqueFd>& fds) {
  while (bytes > 0) {
    const ssize_t got = receive(socket, into, bytes, fds);
    if (got == 0) return absl::UnavailableError("zsyncd closed the connection");
    if (got < 0) return absl::UnavailableError(absl::StrCat("zsyncd: ", std::strerror(errno)));
    into += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return absl::OkStatus();
}

// What both ends of an open ring have.
struct Place {
  UniqueFd connection;
  UniqueFd sender_bell;
  UniqueFd receiver_bell;
  ring::Memory memory;
  std::uint64_t message_bytes_max;
};

absl::StatusOr<Place> open_place(const std::string& socket, const std::string& channel,
                                 v1::RingEnd end) {
  v1::OpenRingRequest request;
  request.set_channel(channel);
  request.set_end(end);
  absl::StatusOr<UniqueFd> connection = connect_to(socket);
  if (!connection.ok()) return connection.status();
  const std::string frame = framed(request);
  if (::send(connection->get(), frame.data(), frame.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(frame.size())) {
    return absl::UnavailableError(absl::StrCat("zsyncd: ", std::strerror(errno)));
  }
  std::vector<UniqueFd> fds;
  std::array<char, 4> prefix{};
  absl::Status read = receive_all(connection->get(), prefix.data(), prefix.size(), fds);
  if (!read.ok()) return read;
  std::uint32_t size = 0;
  for (int byte = 3; byte >= 0; --byte) {
    size = (size << 8) | static_cast<unsigned char>(prefix[static_cast<std::size_t>(byte)]);
  }
  std::string body(std::min(size, kReplyBytesMax), '\0');
  read = receive_all(connection->get(), body.data(), body.size(), fds);
  if (!read.ok()) return read;
  v1::OpenRingReply reply;
  if (size > kReplyBytesMax || !reply.ParseFromString(body)) {
    return absl::InternalError("zsyncd: a reply that is none of a ring");
  }
  if (reply.code() != 0) {
    absl::Status refused(static_cast<absl::StatusCode>(reply.code()), reply.message());
    if (reply.has_detail()) {
      const std::string detail = reply.detail().SerializeAsString();
      refused.SetPayload(kErrorDetailUrl, absl::Cord(absl::string_view(detail)));
    }
    return refused;
  }
  if (fds.size() != kDescriptors) {
    return absl::InternalError(absl::StrCat("zsyncd: a ring with ", fds.size(), " descriptors"));
  }
  absl::StatusOr<ring::Memory> memory = ring::Memory::map(fds[0].release());
  if (!memory.ok()) return memory.status();
  return Place{*std::move(connection), std::move(fds[1]), std::move(fds[2]), *std::move(memory),
               reply.message_bytes_max()};
}

// An end that waits: on its bell, its connection, its StopSource and its deadline.
class Waiter {
 public:
  Waiter(Place place, bool sends, const RingOptions& options, const internal::Bounds& bounds)
      : place_(std::move(place)),
        sends_(sends),
        own_bell_(sends ? place_.sender_bell.get() : place_.receiver_bell.get()),
        other_bell_(sends ? place_.receiver_bell.get() : place_.sender_bell.get()),
        sleeps_(sends ? place_.memory.header().sender_sleeps
                      : place_.memory.header().receiver_sleeps),
        other_sleeps_(sends ? place_.memory.header().receiver_sleeps
                            : place_.memory.header().sender_sleeps),
        bell_(own_bell_, place_.connection.get(), sleeps_, options.spin),
        deadline_(bounds.deadline) {
    if (bounds.stop == nullptr) return;
    stop_ = bounds.stop->state();
    listener_ = stop_->add([this] { Bell::ring_now(own_bell_, sleeps_); });
  }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter() {
    if (stop_ != nullptr) stop_->remove(listener_);
  }

  const ring::Memory& memory() const { return place_.memory; }
  std::uint64_t message_bytes_max() const { return place_.message_bytes_max; }

  // Until `ready`.
  //
  // Errors: kCancelled, kDeadlineExceeded; kUnavailable when the daemon is gone, kNotFound when the
  //         channel was removed. A closed channel makes it ready, or is said by closed().
  absl::Status wait(const std::function<bool()>& ready) {
    std::optional<Bell::Clock::time_point> until;
    if (deadline_.has_value()) until = Bell::Clock::now() + (*deadline_ - internal::Clock::now());
    const auto stopped = [this] { return stop_ != nullptr && stop_->cancelled(); };
    while (true) {
      switch (bell_.wait([&] { return ready() || closed_; }, stopped, until)) {
        case Bell::Why::kReady:
          return absl::OkStatus();
        case Bell::Why::kStopped:
          return cancelled();
        case Bell::Why::kTimeout:
          return too_late();
        case Bell::Why::kControl:
          if (absl::Status heard = listen(); !heard.ok()) return heard;
      }
    }
  }

  // Whether the call may go on, for one that need not wait.
  absl::Status go_on() const {
    if (stop_ != nullptr && stop_->cancelled()) return cancelled();
    if (deadline_.has_value() && internal::Clock::now() >= *deadline_) return too_late();
    return absl::OkStatus();
  }

  // Hears what the daemon has said meanwhile, without waiting.
  absl::Status listen() {
    while (true) {
      char word = 0;
      const ssize_t got = ::recv(place_.connection.get(), &word, 1, MSG_DONTWAIT);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return absl::OkStatus();
      if (got <= 0) {
        // Nobody keeps what is sent from now on: the other end learns it by this.
        place_.memory.header().tail.fetch_or(ring::kClosed, std::memory_order_seq_cst);
        Bell::ring_now(other_bell_, other_sleeps_);
        return gone();
      }
      if (word == 'C') closed_ = true;
      if (word == 'R') return absl::NotFoundError("the channel was removed");
    }
  }
  bool closed() const { return closed_; }
  void wake_other() const { Bell::ring(other_bell_, other_sleeps_); }

 private:
  static absl::Status cancelled() { return absl::CancelledError("the call was cancelled"); }
  absl::Status too_late() const {
    return absl::DeadlineExceededError(sends_ ? "the ring had no room in time"
                                              : "no message came into the ring in time");
  }

  Place place_;
  const bool sends_;
  int own_bell_;
  int other_bell_;
  std::atomic<std::uint32_t>& sleeps_;
  std::atomic<std::uint32_t>& other_sleeps_;
  Bell bell_;
  internal::Deadline deadline_;
  std::shared_ptr<internal::StopState> stop_;
  internal::StopState::Listener listener_;
  bool closed_ = false;
};

absl::Status closed_channel() {
  return absl::FailedPreconditionError("the channel is closed: create another one");
}

absl::Status damaged() {
  return absl::DataLossError(
      "the ring's indices make no sense: one of its ends wrote over them; remove the channel");
}

}  // namespace

struct RingSender::Impl {
  Impl(Place place, const RingOptions& options, const internal::Bounds& bounds)
      : waiter(std::move(place), true, options, bounds) {}

  absl::Status attach() {
    absl::StatusOr<ring::Sender> attached = ring::Sender::attach(waiter.memory());
    if (!attached.ok()) return attached.status();
    end = *attached;
    first = end->sent();
    return absl::OkStatus();
  }

  absl::Status check_size(std::size_t bytes) const {
    if (bytes <= waiter.message_bytes_max() && end->can_hold(bytes)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "a message of ", bytes, " bytes (message_bytes_max = ", waiter.message_bytes_max(),
        ", and a ring of ", waiter.memory().bytes(),
        " bytes): send it in parts, or create the channel with more bytes_max"));
  }

  absl::Status publish() {
    switch (end->publish()) {
      case ring::Sender::Result::kDone:
        break;
      case ring::Sender::Result::kDamaged:
        return damaged();
      case ring::Sender::Result::kClosed:
        if (absl::Status heard = waiter.listen(); !heard.ok()) return heard;
        return closed_channel();
    }
    waiter.wake_other();
    if (++published % kCheckEvery != 0) return absl::OkStatus();
    const absl::Status heard = waiter.listen();
    return heard.ok() ? waiter.go_on() : heard;
  }

  absl::Status put(std::string_view message) {
    while (!end->put(message)) {
      if (end->damaged()) return damaged();
      if (end->unpublished() > 0) {
        if (absl::Status shown = publish(); !shown.ok()) return shown;
      }
      const absl::Status waited = waiter.wait(
          [&] { return end->has_room(message.size()) || end->damaged() || end->closed(); });
      if (!waited.ok()) return waited;
      // The daemon's word counts, also when the other end took the mark away.
      if (waiter.closed() || end->closed()) {
        if (absl::Status heard = waiter.listen(); !heard.ok()) return heard;
        return closed_channel();
      }
    }
    return absl::OkStatus();
  }

  Waiter waiter;
  std::optional<ring::Sender> end;
  std::uint64_t first = 0;
  std::uint64_t published = 0;
};

RingSender::RingSender(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RingSender::RingSender(RingSender&&) noexcept = default;
RingSender::~RingSender() = default;

absl::Status RingSender::send(std::string_view message) {
  if (absl::Status fits = impl_->check_size(message.size()); !fits.ok()) return fits;
  if (absl::Status put = impl_->put(message); !put.ok()) return put;
  return impl_->publish();
}

absl::Status RingSender::send(const std::vector<std::string_view>& messages) {
  for (std::string_view message : messages) {
    absl::Status status = impl_->check_size(message.size());
    if (status.ok()) status = impl_->put(message);
    if (status.ok() && impl_->end->unpublished() >= kPublishEvery) status = impl_->publish();
    if (!status.ok()) {
      if (impl_->end->unpublished() > 0) (void)impl_->publish();
      return status;
    }
  }
  return impl_->end->unpublished() > 0 ? impl_->publish() : absl::OkStatus();
}

absl::StatusOr<bool> RingSender::try_send(std::string_view message) {
  if (absl::Status fits = impl_->check_size(message.size()); !fits.ok()) return fits;
  if (!impl_->end->put(message)) {
    if (impl_->end->damaged()) return damaged();
    if (absl::Status heard = check(); !heard.ok()) return heard;
    return false;
  }
  if (absl::Status shown = impl_->publish(); !shown.ok()) return shown;
  return true;
}

std::uint64_t RingSender::sent() const { return impl_->end->sent() - impl_->first; }

absl::Status RingSender::check() {
  if (absl::Status heard = impl_->waiter.listen(); !heard.ok()) return heard;
  return impl_->waiter.closed() || impl_->end->closed() ? closed_channel() : absl::OkStatus();
}

struct RingReceiver::Impl {
  Impl(Place place, const RingOptions& options, const internal::Bounds& bounds)
      : waiter(std::move(place), false, options, bounds) {}

  absl::Status attach() {
    absl::StatusOr<ring::Receiver> attached = ring::Receiver::attach(waiter.memory());
    if (!attached.ok()) return attached.status();
    end = *std::move(attached);
    return absl::OkStatus();
  }

  // What is there, waiting for one -> how many; 0: closed and drained.
  absl::StatusOr<std::size_t> take(std::size_t max) {
    while (true) {
      absl::StatusOr<std::size_t> taken = end->take(max, messages);
      if (!taken.ok() || *taken > 0) return taken;
      // That it is closed is the daemon's word, not the sender's.
      if (end->ended() && !waiter.closed()) {
        if (absl::Status heard = waiter.listen(); !heard.ok()) return heard;
      }
      if (waiter.closed() && end->empty()) return std::size_t{0};
      if (absl::Status waited = waiter.wait([&] { return !end->empty(); }); !waited.ok()) {
        return waited;
      }
    }
  }

  Waiter waiter;
  std::optional<ring::Receiver> end;
  std::vector<std::string_view> messages;
};

RingReceiver::RingReceiver(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RingReceiver::RingReceiver(RingReceiver&&) noexcept = default;
RingReceiver::~RingReceiver() = default;

absl::Status RingReceiver::recv(std::uint64_t limit, const Callback& callback) {
  std::uint64_t left = limit == 0 ? UINT64_MAX : limit;
  while (left > 0) {
    const std::uint64_t first = impl_->end->next_seq();
    const absl::StatusOr<std::size_t> taken = impl_->take(left);
    if (!taken.ok()) return taken.status();
    if (*taken == 0) return absl::OkStatus();
    const bool more = callback(RingBatch{first, impl_->messages});
    impl_->end->release();
    impl_->waiter.wake_other();
    if (limit != 0) left -= *taken;
    if (!more) return absl::OkStatus();
    if (absl::Status status = impl_->waiter.go_on(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

namespace {

// Asks by gRPC first: that says in full what is wrong, and is what a restart is waited for with.
template <typename End>
absl::StatusOr<std::unique_ptr<typename End::Impl>> open_end(
    Channels& channels, internal::Connection& connection, const std::string& name, v1::RingEnd end,
    const RingOptions& ring, const CallOptions& options) {
  const absl::StatusOr<v1::Channel> channel = channels.get(name, options);
  if (!channel.ok()) return channel.status();
  const internal::Bounds bounds = connection.bounds(options);
  std::optional<Place> place;
  // A place that was not given may be asked for again.
  const absl::Status opened = connection.resuming(bounds, [&](bool&) {
    absl::StatusOr<Place> given = open_place(connection.options().socket, name, end);
    if (given.ok()) place.emplace(*std::move(given));
    return given.status();
  });
  if (!opened.ok()) return opened;
  auto impl = std::make_unique<typename End::Impl>(*std::move(place), ring, bounds);
  if (absl::Status attached = impl->attach(); !attached.ok()) return attached;
  return impl;
}

}  // namespace

absl::StatusOr<RingSender> Channels::ring_sender(const std::string& name, const RingOptions& ring,
                                                 const CallOptions& options) {
  auto impl = open_end<RingSender>(*this, connection_, name, v1::RING_END_SENDER, ring, options);
  if (!impl.ok()) return impl.status();
  return RingSender(*std::move(impl));
}

absl::StatusOr<RingReceiver> Channels::ring_receiver(const std::string& name,
                                                     const RingOptions& ring,
                                                     const CallOptions& options) {
  auto impl =
      open_end<RingReceiver>(*this, connection_, name, v1::RING_END_RECEIVER, ring, options);
  if (!impl.ok()) return impl.status();
  return RingReceiver(*std::move(impl));
}

}  // namespace zsync::client
