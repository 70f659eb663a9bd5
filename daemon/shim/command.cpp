#include "daemon/shim/command.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace zsync::daemon::shim {
namespace {

using segment_log::Fd;

constexpr char kDefaultPath[] = "/usr/local/bin:/usr/bin:/bin";
constexpr int kCodeNotFound = 127;
constexpr int kCodeCannotExecute = 126;
constexpr int kSignalMax = 64;
constexpr size_t kSigactionBytes = 64;  // the kernel's struct has 32 at most

enum class Step : int { kCwd = 1, kExec = 2, kNice = 3, kIoPriority = 4 };
struct Failure {
  Step step = Step::kExec;
  int error = 0;
};

struct Pipe {
  Fd read;
  Fd write;
};

bool make_pipe(Pipe& out) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return false;
  out.read = Fd(fds[0]);
  out.write = Fd(fds[1]);
  return true;
}

// Everything the child needs, made before the fork: after it only system calls happen.
struct Prepared {
  std::vector<std::string> programs;  // the candidates of the PATH search, in order
  std::vector<char*> argv;
  std::vector<std::vector<char*>> shell_argv;  // /bin/sh PROGRAM ARGS..., for a script without #!
  std::vector<char*> env;
  const char* cwd = nullptr;
  rlimit open_files = {};
  rlimit memory = {};
  rlimit processes = {};
};

std::vector<std::string> candidates(const Spec& spec) {
  const std::string& name = spec.argv[0];
  if (name.find('/') != std::string::npos) return {name};
  std::string_view path = kDefaultPath;
  for (const std::string& pair : spec.env) {
    if (pair.compare(0, 5, "PATH=") == 0) path = std::string_view(pair).substr(5);
  }
  std::vector<std::string> out;
  while (true) {
    const size_t colon = path.find(':');
    const std::string_view directory = path.substr(0, colon);
    out.push_back(directory.empty() ? name : std::string(directory) + "/" + name);
    if (colon == std::string_view::npos) return out;
    path.remove_prefix(colon + 1);
  }
}

Prepared prepare(const Spec& spec) {
  Prepared prepared;
  prepared.programs = candidates(spec);
  for (const std::string& arg : spec.argv) prepared.argv.push_back(const_cast<char*>(arg.c_str()));
  prepared.argv.push_back(nullptr);
  for (const std::string& program : prepared.programs) {
    std::vector<char*> shell = {const_cast<char*>("sh"), const_cast<char*>(program.c_str())};
    shell.insert(shell.end(), prepared.argv.begin() + 1, prepared.argv.end());
    prepared.shell_argv.push_back(std::move(shell));
  }
  for (const std::string& pair : spec.env) prepared.env.push_back(const_cast<char*>(pair.c_str()));
  prepared.env.push_back(nullptr);
  prepared.cwd = spec.cwd.empty() ? "/" : spec.cwd.c_str();
  (void)::getrlimit(RLIMIT_NOFILE, &prepared.open_files);
  if (spec.open_files_soft > 0) {
    prepared.open_files.rlim_cur =
        std::min<rlim_t>(spec.open_files_soft, prepared.open_files.rlim_max);
  }
  const auto lowered = [](__rlimit_resource what, uint64_t to) {
    rlimit limit = {};
    (void)::getrlimit(what, &limit);
    if (to > 0) limit.rlim_cur = limit.rlim_max = std::min<rlim_t>(to, limit.rlim_max);
    return limit;
  };
  prepared.memory = lowered(RLIMIT_AS, spec.memory_bytes_max);
  prepared.processes = lowered(RLIMIT_NPROC, spec.processes_max);
  return prepared;
}

int exec_first(const Prepared& prepared) {
  int error = ENOENT;
  for (size_t i = 0; i < prepared.programs.size(); ++i) {
    ::execve(prepared.programs[i].c_str(), prepared.argv.data(), prepared.env.data());
    if (errno == ENOEXEC) {
      ::execve("/bin/sh", prepared.shell_argv[i].data(), prepared.env.data());
      return ENOEXEC;
    }
    if (errno == EACCES) {
      error = EACCES;  // goes on searching, and is what is said when nothing else is found
    } else if (errno != ENOENT && errno != ENOTDIR) {
      return errno;
    }
  }
  return error;
}

