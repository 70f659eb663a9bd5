#include "io/socket_calls.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {
namespace {

class KernelSockets final : public SocketCalls {
 public:
  int socket(int family, int type) override {
    return ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  }
  int close(int fd) override { return ::close(fd); }
  int bind(int fd, const sockaddr* address, socklen_t length) override {
    return ::bind(fd, address, length);
  }
  int listen(int fd, int backlog) override { return ::listen(fd, backlog); }
  int connect(int fd, const sockaddr* address, socklen_t length) override {
    return ::connect(fd, address, length);
  }
  int accept(int fd) override {
    return ::accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  }
  ssize_t recv(int fd, std::span<std::byte> into) override {
    return ::recv(fd, into.data(), into.size(), 0);
  }
  ssize_t send(int fd, std::span<const std::byte> from) override {
    return ::send(fd, from.data(), from.size(), MSG_NOSIGNAL);
  }
  ssize_t recvmsg(int fd, msghdr* message, int flags) override {
    return ::recvmsg(fd, message, flags);
  }
  ssize_t sendmsg(int fd, const msghdr* message) override {
    return ::sendmsg(fd, message, MSG_NOSIGNAL);
  }
  int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    return ::recvmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), flags, nullptr);
  }
  int sendmmsg(int fd, std::span<mmsghdr> messages) override {
    return ::sendmmsg(fd, messages.data(), static_cast<unsigned>(messages.size()), MSG_NOSIGNAL);
  }
  int shutdown(int fd, int how) override { return ::shutdown(fd, how); }
  int getsockopt(int fd, int level, int name, void* value, socklen_t* length) override {
    return ::getsockopt(fd, level, name, value, length);
  }
  int setsockopt(int fd, int level, int name, const void* value, socklen_t length) override {
    return ::setsockopt(fd, level, name, value, length);
  }
  int getsockname(int fd, sockaddr* address, socklen_t* length) override {
    return ::getsockname(fd, address, length);
  }
  int getpeername(int fd, sockaddr* address, socklen_t* length) override {
    return ::getpeername(fd, address, length);
  }
  int set_nonblocking(int fd) override {
    const int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  }
  int duplicate(int fd) override { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }
  bool knows(int) const override { return true; }
};

}  // namespace

SocketCalls& kernel_sockets() {
  static constinit KernelSockets calls;
  return calls;
}

SocketCalls& Driver::sockets() { return kernel_sockets(); }

}  // namespace zsync::rt
