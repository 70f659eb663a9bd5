#include "daemon/shim/listener.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "daemon/shim/shim_protocol.hpp"

namespace zsync::daemon::shim {

using segment_log::Fd;

Listener::Listener(Listener&& other) noexcept
    : socket_(std::move(other.socket_)), name_(std::exchange(other.name_, "")) {}

Listener::~Listener() {
  if (!name_.empty()) (void)::unlink(name_.c_str());
}

bool Listener::open() {
  if (socket_.valid()) return true;
  const std::string name = kSocketPrefix + std::to_string(::getpid());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return false;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  (void)::unlink(name.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return false;
  }
  name_ = name;
  if (::listen(socket.get(), static_cast<int>(kConnectionsMax)) != 0) return false;
  socket_ = std::move(socket);
  return true;
}

Fd Listener::accept() {
  if (!socket_.valid()) return Fd();
  return Fd(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

}  // namespace zsync::daemon::shim
