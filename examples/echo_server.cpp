// TCP: a server that echoes what it is told, one task a connection, and three clients at once.
//
// Port 0 lets the system choose the port; the listener knows which one it is.
//
// Prints:
//   client 0: echo 0
//   client 1: echo 1
//   client 2: echo 2
//   served 3 connections from 127.0.0.1
#include <cstdio>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

// Sends back what comes until the client has said all.
zsync::Task<void> echo(zsync::TcpStream client) {
  std::vector<std::byte> buffer(4096);
  while (true) {
    absl::StatusOr<size_t> count = co_await client.read_some(buffer);
    if (!count.ok() || *count == 0) co_return;
    const auto received = std::span<const std::byte>(buffer).first(*count);
    if (!(co_await client.write_all(received)).ok()) co_return;
  }
}

// -> connections from this machine.
zsync::Task<int> serve(zsync::TcpListener listener, int connections) {
  zsync::Executor clients;
  int local = 0;
  for (int i = 0; i < connections; ++i) {
    absl::StatusOr<zsync::TcpStream> client = co_await listener.accept();
    if (!client.ok()) break;
    absl::StatusOr<zsync::SocketAddress> peer = client->peer_address();
    if (peer.ok() && peer->ip == zsync::IpAddress::loopback_v4()) ++local;
    clients.spawn(echo, *std::move(client));
  }
  co_await clients.join_all();
  co_return local;
}

zsync::Task<std::string> ask(zsync::SocketAddress address, int number) {
  absl::StatusOr<zsync::TcpStream> server = co_await zsync::TcpStream::connect(address);
  if (!server.ok()) co_return std::string(server.status().message());
  std::string text = "echo " + std::to_string(number);
  absl::Status status = co_await server->write_all(std::string_view(text));
  if (status.ok()) status = server->shutdown_write();
  if (status.ok()) status = co_await server->read_exact(std::as_writable_bytes(std::span(text)));
  co_return status.ok() ? text : std::string(status.message());
}

zsync::Task<void> main_task() {
  auto listener = zsync::TcpListener::bind({zsync::IpAddress::loopback_v4(), 0});
  if (!listener.ok()) {
    std::printf("%s\n", listener.status().ToString().c_str());
    co_return;
  }
  const zsync::SocketAddress address = *listener->local_address();
  zsync::TaskHandle<int> server = zsync::spawn(serve, *std::move(listener), 3);
  auto [a, b, c] = co_await zsync::all(ask(address, 0), ask(address, 1), ask(address, 2));
  std::printf("client 0: %s\nclient 1: %s\nclient 2: %s\n", a.c_str(), b.c_str(), c.c_str());
  std::printf("served %d connections from %s\n", co_await server, address.ip.to_string().c_str());
}

int main() { zsync::run(main_task()); }
