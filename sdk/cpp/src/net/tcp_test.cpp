#include "zsync/tcp.hpp"

#include <netinet/tcp.h>
#include <sys/resource.h>

#include <string>
#include <vector>

#include "net/net_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class TcpOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(TcpOnEveryModel);
class TcpOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(TcpOnOneWorker);

struct Connected {
  TcpStream server;
  TcpStream client;
};

Task<Connected> connected(TcpListener& listener) {
  auto [server, client] =
      co_await all(listener.accept(), TcpStream::connect(*listener.local_address()));
  EXPECT_TRUE(server.ok() && client.ok()) << server.status() << client.status();
  co_return Connected{*std::move(server), *std::move(client)};
}

// A pair whose listener is gone.
Task<Connected> pair() {
  TcpListener listener = *TcpListener::bind(any_port());
  co_return co_await connected(listener);
}

void reset_on_close(const TcpStream& stream) {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  EXPECT_EQ(::setsockopt(stream.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
}

// Sends back what comes until the client has said all.
Task<void> echo(TcpStream stream) {
  std::vector<std::byte> buffer(1024);
  while (true) {
    const absl::StatusOr<size_t> count = co_await stream.read_some(buffer);
    if (!count.ok() || *count == 0) co_return;
    EXPECT_TRUE((co_await stream.write_all(std::span<const std::byte>(buffer).first(*count))).ok());
  }
}

Task<void> talk(SocketAddress address, int number) {
  absl::StatusOr<TcpStream> stream = co_await TcpStream::connect(address);
  EXPECT_TRUE(stream.ok()) << stream.status();
  const std::string said = "number " + std::to_string(number);
  EXPECT_TRUE((co_await stream->write_all(std::string_view(said))).ok());
  std::string heard(said.size(), ' ');
  EXPECT_TRUE((co_await stream->read_exact(std::as_writable_bytes(std::span(heard)))).ok());
  EXPECT_EQ(heard, said);
  EXPECT_TRUE(stream->shutdown_write().ok());
  EXPECT_TRUE((co_await stream->hangup()).ok());
  std::byte byte[1];
  EXPECT_EQ((co_await stream->read_exact(byte)).message(),
            "read: the peer ended after 0 of 1 bytes");
}

TEST_P(TcpOnEveryModel, ManyClientsTalkToAListenerAtOnce) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    EXPECT_TRUE(listener.ok()) << listener.status();
    constexpr int kClients = 20;
    co_await Executor::scope([&](Executor& group) -> Task<void> {
      for (int i = 0; i < kClients; ++i) group.spawn(talk, *listener->local_address(), i);
      for (int i = 0; i < kClients; ++i) group.spawn(echo, *co_await listener->accept());
    });
  }());
}

TEST_P(TcpOnEveryModel, BothEndsKnowBothAddresses) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    EXPECT_NE(listener->local_address()->port, 0);
    auto [server, client] = co_await connected(*listener);
    EXPECT_EQ(*client.peer_address(), *listener->local_address());
    EXPECT_EQ(*client.local_address(), *server.peer_address());
    EXPECT_EQ(*server.local_address(), *listener->local_address());
    EXPECT_FALSE(TcpStream().peer_address().ok());
  }());
}

TEST_P(TcpOnEveryModel, AnIpv6ListenerTakesIpv4PeersUnlessItIsAskedNotTo) {
  SKIP_WITHOUT_IPV6();
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port_v6());
    auto ends = co_await connected(*listener);
    EXPECT_EQ(ends.client.peer_address()->ip, IpAddress::loopback_v6());
    auto both = TcpListener::bind({IpAddress::any_v6(), 0});
    const SocketAddress by_v4{IpAddress::loopback_v4(), both->local_address()->port};
    auto [accepted, client] = co_await all(both->accept(), TcpStream::connect(by_v4));
    EXPECT_EQ(accepted->peer_address()->ip.to_string(), "::ffff:127.0.0.1");
    EXPECT_EQ(accepted->peer_address()->ip.unmapped(), IpAddress::loopback_v4());
    auto only = TcpListener::bind({IpAddress::any_v6(), 0}, {.v6_only = true});
    EXPECT_EQ(option_of(only->get(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
    EXPECT_EQ(option_of(both->get(), IPPROTO_IPV6, IPV6_V6ONLY), 0);
  }());
}

