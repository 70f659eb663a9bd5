// Terminals: the one that a program talks to, and new ones to start programs on.
//
//   absl::StatusOr<zsync::Tty> tty = zsync::Tty::open(STDIN_FILENO);
//   absl::StatusOr<zsync::RawMode> raw = tty->raw_mode();     // restored at the end of its life
//   absl::StatusOr<zsync::WindowSize> size = co_await tty->resized();
//
//   absl::StatusOr<zsync::Pty> pty = zsync::Pty::open({.rows = 24, .columns = 80});
//   absl::StatusOr<zsync::Process> shell =
//       zsync::Process::spawn({.argv = {"sh"}, .terminal = pty->path()});
//
// A Tty has an open description of its own: waiting needs O_NONBLOCK, which belongs to the
// description, and that of descriptors 0, 1 and 2 is shared with the shell and everything else that
// it has started there, for whom writes would suddenly fail. So the terminal is opened once more,
// by /proc/self/fd/N or its name, and the descriptor that was given is left alone. The settings of
// raw_mode() belong to the terminal itself and count for everybody.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/rt/fd.hpp"
#include "zsync/signal.hpp"
#include "zsync/task.hpp"

namespace zsync {

// Whether a descriptor is a terminal; false for one that is not open.
bool is_a_tty(int descriptor);

// How much a terminal shows.
struct WindowSize {
  uint16_t rows = 24;          // lines; 0: nobody knows
  uint16_t columns = 80;       // characters in each; 0: nobody knows
  uint16_t width_pixels = 0;   // 0: nobody knows
  uint16_t height_pixels = 0;  // 0: nobody knows
  friend bool operator==(const WindowSize&, const WindowSize&) = default;
};

// How a terminal becomes raw.
struct RawModeOptions {
  bool signals = false;  // Ctrl-C, Ctrl-Z, Ctrl-\ still become signals
};

// A terminal in raw mode: bytes as they are typed and written, no echo, no lines, no signals.
//
// Restores what was before when it is destroyed, so also when an exception or a cancel unwinds its
// task, and when the program ends by exit(). A signal that ends the program at once runs no
// destructor: await SIGTERM, SIGHUP and SIGINT with Signals and return. Of two for one terminal the
// later one ends first.
//
// Threads: any; one at a time.
class RawMode {
 public:
  RawMode(RawMode&&) noexcept;
  RawMode& operator=(RawMode&&) noexcept;
  ~RawMode();

  // Restores now. Errors: the system's; a terminal that is gone needs nothing.
  absl::Status restore();

 private:
  friend class Tty;
  struct Saved;
  explicit RawMode(std::unique_ptr<Saved> saved);
  std::unique_ptr<Saved> saved_;
};

// The terminal of a program.
//
// Lifetime: closes its own description; the descriptor that it was made from stays open. Ends
//           before its runtime. Neither moved nor destroyed while an operation is pending;
//           close() ends one that waits,
//           with kFailedPrecondition.
// Threads:  used by one task at a time for reading, by one for writing and by one for resized().
class Tty {
 public:
  // Holds nothing.
  Tty() = default;
  // The terminal that `descriptor` is, which stays the caller's. To be called in a task.
  //
  // Errors: kInvalidArgument for what is no terminal (a pipe, a file), or is the side of a Pty that
  //         plays the terminal; kPermissionDenied when it belongs to another user (after su);
  //         kResourceExhausted when this process has too many open files.
  static absl::StatusOr<Tty> open(int descriptor);
  // The controlling terminal, /dev/tty, wherever the standard streams go. To be called in a task.
  //
  // Errors: kNotFound when this process has none.
  static absl::StatusOr<Tty> open_controlling();

  // Reads what was typed, waiting for at least one byte; a line at a time unless raw_mode() is on.
  // -> bytes read; 0: Ctrl-D at the beginning of a line, or the terminal was hung up.
  //
  // Errors: kUnavailable when the terminal is gone, or another program has it (this one is in the
  //         background). Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into);
  // Writes everything.
  //
  // Errors: the system's. Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from) { return fd_.write_all(from); }
  // The same for text, which has to outlive the task.
  Task<absl::Status> write_all(std::string_view from) {
    return write_all(std::as_bytes(std::span(from)));
  }

  // How much it shows. Errors: the system's.
  absl::StatusOr<WindowSize> size() const;
  // Completes with the size when it is another one than at the time of open(), or than resized()
  // gave last. It is told of by SIGWINCH, which the kernel sends to the programs in the foreground.
  //
  // Errors: as Signals::open(). Cancel: kCancelled; no change is lost.
  Task<absl::StatusOr<WindowSize>> resized();

  // Errors: the system's; nothing has changed then.
  absl::StatusOr<RawMode> raw_mode(RawModeOptions options = {});

  // Closes the description when its worker looks at its descriptors next.
  void close() { fd_.close(); }
  // The descriptor of its own, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  static absl::StatusOr<Tty> adopt(UniqueFd own);
  explicit Tty(rt::Fd fd) : fd_(std::move(fd)) {}
  rt::Fd fd_;
  WindowSize seen_;                 // what resized() compares with
  std::optional<Signals> changes_;  // SIGWINCH, once resized() was called
};

// A new pseudo-terminal: this object plays the terminal, with a keyboard (what is written) and a
// screen (what is read), for a program that is started on path().
//
// Lifetime, Threads: as Tty. When it is closed the programs on it get SIGHUP.
class Pty {
 public:
  // Holds nothing.
  Pty() = default;
  // To be called in a task.
  //
  // Errors: kResourceExhausted when this process has too many open files or the system too many
  //         terminals (kernel.pty.max); the system's.
  static absl::StatusOr<Pty> open(WindowSize size = {});

  // "/dev/pts/3": what ProcessOptions::terminal takes, so that a child gets it as its controlling
  // terminal and its standard streams.
  const std::string& path() const { return path_; }

  // Reads what the programs have written, waiting for at least one byte -> bytes read; 0: nobody
  // has the terminal open any more.
  //
  // Errors: the system's. Cancel: kCancelled; no byte is lost.
  Task<absl::StatusOr<size_t>> read_some(std::span<std::byte> into);
  // Types everything; "\x03" is Ctrl-C. Waits while the programs do not read.
  //
  // Errors: the system's. Cancel: kCancelled; a part may have been written.
  Task<absl::Status> write_all(std::span<const std::byte> from) { return fd_.write_all(from); }
  // The same for text, which has to outlive the task.
  Task<absl::Status> write_all(std::string_view from) {
    return write_all(std::as_bytes(std::span(from)));
  }

  // How much it shows. Errors: the system's.
  absl::StatusOr<WindowSize> size() const;
  // Changes it; the programs in the foreground get SIGWINCH. Errors: the system's.
  absl::Status set_size(WindowSize size);

  // Closes it when its worker looks at its descriptors next.
  void close() { fd_.close(); }
  // The descriptor, -1 after close(); it stays this object's.
  int get() const { return fd_.get(); }
  // Whether it holds a descriptor.
  explicit operator bool() const { return static_cast<bool>(fd_); }

 private:
  Pty(rt::Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  rt::Fd fd_;
  std::string path_;
};

}  // namespace zsync
