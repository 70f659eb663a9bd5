// What the tests of this folder share.
#pragma once

#include <sys/socket.h>

#include "io/io_test.hpp"
#include "net/raw_address.hpp"
#include "zsync/socket.hpp"

namespace zsync {

// Loopback, with a port that the system chooses.
inline SocketAddress any_port() { return {IpAddress::loopback_v4(), 0}; }
inline SocketAddress any_port_v6() { return {IpAddress::loopback_v6(), 0}; }

inline bool has_ipv6() {
  return net::new_bound_socket(rt::kernel_sockets(), "probe", any_port_v6(), SOCK_STREAM, {}).ok();
}
#define SKIP_WITHOUT_IPV6() \
  if (!has_ipv6()) GTEST_SKIP() << "this machine has no ::1"

// Descriptors are closed when their worker looks at its descriptors next.
inline Task<void> descriptors_back_to(int count) {
  while (open_descriptors() != count) co_await sleep(std::chrono::milliseconds(1));
}

inline int option_of(int socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket, level, name, &value, &size), 0);
  return value;
}

}  // namespace zsync
