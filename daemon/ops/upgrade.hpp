// Whether another program of zsyncd may take over: it is asked before anything is stopped.
#pragma once

#include <chrono>
#include <cstdint>
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
// An empty `program` is the file that this process was started from, as it is now. Blocks.
//
// Errors: kInvalidArgument naming the field `program`; kFailedPrecondition with its own words when
//         it refuses; kDeadlineExceeded after kCheckLimit.
absl::StatusOr<Candidate> examine_candidate(std::string program, char** argv, Store& store,
                                            const std::string& copy);

// The program that takes over when this one has stopped, once one was found fit.
//
// Threads: every member may be called from any thread.
class Successor {
 public:
  // `copy_dir` is made for each check and removed; `asked` is told when one was chosen.
  Successor(Store& store, std::string copy_dir, char** argv, Notify& asked)
      : store_(store), copy_dir_(std::move(copy_dir)), argv_(argv), asked_(asked) {}

  // Errors: those of examine_candidate. Cancel: a check that runs ends by itself.
  Task<absl::StatusOr<Candidate>> find(std::string program, bool check_only);
  std::optional<Candidate> chosen();
  // None takes over.
  void withdraw();

 private:
  Store& store_;
  const std::string copy_dir_;
  char** const argv_;
  Notify& asked_;
  Mutex checking_;  // one at a time
  rt::Lock lock_;
  std::optional<Candidate> chosen_ ABSL_GUARDED_BY(lock_);
};

// The line that --check prints when all is well.
std::string check_passed();

}  // namespace zsync::daemon
