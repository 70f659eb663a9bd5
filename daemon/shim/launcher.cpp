#include "daemon/shim/launcher.hpp"

#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/shim/fork_server.hpp"
#include "daemon/shim/shim_protocol.hpp"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr int kConnectionFd = 3;  // where the program finds its socket
static_assert(kConnectionFd == kForkServerFd);
// Attempts of one state directory differ in a few digits.
constexpr size_t kRoomBeyondFirst = 32;

absl::Status failed(int error, absl::string_view doing, absl::string_view path) {
  return absl::ErrnoToStatus(error, absl::StrCat(doing, " \"", path, "\""));
}

struct SocketPair {
  Fd mine;
  Fd theirs;
};

absl::StatusOr<SocketPair> connect_pair(int type) {
  int pair[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
    return absl::ErrnoToStatus(errno, "connect to a new zsync-shim");
  }
  return SocketPair{Fd(pair[0]), Fd(pair[1])};
}

// Executes zsync-shim in a session of its own with `socket` as its descriptor 3.
absl::StatusOr<pid_t> execute(const std::string& program, const std::vector<std::string>& arguments,
                              const Fd& socket) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  // The socket goes first: any of 0..2 may be its own number in a caller that closed them.
  ::posix_spawn_file_actions_adddup2(&actions, socket.get(), kConnectionFd);
  for (int fd = 0; fd < kConnectionFd; ++fd) {
    ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  }
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::vector<char*> argv = {const_cast<char*>("zsync-shim")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  char* const env[] = {nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), env);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return failed(error, "start", program);
  return pid;
}

// False: the server is gone, or so far behind that its socket is full.
bool send_attempt(const Fd& server, const std::string& dir, const Fd& connection) {
  iovec part = {const_cast<char*>(dir.data()), dir.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = connection.get();
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  return ::sendmsg(server.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

}  // namespace

absl::StatusOr<SpawnedShim> spawn_shim(const std::string& program, const std::string& dir) {
  absl::StatusOr<SocketPair> pair = connect_pair(SOCK_STREAM);
  if (!pair.ok()) return pair.status();
  const absl::StatusOr<pid_t> pid = execute(program, {dir}, pair->theirs);
  if (!pid.ok()) return pid.status();
  SpawnedShim shim;
  shim.pid = *pid;
  shim.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)));
  shim.connection = std::move(pair->mine);
  return shim;
}

void say_go(const Fd& connection) {
  const std::string frame = encode_frame(FrameType::kGo);
  (void)::send(connection.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

absl::StatusOr<Fd> Launcher::launch(const std::string& dir) {
  {
    std::lock_guard guard(mutex_);
    if (server_ready() && dir.size() <= room_) {
      absl::StatusOr<Fd> connection = fork_shim(dir);
      if (connection.ok()) return connection;
    }
    if (!server_.valid() && !given_up_) start_server(dir);
  }
  absl::StatusOr<SpawnedShim> shim = spawn_shim(program_, dir);
  if (!shim.ok()) return shim.status();
  return std::move(shim->connection);
}

// Whether the server has said so, and has not ended since.
bool Launcher::server_ready() {
  if (!server_.valid()) return false;
  char word[sizeof kForkServerReady];
  const ssize_t got = ::recv(server_.get(), word, sizeof word, MSG_DONTWAIT);
  if (got > 0) {
    ready_ = true;
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR) || server_stands_still()) {
    given_up_ = !ready_;
    ready_ = false;
    server_ = Fd();
  }
  return ready_;
}

// Stopped, in a debugger, or without memory: what it was asked goes on when it does.
bool Launcher::server_stands_still() const {
  int unread = 0;
  return ready_ && ::ioctl(server_.get(), SIOCOUTQ, &unread) == 0 && unread > 0 &&
         clock_() - asked_at_ > kServerSilenceMax;
}

absl::StatusOr<Fd> Launcher::fork_shim(const std::string& dir) {
  absl::StatusOr<SocketPair> pair = connect_pair(SOCK_STREAM);
  if (!pair.ok()) return pair.status();
  if (!send_attempt(server_, dir, pair->theirs)) return failed(errno, "ask for a shim of", dir);
  asked_at_ = clock_();
  return std::move(pair->mine);
}

void Launcher::start_server(const std::string& dir) {
  absl::StatusOr<SocketPair> pair = connect_pair(SOCK_SEQPACKET);
  if (!pair.ok()) return;
  // The server waits in its calls; only our end must not.
  (void)::fcntl(pair->theirs.get(), F_SETFL, 0);
  room_ = dir.size() + kRoomBeyondFirst;
  const std::string flag = kForkServerFlag;
  if (!execute(program_, {flag, std::string(room_ - flag.size(), ' ')}, pair->theirs).ok()) return;
  server_ = std::move(pair->mine);
}

}  // namespace zsync::daemon::shim
