#include "tests/kit/process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "tests/kit/temp_dir.hpp"

extern char** environ;

namespace zsync::kit {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kTurnMs = 5;  // between two looks at a condition

std::vector<std::string> environment_of(const StartOptions& options) {
  std::vector<std::string> environment;
  auto replaced = [&options](std::string_view variable) {
    const std::string_view name = variable.substr(0, variable.find('='));
    auto same = [name](const std::string& other) {
      return std::string_view(other).substr(0, other.find('=')) == name;
    };
    return std::any_of(options.set_env.begin(), options.set_env.end(), same) ||
           std::any_of(options.unset_env.begin(), options.unset_env.end(), same);
  };
  for (char** variable = environ; *variable; ++variable) {
    if (!replaced(*variable)) environment.emplace_back(*variable);
  }
  environment.insert(environment.end(), options.set_env.begin(), options.set_env.end());
  return environment;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// In the child, between fork and exec: only calls that a signal handler may make.
[[noreturn]] void become(const StartOptions& options, const pid_t parent, const int null,
                         char* const* argv, char* const* environment) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(125);
  if (options.new_session) setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  dup2(options.in < 0 ? null : options.in, 0);
  dup2(options.out < 0 ? null : options.out, 1);
  dup2(options.err < 0 ? null : options.err, 2);
  syscall(SYS_close_range, 3u, ~0u, 0u);
  if (!options.cwd.empty() && chdir(options.cwd.c_str()) != 0) _exit(125);
  if (options.uid != 0 && (setgid(options.uid) != 0 || setuid(options.uid) != 0)) _exit(125);
  execve(argv[0], argv, environment);
  _exit(errno == ENOENT ? 127 : 126);
}

int wait_readable(int fd, milliseconds limit) {
  pollfd waited{fd, POLLIN, 0};
  const Clock::time_point end = Clock::now() + limit;
  while (true) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    const int count = poll(&waited, 1, static_cast<int>(std::max<long long>(left, 0)));
    if (count >= 0 || errno != EINTR) return count;
  }
}

}  // namespace

bool poll_until(const std::function<bool()>& done, milliseconds limit) {
  const Clock::time_point end = Clock::now() + limit;
  while (!done()) {
    if (Clock::now() >= end) return done();
    poll(nullptr, 0, kTurnMs);
  }
  return true;
}

Process::Process(const std::vector<std::string>& argv, const StartOptions& options) {
  const std::vector<std::string> environment = environment_of(options);
  const std::vector<char*> arguments = pointers_to(argv);
  const std::vector<char*> variables = pointers_to(environment);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become(options, parent, null, arguments.data(), variables.data());
  close(null);
  pid_ = child;
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::exchange(other.pidfd_, -1)),
      status_(std::exchange(other.status_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  kill9();
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::exchange(other.pidfd_, -1);
  status_ = std::exchange(other.status_, std::nullopt);
  return *this;
}

Process::~Process() { kill9(); }

bool Process::reap(bool block) {
  if (pid_ <= 0 || status_) return true;
  int status = 0;
  pid_t ended = 0;
  do {
    ended = waitpid(pid_, &status, block ? 0 : WNOHANG);
  } while (ended < 0 && errno == EINTR);
  if (ended != pid_) return false;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool Process::running() { return pid_ > 0 && !reap(false); }

void Process::signal(int number) const {
  if (pidfd_ >= 0) syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0);
}

std::optional<int> Process::wait(milliseconds limit) {
  if (pid_ <= 0) return std::nullopt;
  if (!status_ && wait_readable(pidfd_, limit) > 0) reap(true);
  return status_;
}

void Process::kill9() {
  if (pid_ <= 0) return;
  if (!status_) {
    signal(SIGKILL);
    reap(true);
  }
  if (pidfd_ >= 0) close(std::exchange(pidfd_, -1));
  pid_ = -1;
}

Ran run(const std::vector<std::string>& argv, std::string_view input, StartOptions options,
        milliseconds limit) {
  int in[2];
  int out[2];
  int err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
    return {};
  }
  if (!input.empty()) options.in = in[0];
  options.out = out[1];
  options.err = err[1];
  ::signal(SIGPIPE, SIG_IGN);
  Process process(argv, options);
  for (const int fd : {in[0], out[1], err[1]}) close(fd);
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  Ran ran;
  pollfd polled[] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}, {in[1], POLLOUT, 0}};
  auto finish = [&polled](int which) { close(std::exchange(polled[which].fd, -1)); };
  if (input.empty()) finish(2);
  const Clock::time_point end = Clock::now() + limit;
  char buffer[65536];
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
    if (left <= 0) break;
    if (poll(polled, 3, static_cast<int>(left)) <= 0) continue;
    for (int which = 0; which < 2; ++which) {
      if (polled[which].fd < 0 || polled[which].revents == 0) continue;
      const ssize_t count = read(polled[which].fd, buffer, sizeof buffer);
      if (count <= 0) {
        finish(which);
      } else {
        (which == 0 ? ran.out : ran.err).append(buffer, static_cast<size_t>(count));
      }
    }
    if (polled[2].fd >= 0 && polled[2].revents != 0) {
      const ssize_t count = write(polled[2].fd, input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<size_t>(count));
      if ((count < 0 && errno != EAGAIN) || input.empty()) finish(2);
    }
  }
  for (int which = 0; which < 3; ++which) {
    if (polled[which].fd >= 0) finish(which);
  }
  const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now());
  ran.code = process.wait(std::max(left, milliseconds(0))).value_or(-1);
  return ran;
}

namespace {

template <typename Matches>
std::vector<pid_t> find_processes(const char* file, const Matches& matches) {
  std::vector<pid_t> found;
  DIR* listing = opendir("/proc");
  if (listing == nullptr) return found;
  while (const dirent* entry = readdir(listing)) {
    const pid_t pid = static_cast<pid_t>(std::atoi(entry->d_name));
    if (pid <= 0) continue;
    const std::optional<std::string> bytes =
        read_file("/proc/" + std::string(entry->d_name) + "/" + file);
    if (bytes && !bytes->empty() && matches(*bytes)) found.push_back(pid);
  }
  closedir(listing);
  return found;
}

}  // namespace

std::vector<pid_t> processes_with_variable(std::string_view variable) {
  const std::string wanted = std::string(1, '\0') + std::string(variable) + std::string(1, '\0');
  return find_processes("environ", [&wanted](const std::string& environment) {
    return (std::string(1, '\0') + environment + std::string(1, '\0')).find(wanted) !=
           std::string::npos;
  });
}

std::vector<pid_t> shims_below(std::string_view directory) {
  const std::string beginning =
      std::string("zsync-shim") + std::string(1, '\0') + std::string(directory) + "/";
  return find_processes("cmdline", [&beginning](const std::string& line) {
    return line.compare(0, beginning.size(), beginning) == 0;
  });
}

long proc_status_number(const std::string& status_path, std::string_view key) {
  const std::optional<std::string> text = read_file(status_path);
  if (!text) return -1;
  const std::string wanted = "\n" + std::string(key) + ":";
  const size_t at = text->find(wanted);
  return at == std::string::npos ? -1 : std::atol(text->c_str() + at + wanted.size());
}

}  // namespace zsync::kit
