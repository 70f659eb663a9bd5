// Signals: the process's signals (SIGINT, SIGTERM, SIGHUP, ...) as something a task awaits.
//
//   absl::StatusOr<zsync::Signals> signals = zsync::Signals::open({SIGINT, SIGTERM});
//   int signal = co_await signals->next();
//
// How it works, and why: a signalfd reads only signals that are blocked in every thread, which a
// library cannot arrange once threads exist; an unblocked thread would take the signal and, by
// default, end the program. So a handler notes the signal and writes to an eventfd of each watcher,
// which works whichever thread the kernel picks and whenever it is opened. Child processes are not
// affected: exec resets handlers. A signal that every thread blocks does not arrive here; where a
// program has blocked its signals before its first thread, a signalfd in an rt::Fd is as good.
#pragma once

#include <csignal>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync {

// Watches some signals. While anybody watches a signal its former disposition (ending the program,
// for example) does not happen; when the last watcher goes it is restored, unless somebody else has
// set a handler in between. Every watcher of a signal gets it.
//
// Lifetime: ends before its runtime. Neither moved nor destroyed while next() is pending.
// Threads:  used by one task at a time.
class Signals {
 public:
  static constexpr size_t kOpenMax = 64;  // Signals that are open at the same time in one program

  // Watches `signals` from now on. To be called in a task.
  //
  // Errors: kInvalidArgument for no signal, one that cannot be caught (SIGKILL, SIGSTOP), one that
  //         tells of a fault of the program (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT), or no
  //         signal's number; kResourceExhausted when kOpenMax are open or no descriptor is left.
  static absl::StatusOr<Signals> open(std::vector<int> signals);
  // The same for a list in braces.
  static absl::StatusOr<Signals> open(std::initializer_list<int> signals) {
    return open(std::vector<int>(signals));
  }

  Signals(Signals&&) noexcept;
  Signals& operator=(Signals&&) noexcept;
  ~Signals();

  // Completes with the next signal's number. Several of one number that arrive before they are
  // asked for are one, as everywhere in POSIX; of several numbers the lowest comes first.
  //
  // Cancel: throws Cancelled; no signal is lost.
  Task<int> next();

 private:
  class Watch;
  explicit Signals(std::unique_ptr<Watch> watch);
  std::unique_ptr<Watch> watch_;
};

}  // namespace zsync
