// zsync-shim ATTEMPT_DIR: runs the command of one attempt and outlives the daemon that asked for
// it. zsync-shim --fork-server: becomes one for each attempt that the daemon names.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "daemon/shim/attempt.hpp"
#include "daemon/shim/descriptors.hpp"
#include "daemon/shim/fork_server.hpp"
#include "daemon/shim/hold.hpp"
#include "daemon/shim/supervisor.hpp"

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr int kConnectionFd = 3;  // the launcher puts the first connection here
constexpr int kNotExecuted = 3;   // the shim's own exit code when somebody else has the claim

Fd take_signals() {
  for (const int number : {SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM})
    ::signal(number, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);  // ignored, it would throw exit statuses away
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGCHLD);
  ::sigprocmask(SIG_SETMASK, &set, nullptr);
  return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

Fd open_exit_file() {
  Fd fd(::open(kExitFile, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  struct stat info = {};
  if (fd.valid() && ::fstat(fd.get(), &info) == 0 && info.st_blocks > 0) return fd;  // by zsyncd
  if (fd.valid() && ::posix_fallocate(fd.get(), 0, kExitFileBytes) != 0) return Fd();
  return fd;
}

int refuse(const Fd& connection, const std::string& text) {
  const std::string frame = encode_refused(text);
  if (connection.valid())
    (void)::send(connection.get(), frame.data(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return kNotExecuted;
}

int supervise(const std::string& dir, Fd connection) {
  (void)::setsid();
  (void)::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  Fd signals = take_signals();
  if (::chdir(dir.c_str()) != 0)
    return refuse(connection, std::string("attempt: ") + ::strerrordesc_np(errno));
  absl::StatusOr<Spec> spec = read_spec(".");
  if (!spec.ok()) return refuse(connection, std::string(spec.status().message()));
  if (spec->argv.empty()) return refuse(connection, "spec has an empty argv");
  Fd exit_file = open_exit_file();
  if (!exit_file.valid())
    return refuse(connection, std::string("exit file: ") + ::strerrordesc_np(errno));
  Listener listener;
  // Before the claim names this process: whoever reads it can connect at once.
  if (!connection.valid() && !listener.open())
    return refuse(connection, std::string("socket: ") + ::strerrordesc_np(errno));
  const absl::StatusOr<bool> won = take_claim(".");
  if (!won.ok()) return refuse(connection, std::string(won.status().message()));
  if (!*won) return refuse(connection, "the claim is taken");
  if (spec->held && !wait_for_go(connection, signals, exit_file))
    return refuse(connection, "nobody said go");
  Supervisor(*std::move(spec), std::move(signals), std::move(exit_file), std::move(listener),
             std::move(connection))
      .run();
  return 0;
}

}  // namespace
}  // namespace zsync::daemon::shim

int main(int argc, char** argv) {
  using namespace zsync::daemon::shim;
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    std::printf("zsync-shim %s\n", ZSYNC_VERSION);
    return 0;
  }
  if (argc >= 2 && std::strcmp(argv[1], kForkServerFlag) == 0) {
    std::optional<ForkedAttempt> attempt = serve_forks(argc, argv);
    return attempt ? supervise(attempt->dir, std::move(attempt->connection)) : 0;
  }
  if (argc != 2) {
    std::fprintf(stderr, "zsync-shim: usage: zsync-shim ATTEMPT_DIR (zsyncd starts it)\n");
    return 2;
  }
  Fd connection = keep_only_socket(kConnectionFd);
  if (connection.valid()) (void)::fcntl(kConnectionFd, F_SETFL, O_NONBLOCK);
  return supervise(argv[1], std::move(connection));
}
