#include "zsync/testing/sim_host.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "zsync/file.hpp"
#include "zsync/files.hpp"
#include "zsync/tcp.hpp"
#include "zsync/udp.hpp"
#include "zsync/zsync.hpp"

namespace zsync::testing {
namespace {

using namespace std::chrono_literals;

constexpr uint16_t kPort = 80;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
std::span<std::byte> room_in(std::string& text) { return std::as_writable_bytes(std::span(text)); }

Task<void> echo(TcpStream stream) {
  std::string chunk(1000, 0);
  while (true) {
    const absl::StatusOr<size_t> count = co_await stream.read_some(room_in(chunk));
    if (!count.ok() || *count == 0) co_return;
    if (!(co_await stream.write_all(bytes_of(chunk).first(*count))).ok()) co_return;
  }
}

Task<void> echo_server() {
  absl::StatusOr<TcpListener> listener = TcpListener::bind({IpAddress::any_v4(), kPort});
  if (!listener.ok()) throw std::runtime_error(std::string(listener.status().message()));
  while (true) {
    absl::StatusOr<TcpStream> stream = co_await listener->accept();
    if (!stream.ok()) co_return;
    spawn(echo, *std::move(stream)).detach();
  }
}

Task<TcpStream> connected(SocketAddress address) {
  while (true) {
    absl::StatusOr<TcpStream> stream = co_await TcpStream::connect(address);
    if (stream.ok()) co_return *std::move(stream);
    co_await sleep(10ms);
  }
}

Task<std::string> exchange(SocketAddress server, std::string sent) {
  TcpStream stream = co_await connected(server);
  auto writer = [](TcpStream& out, std::string_view text) -> Task<absl::Status> {
    absl::Status written = co_await out.write_all(text);
    if (written.ok()) written = out.shutdown_write();
    co_return written;
  };
  auto reader = [](TcpStream& in) -> Task<std::string> {
    std::string all, chunk(700, 0);
    while (true) {
      const absl::StatusOr<size_t> count = co_await in.read_some(room_in(chunk));
      EXPECT_TRUE(count.ok()) << count.status();
      if (!count.ok() || *count == 0) co_return all;
      all.append(chunk, 0, *count);
    }
  };
  auto [written, received] = co_await all(writer(stream, sent), reader(stream));
  EXPECT_TRUE(written.ok()) << written;
  co_return received;
}

std::string text_of_size(size_t size) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

constexpr SimNetworkOptions kBadNetwork{.straggler_percent = 20,
                                        .straggler_latency = 50ms,
                                        .loss_percent = 10,
                                        .duplicate_percent = 10};

TEST(SimHost, TheSameServerAndClientRunOverASimulatedNetworkThatLosesAndDelays) {
  uint64_t lost = 0;
  explore(20, [&lost](SimRuntime& sim) {
    sim.network().set_options(kBadNetwork);
    sim.host("server").start(&echo_server);
    const std::string sent = text_of_size(2'000 + sim.random_below(20'000));
    const std::string received =
        sim.run([](SimRuntime& world, std::string text) -> Task<std::string> {
          co_return co_await world.host("client").spawn(
              exchange(world.host("server").at(kPort), std::move(text)));
        }(sim, sent));
    EXPECT_EQ(received, sent);
    lost += sim.network().counts().lost;
  });
  EXPECT_GT(lost, 0u);
}

TEST(SimHost, MoreThanTheWindowHoldsGoesThroughAStream) {
  SimRuntime sim(1);
  sim.network().set_options(kBadNetwork);
  sim.host("server").start(&echo_server);
  const std::string sent = text_of_size(200'000);
  EXPECT_EQ(sim.run([](SimRuntime& world, std::string text) -> Task<std::string> {
    co_return co_await world.host("client").spawn(
        exchange(world.host("server").at(kPort), std::move(text)));
  }(sim, sent)),
            sent);
}

TEST(SimHost, TheSameSeedGivesTheSamePacketsAtTheSameTimes) {
  const auto run = [](uint64_t seed) {
    SimRuntime sim(seed);
    sim.network().set_options(kBadNetwork);
    sim.host("server").start(&echo_server);
    (void)sim.run([](SimRuntime& world) -> Task<std::string> {
      co_return co_await world.host("client").spawn(
          exchange(world.host("server").at(kPort), text_of_size(100'000)));
    }(sim));
    return std::tuple(sim.schedule_hash(), sim.now(), sim.network().counts().lost);
  };
  std::set<std::tuple<uint64_t, rt::TimePoint, uint64_t>> runs;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const auto first = run(seed);
    EXPECT_EQ(first, run(seed));
    runs.insert(first);
  }
  EXPECT_EQ(runs.size(), 10u);
}

TEST(SimHost, AWriterWaitsForAReaderThatDoesNotRead) {
  SimRuntime sim(1);
  sim.host("server").start([]() -> Task<void> {
    auto listener = TcpListener::bind({IpAddress::any_v4(), kPort});
    auto stream = co_await listener->accept();
    co_await sleep(1h);
  });
  sim.run([](SimRuntime& world) -> Task<void> {
    auto client = [](SocketAddress server) -> Task<void> {
      TcpStream stream = co_await connected(server);
      const std::string much = text_of_size(1'000'000);
      const absl::Status written = co_await timeout(stream.write_all(much), 10s);
      EXPECT_TRUE(absl::IsDeadlineExceeded(written)) << written;
    };
    co_await world.host("client").spawn(client(world.host("server").at(kPort)));
  }(sim));
}

TEST(SimHost, NobodyListensThereIsRefusedAndNoHostIsUnreachable) {
  SimRuntime sim(3);
  sim.run([](SimRuntime& world) -> Task<void> {
    auto client = [](SocketAddress nobody) -> Task<void> {
      EXPECT_TRUE(absl::IsUnavailable((co_await TcpStream::connect(nobody)).status()));
      const SocketAddress nowhere{IpAddress::v4({10, 9, 9, 9}), 1};
      EXPECT_TRUE(absl::IsUnavailable((co_await TcpStream::connect(nowhere)).status()));
    };
    co_await world.host("client").spawn(client(world.host("server").at(kPort)));
  }(sim));
  EXPECT_EQ(sim.network().counts().refused, 1u);
}

TEST(SimHost, APartitionHoldsAStreamUpAndHealingLetsItGoOn) {
  SimRuntime sim(5);
  sim.host("server").start(&echo_server);
  sim.run([](SimRuntime& world) -> Task<void> {
    auto client = [](SimRuntime& all_of_it, SocketAddress server) -> Task<void> {
      TcpStream stream = co_await connected(server);
      all_of_it.network().partition("client", "server");
      EXPECT_TRUE((co_await stream.write_all("hello")).ok());
      std::string answer(5, 0);
      EXPECT_TRUE(
          absl::IsDeadlineExceeded(co_await timeout(stream.read_exact(room_in(answer)), 5s)));
      all_of_it.network().heal("client", "server");
      EXPECT_TRUE((co_await stream.read_exact(room_in(answer))).ok());
      EXPECT_EQ(answer, "hello");
    };
    co_await world.host("client").spawn(client(world, world.host("server").at(kPort)));
  }(sim));
}

TEST(SimHost, AStreamThroughWhichNothingGetsForLongFails) {
  SimRuntime sim(6);
  sim.host("server").start(&echo_server);
  sim.run([](SimRuntime& world) -> Task<void> {
    auto client = [](SimRuntime& all_of_it, SocketAddress server) -> Task<void> {
      TcpStream stream = co_await connected(server);
      all_of_it.network().cut("client", "server");
      EXPECT_TRUE((co_await stream.write_all("hello")).ok());
      std::string answer(5, 0);
      const absl::Status status = co_await stream.read_exact(room_in(answer));
      EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    };
    co_await world.host("client").spawn(client(world, world.host("server").at(kPort)));
  }(sim));
}

TEST(SimHost, AResetReachesBothEnds) {
  SimRuntime sim(7);
  sim.host("server").start(&echo_server);
  sim.run([](SimRuntime& world) -> Task<void> {
    auto client = [](SimRuntime& all_of_it, SocketAddress server) -> Task<void> {
      TcpStream stream = co_await connected(server);
      all_of_it.network().reset_connections("client", "server");
      std::string answer(5, 0);
      EXPECT_TRUE(absl::IsUnavailable((co_await stream.read_some(room_in(answer))).status()));
    };
    co_await world.host("client").spawn(client(world, world.host("server").at(kPort)));
  }(sim));
}

// -- datagrams

Task<void> receive_numbers(std::vector<int>& out) {
  auto socket = UdpSocket::bind({IpAddress::any_v4(), kPort});
  std::string room(16, 0);
  while (true) {
    auto got = co_await socket->recv_from(room_in(room));
    if (!got.ok()) co_return;
    out.push_back(std::stoi(room.substr(0, got->bytes)));
  }
}

Task<void> send_numbers(SocketAddress to, int count) {
  auto socket = UdpSocket::bind({IpAddress::any_v4(), 0});
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE((co_await socket->send_to(bytes_of(std::to_string(i)), to)).ok());
    co_await sleep(1ms);
  }
  co_await sleep(1s);
}

std::vector<int> numbers_over(const SimNetworkOptions& options, uint64_t seed,
                              SimNetworkCounts& counts) {
  std::vector<int> received;
  SimRuntime sim(seed);
  sim.network().set_options(options);
  sim.host("server").start([&received] { return receive_numbers(received); });
  sim.run([](SimRuntime& world) -> Task<void> {
    co_await sleep(1ms);
    co_await world.host("client").spawn(send_numbers(world.host("server").at(kPort), 100));
  }(sim));
  counts = sim.network().counts();
  return received;
}

TEST(SimHost, DatagramsArriveInOrderOnAGoodNetworkAndLostTwiceOrOvertakenOnABadOne) {
  SimNetworkCounts counts;
  std::vector<int> good(100);
  for (int i = 0; i < 100; ++i) good[static_cast<size_t>(i)] = i;
  const SimNetworkOptions steady{.latency_min = 1ms, .latency_max = 1ms};
  EXPECT_EQ(numbers_over(steady, 1, counts), good);
  EXPECT_EQ(counts.overtaken + counts.lost + counts.duplicated, 0u);

  const std::vector<int> bad = numbers_over(kBadNetwork, 1, counts);
  EXPECT_GT(counts.lost, 0u);
  EXPECT_GT(counts.duplicated, 0u);
  EXPECT_GT(counts.overtaken, 0u);
  EXPECT_EQ(bad.size(), 100 + counts.duplicated - counts.lost);
  EXPECT_FALSE(std::is_sorted(bad.begin(), bad.end()));
}

TEST(SimHost, SegmentsAndManyDatagramsGoThroughTheSameCallsAsOnARealNetwork) {
  SimRuntime sim(2);
  sim.network().set_options({.latency_min = 1ms, .latency_max = 1ms});
  sim.run([](SimRuntime& world) -> Task<void> {
    auto both = []() -> Task<void> {
      auto server = UdpSocket::bind({IpAddress::loopback_v4(), 0});
      auto client = UdpSocket::bind({IpAddress::any_v4(), 0});
      const std::string text = text_of_size(1000);
      EXPECT_TRUE(
          (co_await client->send_segmented(bytes_of(text), 300, *server->local_address())).ok());
      std::string received, room(300, 0);
      for (int i = 0; i < 4; ++i) {
        auto got = co_await server->recv_from(room_in(room));
        received.append(room, 0, got->bytes);
      }
      EXPECT_EQ(received, text);
      EXPECT_TRUE(absl::IsUnimplemented(server->set_gro(true)));
      EXPECT_TRUE(absl::IsAlreadyExists(
          UdpSocket::bind({IpAddress::any_v4(), server->local_address()->port}).status()));
      EXPECT_TRUE(absl::IsUnimplemented(UdpSocket::bind({IpAddress::any_v6(), 0}).status()));
      EXPECT_TRUE(client->connect({IpAddress::loopback_v4(), 9}).ok());
      EXPECT_TRUE((co_await client->send(bytes_of("?"))).ok());
      EXPECT_TRUE(absl::IsUnavailable((co_await client->recv_from(room_in(room))).status()));
    };
    co_await world.host("one").spawn(both());
  }(sim));
}

}  // namespace
}  // namespace zsync::testing