TEST_P(TcpOnEveryModel, NobodyListeningIsUnavailable) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const SocketAddress address = *listener->local_address();
    const int before = open_descriptors();
    listener->close();
    EXPECT_FALSE(*listener);
    co_await descriptors_back_to(before - 1);
    const absl::Status refused = (co_await TcpStream::connect(address)).status();
    EXPECT_EQ(refused,
              absl::UnavailableError("connect " + address.to_string() + ": Connection refused"));
    co_await descriptors_back_to(before - 1);
  }());
}

TEST_P(TcpOnEveryModel, AnAddressInUseOrOfAnotherMachineIsRefusedWithTheReason) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const SocketAddress address = *listener->local_address();
    EXPECT_EQ(TcpListener::bind(address).status(),
              absl::AlreadyExistsError("listen " + address.to_string() +
                                       ": another socket has this address; choose another port, "
                                       "or port 0 for any"));
    // TEST-NET-1, which no machine has.
    EXPECT_EQ(TcpListener::bind({IpAddress::v4({192, 0, 2, 1}), 0}).status().code(),
              absl::StatusCode::kNotFound);
    auto first = TcpListener::bind(any_port(), {.reuse_port = true});
    auto second = TcpListener::bind(*first->local_address(), {.reuse_port = true});
    EXPECT_TRUE(second.ok()) << second.status();
    co_return;
  }());
}

TEST_P(TcpOnEveryModel, APeerThatResetsIsUnavailableAndOneThatIsGoneABrokenPipe) {
  run_here([]() -> Task<void> {
    auto [server, client] = co_await pair();
    reset_on_close(client);
    client.close();
    EXPECT_TRUE((co_await server.hangup()).ok());
    std::byte byte[1];
    const absl::StatusOr<size_t> reset = co_await server.read_some(byte);
    EXPECT_EQ(reset.status(), absl::UnavailableError("read: Connection reset by peer"));
    EXPECT_EQ((co_await server.write_all("x")).message(), "write: Broken pipe");
    const std::span<const std::byte> piece[] = {bytes_of("x")};
    EXPECT_EQ((co_await server.write_pieces(piece)).message(), "write: Broken pipe");
  }());
}

TEST_P(TcpOnEveryModel, AConnectionThatIsGivenUpInTheQueueDoesNotStopTheListener) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    auto given_up = co_await TcpStream::connect(*listener->local_address());
    reset_on_close(*given_up);
    given_up->close();
    absl::StatusOr<TcpStream> first = co_await timeout(listener->accept(), 20ms);
    std::byte byte[1];
    // Linux gives it out, and reading tells.
    if (first.ok()) {
      EXPECT_EQ((co_await first->read_some(byte)).status().code(), absl::StatusCode::kUnavailable);
    }
    (void)co_await connected(*listener);
  }());
}

TEST_P(TcpOnEveryModel, PiecesArriveInOrderHoweverManyAndLargeTheyAre) {
  run_here([]() -> Task<void> {
    auto ends = co_await pair();
    std::vector<std::string> texts;
    for (int i = 0; i < 300; ++i) texts.emplace_back(i % 7 * 2000, static_cast<char>('a' + i % 26));
    std::string sent;
    std::vector<std::span<const std::byte>> pieces;
    for (const std::string& text : texts) pieces.push_back(bytes_of(text)), sent += text;
    std::string got(sent.size(), ' ');
    const auto [written, read] =
        co_await all(ends.client.write_pieces(pieces),
                     ends.server.read_exact(std::as_writable_bytes(std::span(got))));
    EXPECT_TRUE(written.ok() && read.ok()) << written << read;
    EXPECT_TRUE(got == sent);
    EXPECT_TRUE((co_await ends.client.write_pieces({})).ok());
    EXPECT_TRUE((co_await ends.client.write_pieces(std::span(pieces).first(1))).ok());  // empty
  }());
}

