// Programs that a test starts, each ended by its pid and none outliving the test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zsync::kit {

using std::chrono::milliseconds;

#if defined(__has_feature)
inline constexpr bool kThreadsWatched = __has_feature(thread_sanitizer);
inline constexpr bool kMemoryWatched = __has_feature(address_sanitizer);
#else
inline constexpr bool kThreadsWatched = false;
inline constexpr bool kMemoryWatched = false;
#endif
// A sanitizer takes memory of its own: figures of memory say nothing then.
inline constexpr bool kInstrumented = kThreadsWatched || kMemoryWatched;

// Turns until `done` says so or `limit` has passed -> what it said last. For conditions that have
// no descriptor to wait for: files, /proc, answers of a daemon.
bool poll_until(const std::function<bool()>& done, milliseconds limit = milliseconds(10'000));

struct StartOptions {
  std::vector<std::string> set_env;    // NAME=VALUE over the test's own environment
  std::vector<std::string> unset_env;  // names
  std::string cwd;
  int in = -1;  // descriptors to hand over; -1: /dev/null
  int out = -1;
  int err = -1;
  uid_t uid = 0;  // to become, when not 0
  bool new_session = false;
};

// One started program.
//
// Lifetime: the destructor kills and reaps it. The kernel kills it when the test dies.
// Threads:  start it from a thread that outlives it.
class Process {
 public:
  Process() = default;
  explicit Process(const std::vector<std::string>& argv, const StartOptions& options = {});
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  bool running();
  void signal(int number) const;
  // The exit status in the form of a shell (128 + n for signal n); nullopt: it still runs.
  std::optional<int> wait(milliseconds limit);
  // SIGKILL, then reaped.
  void kill9();

 private:
  bool reap(bool block);

  pid_t pid_ = -1;
  int pidfd_ = -1;
  std::optional<int> status_;
};

struct Ran {
  int code = -1;  // in the form of a shell; -1: it did not end in time and was killed
  std::string out;
  std::string err;
};

// Runs a program to its end with `input` as its stdin.
Ran run(const std::vector<std::string>& argv, std::string_view input = {},
        StartOptions options = {}, milliseconds limit = milliseconds(30'000));

// Processes whose environment holds this NAME=VALUE.
std::vector<pid_t> processes_with_variable(std::string_view variable);
// Shims that work below `directory`.
std::vector<pid_t> shims_below(std::string_view directory);
// A line of /proc/PID/status as a number: "VmRSS", "voluntary_ctxt_switches"; -1: none.
long proc_status_number(const std::string& status_path, std::string_view key);

}  // namespace zsync::kit
