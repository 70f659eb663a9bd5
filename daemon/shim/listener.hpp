// Where a daemon finds a shim whose connection was lost: a socket in the attempt directory.
#pragma once

#include <string>

#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

inline constexpr size_t kConnectionsMax = 8;

// Made only when nobody is connected, which for most shims never happens; gone with this object.
class Listener {
 public:
  Listener() = default;
  ~Listener();
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;

  // Listens as `sock.PID` of the working directory; true when it does, or did already. False: errno
  // says why, and a later call tries again.
  bool open();
  bool valid() const { return socket_.valid(); }
  int fd() const { return socket_.get(); }
  // The next connection; invalid: none waits.
  segment_log::Fd accept();

 private:
  segment_log::Fd socket_;
  std::string name_;
};

}  // namespace zsync::daemon::shim
