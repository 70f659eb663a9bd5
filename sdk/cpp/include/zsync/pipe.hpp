// Pipes: a stream of bytes in one direction, between tasks and processes.
//
// A Process gives the other ends of its child's pipes; make_pipe() makes both ends.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/fd.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync {

// The end that is read. Any descriptor with readiness will do: a pipe, a FIFO, a terminal.
//
// Lifetime: closes its descriptor; ends before its runtime. Neither moved nor destroyed while an
//           operation is pending; close() ends one that waits with kFailedPrecondition.
// Threads:  used by one task at a time, close() included unless the other one is known to wait.
class PipeReader {
 public:
  // Holds nothing.
  PipeReader() = default;
  // Takes over `descriptor` (also on failure) and makes it non-blocking. To be called in a task.
  //
  // Errors: kInvalidArgument for a descriptor without readiness (a regular file: use File).
  static absl::StatusOr<PipeReader> adopt(UniqueFd descriptor);

  // Reads what is there, waiting for at least one byte -> bytes read; 0: the end.
  //
  // Errors: the system's.
  // Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into) { return fd_.read_some(into); }
  // Reads until the end: until every holder of the other end has closed it.
  //
  // Errors: kResourceExhausted when there is more than `bytes_max`; the system's.
  // Cancel: kCancelled; what was read before is lost.
  Task<absl::StatusOr<std::string>> read_to_end(size_t bytes_max);

  // Closes the descriptor when its worker looks at its descriptors next; a writer gets "Broken
  // pipe" from then on.
  void close() { fd_.close(); }
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  explicit PipeReader(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

// The end that is written.
//
// Lifetime, Threads: as PipeReader.
class PipeWriter {
 public:
  // Holds nothing.
  PipeWriter() = default;
  // As PipeReader::adopt().
  static absl::StatusOr<PipeWriter> adopt(UniqueFd descriptor);

  // Writes everything; waits while the pipe is full. Never raises SIGPIPE.
  //
  // Errors: kFailedPrecondition "write: Broken pipe" when nobody can read any more; the system's.
  // Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from) { return fd_.write_all(from); }
  // The same for text, which has to outlive the task.
  Task<absl::Status> write_all(std::string_view from) {
    return fd_.write_all(std::as_bytes(std::span(from)));
  }

  // Closes the descriptor, as PipeReader::close(): the reader sees the end once it has read
  // everything.
  void close() { fd_.close(); }
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  explicit PipeWriter(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
};

// Both ends of a new pipe; child processes do not inherit them. To be called in a task.
//
// Errors: kResourceExhausted when this process has too many open files.
absl::StatusOr<std::pair<PipeReader, PipeWriter>> make_pipe();

}  // namespace zsync
