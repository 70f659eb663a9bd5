#include "zsync/client/endpoint.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

extern char** environ;

namespace zsync::client {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kPollMilliseconds = 2;

class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status no_daemon(const std::string& path, const char* why) {
  return absl::UnavailableError(
      absl::StrCat("no zsyncd at ", path, why, ": start one with `zsyncctl daemon start`"));
}

absl::Status make_private_directory(const std::filesystem::path& directory) {
  std::error_code error;
  if (std::filesystem::is_directory(directory, error)) return absl::OkStatus();
  std::filesystem::create_directories(directory.parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("create directory ", directory.string(), ": ", std::strerror(errno)));
}

bool is_executable(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

absl::StatusOr<std::string> find_daemon(const std::string& wanted) {
  if (!wanted.empty()) {
    if (is_executable(wanted)) return wanted;
    return absl::NotFoundError(absl::StrCat("no executable zsyncd at ", wanted));
  }
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    std::string beside = (self.parent_path() / "zsyncd").string();
    if (is_executable(beside)) return beside;
  }
  const std::vector<std::string> path = absl::StrSplit(variable("PATH"), ':', absl::SkipEmpty());
  for (const std::string& directory : path) {
    std::string candidate = absl::StrCat(directory, "/zsyncd");
    if (is_executable(candidate)) return candidate;
  }
  return absl::NotFoundError(
      "no zsyncd to start: it is neither beside this program nor in PATH; install it or start one "
      "by hand");
}

// The daemon must not hold what its first client was given: descriptors, directory, signals.
absl::StatusOr<pid_t> spawn_daemon(const std::string& program, const std::string& socket,
                                   const std::string& log) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawn_file_actions_addchdir_np(&actions, "/");
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<std::string> words = {program, "--socket", socket};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return absl::UnavailableError(absl::StrCat("start ", program, ": ", std::strerror(error)));
  }
  return pid;
}

// Whether the unit would serve `path`: the default one, with the default state.
bool is_units_path(const std::string& path) {
  const std::string runtime = variable("XDG_RUNTIME_DIR");
  struct stat manager;
  return !runtime.empty() && path == runtime + "/zsync/zsyncd.sock" &&
         variable("ZSYNC_STATE_DIR").empty() &&
         ::stat((runtime + "/systemd/private").c_str(), &manager) == 0;
}

// `systemctl --user start zsyncd.socket`; false when that does not work here.
bool start_by_service_manager(SteadyClock::time_point deadline) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) {
    posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  }
  std::string words[] = {"systemctl", "--user", "--quiet", "start", "zsyncd.socket"};
  char* argv[] = {words[0].data(), words[1].data(), words[2].data(),
                  words[3].data(), words[4].data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, argv[0], &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return false;
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    if (SteadyClock::now() >= deadline) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, &status, 0);
      return false;
    }
    ::poll(nullptr, 0, kPollMilliseconds);
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

absl::Status wait_for_lock(int fd, SteadyClock::time_point deadline) {
  while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return absl::UnavailableError(absl::StrCat("lock for starting: ", std::strerror(errno)));
    }
    if (SteadyClock::now() >= deadline) {
      return absl::DeadlineExceededError("another client has been starting zsyncd for too long");
    }
    ::poll(nullptr, 0, kPollMilliseconds);
  }
  return absl::OkStatus();
}

absl::Status wait_for_accept(const std::string& path, pid_t pid, const std::string& log,
                             SteadyClock::time_point deadline) {
  bool ended = false;
  while (true) {
    const absl::Status status = probe(path);
    if (!absl::IsUnavailable(status)) return status;
    if (ended) {
      return absl::UnavailableError(
          absl::StrCat("zsyncd ended as soon as it was started: ", log, " says why"));
    }
    if (SteadyClock::now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("zsyncd (pid ", pid, ") does not accept at ",
                                                      path, ": ", log, " may say why"));
    }
    int ignored = 0;
    ended = ::waitpid(pid, &ignored, WNOHANG) == pid;
    if (!ended) ::poll(nullptr, 0, kPollMilliseconds);
  }
}

}  // namespace

absl::StatusOr<std::string> state_directory() {
  if (std::string own = variable("ZSYNC_STATE_DIR"); !own.empty()) return own;
  if (std::string xdg = variable("XDG_STATE_HOME"); !xdg.empty()) return xdg + "/zsync";
  if (std::string home = variable("HOME"); !home.empty()) return home + "/.local/state/zsync";
  return absl::FailedPreconditionError(
      "no state directory: set ZSYNC_STATE_DIR, XDG_STATE_HOME or HOME");
}

absl::StatusOr<std::string> socket_path(const std::string& wanted) {
  std::string path = wanted.empty() ? variable("ZSYNC_SOCKET") : wanted;
  if (path.empty()) {
    if (std::string runtime = variable("XDG_RUNTIME_DIR"); !runtime.empty()) {
      path = runtime + "/zsync/zsyncd.sock";
    } else {
      absl::StatusOr<std::string> state = state_directory();
      if (!state.ok()) return state.status();
      path = *state + "/zsyncd.sock";
    }
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (!error) path = absolute.string();
  if (path.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("socket path ", path, " has ", path.size(),
                                                   " bytes, at most ", kSocketPathBytesMax,
                                                   " fit: set ZSYNC_SOCKET to a shorter one"));
  }
  return path;
}

absl::Status probe(const std::string& path) {
  const OwnedFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) {
    return absl::ResourceExhaustedError(absl::StrCat("open a socket: ", std::strerror(errno)));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), kSocketPathBytesMax));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    return absl::OkStatus();
  }
  switch (errno) {
    case EAGAIN:  // the backlog is full, so somebody listens
    case EINPROGRESS:
      return absl::OkStatus();
    case ENOENT:
    case ENOTDIR:
      return no_daemon(path, "");
    case ECONNREFUSED:
      return no_daemon(path, " (the socket is there, nobody listens)");
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          "connect to ", path, ": permission denied: the daemon serves its own user and root"));
    default:
      return absl::UnavailableError(absl::StrCat("connect to ", path, ": ", std::strerror(errno)));
  }
}

absl::StatusOr<StartedDaemon> ensure_daemon(const std::string& path, const std::string& program) {
  const SteadyClock::time_point deadline = SteadyClock::now() + kStartTimeout;
  const absl::StatusOr<std::string> state = state_directory();
  if (!state.ok()) return state.status();
  absl::Status made = make_private_directory(*state);
  if (made.ok()) made = make_private_directory(std::filesystem::path(path).parent_path());
  if (!made.ok()) return made;

  const std::string lock_path = path + ".start";
  const OwnedFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("open ", lock_path, ": ", std::strerror(errno)));
  }
  absl::Status status = wait_for_lock(lock.get(), deadline);
  if (!status.ok()) return status;
  status = probe(path);
  if (status.ok()) return StartedDaemon{};
  if (!absl::IsUnavailable(status)) return status;

  if (program.empty() && is_units_path(path) && start_by_service_manager(deadline) &&
      probe(path).ok()) {
    return StartedDaemon{true, 0};
  }
  const absl::StatusOr<std::string> daemon = find_daemon(program);
  if (!daemon.ok()) return daemon.status();
  const std::string log = *state + "/zsyncd.log";
  const absl::StatusOr<pid_t> pid = spawn_daemon(*daemon, path, log);
  if (!pid.ok()) return pid.status();
  status = wait_for_accept(path, *pid, log, deadline);
  if (!status.ok()) return status;
  return StartedDaemon{true, *pid};
}

}  // namespace zsync::client
