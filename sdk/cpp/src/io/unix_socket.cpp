#include "zsync/unix_socket.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "io/stream.hpp"
#include "zsync/flow.hpp"

namespace zsync {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kQueueFullPause{1};  // between tries to connect; doubles up to the next
constexpr milliseconds kQueueFullPauseMax{50};

struct Address {
  sockaddr_un name{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

bool is_abstract(const std::string& path) { return path[0] == '@'; }

std::string doing(const char* verb, const std::string& path) {
  return absl::StrCat(verb, " \"", path, "\"");
}

absl::StatusOr<Address> address_of(const char* verb, const std::string& path) {
  if (path.size() > kUnixPathBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(doing(verb, path), ": the path has ",
                                                   path.size(), " bytes, a socket's at most ",
                                                   kUnixPathBytesMax, "; use a shorter directory"));
  }
  if (path.empty() || path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(verb, ": a socket's path is neither empty nor has a NUL byte"));
  }
  Address address;
  address.name.sun_family = AF_UNIX;
  std::memcpy(address.name.sun_path, path.data(), path.size());
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (is_abstract(path)) {
    address.name.sun_path[0] = '\0';
  } else {
    ++address.length;
  }
  return address;
}

UniqueFd new_socket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// -> the errno; EAGAIN: the listener's queue is full.
int try_connect(const UniqueFd& socket, const Address& address) {
  while (::connect(socket.get(), address.get(), address.length) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

Task<absl::Status> pause(milliseconds delay) {
  try {
    co_await sleep(delay);
  } catch (const Cancelled&) {
    co_return absl::CancelledError();
  }
  co_return absl::OkStatus();
}

// Room for the descriptors of one message.
union ControlBuffer {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int) * UnixStream::kFdsMax)];
};

ssize_t send_once(int socket, std::span<const std::byte> from, std::span<const int> fds) {
  ControlBuffer control{};
  iovec bytes{const_cast<std::byte*>(from.data()), from.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  return ::sendmsg(socket, &message, MSG_NOSIGNAL);
}

// -> bytes, or -1 with errno; `truncated`: the kernel has dropped descriptors.
ssize_t recv_once(int socket, std::span<std::byte> into, std::vector<UniqueFd>& fds,
                  bool& truncated) {
  ControlBuffer control{};
  iovec bytes{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  const ssize_t count = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (count < 0) return count;
  truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t number = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < number; ++i) {
      int descriptor;
      std::memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof descriptor);
      fds.emplace_back(descriptor);
    }
  }
  return count;
}

absl::StatusOr<ReceivedFds> checked(ReceivedFds received, size_t fds_max, bool truncated) {
  if (truncated) {
    return absl::ResourceExhaustedError(
        "receiving descriptors: this process may open no more; raise the limit (ulimit -n)");
  }
  if (received.fds.size() > fds_max) {
    return absl::ResourceExhaustedError(absl::StrCat("receiving descriptors: the peer sent ",
                                                     received.fds.size(), ", at most ", fds_max,
                                                     " were expected"));
  }
  return received;
}

}  // namespace

absl::StatusOr<UnixStream> UnixStream::adopt(UniqueFd socket) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(socket));
  if (!fd.ok()) return fd.status();
  return UnixStream(*std::move(fd));
}

Task<absl::StatusOr<UnixStream>> UnixStream::connect(std::string path) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  absl::StatusOr<Address> address = address_of("connect", path);
  if (!address.ok()) co_return address.status();
  rt::require_kernel(
      "UnixStream::connect() outside a real runtime: there is no kernel in a simulation");
  UniqueFd socket = new_socket();
  if (!socket) co_return rt::errno_status(doing("connect", path), errno);
  // A full queue has no readiness to wait for.
  for (milliseconds delay = kQueueFullPause;; delay = std::min(delay * 2, kQueueFullPauseMax)) {
    const int error = try_connect(socket, *address);
    if (error == 0) co_return adopt(std::move(socket));
    if (error != EAGAIN) co_return rt::errno_status(doing("connect", path), error);
    if (absl::Status waited = co_await pause(delay); !waited.ok()) co_return waited;
  }
}

absl::StatusOr<std::pair<UnixStream, UnixStream>> UnixStream::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return rt::errno_status("making a pair of sockets", errno);
  }
  UniqueFd second_end(ends[1]);
  absl::StatusOr<UnixStream> first = adopt(UniqueFd(ends[0]));
  if (!first.ok()) return first.status();
  absl::StatusOr<UnixStream> second = adopt(std::move(second_end));
  if (!second.ok()) return second.status();
  return std::pair(*std::move(first), *std::move(second));
}

Task<absl::Status> UnixStream::read_exact(std::span<std::byte> into) {
  return rt::read_exact(fd_, into);
}

Task<absl::Status> UnixStream::send_fds(std::span<const std::byte> from, std::span<const int> fds) {
  if (from.empty() || fds.size() > kFdsMax) {
    co_return absl::InvalidArgumentError(
        absl::StrCat("send_fds: ", fds.size(), " descriptors with ", from.size(),
                     " bytes; at least 1 byte and at most ", kFdsMax, " descriptors go together"));
  }
  if (fds.empty()) co_return co_await fd_.write_all(from);
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    const ssize_t count = send_once(get(), from, fds);
    if (count >= 0) {
      // Once everything is sent no cancel counts any more.
      if (static_cast<size_t>(count) == from.size()) co_return absl::OkStatus();
      co_return co_await fd_.write_all(from.subspan(static_cast<size_t>(count)));
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return rt::errno_status("sending descriptors", errno);
    if (absl::Status ready = co_await fd_.writable(); !ready.ok()) co_return ready;
  }
}

