// Process: child processes that tasks start, talk to and wait for.
//
//   absl::StatusOr<zsync::Process> child = zsync::Process::spawn({.argv = {"make", "-j2"}});
//   absl::StatusOr<zsync::ExitStatus> ended = co_await child->wait();
//
// The child is watched through a pidfd: no SIGCHLD handler, no thread, no pid that could belong to
// somebody else by then. It gets descriptors 0, 1, 2 and what `pass_fds` names, whatever else this
// process or its libraries have open, an empty signal mask, and SIGPIPE at its default.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/pipe.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync {

// What a standard stream of a child is connected to.
class Stdio {
 public:
  // This process's stream of the same number.
  static Stdio inherit() { return Stdio(kInherit); }
  // /dev/null: reads see the end, writes vanish.
  static Stdio null() { return Stdio(kNull); }
  // A pipe whose other end the Process has.
  static Stdio pipe() { return Stdio(kPipe); }
  // A descriptor of this process; it stays the caller's and is only needed during spawn().
  static Stdio fd(int descriptor) { return Stdio(descriptor); }

  // A pipe or not.
  bool is_pipe() const { return value_ == kPipe; }

 private:
  friend class SpawnPlan;
  static constexpr int kInherit = -1;
  static constexpr int kNull = -2;
  static constexpr int kPipe = -3;
  explicit Stdio(int value) : value_(value) {}
  int value_;  // a descriptor, or one of the constants
};

// Whose signals a child gets besides its own.
enum class ProcessGroup {
  inherit,      // this process's group: Ctrl-C in the terminal reaches the child too
  own,          // a new group with the child as its leader; kill_group() reaches it
  own_session,  // a new session, without a terminal, and a new group
};

// How a child is started.
struct ProcessOptions {
  // The program and its arguments. A program without a slash is looked up in this process's PATH;
  // a relative path is taken from `cwd`.
  std::vector<std::string> argv;
  std::string cwd;          // the child's directory; empty: this process's
  bool inherit_env = true;  // false: the child gets the variables of `env` only
  // Variables to set, or to remove (nullopt); a later one wins.
  std::vector<std::pair<std::string, std::optional<std::string>>> env;
  Stdio stdin_from = Stdio::inherit();  // what the child reads
  Stdio stdout_to = Stdio::inherit();   // where its output goes
  Stdio stderr_to = Stdio::inherit();   // where its complaints go
  std::vector<int> pass_fds;            // become the child's 3, 4, ...; they stay the caller's
  ProcessGroup group = ProcessGroup::inherit;  // whose signals it gets
  // A terminal (Pty::path()) that becomes the child's controlling terminal, in a session of its own
  // whatever `group` says, and those of its standard streams that are Stdio::inherit(). It must not
  // be another session's. Empty: none.
  std::string terminal;
  bool kill_on_drop = false;  // SIGKILL when the Process is destroyed before the child has ended
};

// How a child has ended.
struct ExitStatus {
  int code = 0;    // what it gave to exit(), 0..255; -1 when a signal ended it
  int signal = 0;  // the signal that ended it; 0 when it exited

  // Exit code 0.
  bool success() const { return code == 0; }
  // "exit code 3", "signal 15 (Terminated)".
  std::string to_string() const;
  bool operator==(const ExitStatus&) const = default;
};

// What Process::output() gives.
struct ProcessOutput {
  ExitStatus status;         // how it ended
  std::string stdout_bytes;  // empty unless ProcessOptions::stdout_to was a pipe
  std::string stderr_bytes;  // the same of stderr_to
};

// Lifetime: ends before its runtime. Destroyed before the child has ended it leaves the child alone
//           (or kills it: ProcessOptions::kill_on_drop); either way the child does not stay a
//           zombie: one thread for the whole program, which exists only while there are such
//           children, collects them.
// Threads:  kill() from any thread, the rest by one task at a time; each pipe by one more.
class Process {
 public:
  static constexpr size_t kPassedFdsMax = 64;                  // descriptors in pass_fds
  static constexpr size_t kOutputBytesMax = size_t{64} << 20;  // bytes of each stream in output()

  // Starts a program. Blocks for the few hundred microseconds that the kernel needs to start it. To
  // be called in a task; the child's pipes then belong to the task's worker.
  //
  // Errors: kNotFound "exec NAME: No such file or directory", kPermissionDenied, ... for a program
  //         that cannot be executed; the same with "chdir DIR" for its directory and "opening the
  //         terminal PATH" for its terminal; kInvalidArgument
  //         for no program or a NUL in a word; kResourceExhausted when there are too many processes
  //         or open files. No child is left then.
  static absl::StatusOr<Process> spawn(const ProcessOptions& options);

  // Starts a program, gives it `input` when stdin_from is a pipe, collects what it writes to those
  // of stdout and stderr that are pipes until nobody holds them open any more, and waits for its
  // end.
  //
  // Errors: as spawn(); kResourceExhausted when a stream has more than `bytes_max` bytes.
  // Cancel: kCancelled. On a cancel and on an error the child (or its own group) has been killed
  //         and has ended.
  static Task<absl::StatusOr<ProcessOutput>> output(ProcessOptions options, std::string input = {},
                                                    size_t bytes_max = kOutputBytesMax);

  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  ~Process();

  // Its number, valid until the end was seen by wait() or try_wait().
  pid_t pid() const { return pid_; }

  // Completes when the child has ended; afterwards at once, with the same answer.
  //
  // Errors: kFailedPrecondition when the kernel has not kept its exit status, because this program
  //         ignores SIGCHLD or has waited for all children elsewhere.
  // Cancel: kCancelled; the child is left alone.
  Task<absl::StatusOr<ExitStatus>> wait();
  // The same without waiting: nullopt while the child runs.
  absl::StatusOr<std::optional<ExitStatus>> try_wait();

  // Sends a signal to the child, never to another process that got its number later.
  //
  // Errors: kNotFound when it has ended; kPermissionDenied when it changed its user;
  //         kInvalidArgument for an unknown signal.
  absl::Status kill(int signal = SIGKILL) const;
  // Sends a signal to everybody in the child's own group.
  //
  // Errors: kFailedPrecondition without a group of its own (ProcessOptions::group), and once wait()
  //         has seen the child's end; else as kill().
  absl::Status kill_group(int signal = SIGKILL) const;

  // This side of the streams that are Stdio::pipe(), else empty. May be moved out, so that several
  // tasks can each have one.
  PipeWriter& stdin_pipe() { return stdin_; }
  // The same of stdout.
  PipeReader& stdout_pipe() { return stdout_; }
  // The same of stderr.
  PipeReader& stderr_pipe() { return stderr_; }

 private:
  friend class SpawnPlan;
  Process() = default;
  void drop();
  absl::Status kill_all() const;

  pid_t pid_ = -1;
  rt::Fd pidfd_;
  std::optional<ExitStatus> ended_;
  bool own_group_ = false;
  bool kill_on_drop_ = false;
  PipeWriter stdin_;
  PipeReader stdout_;
  PipeReader stderr_;
};

}  // namespace zsync
