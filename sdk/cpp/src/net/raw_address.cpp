#include "net/raw_address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "zsync/rt/fd.hpp"

namespace zsync::net {

RawAddress::RawAddress(const SocketAddress& address) : v6{} {
  const std::span<const uint8_t> bytes = address.ip.bytes();
  if (address.ip.is_v4()) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
  } else {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    v6.sin6_scope_id = address.ip.scope();
    std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
  }
}

SocketAddress RawAddress::value() const {
  if (any.sa_family == AF_INET) {
    std::array<uint8_t, 4> bytes;
    std::memcpy(bytes.data(), &v4.sin_addr, bytes.size());
    return {IpAddress::v4(bytes), ntohs(v4.sin_port)};
  }
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
  return {IpAddress::v6(bytes, v6.sin6_scope_id), ntohs(v6.sin6_port)};
}

absl::Status address_status(const char* doing, const SocketAddress& address, int error) {
  const std::string what = absl::StrCat(doing, " ", address.to_string());
  switch (error) {
    case EADDRINUSE:
      return absl::AlreadyExistsError(absl::StrCat(
          what, ": another socket has this address; choose another port, or port 0 for any"));
    case EADDRNOTAVAIL:
      return absl::NotFoundError(absl::StrCat(
          what, ": no interface of this machine has such an address, or its ports are used up"));
    case EAFNOSUPPORT:
      return absl::UnimplementedError(absl::StrCat(what, ": this system does not speak ",
                                                   address.ip.is_v4() ? "IPv4" : "IPv6",
                                                   "; use the other one"));
    default:
      return rt::errno_status(what, error);
  }
}

absl::Status set_option(rt::SocketCalls& calls, int socket, int level, int name, int value,
                        const char* doing) {
  if (calls.setsockopt(socket, level, name, &value, sizeof value) == 0) return absl::OkStatus();
  return rt::errno_status(doing, errno);
}

absl::StatusOr<rt::NewSocket> new_socket(rt::SocketCalls& calls, const char* doing,
                                         const SocketAddress& address, int type) {
  const int family = address.ip.is_v4() ? AF_INET : AF_INET6;
  rt::NewSocket socket(calls, calls.socket(family, type));
  if (!socket) return address_status(doing, address, errno);
  return socket;
}

absl::StatusOr<rt::NewSocket> new_bound_socket(rt::SocketCalls& calls, const char* doing,
                                               const SocketAddress& address, int type,
                                               const BindOptions& options) {
  absl::StatusOr<rt::NewSocket> socket = new_socket(calls, doing, address, type);
  if (!socket.ok()) return socket;
  const auto set = [&](int level, int name, int value) {
    return calls.setsockopt(socket->get(), level, name, &value, sizeof value) == 0;
  };
  const RawAddress raw(address);
  const bool bound = (!options.reuse_address || set(SOL_SOCKET, SO_REUSEADDR, 1)) &&
                     (!options.reuse_port || set(SOL_SOCKET, SO_REUSEPORT, 1)) &&
                     (address.ip.is_v4() || set(IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only)) &&
                     calls.bind(socket->get(), raw.get(), raw.length()) == 0;
  if (!bound) return address_status(doing, address, errno);
  return socket;
}

namespace {

using NameCall = int (rt::SocketCalls::*)(int, sockaddr*, socklen_t*);

absl::StatusOr<SocketAddress> address_by(rt::SocketCalls& calls, NameCall call, int socket,
                                         const char* doing) {
  RawAddress raw;
  socklen_t length = sizeof raw;
  if ((calls.*call)(socket, raw.get(), &length) != 0) return rt::errno_status(doing, errno);
  if (raw.any.sa_family != AF_INET && raw.any.sa_family != AF_INET6) {
    return absl::FailedPreconditionError(absl::StrCat(doing, ": it is not an IP socket"));
  }
  return raw.value();
}

}  // namespace

absl::StatusOr<SocketAddress> local_address(rt::SocketCalls& calls, int socket) {
  return address_by(calls, &rt::SocketCalls::getsockname, socket, "reading a socket's own address");
}

absl::StatusOr<SocketAddress> peer_address(rt::SocketCalls& calls, int socket) {
  return address_by(calls, &rt::SocketCalls::getpeername, socket,
                    "reading a socket's peer address");
}

}  // namespace zsync::net
