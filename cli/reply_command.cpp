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
pid_t spawn(const ReplyCommand& command, const Pipe& in, const Pipe& out, const Pipe& err) {
  std::vector<char*> words;
  for (const std::string& word : command.argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::vector<char*> environment;
  for (const std::string& one : command.env) environment.push_back(const_cast<char*>(one.c_str()));
  for (char** own = environ; *own != nullptr; ++own) {
    const std::string name(*own, std::strcspn(*own, "=") + 1);
    const bool replaced =
        std::any_of(command.env.begin(), command.env.end(),
                    [&](const std::string& one) { return one.rfind(name, 0) == 0; });
    if (!replaced) environment.push_back(*own);
  }
  environment.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, in.read, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write, 1);
  if (err.write >= 0) posix_spawn_file_actions_adddup2(&actions, err.write, 2);
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
  const int error =
      ::posix_spawnp(&pid, words[0], &actions, &attributes, words.data(), environment.data());
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

// Only the end of what it says there is kept.
void drain_tail(std::string& tail, int& from) {
  drain(tail, from);
  if (tail.size() > kStderrTailBytes) tail.erase(0, tail.size() - kStderrTailBytes);
}

// Until it closed its stdout, and its stderr where that is ours to read.
absl::Status talk(const std::string& body, std::string& said, std::string& wrong, Pipe& in,
                  Pipe& out, Pipe& err, const Limit& limit) {
  std::size_t fed = 0;
  if (body.empty()) Pipe::close(in.write);
  while (out.read >= 0 || err.read >= 0) {
    if (absl::Status over = limit.check(); !over.ok()) return over;
    pollfd ends[3] = {{out.read, POLLIN, 0}, {in.write, POLLOUT, 0}, {err.read, POLLIN, 0}};
    if (::poll(ends, 3, limit.milliseconds()) < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, "poll");
    }
    if (ends[0].revents != 0) drain(said, out.read);
    if (ends[2].revents != 0) drain_tail(wrong, err.read);
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
  return run_for_reply(ReplyCommand{argv, {}, time, nullptr}, body, stopped);
}

absl::StatusOr<std::string> run_for_reply(const ReplyCommand& command, const std::string& body,
                                          const std::function<bool()>& stopped) {
  const std::vector<std::string>& argv = command.argv;
  const Limit limit{Clock::now() + command.time, stopped};
  Pipe in;
  Pipe out;
  Pipe err;
  const bool tail = command.stderr_tail != nullptr;
  if (!in.open() || !out.open() || (tail && !err.open())) {
    return absl::ErrnoToStatus(errno, "pipe");
  }
  if (tail) make_blocking(err.write);
  make_blocking(in.read);
  make_blocking(out.write);
  const pid_t pid = spawn(command, in, out, err);
  if (pid < 0) {
    return absl::NotFoundError(absl::StrCat("cannot run \"", argv[0], "\": ", std::strerror(-pid)));
  }
  Pipe::close(in.read);
  Pipe::close(out.write);
  Pipe::close(err.write);
  std::string said;
  std::string wrong;
  absl::Status talked = talk(body, said, wrong, in, out, err, limit);
  Pipe::close(in.write);
  if (talked.ok()) talked = wait_for_end(pid, limit);
  if (!talked.ok()) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  while (!wrong.empty() && wrong.back() == '\n') wrong.pop_back();
  if (tail) *command.stderr_tail = std::move(wrong);
  if (!talked.ok()) return talked;
  if (status != 0) {
    return absl::AbortedError(absl::StrCat("\"", argv[0], "\" ", how_it_ended(status)));
  }
  return said;
}

}  // namespace zsync::cli
