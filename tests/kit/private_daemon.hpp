// A zsyncd of the test's own: its socket, its state, its log, in a directory of its own.
#pragma once

#include <string>
#include <vector>

#include "tests/kit/process.hpp"
#include "tests/kit/temp_dir.hpp"

namespace zsync::kit {

// Where the programs under test are: ZSYNCD, ZSYNCCTL, ZSYNC_SHIM in the environment.
struct Programs {
  std::string zsyncd;
  std::string zsyncctl;
  std::string shim;
  static const Programs& get();
};

struct DaemonOptions {
  std::string program;             // empty: Programs::get().zsyncd
  std::string config;              // text of the YAML file; empty: none
  std::string socket;              // empty: DIR/s
  std::string state_dir;           // empty: DIR/state
  std::vector<std::string> flags;  // further ones
  std::vector<std::string> set_env;
  uid_t uid = 0;
};

// Lifetime: the destructor kills the daemon, its shims and every process of its tasks, by pid.
// Threads:  one; it outlives the daemon.
class PrivateDaemon {
 public:
  explicit PrivateDaemon(DaemonOptions options = {});
  ~PrivateDaemon();
  PrivateDaemon(const PrivateDaemon&) = delete;
  PrivateDaemon& operator=(const PrivateDaemon&) = delete;

  // Starts the program and returns at once.
  void spawn();
  // Returns once it accepts connections; false: it ended or did not within `limit`.
  bool wait_ready(milliseconds limit = milliseconds(10'000));
  bool start() {
    spawn();
    return wait_ready();
  }
  void kill9() { process_.kill9(); }
  // SIGTERM -> its exit code; -1: it did not end in time.
  int stop(milliseconds limit = milliseconds(15'000));

  // Of the next start.
  DaemonOptions& options() { return options_; }
  Process& process() { return process_; }
  const std::string& socket() const { return socket_; }
  const std::string& state_dir() const { return state_dir_; }
  const TempDir& dir() const { return dir_; }
  std::string config_file() const { return dir_ / "zsyncd.yaml"; }
  std::string log() const;

  // zsyncctl against this daemon.
  std::vector<std::string> ctl_argv(std::vector<std::string> words) const;
  Ran ctl(std::vector<std::string> words, std::string_view input = {},
          StartOptions options = {}) const;

  // What is left of its tasks: processes that know its socket, and shims.
  std::vector<pid_t> task_processes() const;
  std::vector<pid_t> shims() const;

 private:
  void end_leftovers() const;

  TempDir dir_;
  DaemonOptions options_;
  std::string socket_;
  std::string state_dir_;
  Process process_;
};

// The process that listens at this socket; 0: nobody does, or one of another pid namespace. Of a
// killed daemon that is itself, for as long as what it was just starting has the socket open.
pid_t listener_of(const std::string& socket);
// Whether somebody accepts at this socket.
bool accepts(const std::string& socket);

}  // namespace zsync::kit