TEST_P(TcpOnEveryModel, SmallWritesGoAtOnceUnlessAskedOtherwiseAndKeepaliveHasItsLimits) {
  run_here([]() -> Task<void> {
    auto [server, client] = co_await pair();
    EXPECT_EQ(option_of(server.get(), IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_EQ(option_of(client.get(), IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_TRUE(client.set_nodelay(false).ok());
    EXPECT_EQ(option_of(client.get(), IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_TRUE(client.set_keepalive(TcpKeepalive{.idle = 5s, .interval = 2s, .probes = 3}).ok());
    EXPECT_EQ(option_of(client.get(), SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option_of(client.get(), IPPROTO_TCP, TCP_KEEPIDLE), 5);
    EXPECT_EQ(option_of(client.get(), IPPROTO_TCP, TCP_KEEPINTVL), 2);
    EXPECT_EQ(option_of(client.get(), IPPROTO_TCP, TCP_KEEPCNT), 3);
    EXPECT_TRUE(client.set_keepalive(std::nullopt).ok());
    EXPECT_EQ(option_of(client.get(), SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(client.set_keepalive(TcpKeepalive{.idle = 0s}).message(),
              "setting a keepalive: idle 0 s and interval 10 s are 1 to 32767, probes 6 1 to 127");
    EXPECT_FALSE(TcpStream().set_nodelay(true).ok());
  }());
}

TEST_P(TcpOnEveryModel, TooManyOpenFilesLeaveTheConnectionWaiting) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    auto client = co_await TcpStream::connect(*listener->local_address());
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    const absl::Status refused = (co_await listener->accept()).status();
    const absl::Status unmade = (co_await TcpStream::connect(any_port())).status();
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (has_pidfd()) {  // valgrind does not pass the limit on
      EXPECT_EQ(refused, absl::ResourceExhaustedError(
                             "accepting a connection: too many open files in this process; it goes "
                             "on waiting: close some, or raise the limit (ulimit -n), and pause "
                             "before the next try"));
      EXPECT_EQ(unmade.code(), absl::StatusCode::kResourceExhausted);
      EXPECT_TRUE((co_await listener->accept()).ok());
    }
  }());
}

TEST_P(TcpOnEveryModel, ACancelledAcceptLosesNoConnection) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    auto early = spawn(listener->accept());
    early.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await early).status()));
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(listener->accept(), 1ms)).status()));
    const int before = open_descriptors();
    int accepted = 0;
    std::vector<TcpStream> clients;
    for (int round = 0; round < 60; ++round) {
      auto accepting = spawn(listener->accept());
      for (int i = 0; i < round % 3; ++i) co_await yield_now();
      clients.push_back(*co_await TcpStream::connect(*listener->local_address()));
      for (int i = 0; i < round / 3 % 3; ++i) co_await yield_now();
      accepting.cancel();
      const absl::StatusOr<TcpStream> stream = co_await accepting;
      EXPECT_TRUE(stream.ok() || absl::IsCancelled(stream.status())) << stream.status();
      if (stream.ok()) ++accepted;
    }
    for (; accepted < 60; ++accepted) EXPECT_TRUE((co_await listener->accept()).ok());
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(listener->accept(), 1ms)).status()));
    clients.clear();
    co_await descriptors_back_to(before);
  }());
}

TEST_P(TcpOnEveryModel, ACancelledConnectLeavesNoDescriptor) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port(), {.backlog = 0});
    const SocketAddress address = *listener->local_address();
    const int before = open_descriptors();
    // On this worker, so that it has not begun when it is cancelled.
    auto early = spawn({.pinned = true}, TcpStream::connect(address));
    early.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await early).status()));
    EXPECT_EQ(open_descriptors(), before);
    auto first = co_await TcpStream::connect(address);
    // The queue is full: the listener's system does not answer.
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(TcpStream::connect(address), 5ms)).status()));
    first->close();
    co_await descriptors_back_to(before);
  }());
}

