// Signals of the process, read as bytes from a descriptor.
#pragma once

#include <initializer_list>

#include "absl/status/statusor.h"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// Blocks the signals in this thread and those it starts. To be called before any thread exists.
void block_signals(std::initializer_list<int> signals);

// Lifetime: ends before its runtime.
class ProcessSignals {
 public:
  // Reads signals that were blocked before. To be called in a task.
  static absl::StatusOr<ProcessSignals> open(std::initializer_list<int> signals);
  // The next signal's number. Cancel: kCancelled.
  Task<absl::StatusOr<int>> next();

 private:
  explicit ProcessSignals(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

}  // namespace zsync::daemon
