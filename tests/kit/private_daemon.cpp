#include "tests/kit/private_daemon.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace zsync::kit {
namespace {

std::string program(const char* variable) {
  const char* path = std::getenv(variable);
  if (path == nullptr) {
    std::fprintf(stderr, "set %s to the program under test, or run this through meson\n", variable);
    std::exit(2);
  }
  return path;
}

}  // namespace

const Programs& Programs::get() {
  static const Programs programs{program("ZSYNCD"), program("ZSYNCCTL"), program("ZSYNC_SHIM")};
  return programs;
}

namespace {

// -1: nobody accepts.
pid_t look_at(const std::string& socket) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket.data(),
              std::min(socket.size(), sizeof address.sun_path - 1));
  ucred listener{.pid = -1, .uid = 0, .gid = 0};
  socklen_t size = sizeof listener;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) != 0) {
    listener.pid = 0;
  }
  close(fd);
  return listener.pid;
}

constexpr milliseconds kProfileWrittenMax{10'000};

}  // namespace

pid_t listener_of(const std::string& socket) { return std::max(look_at(socket), 0); }

bool accepts(const std::string& socket) { return look_at(socket) >= 0; }

PrivateDaemon::PrivateDaemon(DaemonOptions options)
    : options_(std::move(options)),
      socket_(options_.socket.empty() ? dir_ / "s" : options_.socket),
      state_dir_(options_.state_dir.empty() ? dir_ / "state" : options_.state_dir) {
  if (options_.uid != 0) chmod(dir_.path().c_str(), 0777);
  write_file(config_file(), options_.config.empty() ? "version: 1\n" : options_.config);
  if (options_.uid != 0) chmod(config_file().c_str(), 0644);
}

PrivateDaemon::~PrivateDaemon() {
  // Where coverage is measured: a process that is killed writes no profile of what it ran.
  if (std::getenv("LLVM_PROFILE_FILE") != nullptr && process_.running()) {
    (void)stop(kProfileWrittenMax);
  }
  process_.kill9();
  end_leftovers();
}

void PrivateDaemon::spawn() {
  const std::string log = dir_ / "log";
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  StartOptions start;
  start.out = start.err = fd;
  start.set_env = options_.set_env;
  start.unset_env = {"ZSYNC_SOCKET", "ZSYNC_STATE_DIR", "ZSYNC_TASK_ID", "ZSYNC_ATTEMPT",
                     "NOTIFY_SOCKET"};
  start.uid = options_.uid;
  start.new_session = true;
  std::vector<std::string> argv{
      options_.program.empty() ? Programs::get().zsyncd : options_.program,
      "--config",
      config_file(),
      "--socket",
      socket_,
      "--state-dir",
      state_dir_};
  argv.insert(argv.end(), options_.flags.begin(), options_.flags.end());
  process_ = Process(argv, start);
  close(fd);
}

bool PrivateDaemon::wait_ready(milliseconds limit) {
  auto listens = [this] { return listener_of(socket_) == process_.pid(); };
  return poll_until([&] { return !process_.running() || listens(); }, limit) && process_.running();
}

int PrivateDaemon::stop(milliseconds limit) {
  process_.signal(SIGTERM);
  return process_.wait(limit).value_or(-1);
}

std::string PrivateDaemon::log() const { return read_file(dir_ / "log").value_or(""); }

std::vector<std::string> PrivateDaemon::ctl_argv(std::vector<std::string> words) const {
  words.insert(words.begin(), {Programs::get().zsyncctl, "--socket", socket_, "--no-autostart"});
  return words;
}

Ran PrivateDaemon::ctl(std::vector<std::string> words, std::string_view input,
                       StartOptions options) const {
  return run(ctl_argv(std::move(words)), input, std::move(options));
}

std::vector<pid_t> PrivateDaemon::task_processes() const {
  return processes_with_variable("ZSYNC_SOCKET=" + socket_);
}

std::vector<pid_t> PrivateDaemon::shims() const { return shims_below(state_dir_); }

void PrivateDaemon::end_leftovers() const {
  poll_until(
      [this] {
        std::vector<pid_t> left = shims();
        const std::vector<pid_t> commands = task_processes();
        left.insert(left.end(), commands.begin(), commands.end());
        for (const pid_t pid : left) {
          if (pid != getpid()) kill(pid, SIGKILL);
        }
        return left.empty();
      },
      milliseconds(5000));
}

}  // namespace zsync::kit
