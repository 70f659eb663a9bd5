#include "net/dns_server_test.hpp"
#include "zsync/dns.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class ConnectOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(ConnectOnEveryModel);

// An address where nobody listens, as long as this lives.
class Nobody {
 public:
  Nobody()
      : socket_(UniqueFd(
            net::new_bound_socket(rt::kernel_sockets(), "test", any_port(), SOCK_STREAM, {})
                ->release())) {}
  SocketAddress address() const { return *net::local_address(rt::kernel_sockets(), socket_.get()); }

 private:
  UniqueFd socket_;
};

// An address that answers nobody: its queue is full.
class Silent {
 public:
  Silent()
      : listener_(UniqueFd(
            net::new_bound_socket(rt::kernel_sockets(), "test", any_port(), SOCK_STREAM, {})
                ->release())) {
    EXPECT_EQ(::listen(listener_.get(), 0), 0);
    const net::RawAddress raw(address());
    for (UniqueFd& filler : fillers_) {
      filler = UniqueFd(
          net::new_socket(rt::kernel_sockets(), "test", address(), SOCK_STREAM)->release());
      (void)::connect(filler.get(), raw.get(), raw.length());
    }
  }
  SocketAddress address() const {
    return *net::local_address(rt::kernel_sockets(), listener_.get());
  }

 private:
  UniqueFd listener_;
  UniqueFd fillers_[4];
};

TEST_P(ConnectOnEveryModel, ANameOfTheHostsFileIsConnectedTo) {
  const ScratchDir dir;
  dir.write("hosts", "::1 box\n127.0.0.1 box\n");
  run_here([](std::string hosts) -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const Resolver resolver = *Resolver::open({.hosts_file = hosts});
    const uint16_t port = listener->local_address()->port;
    // Nobody listens at ::1, if there is such an address at all.
    auto stream = co_await connect_tcp("box", port, {.resolver = resolver});
    EXPECT_TRUE(stream.ok()) << stream.status();
    if (stream.ok()) EXPECT_EQ(stream->peer_address()->ip, IpAddress::loopback_v4());
    EXPECT_TRUE((co_await connect_tcp("127.0.0.1", port)).ok());
  }(dir / "hosts"));
}

TEST_P(ConnectOnEveryModel, AnAddressThatFailsIsFollowedByTheNextAtOnce) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const Nobody first, second;
    auto stream =
        co_await connect_tcp({first.address(), second.address(), *listener->local_address()}, 1h);
    EXPECT_TRUE(stream.ok()) << stream.status();
  }());
}

TEST_P(ConnectOnEveryModel, AnAddressThatDoesNotAnswerIsOvertakenAndItsAttemptEnds) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const Silent silent;
    const int before = open_descriptors();
    {
      auto stream = co_await connect_tcp({silent.address(), *listener->local_address()}, 5ms);
      EXPECT_TRUE(stream.ok()) << stream.status();
      if (stream.ok()) EXPECT_EQ(*stream->peer_address(), *listener->local_address());
      co_await descriptors_back_to(before + 1);
    }
  }());
}

TEST_P(ConnectOnEveryModel, WhenNobodyAnswersEveryAttemptIsTold) {
  run_here([]() -> Task<void> {
    const Nobody first, second;
    EXPECT_EQ((co_await connect_tcp({first.address(), second.address()})).status(),
              absl::UnavailableError("connect " + first.address().to_string() +
                                     ": Connection refused; connect " +
                                     second.address().to_string() + ": Connection refused"));
    EXPECT_EQ((co_await connect_tcp("127.0.0.1", first.address().port)).status(),
              absl::UnavailableError("\"127.0.0.1\": connect " + first.address().to_string() +
                                     ": Connection refused"));
    EXPECT_EQ((co_await connect_tcp(std::vector<SocketAddress>{})).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ((co_await connect_tcp({first.address()}, -1ms)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }());
}

TEST_P(ConnectOnEveryModel, ACancelEndsEveryAttempt) {
  run_here([]() -> Task<void> {
    const Silent first, second, third;
    const int before = open_descriptors();
    auto handle = spawn(connect_tcp({first.address(), second.address(), third.address()}, 1ms));
    while (open_descriptors() < before + 2) co_await sleep(1ms);
    handle.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await handle).status()));
    co_await descriptors_back_to(before);
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(connect_tcp({first.address()}), 5ms)).status()));
    co_await descriptors_back_to(before);
  }());
}

}  // namespace
}  // namespace zsync
