#include "daemon/rpc/listener.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

constexpr int kBacklog = 1024;                             // connections
constexpr std::chrono::milliseconds kHandOverLimit{2000};  // for the lock of a dead daemon
constexpr int kHandOverPauseMs = 2;

absl::Status failed(absl::string_view doing, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat(doing, " \"", path, "\""));
}

// The directory of the socket: ours, and closed to others.
absl::Status prepare_directory(const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::exists(directory, error)) {
    std::filesystem::create_directories(std::filesystem::path(directory).parent_path(), error);
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      return failed("creating the socket's directory", directory);
    }
  }
  struct stat info{};
  if (stat(directory.c_str(), &info) != 0)
    return failed("reading the socket's directory", directory);
  if (info.st_uid != geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat("the socket's directory \"", directory, "\" belongs to uid ", info.st_uid,
                     ", not to uid ", geteuid(), ": choose another with --socket"));
  }
  return absl::OkStatus();
}

bool lives(pid_t pid) { return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM); }

// The pid that holds the lock, as it wrote it; 0 when unreadable.
pid_t lock_owner(int lock_fd) {
  char text[32] = {};
  const ssize_t size = pread(lock_fd, text, sizeof text - 1, 0);
  pid_t owner = 0;
  const absl::string_view line(text, size > 0 ? static_cast<size_t>(size) : 0);
  return absl::SimpleAtoi(absl::StripAsciiWhitespace(line), &owner) ? owner : 0;
}

// A process that a killed daemon was just starting holds its descriptors until it executes its own
// program; so a lock of a dead owner is free in a moment.
bool lock_soon(int fd) {
  const auto give_up = std::chrono::steady_clock::now() + kHandOverLimit;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const pid_t owner = lock_owner(fd);
    if (lives(owner) || std::chrono::steady_clock::now() > give_up) return false;
    poll(nullptr, 0, kHandOverPauseMs);
  }
  return true;
}

absl::StatusOr<int> take_lock(const std::string& socket_path) {
  const std::string path = socket_path + ".lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return failed("opening the lock", path);
  if (!lock_soon(fd)) {
    const pid_t owner = lock_owner(fd);
    close(fd);
    return absl::AlreadyExistsError(absl::StrCat(
        "a zsyncd", owner == 0 ? "" : absl::StrCat(" (pid ", owner, ")"), " already serves \"",
        socket_path, "\": stop it with `zsyncctl daemon stop`, or choose another --socket"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    absl::Status status = failed("writing the lock", path);
    close(fd);
    return status;
  }
  return fd;
}

// Whether a live process listens there: a daemon whose lock file was deleted is not replaced
// either. The kernel knows who called listen(); a dead one's socket may still be held by what it
// was just starting.
bool answers(const sockaddr_un& address) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  bool answered = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  if (answered) {
    ucred listener{};
    socklen_t size = sizeof listener;
    // 0: of another pid namespace, which cannot be judged from here.
    answered = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) != 0 ||
               listener.pid == 0 || lives(listener.pid);
  } else {
    answered = errno == EAGAIN;
  }
  close(fd);
  return answered;
}

absl::StatusOr<int> bind_and_listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (answers(address)) {
    return absl::AlreadyExistsError(absl::StrCat("somebody already serves \"", path,
                                                 "\": stop it, or choose another --socket"));
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return failed("making a socket for", path);
  unlink(path.c_str());  // stale: we hold the lock and nobody answers
  const mode_t mask = umask(0177);
  const int bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  umask(mask);
  errno = error;
  if (bound != 0 || listen(fd, kBacklog) != 0) {
    absl::Status status = failed("listening at", path);
    close(fd);
    return status;
  }
  return fd;
}

}  // namespace

absl::StatusOr<ListeningSocket> ListeningSocket::open(const std::string& path) {
  absl::StatusOr<ListeningSocket> inherited = inherit();
  return absl::IsNotFound(inherited.status()) ? bind(path) : std::move(inherited);
}

absl::StatusOr<ListeningSocket> ListeningSocket::bind(const std::string& path) {
  if (path.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the socket path \"", path, "\" has ", path.size(), " bytes, the system allows ",
        kSocketPathBytesMax, ": set --socket or ZSYNC_SOCKET to a shorter one"));
  }
  const std::string directory = std::filesystem::path(path).parent_path().string();
  if (absl::Status status = prepare_directory(directory); !status.ok()) return status;
  absl::StatusOr<int> lock_fd = take_lock(path);
  if (!lock_fd.ok()) return lock_fd.status();
  absl::StatusOr<int> fd = bind_and_listen(path);
  if (!fd.ok()) {
    close(*lock_fd);
    return fd.status();
  }
  return ListeningSocket(*fd, *lock_fd, path);
}

absl::StatusOr<ListeningSocket> ListeningSocket::inherit() {
  const int count = sd_listen_fds(/*unset_environment=*/1);
  if (count <= 0) return absl::NotFoundError("no socket was passed by the service manager");
  const int fd = SD_LISTEN_FDS_START;
  if (count > 1 || sd_is_socket_unix(fd, SOCK_STREAM, 1, nullptr, 0) <= 0) {
    return absl::InvalidArgumentError(
        "the service manager passed something else than one listening Unix stream socket");
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return adopt(fd, -1);
}

ListeningSocket ListeningSocket::adopt(int fd, int lock_fd) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ListeningSocket(fd, lock_fd, address.sun_path);
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      path_(std::move(other.path_)) {}

ListeningSocket::~ListeningSocket() {
  if (fd_ < 0) return;
  if (lock_fd_ >= 0) unlink(path_.c_str());
  close(fd_);
  if (lock_fd_ >= 0) close(lock_fd_);
}

}  // namespace zsync::daemon
