// Unix sockets: a server that echoes lines, one task a connection, and three clients at once.
//
// The address is an abstract name (it begins with `@`), so that there is no file to remove; a path
// works the same. The server knows who its peers are: the kernel says so.
//
// Prints:
//   client 0: echo 0
//   client 1: echo 1
//   client 2: echo 2
//   served 3 connections of this very process
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

// Sends back what comes until the client has said all.
zsync::Task<void> echo(zsync::UnixStream client) {
  std::vector<std::byte> buffer(4096);
  while (true) {
    absl::StatusOr<size_t> count = co_await client.read_some(buffer);
    if (!count.ok() || *count == 0) co_return;
    const auto received = std::span<const std::byte>(buffer).first(*count);
    if (!(co_await client.write_all(received)).ok()) co_return;
  }
}

zsync::Task<int> serve(zsync::UnixListener listener, int connections) {
  zsync::Executor clients;
  int own = 0;
  for (int i = 0; i < connections; ++i) {
    absl::StatusOr<zsync::UnixStream> client = co_await listener.accept();
    if (!client.ok()) break;
    absl::StatusOr<zsync::UnixCredentials> peer = client->peer_credentials();
    if (peer.ok() && peer->pid == getpid()) ++own;
    clients.spawn(echo, *std::move(client));
  }
  co_await clients.join_all();
  co_return own;
}

zsync::Task<std::string> ask(std::string address, int number) {
  absl::StatusOr<zsync::UnixStream> server = co_await zsync::UnixStream::connect(address);
  if (!server.ok()) co_return std::string(server.status().message());
  std::string text = "echo " + std::to_string(number);
  absl::Status status = co_await server->write_all(std::string_view(text));
  if (status.ok()) status = server->shutdown_write();
  if (status.ok()) status = co_await server->read_exact(std::as_writable_bytes(std::span(text)));
  co_return status.ok() ? text : std::string(status.message());
}

zsync::Task<void> main_task() {
  const std::string address = "@zsync-echo-" + std::to_string(getpid());
  absl::StatusOr<zsync::UnixListener> listener = zsync::UnixListener::bind(address);
  if (!listener.ok()) {
    std::printf("%s\n", listener.status().ToString().c_str());
    co_return;
  }
  zsync::TaskHandle<int> server = zsync::spawn(serve, *std::move(listener), 3);
  auto [a, b, c] = co_await zsync::all(ask(address, 0), ask(address, 1), ask(address, 2));
  std::printf("client 0: %s\nclient 1: %s\nclient 2: %s\n", a.c_str(), b.c_str(), c.c_str());
  std::printf("served %d connections of this very process\n", co_await server);
}

int main() { zsync::run(main_task()); }
