// Process::spawn(): everything that can fail in this process is done before there is a child.
#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "zsync/process.hpp"

namespace zsync {
namespace {

constexpr int kStreams = 3;  // stdin, stdout, stderr

absl::Status check_word(const char* what, const std::string& word) {
  if (word.find('\0') == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("spawn: ", what, " contains a NUL byte, which no program can be given"));
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

// One child in the making.
class SpawnPlan {
 public:
  explicit SpawnPlan(const ProcessOptions& options) : options_(options) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  absl::StatusOr<Process> run() {
    if (absl::Status status = check(); !status.ok()) return status;
    set_attributes();
    Process process;
    process.own_group_ = options_.group != ProcessGroup::inherit || !options_.terminal.empty();
    process.kill_on_drop_ = options_.kill_on_drop;
    if (absl::Status status = enter_directory(); !status.ok()) return status;
    if (absl::Status status = take_terminal(); !status.ok()) return status;
    if (absl::Status status = connect_streams(process); !status.ok()) return status;
    if (absl::Status status = pass_descriptors(); !status.ok()) return status;
    posix_spawn_file_actions_addclosefrom_np(&actions_, first_free());
    if (absl::Status status = start(process); !status.ok()) return status;
    return process;
  }

 private:
  int first_free() const { return kStreams + static_cast<int>(options_.pass_fds.size()); }

  absl::Status check() {
    if (options_.argv.empty() || options_.argv[0].empty()) {
      return absl::InvalidArgumentError("spawn: argv is empty; its first word is the program");
    }
    if (options_.pass_fds.size() > Process::kPassedFdsMax) {
      return absl::InvalidArgumentError(absl::StrCat("spawn: ", options_.pass_fds.size(),
                                                     " descriptors in pass_fds; at most ",
                                                     Process::kPassedFdsMax, " can be passed"));
    }
    for (const std::string& word : options_.argv) {
      if (absl::Status status = check_word("argv", word); !status.ok()) return status;
    }
    for (const auto& [name, value] : options_.env) {
      if (name.empty() || name.find('=') != std::string::npos) {
        return absl::InvalidArgumentError(absl::StrCat(
            "spawn: \"", name, "\" is no name of an environment variable; leave out the ="));
      }
      if (absl::Status status = check_word("env", name); !status.ok()) return status;
      if (absl::Status status = check_word("env", value.value_or("")); !status.ok()) return status;
    }
    if (absl::Status status = check_word("terminal", options_.terminal); !status.ok())
      return status;
    return check_word("cwd", options_.cwd);
  }

  void set_attributes() {
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &defaults);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (!options_.terminal.empty()) {
      flags |= POSIX_SPAWN_SETSID;
    } else if (options_.group == ProcessGroup::own) {
      posix_spawnattr_setpgroup(&attributes_, 0);
      flags |= POSIX_SPAWN_SETPGROUP;
    } else if (options_.group == ProcessGroup::own_session) {
      flags |= POSIX_SPAWN_SETSID;
    }
    posix_spawnattr_setflags(&attributes_, flags);
  }

  // Opened here, so that a missing directory is not taken for a missing program.
  absl::Status enter_directory() {
    if (options_.cwd.empty()) return absl::OkStatus();
    UniqueFd directory(::open(options_.cwd.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::faccessat(directory.get(), ".", X_OK, AT_EACCESS) != 0) {
      return rt::errno_status(absl::StrCat("chdir ", options_.cwd), errno);
    }
    posix_spawn_file_actions_addfchdir_np(&actions_, directory.get());
    held_.push_back(std::move(directory));
    return absl::OkStatus();
  }

  // The first terminal that the leader of a session opens becomes its controlling terminal. What is
  // opened here finds out whether it can be, and keeps the other side from seeing an end before the
  // child has it.
  absl::Status take_terminal() {
    if (options_.terminal.empty()) return absl::OkStatus();
    UniqueFd terminal(::open(options_.terminal.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!terminal || !::isatty(terminal.get())) {
      return rt::errno_status(absl::StrCat("opening the terminal ", options_.terminal), errno);
    }
    posix_spawn_file_actions_addopen(&actions_, 0, options_.terminal.c_str(), O_RDWR, 0);
    for (int stream = 1; stream < kStreams; ++stream) {
      posix_spawn_file_actions_adddup2(&actions_, 0, stream);
    }
    held_.push_back(std::move(terminal));
    return absl::OkStatus();
  }

  absl::Status connect_streams(Process& process) {
    absl::Status status = connect(0, options_.stdin_from, [&process](UniqueFd end) {
      absl::StatusOr<PipeWriter> pipe = PipeWriter::adopt(std::move(end));
      if (pipe.ok()) process.stdin_ = *std::move(pipe);
      return pipe.status();
    });
    if (!status.ok()) return status;
    const auto read_from = [](PipeReader& stream) {
      return [&stream](UniqueFd end) {
        absl::StatusOr<PipeReader> pipe = PipeReader::adopt(std::move(end));
        if (pipe.ok()) stream = *std::move(pipe);
        return pipe.status();
      };
    };
    status = connect(1, options_.stdout_to, read_from(process.stdout_));
    if (!status.ok()) return status;
    return connect(2, options_.stderr_to, read_from(process.stderr_));
  }

  template <typename Adopt>
  absl::Status connect(int stream, const Stdio& to, Adopt adopt) {
    if (to.value_ == Stdio::kInherit) return absl::OkStatus();
    if (to.value_ >= 0) return place(to.value_, stream);
    if (to.value_ == Stdio::kNull) {
      UniqueFd null(::open("/dev/null", (stream == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC));
      if (!null) return rt::errno_status("spawn: opening /dev/null", errno);
      return place(null.get(), stream);
    }
    if (to.value_ != Stdio::kPipe) {
      return absl::InvalidArgumentError(
          absl::StrCat("spawn: ", to.value_, " is no descriptor: pass an open one to Stdio::fd()"));
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return rt::errno_status("spawn: making a pipe", errno);
    UniqueFd read_end(ends[0]), write_end(ends[1]);
    if (stream != 0) std::swap(read_end, write_end);
    if (absl::Status status = place(read_end.get(), stream); !status.ok()) return status;
    return adopt(std::move(write_end));
  }

  absl::Status pass_descriptors() {
    int number = kStreams;
    for (const int descriptor : options_.pass_fds) {
      if (absl::Status status = place(descriptor, number++); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // A copy above every number of the child: what is placed first overwrites nothing that is placed
  // later.
  absl::Status place(int descriptor, int number) {
    UniqueFd copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, first_free()));
    if (!copy) return rt::errno_status(absl::StrCat("spawn: descriptor ", descriptor), errno);
    posix_spawn_file_actions_adddup2(&actions_, copy.get(), number);
    held_.push_back(std::move(copy));
    return absl::OkStatus();
  }

  std::vector<std::string> environment() const {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; options_.inherit_env && entry && *entry; ++entry) {
      const std::string_view word = *entry;
      const size_t end = std::min(word.find('=', 1), word.size());
      variables.emplace(word.substr(0, end), word);
    }
    for (const auto& [name, value] : options_.env) {
      variables.erase(name);
      if (value) variables.emplace(name, absl::StrCat(name, "=", *value));
    }
    std::vector<std::string> words;
    words.reserve(variables.size());
    for (auto& [name, word] : variables) words.push_back(std::move(word));
    return words;
  }

  absl::Status start(Process& process) {
    std::vector<std::string> argv = options_.argv;
    std::vector<std::string> env = environment();
    const std::vector<char*> argv_pointers = pointers_to(argv), env_pointers = pointers_to(env);
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, argv[0].c_str(), &actions_, &attributes_,
                                     argv_pointers.data(), env_pointers.data());
    if (error != 0) return rt::errno_status(absl::StrCat("exec ", argv[0]), error);
    // The number cannot become another's: whatever happens to the child, only we collect it.
    UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    absl::Status status =
        pidfd ? absl::OkStatus() : rt::errno_status("watching a child (pidfd_open)", errno);
    if (status.ok()) {
      absl::StatusOr<rt::Fd> watched = rt::Fd::adopt(std::move(pidfd));
      status = watched.status();
      if (watched.ok()) process.pidfd_ = *std::move(watched);
    }
    if (!status.ok()) {
      ::kill(pid, SIGKILL);
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
      return status;
    }
    process.pid_ = pid;
    return absl::OkStatus();
  }

  const ProcessOptions& options_;
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
  std::vector<UniqueFd> held_;  // until the child has its own copies
};

absl::StatusOr<Process> Process::spawn(const ProcessOptions& options) {
  rt::require_kernel(
      "Process::spawn() outside a task of a real runtime: there is no kernel in a simulation");
  return SpawnPlan(options).run();
}

}  // namespace zsync
