// What the ways of using io_uring share: a ring as the driver opens it, loopback connections, CPU
// time.
#pragma once

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "tests/bench/runtime/rows.hpp"

namespace zsync::bench {

inline void expect_ok(int result, const char* what) {
  if (result >= 0) return;
  std::fprintf(stderr, "bench: %s: error %d\n", what, -result);
  std::exit(1);
}

// Of this process, user and system, all threads.
inline double cpu_ns() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// As sdk/cpp/src/rt/uring.cpp opens it.
class Ring {
 public:
  explicit Ring(unsigned more_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) {
    io_uring_params parameters{};
    parameters.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL |
                       IORING_SETUP_TASKRUN_FLAG | more_flags;
    parameters.cq_entries = 4096;
    expect_ok(io_uring_queue_init_params(256, &ring_, &parameters), "io_uring_setup");
  }
  ~Ring() { io_uring_queue_exit(&ring_); }
  Ring(const Ring&) = delete;

  io_uring* get() { return &ring_; }
  int descriptor() const { return ring_.ring_fd; }
  io_uring_sqe* entry() {
    while (true) {
      if (io_uring_sqe* entry = io_uring_get_sqe(&ring_)) return entry;
      expect_ok(io_uring_submit(&ring_), "io_uring_enter");
    }
  }
  // Submits, waits for one completion at least, calls take(completion) for each.
  template <typename Take>
  void turn(Take take) {
    const int submitted = io_uring_submit_and_wait(&ring_, 1);
    if (submitted != -EINTR) expect_ok(submitted, "io_uring_enter");
    for (unsigned count = io_uring_cq_ready(&ring_); count > 0; --count) {
      const unsigned head = *ring_.cq.khead;
      const io_uring_cqe completion = ring_.cq.cqes[head & ring_.cq.ring_mask];
      io_uring_cq_advance(&ring_, 1);
      take(completion);
    }
  }

 private:
  io_uring ring_{};
};

// A listener on a free port of the loopback.
class Listener {
 public:
  Listener() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    expect_ok(::bind(descriptor_, generic(), sizeof address_), "bind");
    expect_ok(::listen(descriptor_, 4096), "listen");
    socklen_t size = sizeof address_;
    expect_ok(::getsockname(descriptor_, generic(), &size), "getsockname");
  }
  ~Listener() { ::close(descriptor_); }
  Listener(const Listener&) = delete;

  int descriptor() const { return descriptor_; }
  int connect() {
    const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    expect_ok(::connect(client, generic(), sizeof address_), "connect");
    const int on = 1;
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return client;
  }
  // -> both ends
  std::pair<int, int> connection() {
    const int client = connect();
    const int server = ::accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
    expect_ok(server, "accept");
    const int on = 1;
    ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return {client, server};
  }

 private:
  sockaddr* generic() { return reinterpret_cast<sockaddr*>(&address_); }
  const int descriptor_;
  sockaddr_in address_{};
};

}  // namespace zsync::bench