// What the scheduler of the processor and that of the disk are told. True: done.
bool set_priorities(const Spec& spec, Failure& failure) {
  errno = 0;
  if (spec.nice != 0 && ::nice(spec.nice) == -1 && errno != 0) {
    failure = {Step::kNice, errno};
    return false;
  }
  constexpr int kIoProcess = 1;  // IOPRIO_WHO_PROCESS
  constexpr int kIoClassShift = 13;
  const int priority = spec.io_class << kIoClassShift | spec.io_level;
  if (spec.io_class != 0 && ::syscall(SYS_ioprio_set, kIoProcess, 0, priority) != 0) {
    failure = {Step::kIoPriority, errno};
    return false;
  }
  return true;
}

[[noreturn]] void run_child(const Spec& spec, const Prepared& prepared, const int (&stdio)[3],
                            int report_fd) {
  ::setpgid(0, 0);
  // By system call: glibc hides two signals, and its posix_spawn leaves just those ignored.
  const char default_action[kSigactionBytes] = {};
  for (int number = 1; number <= kSignalMax; ++number) {
    ::syscall(SYS_rt_sigaction, number, default_action, nullptr, kSignalMax / 8);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int fd = 0; fd < 3; ++fd) ::dup2(stdio[fd], fd);  // the sources are all above 2
  (void)::setrlimit(RLIMIT_NOFILE, &prepared.open_files);
  (void)::setrlimit(RLIMIT_NPROC, &prepared.processes);
  Failure failure;
  const bool prioritized = set_priorities(spec, failure);
  (void)::setrlimit(RLIMIT_AS, &prepared.memory);
  if (!prioritized) {
    // failure says it
  } else if (::chdir(prepared.cwd) != 0) {
    failure = {Step::kCwd, errno};
  } else {
    failure = {Step::kExec, exec_first(prepared)};
  }
  (void)!::write(report_fd, &failure, sizeof(failure));
  ::_exit(kCodeNotFound);
}

Command failed(Command command, const std::string& what, int error, int code) {
  command.pid = 0;
  command.error = error;
  command.code = code;
  command.text = what + ": " + ::strerrordesc_np(error);
  return command;
}

}  // namespace

Command start_command(const Spec& spec) {
  Command command;
  Pipe output[2];
  Pipe input;
  Pipe report;
  if (!make_pipe(output[0]) || !make_pipe(output[1]) || !make_pipe(report)) {
    return failed(std::move(command), "pipe", errno, kCodeCannotExecute);
  }
  if (spec.stdin_mode == StdinMode::kStream) {
    if (!make_pipe(input)) return failed(std::move(command), "pipe", errno, kCodeCannotExecute);
  } else {
    const char* source = spec.stdin_mode == StdinMode::kFile ? kStdinFile : "/dev/null";
    input.read = Fd(::open(source, O_RDONLY | O_CLOEXEC));
    if (!input.read.valid()) {
      return failed(std::move(command), std::string("stdin: ") + source, errno, kCodeCannotExecute);
    }
  }
  const Prepared prepared = prepare(spec);
  const int stdio[3] = {input.read.get(), output[0].write.get(), output[1].write.get()};
  const pid_t pid = ::fork();
  if (pid == 0) run_child(spec, prepared, stdio, report.write.get());
  if (pid < 0) return failed(std::move(command), "fork", errno, kCodeCannotExecute);
  ::setpgid(pid, pid);  // on both sides, so that neither has to wait for the other
  report.write = Fd();
  Failure failure;
  ssize_t got;
  do {
    got = ::read(report.read.get(), &failure, sizeof(failure));
  } while (got < 0 && errno == EINTR);
  if (got == sizeof(failure)) {
    (void)::waitpid(pid, nullptr, 0);
    if (failure.step == Step::kCwd) {
      return failed(std::move(command), "cwd: " + spec.cwd, failure.error, kCodeCannotExecute);
    }
    if (failure.step == Step::kNice) {
      return failed(std::move(command),
                    "nice " + std::to_string(spec.nice) + " (only root may go below 0)",
                    failure.error, kCodeCannotExecute);
    }
    if (failure.step == Step::kIoPriority) {
      return failed(std::move(command), "io priority", failure.error, kCodeCannotExecute);
    }
    const int code = failure.error == ENOENT ? kCodeNotFound : kCodeCannotExecute;
    return failed(std::move(command), "exec: " + spec.argv[0], failure.error, code);
  }
  command.pid = pid;
  for (int i = 0; i < 2; ++i) {
    (void)::fcntl(output[i].read.get(), F_SETFL, O_NONBLOCK);
    command.output[i] = std::move(output[i].read);
  }
  if (input.write.valid()) (void)::fcntl(input.write.get(), F_SETFL, O_NONBLOCK);
  command.input = std::move(input.write);
  return command;
}

}  // namespace zsync::daemon::shim
