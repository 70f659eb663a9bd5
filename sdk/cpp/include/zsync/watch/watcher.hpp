// Watcher: follows a directory tree and tells what changed, in settled batches.
//
//   absl::StatusOr<zsync::Watcher> watcher = co_await zsync::Watcher::open({.path = "/src"});
//   while (true) {
//     absl::StatusOr<zsync::WatchBatch> batch = co_await watcher->next();
//     if (!batch.ok()) co_return batch.status();
//     for (const zsync::FileChange& change : batch->changes) rebuild(change.path);
//   }
//
// Nothing is missed: a new directory is watched before it is listed, lost kernel events are made up
// for by a rescan, and where the kernel does not tell the tree is polled. A version control
// operation is one batch: while git holds its index lock nothing is given, for at most 10 s.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/task.hpp"
#include "zsync/watch/batch.hpp"

namespace zsync {

// What tells a watch that something changed.
enum class WatchSource : uint8_t {
  // The best there is: inotify on Linux, fs_events elsewhere. Polling where the kernel is not told
  // of every change (network file systems and FUSE), and where the system has no more watches to
  // give, be it in the middle of a watch; WatchFigures says so, and why.
  automatic,
  inotify,    // Linux
  fs_events,  // libuv's: renames are deletions and creations, and a rescan each minute makes sure
  polling,    // looks at every entry, each poll_interval; renames are deletions and creations
};

// What to watch, what to leave out, how long to collect.
struct WatchOptions {
  std::string path;  // absolute; an existing directory
  // A path is reported when one of these matches it; empty: every path. `*` and `?` stay within a
  // path component, `**` spans several, {a,b} and [a-z] as in a shell; without a slash the pattern
  // is for the base name, at any depth.
  std::vector<std::string> globs;
  // Further ignore patterns in .gitignore syntax, stronger than every file. `.git` is always
  // ignored; .hg, .svn, .jj, node_modules and .cache are unless a rule says `!name/`, and so are
  // build and target outside git repositories.
  std::vector<std::string> ignore;
  bool gitignore = true;                           // obey .gitignore files and info/exclude
  std::chrono::milliseconds settle{50};            // quiet time that ends a batch, at most 60 s
  std::chrono::milliseconds max_wait{1'000};       // a batch is never held longer, at most 10 min
  WatchSource source = WatchSource::automatic;     // what is to tell of changes
  std::chrono::milliseconds poll_interval{5'000};  // where it polls; 10 ms to 1 h
};

// How much is being watched.
struct WatchFigures {
  uint64_t directories = 0;  // kernel watches held
  uint64_t files = 0;        // entries that are no directories
  bool missing = false;      // the root was deleted; it is watched again as soon as it is back
  WatchSource source = WatchSource::automatic;  // what is at work, never `automatic`
  // Why `automatic` took a lesser one, and what would change that; empty when it did not.
  std::string fallback;
};

// Lifetime: its background task ends with it, or with close(), which waits. Ends before its runtime
//           does.
// Threads:  used by one task at a time; close() may be called while another one waits in next().
// Limits:   one kernel watch a directory (fs.inotify.max_user_watches), none when it polls; about
//           150 bytes of memory an entry. Between two calls of next() changes are collected and
//           reduced to their net effect, at most 500,000 paths; beyond that the difference is
//           computed anew, and the batch is `fresh` where it cannot be.
class Watcher {
 public:
  // Completes when the tree has been read once: what changes from then on is reported.
  //
  // Errors:  kInvalidArgument (not absolute, bad glob, a time out of range), kNotFound,
  //          kFailedPrecondition (not a directory), kPermissionDenied; kResourceExhausted with the
  //          line that raises the limit, of watches only where a source was chosen; kUnimplemented
  //          for inotify where there is none.
  // Cancel:  kCancelled; nothing stays behind.
  static Task<absl::StatusOr<Watcher>> open(WatchOptions options);

  Watcher(Watcher&&) noexcept;
  Watcher& operator=(Watcher&&) noexcept;
  ~Watcher();

  // The next batch. A root that is deleted is reported as the deletion of every entry; the watch
  // goes on, and when the root is back its entries are `created` in a batch with the gap `rescan`.
  //
  // Errors:  kResourceExhausted and others when the tree cannot be watched any longer, then always;
  //          kUnavailable after close().
  // Cancel:  safe; no change is lost.
  Task<absl::StatusOr<WatchBatch>> next();

  // The canonical path of the root.
  const std::string& root() const;
  // How much is being watched at this moment.
  WatchFigures figures() const;

  // Gives the kernel's watches back; complete when nothing runs any more. Idempotent.
  // Cancel: it goes on to its end.
  Task<void> close();

 private:
  struct State;
  explicit Watcher(std::unique_ptr<State> state);
  static Task<absl::StatusOr<Watcher>> open_checked(WatchOptions options);

  std::unique_ptr<State> state_;
};

}  // namespace zsync
