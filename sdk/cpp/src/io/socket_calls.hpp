// SocketCalls: the system calls that sockets are made of. Two real implementations: the kernel's,
// and a simulated network's (testing/sim_sockets.hpp). Everything above, from Fd to TcpStream and
// UdpSocket, is the same code on both.
//
// Each is the system call of its name: -1 with errno, sockets non-blocking and close-on-exec. A
// virtual call is all that the seam costs in front of a system call.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>
#include <utility>

namespace zsync::rt {

class SocketCalls {
 public:
  virtual int socket(int family, int type) = 0;
  virtual int close(int fd) = 0;
  virtual int bind(int fd, const sockaddr* address, socklen_t length) = 0;
  virtual int listen(int fd, int backlog) = 0;
  virtual int connect(int fd, const sockaddr* address, socklen_t length) = 0;
  virtual int accept(int fd) = 0;
  virtual ssize_t recv(int fd, std::span<std::byte> into) = 0;
  virtual ssize_t send(int fd, std::span<const std::byte> from) = 0;  // never raises SIGPIPE
  virtual ssize_t recvmsg(int fd, msghdr* message, int flags) = 0;
  virtual ssize_t sendmsg(int fd, const msghdr* message) = 0;  // as send()
  virtual int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) = 0;
  virtual int sendmmsg(int fd, std::span<mmsghdr> messages) = 0;
  virtual int shutdown(int fd, int how) = 0;
  virtual int getsockopt(int fd, int level, int name, void* value, socklen_t* length) = 0;
  virtual int setsockopt(int fd, int level, int name, const void* value, socklen_t length) = 0;
  virtual int getsockname(int fd, sockaddr* address, socklen_t* length) = 0;
  virtual int getpeername(int fd, sockaddr* address, socklen_t* length) = 0;
  // Makes a descriptor that came from outside non-blocking.
  virtual int set_nonblocking(int fd) = 0;
  // Another number for the same thing.
  virtual int duplicate(int fd) = 0;
  // Whether it is a number of this kernel's.
  virtual bool knows(int fd) const = 0;

 protected:
  ~SocketCalls() = default;
};

// The machine's own.
SocketCalls& kernel_sockets();

// A socket that is being made. Lifetime: closes it unless it is released.
class NewSocket {
 public:
  NewSocket(SocketCalls& calls, int descriptor) : calls_(&calls), descriptor_(descriptor) {}
  NewSocket(NewSocket&& other) noexcept : calls_(other.calls_), descriptor_(other.release()) {}
  NewSocket& operator=(NewSocket&&) = delete;
  ~NewSocket() {
    if (descriptor_ >= 0) calls_->close(descriptor_);
  }

  SocketCalls& calls() const { return *calls_; }
  int get() const { return descriptor_; }
  [[nodiscard]] int release() { return std::exchange(descriptor_, -1); }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  SocketCalls* calls_;
  int descriptor_;
};

}  // namespace zsync::rt
