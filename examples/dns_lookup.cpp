// DNS: names to addresses, and connecting to a name.
//
// A hosts file of its own keeps the example off the network; without the options the system's
// servers are asked.
//
// Prints:
//   web.example: 127.0.0.1:80 [::1]:80
//   192.0.2.7 is itself: 192.0.2.7:443
//   not a name: INVALID_ARGUMENT
//   connected to web.example: 1
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "zsync/zsync.hpp"

zsync::Task<void> look_up(zsync::Resolver resolver, std::string host, std::string label,
                          uint16_t port) {
  absl::StatusOr<std::vector<zsync::SocketAddress>> found = co_await resolver.resolve(host, port);
  std::string text;
  if (found.ok()) {
    for (const zsync::SocketAddress& address : *found) text += " " + address.to_string();
  } else {
    text = " " + absl::StatusCodeToString(found.status().code());
  }
  std::printf("%s:%s\n", label.c_str(), text.c_str());
}

zsync::Task<void> main_task(std::string hosts) {
  absl::StatusOr<zsync::Resolver> resolver = zsync::Resolver::open({.hosts_file = hosts});
  if (!resolver.ok()) co_return;
  co_await look_up(*resolver, "web.example", "web.example", 80);
  co_await look_up(*resolver, "192.0.2.7", "192.0.2.7 is itself", 443);
  co_await look_up(*resolver, "two words", "not a name", 80);

  auto listener = zsync::TcpListener::bind({zsync::IpAddress::loopback_v4(), 0});
  if (!listener.ok()) co_return;
  // Nobody listens at ::1: the other address is tried at once.
  absl::StatusOr<zsync::TcpStream> stream = co_await zsync::connect_tcp(
      "web.example", listener->local_address()->port, {.resolver = *resolver});
  std::printf("connected to web.example: %d\n", stream.ok());
}

int main() {
  const std::string hosts = "dns_lookup-hosts-" + std::to_string(getpid());
  std::ofstream(hosts) << "127.0.0.1 web.example\n::1 web.example\n";
  zsync::run(main_task(hosts));
  unlink(hosts.c_str());
}
