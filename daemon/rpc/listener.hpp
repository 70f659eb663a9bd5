// The daemon's own listening socket: one live daemon a path, whatever was left behind there.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/config/config.hpp"

namespace zsync::daemon {

// Lifetime: owns the listening descriptor and the lock beside it (PATH.lock); removes the socket
// when
//           it is destroyed, unless it was handed over by the service manager.
class ListeningSocket {
 public:
  // Binds `path` (its directory is created with mode 0700, the socket has mode 0600). A lock file
  // tells a live daemon from a stale socket: a live one is never replaced, a stale one never
  // blocks.
  //
  // Errors: kInvalidArgument for a path over kSocketPathBytesMax; kAlreadyExists naming the running
  // daemon's pid; kPermissionDenied for a directory of somebody else or open to others.
  static absl::StatusOr<ListeningSocket> bind(const std::string& path);
  // Of the program that this one takes over from: its descriptors, `lock_fd` -1 where it had none.
  static ListeningSocket adopt(int fd, int lock_fd);
  // inherit() where the service manager passed a socket, else bind().
  static absl::StatusOr<ListeningSocket> open(const std::string& path);
  // Takes the socket that the service manager passed (LISTEN_FDS); kNotFound when there is none.
  static absl::StatusOr<ListeningSocket> inherit();

  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  ~ListeningSocket();

  int fd() const { return fd_; }
  int lock_fd() const { return lock_fd_; }
  const std::string& path() const { return path_; }

 private:
  ListeningSocket(int fd, int lock_fd, std::string path)
      : fd_(fd), lock_fd_(lock_fd), path_(std::move(path)) {}

  int fd_;
  int lock_fd_;  // -1: inherited
  std::string path_;
};

}  // namespace zsync::daemon
