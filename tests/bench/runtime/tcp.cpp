// Round trips of 64 bytes over TCP on the loopback, one connection and twenty at once: both ends
// are tasks of the same runtime, each writes, then reads what the other one wrote.
//
// Cannot be optimised away: the kernel moves the bytes, and the last message is compared.
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kTrips = 60'000;  // of all connections together
constexpr size_t kBytes = 64;

Task<void> ping(TcpStream stream, size_t trips) {
  std::array<std::byte, kBytes> message{};
  for (size_t i = 0; i < trips; ++i) {
    message[0] = static_cast<std::byte>(i);
    expect((co_await stream.write_all(std::span<const std::byte>(message))).ok(), "write");
    message[0] = std::byte{0};
    expect((co_await stream.read_exact(message)).ok(), "read");
    expect(message[0] == static_cast<std::byte>(i), "echo");
  }
}

Task<void> pong(TcpStream stream, size_t trips) {
  std::array<std::byte, kBytes> message{};
  for (size_t i = 0; i < trips; ++i) {
    expect((co_await stream.read_exact(message)).ok(), "read");
    expect((co_await stream.write_all(std::span<const std::byte>(message))).ok(), "write");
  }
}

Task<double> rate(size_t connections) {
  auto listener = TcpListener::bind({IpAddress::loopback_v4(), 0});
  expect(listener.ok(), "listen");
  std::vector<TaskHandle<void>> handles;
  const Stopwatch watch;
  for (size_t i = 0; i < connections; ++i) {
    auto near = co_await TcpStream::connect(*listener->local_address());
    auto far = co_await listener->accept();
    expect(near.ok() && far.ok(), "connect");
    handles.push_back(spawn(ping(std::move(*near), kTrips / connections)));
    handles.push_back(spawn(pong(std::move(*far), kTrips / connections)));
  }
  for (TaskHandle<void>& handle : handles) co_await handle;
  co_return watch.per_second(kTrips);
}

Task<void> measured() {
  report("TCP ping-pong, 1 connection", "trips/s", co_await rate(1));
  report("TCP ping-pong, 20 connections", "trips/s", co_await rate(20));
}

}  // namespace

void tcp_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
