#include "daemon/projects/ports.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "zsync/fd.hpp"

namespace zsync::daemon {
namespace {

constexpr int kTries = 64;

// Binds 127.0.0.1:`port` -> the port; 0: it is taken.
uint16_t try_bind(uint16_t port) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return 0;
  // As servers do: connections of the one before that are still closing hold nobody up.
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.get(), generic, size) != 0) return 0;
  if (::getsockname(socket.get(), generic, &size) != 0) return 0;
  return ntohs(address.sin_port);
}

}  // namespace

bool port_is_free(uint16_t port) { return try_bind(port) == port; }

absl::StatusOr<uint16_t> free_port(const std::set<uint16_t>& taken) {
  for (int i = 0; i < kTries; ++i) {
    const uint16_t port = try_bind(0);
    if (port != 0 && !taken.contains(port)) return port;
  }
  return absl::ResourceExhaustedError("no free port was found");
}

}  // namespace zsync::daemon
