// Unix sockets: streams between processes of one machine, with the peer's identity and descriptors.
//
//   absl::StatusOr<zsync::UnixListener> listener = zsync::UnixListener::bind("/run/app.sock");
//   absl::StatusOr<zsync::UnixStream> client = co_await listener->accept();
//
// An address is a path of at most 107 bytes. One that begins with `@` is a name of Linux's abstract
// space, which has no file and no permissions; a file of such a name is written `./@name`.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/fd.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync {

inline constexpr size_t kUnixPathBytesMax = 107;  // bytes of an address; the kernel's limit

// Who is at the other end, as the kernel noted it when the connection was made.
struct UnixCredentials {
  pid_t pid;  // its process
  uid_t uid;  // its user
  gid_t gid;  // its group
};

// What UnixStream::recv_fds() gives.
struct ReceivedFds {
  size_t bytes = 0;           // bytes read; 0: the end
  std::vector<UniqueFd> fds;  // close-on-exec, in the order they were sent
};

// One end of a connection.
//
// Lifetime: closes its descriptor; ends before its runtime. Neither moved nor destroyed while an
//           operation is pending; close() ends one that waits with kFailedPrecondition.
// Threads:  used by one task at a time for reading and by one for writing; close() by either, while
//           the other one waits or is done.
class UnixStream {
 public:
  static constexpr size_t kFdsMax = 253;  // descriptors in one send_fds(); the kernel's limit

  // Holds nothing.
  UnixStream() = default;
  // Connects to a listener; waits while its queue is full.
  //
  // Errors: kInvalidArgument for an address that is empty, too long or has a NUL; kNotFound when
  //         there is no such socket; kUnavailable when nobody listens; kPermissionDenied.
  // Cancel: kCancelled; nobody is connected.
  static Task<absl::StatusOr<UnixStream>> connect(std::string path);
  // Two ends that are connected to each other. To be called in a task.
  //
  // Errors: kResourceExhausted when this process has too many open files.
  static absl::StatusOr<std::pair<UnixStream, UnixStream>> pair();
  // Takes over a connected stream socket (also on failure). To be called in a task.
  static absl::StatusOr<UnixStream> adopt(UniqueFd socket);

  // Reads what is there, waiting for at least one byte -> bytes read; 0: the end. Descriptors that
  // come with the bytes are closed: use recv_fds().
  //
  // Errors: the system's.
  // Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into) { return fd_.read_some(into); }
  // Fills `into`.
  //
  // Errors: kOutOfRange when the peer ends before; the system's.
  // Cancel: kCancelled; what was read before is in `into`, how much is not known any more.
  Task<absl::Status> read_exact(std::span<std::byte> into);

  // Writes everything; never raises SIGPIPE.
  //
  // Errors: kFailedPrecondition "write: Broken pipe" when the peer is gone; the system's.
  // Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from) { return fd_.write_all(from); }
  // The same for text, which has to outlive the task.
  Task<absl::Status> write_all(std::string_view from) {
    return fd_.write_all(std::as_bytes(std::span(from)));
  }

  // Writes everything and sends copies of `fds` with the first byte; both outlive the task.
  //
  // Errors: kInvalidArgument for no bytes, or more than kFdsMax descriptors; as write_all().
  // Cancel: kCancelled; a part may have been written, and the descriptors with it.
  Task<absl::Status> send_fds(std::span<const std::byte> from, std::span<const int> fds);
  // As read_some(), with the descriptors that were sent with the first of these bytes.
  //
  // Errors: kResourceExhausted when there are more than `fds_max`, or more than this process may
  //         open; all of them are closed then, and the bytes are lost. The system's.
  // Cancel: kCancelled; no byte and no descriptor is lost.
  Task<absl::StatusOr<ReceivedFds>> recv_fds(std::span<std::byte> into, size_t fds_max = kFdsMax);

  // Completes when the peer has closed its end. Cancel: kCancelled.
  Task<absl::Status> hangup() { return fd_.hangup(); }
  // The peer sees the end once it has read everything; this end can still read.
  absl::Status shutdown_write();
  // Errors: the system's.
  absl::StatusOr<UnixCredentials> peer_credentials() const;

  // Closes the descriptor when its worker looks at its descriptors next.
  void close() { fd_.close(); }
  // Gives the descriptor away, still non-blocking; nothing may be pending.
  //
  // Errors: kResourceExhausted when this process has too many open files; it is closed then.
  absl::StatusOr<UniqueFd> release() { return fd_.release(); }
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  explicit UnixStream(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

// How a listener's socket is made.
struct UnixListenerOptions {
  mode_t mode = 0600;          // of the socket's file: who may connect
  int backlog = 1024;          // connections that wait for accept(); net.core.somaxconn caps it
  bool replace_stale = false;  // take over the file of a listener that is gone
  bool remove_on_close =
      false;  // remove the file at the end, unless another one stands there by then
};

// Lifetime, Threads: as UnixStream; one task at a time.
class UnixListener {
 public:
  // Holds nothing.
  UnixListener() = default;
  // Listens at `path`. To be called in a task. A file that stands there is the caller's business
  // unless replace_stale is set; two programs that take over the same stale file at the same moment
  // are not kept apart: use a lock file where that can happen.
  //
  // Errors: kInvalidArgument as UnixStream::connect(); kAlreadyExists when somebody listens there
  //         or a file is in the way; kNotFound for a missing directory; kPermissionDenied.
  static absl::StatusOr<UnixListener> bind(std::string path, UnixListenerOptions options = {});
  // Takes over a listening socket (also on failure), from a service manager for example. To be
  // called in a task.
  static absl::StatusOr<UnixListener> adopt(UniqueFd socket);

  UnixListener(UnixListener&& other) noexcept = default;
  UnixListener& operator=(UnixListener&& other) noexcept;
  ~UnixListener() { close(); }

  // Completes with the next connection; it belongs to the worker on which the task runs then.
  //
  // Errors: kResourceExhausted when this process has too many open files: the connection goes on
  //         waiting, so pause before the next try. The system's.
  // Cancel: kCancelled; no connection is lost.
  Task<absl::StatusOr<UnixStream>> accept();

  // The address it was bound to; empty for an adopted one.
  const std::string& path() const { return path_; }
  // Stops listening; connections that wait are refused.
  void close();
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  explicit UnixListener(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
  std::string path_;
  bool remove_ = false;
  dev_t device_ = 0;  // of the socket's file
  ino_t inode_ = 0;
};

}  // namespace zsync
