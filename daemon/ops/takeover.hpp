// One program of zsyncd takes over from another in the same process, and gives it back if it fails.
//
//   OLD: checks NEW on a copy of the store, stops, hand_over(NEW)
//   NEW: take_inheritance(); a TakeoverGuard until it serves; then disarm()
//   NEW fails before: the guard executes OLD again, which is told why
//
// The process keeps its pid, its listening socket and its lock; its children stay its children.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zsync::daemon {

// How long a program may take until it serves.
inline constexpr std::chrono::seconds kTakeoverLimit{30};

// What a program is told by the one before it; descriptors are open in it.
struct Inheritance {
  int listener = -1;
  int lock = -1;                         // beside the socket; -1: the service manager made that
  int before = -1;                       // the program before, also when its file has been replaced
  std::string from;                      // its version
  std::vector<std::string> arguments;    // its own, argv[0] first
  std::vector<std::string> environment;  // its own, NAME=VALUE
  std::string program;                   // the path of the one that takes over, or was to
  int64_t began_unix_nano = 0;           // when the one before stopped serving
  std::string failure;                   // why this is the program before again; "": it is not
  bool engines_ran = false;              // of the one that failed: it may have changed the store
  uint64_t open_files_soft = 0;          // the limit that the first program began with
};

// Reads what this process was given, once; the descriptors are closed by the next exec again.
std::optional<Inheritance> take_inheritance();

// Executes the program that takes over, or with a `failure` the one before, with the arguments and
// the environment of the one before. Returns only when that fails; then the process goes on as it
// was.
absl::Status hand_over(const Inheritance& inheritance);

// Opens the program that this process executes, for Inheritance::before.
absl::StatusOr<int> open_own_program();

// Of a program that takes over, until it serves. A failure, a signal that would end the process and
// kTakeoverLimit execute the program before it.
//
// Threads: made and disarmed by one; a signal may come on any.
class TakeoverGuard {
 public:
  explicit TakeoverGuard(const Inheritance& inheritance);
  TakeoverGuard(const TakeoverGuard&) = delete;
  TakeoverGuard& operator=(const TakeoverGuard&) = delete;
  ~TakeoverGuard() { disarm(); }

  // From here on the store is not what it was.
  void engines_run();
  // Executes the program before. Returns only when that cannot be.
  void give_back(const std::string& why);
  // It serves.
  void disarm();
};

}  // namespace zsync::daemon
