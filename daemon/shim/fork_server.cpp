#include "daemon/shim/fork_server.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "daemon/shim/attempt.hpp"
#include "daemon/shim/descriptors.hpp"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr int kForkAgainMs = 100;

// The next attempt; nullopt: the daemon is gone. One without a descriptor is passed over, since
// nobody would hear of it.
std::optional<ForkedAttempt> next_attempt(const Fd& daemon) {
  while (true) {
    char dir[kAttemptDirBytesMax + 1];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec part = {dir, sizeof dir - 1};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(daemon.get(), &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) continue;
    ForkedAttempt attempt;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    attempt.connection = Fd(fd);
    if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) continue;
    attempt.dir.assign(dir, static_cast<size_t>(got));
    return attempt;
  }
}

// A machine without room for a process has some again by and by: the attempt waits for it, as it
// does where zsyncd executes the shim. Fails for other reasons, and when the daemon is gone.
pid_t fork_when_possible(const Fd& daemon) {
  while (true) {
    const pid_t pid = ::fork();
    if (pid >= 0 || (errno != EAGAIN && errno != ENOMEM)) return pid;
    const int shortage = errno;
    pollfd hangup = {daemon.get(), 0, 0};
    const bool gone = ::poll(&hangup, 1, kForkAgainMs) == 1;
    errno = shortage;
    if (gone) return pid;
  }
}

void refuse(const Fd& connection, int error) {
  const std::string frame = encode_refused(std::string("fork: ") + ::strerrordesc_np(error));
  (void)::send(connection.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// The arguments lie one behind the other: the flag and the room become the directory.
void show_dir(char** argv, const std::string& dir) {
  char* const begin = argv[1];
  const size_t room = static_cast<size_t>(argv[2] + std::strlen(argv[2]) - begin);
  std::memset(begin, 0, room);
  std::memcpy(begin, dir.data(), dir.size() < room ? dir.size() : room);
}

}  // namespace

std::optional<ForkedAttempt> serve_forks(int argc, char** argv) {
  Fd daemon = keep_only_socket(kForkServerFd);
  if (!daemon.valid()) return std::nullopt;
  ::signal(SIGCHLD, SIG_IGN);  // shims leave no zombies
  // What it asks of the machine, the children need not ask. Without an answer none could claim.
  if (!claim_of_self(ClaimKind::kShim).ok()) return std::nullopt;
  (void)::send(daemon.get(), kForkServerReady, std::strlen(kForkServerReady), MSG_NOSIGNAL);
  while (std::optional<ForkedAttempt> attempt = next_attempt(daemon)) {
    const pid_t pid = fork_when_possible(daemon);
    if (pid < 0) refuse(attempt->connection, errno);
    if (pid != 0) continue;
    daemon = Fd();
    if (argc > 2) show_dir(argv, attempt->dir);
    return attempt;
  }
  return std::nullopt;
}

}  // namespace zsync::daemon::shim
