// The three standard streams of one invocation, as descriptors: bytes go out unchanged.
#pragma once

#include <atomic>
#include <string>
#include <string_view>
#include <thread>

namespace zsync::cli {

struct Io {
  int in = 0;
  int out = 1;
  int err = 2;
};

// A buffered writer on a descriptor it does not own. A reader that has gone away is remembered,
// never an error: the command stops quietly.
//
// Threads: one at a time.
class Out {
 public:
  explicit Out(int fd) : fd_(fd) {}
  Out(const Out&) = delete;
  Out& operator=(const Out&) = delete;

  void write(std::string_view bytes);
  // False once the reader is gone.
  bool flush();

  bool broken() const { return broken_; }
  int fd() const { return fd_; }
  bool is_terminal() const;
  // Columns of the terminal; 0 where there is none.
  int width() const;

 private:
  int fd_;
  bool broken_ = false;
  std::string buffer_;
};

// Calls `gone` when the reader of a pipe or socket hangs up, even while nothing is being written.
//
// Lifetime: the destructor waits until no call of `gone` is running.
class HangupGuard {
 public:
  template <typename Function>
  HangupGuard(int fd, Function gone) {
    if (!open(fd)) return;
    thread_ = std::thread([this, fd, gone] {
      if (wait(fd)) gone();
    });
  }
  ~HangupGuard();
  HangupGuard(const HangupGuard&) = delete;
  HangupGuard& operator=(const HangupGuard&) = delete;

 private:
  bool open(int fd);
  bool wait(int fd) const;

  int wake_ = -1;
  std::thread thread_;
};

// "input has ended" and "input can be read"; waits at most `milliseconds` (-1: for ever) or until
// `wake` (an eventfd, or -1) is readable.
enum class Readable { kYes, kNo, kWoken };
Readable wait_readable(int fd, int wake, int milliseconds);

}  // namespace zsync::cli
