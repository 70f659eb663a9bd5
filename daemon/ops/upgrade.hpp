// Whether another program of zsyncd may take over: it is asked before anything is stopped.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/store/store.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr std::chrono::seconds kCheckLimit{60};  // of NEW --check

struct Candidate {
  std::string program;  // absolute path
  std::string version;
  int64_t chosen_unix_nano = 0;  // when it was to take over
};

// Runs `PROGRAM ARGUMENTS --check COPY` where COPY is a directory with a copy of the store: the
// program reads the configuration and brings the copy to its own schema, as it would the store.
// An empty `program` is the file that this process was started from, as it is now. Blocks, until
// `stop` at the longest.
//
// Errors: kInvalidArgument naming the field `program`; kFailedPrecondition with its own words when
//         it refuses; kDeadlineExceeded after kCheckLimit; kCancelled.
absl::StatusOr<Candidate> examine_candidate(std::string program, char** argv, Store& store,
                                            const std::string& copy, const std::atomic<bool>& stop);

// The program that takes over when this one has stopped, once one was found fit.
//
// Threads: every member may be called from any thread.
class Successor {
 public:
  // Bytes that the state directory has to have room for while programs change.
  using Carried = std::function<uint64_t()>;

  // Checks happen in DIR, which is in the state directory; `asked` is told when one was chosen.
  Successor(Store& store, std::string dir, char** argv, Carried carried, Notify& asked)
      : store_(store),
        dir_(std::move(dir)),
        argv_(argv),
        carried_(std::move(carried)),
        asked_(asked) {}

  // Errors: those of examine_candidate; kResourceExhausted when the disk has no room for what is
  //         carried over; kUnavailable when it is decided already.
  // Cancel: ends the check.
  Task<absl::StatusOr<Candidate>> find(std::string program, bool check_only);
  // From now on none is chosen -> who takes over; with `none` nobody does.
  std::optional<Candidate> decide(bool none);
  // What decide() said.
  std::optional<Candidate> chosen();

 private:
  Store& store_;
  const std::string dir_;
  char** const argv_;
  const Carried carried_;
  Notify& asked_;
  Mutex checking_;  // one at a time
  rt::Lock lock_;
  std::optional<Candidate> chosen_ ABSL_GUARDED_BY(lock_);
  bool decided_ ABSL_GUARDED_BY(lock_) = false;
};

// The line that --check prints when all is well.
std::string check_passed();

}  // namespace zsync::daemon