Task<absl::StatusOr<ReceivedFds>> UnixStream::recv_fds(std::span<std::byte> into, size_t fds_max) {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    if (fd_.begin_read()) {
      ReceivedFds received;
      bool truncated = false;
      const ssize_t count = recv_once(get(), into, received.fds, truncated);
      const int error = count < 0 ? errno : 0;
      if (error != EAGAIN) fd_.end_read();
      if (error == 0) {
        received.bytes = static_cast<size_t>(count);
        co_return checked(std::move(received), fds_max, truncated);
      }
      if (error == EINTR) continue;
      if (error != EAGAIN) co_return rt::errno_status("receiving descriptors", error);
    }
    if (absl::Status news = co_await fd_.news(); !news.ok()) co_return news;
  }
}

absl::Status UnixStream::shutdown_write() { return rt::shutdown_write(fd_); }

absl::StatusOr<UnixCredentials> UnixStream::peer_credentials() const {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return rt::errno_status("reading the peer's credentials", errno);
  }
  return UnixCredentials{peer.pid, peer.uid, peer.gid};
}

namespace {

// The file of a listener that is gone; one that is alive answers, and other files are left alone.
bool is_stale(const std::string& path, const Address& address) {
  struct stat info;
  if (is_abstract(path) || ::lstat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) {
    return false;
  }
  const UniqueFd probe = new_socket();
  return probe && try_connect(probe, address) == ECONNREFUSED;
}

absl::Status bind_socket(const UniqueFd& socket, const std::string& path, const Address& address,
                         const UnixListenerOptions& options) {
  // The file must not be open to others for a moment, so the socket has its permissions before it
  // has a file; what the umask takes away is given afterwards.
  (void)::fchmod(socket.get(), options.mode);
  int bound = ::bind(socket.get(), address.get(), address.length);
  if (bound != 0 && errno == EADDRINUSE && options.replace_stale && is_stale(path, address)) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      return rt::errno_status(doing("removing the stale socket", path), errno);
    }
    bound = ::bind(socket.get(), address.get(), address.length);
  }
  if (bound != 0 && errno == EADDRINUSE) {
    return absl::AlreadyExistsError(absl::StrCat(
        doing("listen", path),
        options.replace_stale ? ": somebody listens there, or it is no socket"
                              : ": it exists; remove it when nobody listens there any more, or "
                                "set UnixListenerOptions::replace_stale"));
  }
  if (bound != 0) return rt::errno_status(doing("listen", path), errno);
  const bool has_file = !is_abstract(path);
  if ((!has_file || ::chmod(path.c_str(), options.mode) == 0) &&
      ::listen(socket.get(), options.backlog) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  if (has_file) (void)::unlink(path.c_str());
  return rt::errno_status(doing("listen", path), error);
}

}  // namespace

absl::StatusOr<UnixListener> UnixListener::bind(std::string path, UnixListenerOptions options) {
  absl::StatusOr<Address> address = address_of("listen", path);
  if (!address.ok()) return address.status();
  rt::require_kernel(
      "UnixListener::bind() outside a task of a real runtime: there is no kernel in a simulation");
  UniqueFd socket = new_socket();
  if (!socket) return rt::errno_status(doing("listen", path), errno);
  absl::Status status = bind_socket(socket, path, *address, options);
  if (!status.ok()) return status;
  absl::StatusOr<UnixListener> listener = adopt(std::move(socket));
  if (!listener.ok()) return listener;
  struct stat info;
  if (options.remove_on_close && !is_abstract(path) && ::lstat(path.c_str(), &info) == 0) {
    listener->remove_ = true;
    listener->device_ = info.st_dev;
    listener->inode_ = info.st_ino;
  }
  listener->path_ = std::move(path);
  return listener;
}

absl::StatusOr<UnixListener> UnixListener::adopt(UniqueFd socket) {
  absl::StatusOr<rt::Fd> fd = rt::Fd::adopt(std::move(socket));
  if (!fd.ok()) return fd.status();
  return UnixListener(*std::move(fd));
}

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::move(other.fd_);
    path_ = std::move(other.path_);
    remove_ = std::exchange(other.remove_, false);
    device_ = other.device_;
    inode_ = other.inode_;
  }
  return *this;
}

void UnixListener::close() {
  if (!fd_) return;
  struct stat info;
  if (std::exchange(remove_, false) && ::lstat(path_.c_str(), &info) == 0 &&
      info.st_dev == device_ && info.st_ino == inode_) {
    (void)::unlink(path_.c_str());
  }
  fd_.close();
}

Task<absl::StatusOr<UnixStream>> UnixListener::accept() {
  if (absl::Status turn = co_await rt::CheckpointOperation(); !turn.ok()) co_return turn;
  while (true) {
    if (fd_.begin_read()) {
      UniqueFd socket(::accept4(get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      const int error = socket ? 0 : errno;
      if (error != EAGAIN) fd_.end_read();
      if (error == 0) co_return UnixStream::adopt(std::move(socket));
      if (error == EINTR || error == ECONNABORTED) continue;
      if (error != EAGAIN) co_return rt::errno_status("accepting a connection", error);
    }
    if (absl::Status news = co_await fd_.news(); !news.ok()) co_return news;
  }
}

}  // namespace zsync