TEST_P(TcpOnEveryModel, ACancelThatRacesAConnectGivesAStreamOrNothing) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    const int before = open_descriptors();
    for (int round = 0; round < 60; ++round) {
      auto connecting = spawn(TcpStream::connect(*listener->local_address()));
      for (int i = 0; i < round % 4; ++i) co_await yield_now();
      connecting.cancel();
      absl::StatusOr<TcpStream> stream = co_await connecting;
      EXPECT_TRUE(stream.ok() || absl::IsCancelled(stream.status())) << stream.status();
      if (stream.ok()) EXPECT_TRUE((co_await stream->write_all("x")).ok());
    }
    co_await descriptors_back_to(before);
  }());
}

TEST_P(TcpOnEveryModel, ACancelThatRacesAReadLosesNoByte) {
  run_here([]() -> Task<void> {
    auto [server, client] = co_await pair();
    std::string got;
    for (int round = 0; round < 120; ++round) {
      auto reading = spawn(
          [](TcpStream& from, std::string& into) -> Task<absl::Status> {
            char byte;
            const auto count = co_await from.read_some(std::as_writable_bytes(std::span(&byte, 1)));
            if (count.ok()) into.push_back(byte);
            co_return count.status();
          },
          std::ref(server), std::ref(got));
      if (round % 5 == 0) reading.cancel();
      for (int i = 0; i < round % 4; ++i) co_await yield_now();
      const char byte = static_cast<char>(round);
      EXPECT_TRUE((co_await client.write_all(std::string_view(&byte, 1))).ok());
      if (round % 3 != 0) co_await yield_now();
      reading.cancel();
      (void)co_await reading;
    }
    std::string rest(120 - got.size(), ' ');
    EXPECT_TRUE((co_await server.read_exact(std::as_writable_bytes(std::span(rest)))).ok());
    got += rest;
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], static_cast<char>(i));
  }());
}

TEST_P(TcpOnEveryModel, ACancelledWriterLetsGoOfItsPieces) {
  run_here([]() -> Task<void> {
    auto ends = co_await pair();
    for (const bool begun : {false, true}) {
      auto writing = spawn(
          [](TcpStream& to) -> Task<absl::Status> {
            const std::string bytes(32 << 20, 'x');
            const std::vector<std::span<const std::byte>> pieces(2, bytes_of(bytes));
            co_return co_await to.write_pieces(pieces);
          },
          std::ref(ends.client));
      std::byte first[1];
      if (begun) EXPECT_EQ(*co_await ends.server.read_some(first), 1u);
      writing.cancel();
      EXPECT_TRUE(absl::IsCancelled(co_await writing));
    }
  }());
}

TEST_P(TcpOnOneWorker, ClosingEndsAPendingAcceptAndRead) {
  run_here([]() -> Task<void> {
    auto listener = TcpListener::bind(any_port());
    auto ends = co_await connected(*listener);
    auto accepting = spawn(listener->accept());
    std::byte byte[1];
    auto reading = spawn(ends.server.read_some(byte));
    for (int i = 0; i < 3; ++i) co_await yield_now();
    listener->close();
    ends.server.close();
    EXPECT_EQ((co_await accepting).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ((co_await reading).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_FALSE((co_await listener->accept()).ok());
  }());
}

TEST_P(TcpOnEveryModel, AReleasedStreamAndAListenerFromElsewhereCanBeAdopted) {
  run_here([]() -> Task<void> {
    auto ends = co_await pair();
    auto again = TcpStream::adopt(*ends.client.release());
    EXPECT_FALSE(ends.client);
    EXPECT_TRUE((co_await again->write_all("y")).ok());
    std::byte buffer[2];
    EXPECT_EQ(*co_await ends.server.read_some(buffer), 1u);
    auto raw = net::new_bound_socket(rt::kernel_sockets(), "listen", any_port(), SOCK_STREAM, {});
    EXPECT_EQ(::listen(raw->get(), 1), 0);
    auto listener = TcpListener::adopt(UniqueFd(raw->release()));
    auto more = co_await connected(*listener);
    EXPECT_EQ(option_of(more.server.get(), IPPROTO_TCP, TCP_NODELAY), 1);
    EXPECT_FALSE(TcpListener::adopt(UniqueFd()).ok());
  }());
}

TEST(TcpDeathTest, ASimulationHasNoSockets) {
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    (void)TcpListener::bind(any_port());
    co_return;
  }()),
               "a simulation has no kernel");
}

}  // namespace
}  // namespace zsync
