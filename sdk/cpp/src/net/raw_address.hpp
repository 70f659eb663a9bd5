// Addresses in the kernel's form, and what TCP and UDP sockets do alike with them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "io/socket_calls.hpp"
#include "zsync/socket.hpp"

namespace zsync::net {

// An address as system calls take and give it.
struct RawAddress {
  RawAddress() : v6{} {}
  explicit RawAddress(const SocketAddress& address);

  SocketAddress value() const;
  sockaddr* get() { return &any; }
  const sockaddr* get() const { return &any; }
  socklen_t length() const { return any.sa_family == AF_INET ? sizeof v4 : sizeof v6; }

  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
};

// How a socket that is bound is made.
struct BindOptions {
  bool reuse_address = false;
  bool reuse_port = false;
  bool v6_only = false;
};

// A non-blocking socket of the address's family; `doing` names the caller in the error.
absl::StatusOr<rt::NewSocket> new_socket(rt::SocketCalls& calls, const char* doing,
                                         const SocketAddress& address, int type);
// The same, bound.
absl::StatusOr<rt::NewSocket> new_bound_socket(rt::SocketCalls& calls, const char* doing,
                                               const SocketAddress& address, int type,
                                               const BindOptions& options);

// `connect 127.0.0.1:80: Connection refused` with the code that fits.
absl::Status address_status(const char* doing, const SocketAddress& address, int error);

absl::Status set_option(rt::SocketCalls& calls, int socket, int level, int name, int value,
                        const char* doing);

// Errors: kFailedPrecondition for something that is no IP socket; the system's.
absl::StatusOr<SocketAddress> local_address(rt::SocketCalls& calls, int socket);
absl::StatusOr<SocketAddress> peer_address(rt::SocketCalls& calls, int socket);

}  // namespace zsync::net
