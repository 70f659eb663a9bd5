#include "cli/reply_command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

extern char** environ;

namespace zsync::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kAskMs = 100;

struct Pipe {
  int read = -1;
  int write = -1;

  bool open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    read = ends[0];
    write = ends[1];
    return true;
  }
  static void close(int& end) {
    if (end >= 0) ::close(std::exchange(end, -1));
  }
  ~Pipe() {
    close(read);
    close(write);
  }
};

// A pid in a group of its own, or -errno.
pid_t spawn(const std::vector<std::string>& argv, const Pipe& in, const Pipe& out) {
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, in.read, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write, 1);
  sigset_t none;
  sigset_t pipe;
  sigemptyset(&none);
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &pipe);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, words[0], &actions, &attributes, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return error == 0 ? pid : -error;
}

// The child's ends are blocking, as programs expect them.
void make_blocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK); }

void feed(const std::string& body, std::size_t& fed, int& to) {
  const ssize_t wrote = ::write(to, body.data() + fed, body.size() - fed);
  if (wrote > 0) fed += static_cast<std::size_t>(wrote);
  const bool wait = wrote < 0 && (errno == EAGAIN || errno == EINTR);
  if (fed == body.size() || (wrote < 0 && !wait)) Pipe::close(to);
}

void drain(std::string& said, int& from) {
  char buffer[64 << 10];
  const ssize_t got = ::read(from, buffer, sizeof(buffer));
  if (got > 0) said.append(buffer, static_cast<std::size_t>(got));
  const bool wait = got < 0 && (errno == EAGAIN || errno == EINTR);
  if (got == 0 || (got < 0 && !wait)) Pipe::close(from);
}

// How long something is waited for.
struct Limit {
  Clock::time_point until;
  const std::function<bool()>& stopped;

  absl::Status check() const {
    if (stopped()) return absl::CancelledError("the responder was ended");
    if (Clock::now() < until) return absl::OkStatus();
    return absl::DeadlineExceededError("the command took too long");
  }
  // Of one poll(): until the limit, but now and then somebody asks whether it is over.
  int milliseconds() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, kAskMs));
  }
};

// Until it closed its stdout.
absl::Status talk(const std::string& body, std::string& said, Pipe& in, Pipe& out,
                  const Limit& limit) {
  std::size_t fed = 0;
  if (body.empty()) Pipe::close(in.write);
  while (out.read >= 0) {
    if (absl::Status over = limit.check(); !over.ok()) return over;
    pollfd ends[2] = {{out.read, POLLIN, 0}, {in.write, POLLOUT, 0}};
    if (::poll(ends, 2, limit.milliseconds()) < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, "poll");
    }
    if (ends[0].revents != 0) drain(said, out.read);
    if (in.write >= 0 && ends[1].revents != 0) feed(body, fed, in.write);
    if (said.size() > kReplyBytesMax) {
      return absl::OutOfRangeError(
          absl::StrCat("the command said more than ", kReplyBytesMax, " bytes"));
    }
  }
  return absl::OkStatus();
}

// One that closed its stdout may go on.
absl::Status wait_for_end(pid_t pid, const Limit& limit) {
  Pipe process;
  process.read = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  pollfd end{process.read, POLLIN, 0};
  while (::poll(&end, 1, limit.milliseconds()) <= 0) {
    if (absl::Status over = limit.check(); !over.ok()) return over;
  }
  return absl::OkStatus();
}

std::string how_it_ended(int status) {
  return WIFSIGNALED(status) ? absl::StrCat("was ended by signal ", WTERMSIG(status))
                             : absl::StrCat("ended with exit code ", WEXITSTATUS(status));
}

}  // namespace

absl::StatusOr<std::string> run_for_reply(const std::vector<std::string>& argv,
                                          const std::string& body, std::chrono::nanoseconds time,
                                          const std::function<bool()>& stopped) {
  const Limit limit{Clock::now() + time, stopped};
  Pipe in;
  Pipe out;
  if (!in.open() || !out.open()) return absl::ErrnoToStatus(errno, "pipe");
  make_blocking(in.read);
  make_blocking(out.write);
  const pid_t pid = spawn(argv, in, out);
  if (pid < 0) {
    return absl::NotFoundError(absl::StrCat("cannot run \"", argv[0], "\": ", std::strerror(-pid)));
  }
  Pipe::close(in.read);
  Pipe::close(out.write);
  std::string said;
  absl::Status talked = talk(body, said, in, out, limit);
  Pipe::close(in.write);
  if (talked.ok()) talked = wait_for_end(pid, limit);
  if (!talked.ok()) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!talked.ok()) return talked;
  if (status != 0) {
    return absl::AbortedError(absl::StrCat("\"", argv[0], "\" ", how_it_ended(status)));
  }
  return said;
}

}  // namespace zsync::cli
