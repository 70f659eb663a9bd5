#include "daemon/shim/command.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

// Everything the child needs, made before the vfork: after it only system calls happen.
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

// In the memory of its parent, which stands still meanwhile. A session of its own, since a terminal
// belongs to one; else only a process group.
[[noreturn]] void run_child(const Spec& spec, const Prepared& prepared, const int (&stdio)[3],
                            int report_fd) {
  const bool terminal = spec.terminal.rows != 0;
  if (terminal) {
    ::setsid();
    ::ioctl(stdio[0], TIOCSCTTY, 0);
  } else {
    ::setpgid(0, 0);
  }
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

// The command's standard streams, and our ends of them.
struct Streams {
  Fd theirs[3];
  Fd output[2];  // of a terminal only the first one
  Fd input;
};

// What could not be opened, errno saying why; "": all is open.
std::string open_pipes(const Spec& spec, Streams& streams) {
  for (int i = 0; i < 2; ++i) {
    Pipe output;
    if (!make_pipe(output)) return "pipe";
    streams.output[i] = std::move(output.read);
    streams.theirs[i + 1] = std::move(output.write);
  }
  if (spec.stdin_mode == StdinMode::kStream) {
    Pipe input;
    if (!make_pipe(input)) return "pipe";
    streams.theirs[0] = std::move(input.read);
    streams.input = std::move(input.write);
    return "";
  }
  const char* source = spec.stdin_mode == StdinMode::kFile ? kStdinFile : "/dev/null";
  streams.theirs[0] = Fd(::open(source, O_RDONLY | O_CLOEXEC));
  return streams.theirs[0].valid() ? "" : std::string("stdin: ") + source;
}

std::string open_terminal(const TerminalSize& size, Streams& streams) {
  constexpr size_t kNameBytes = 64;
  char name[kNameBytes];
  Fd ours(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!ours.valid() || ::grantpt(ours.get()) != 0 || ::unlockpt(ours.get()) != 0 ||
      ::ptsname_r(ours.get(), name, sizeof name) != 0) {
    return "terminal";
  }
  const winsize window = {size.rows, size.columns, 0, 0};
  (void)::ioctl(ours.get(), TIOCSWINSZ, &window);
  for (Fd& fd : streams.theirs) {
    fd = Fd(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!fd.valid()) return std::string("terminal: ") + name;
  }
  streams.input = Fd(::fcntl(ours.get(), F_DUPFD_CLOEXEC, 0));
  streams.output[0] = std::move(ours);
  return streams.input.valid() ? "" : "terminal";
}

Command failed(Command command, const std::string& what, int error, int code) {
  command.pid = 0;
  command.error = error;
  command.code = code;
  command.text = what + ": " + ::strerrordesc_np(error);
  return command;
}

// What the child has said before it gave up.
Command not_started(const Spec& spec, Command command, const Failure& failure) {
  switch (failure.step) {
    case Step::kCwd:
      return failed(std::move(command), "cwd: " + spec.cwd, failure.error, kCodeCannotExecute);
    case Step::kNice:
      return failed(std::move(command),
                    "nice " + std::to_string(spec.nice) + " (only root may go below 0)",
                    failure.error, kCodeCannotExecute);
    case Step::kIoPriority:
      return failed(std::move(command), "io priority", failure.error, kCodeCannotExecute);
    case Step::kExec:
      break;
  }
  const int code = failure.error == ENOENT ? kCodeNotFound : kCodeCannotExecute;
  return failed(std::move(command), "exec: " + spec.argv[0], failure.error, code);
}

}  // namespace

Command start_command(const Spec& spec) {
  Command command;
  Streams streams;
  Pipe report;
  if (!make_pipe(report)) return failed(std::move(command), "pipe", errno, kCodeCannotExecute);
  const bool terminal = spec.terminal.rows != 0;
  const std::string missing =
      terminal ? open_terminal(spec.terminal, streams) : open_pipes(spec, streams);
  if (!missing.empty()) return failed(std::move(command), missing, errno, kCodeCannotExecute);
  const Prepared prepared = prepare(spec);
  const int stdio[3] = {streams.theirs[0].get(), streams.theirs[1].get(), streams.theirs[2].get()};
  // Its memory is ours until it executes: a copy of the page tables would cost more than all it
  // does.
  const pid_t pid = ::vfork();
  if (pid == 0) run_child(spec, prepared, stdio, report.write.get());
  if (pid < 0) return failed(std::move(command), "fork", errno, kCodeCannotExecute);
  // On both sides, so that neither has to wait for the other; who leads a group cannot make a
  // session any more.
  if (!terminal) ::setpgid(pid, pid);
  report.write = Fd();
  Failure failure;
  ssize_t got;
  do {
    got = ::read(report.read.get(), &failure, sizeof(failure));
  } while (got < 0 && errno == EINTR);
  if (got == sizeof(failure)) {
    (void)::waitpid(pid, nullptr, 0);
    return not_started(spec, std::move(command), failure);
  }
  command.pid = pid;
  for (Fd* fd : {&streams.output[0], &streams.output[1], &streams.input}) {
    if (fd->valid()) (void)::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  command.output[0] = std::move(streams.output[0]);
  command.output[1] = std::move(streams.output[1]);
  command.input = std::move(streams.input);
  return command;
}

}  // namespace zsync::daemon::shim
