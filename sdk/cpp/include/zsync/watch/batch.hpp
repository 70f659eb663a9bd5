// What a watch reports: batches of file changes, and the clock that names the moment between two of
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace zsync {

// How a path differs from what was known before.
enum class FileChangeKind : uint8_t { created, modified, deleted, renamed };

// One path that differs from what was known before.
//
// `path` and `renamed_from` are relative to the root, separated by '/', and hold the bytes of the
// file system unchanged (they need not be UTF-8). `size` (bytes) and `mtime_ns` (Unix time)
// describe the entry after the change, or the last known state of a deleted one. `renamed` says
// nothing about the content: a file that was renamed and then written is one `renamed`. A renamed
// directory is reported together with every entry below it.
struct FileChange {
  std::string path;                               // as it is now; of a deleted entry, as it was
  FileChangeKind kind = FileChangeKind::created;  // what happened to it
  std::string renamed_from;                       // the path before; empty unless renamed
  bool is_directory = false;                      // false: a file, link or anything else
  uint64_t size = 0;                              // bytes
  int64_t mtime_ns = 0;                           // since the Unix epoch

  friend bool operator==(const FileChange&, const FileChange&) = default;
};

// Why intermediate states may be missing. The final state is never missing: a gap is closed by a
// rescan, and the batch holds the exact difference.
enum class WatchGap : uint8_t {
  none,
  overflow,  // the kernel's event queue was full
  rescan,    // the root vanished and came back, or the watch went over to polling
};

// Changes that belong together, in path order; each path occurs at most once as `path`. They
// describe the state after the batch against the state before it and hold simultaneously (two
// swapped files are two renames).
struct WatchBatch {
  std::string clock;                // the moment after this batch
  std::vector<FileChange> changes;  // may be empty where there is a gap
  bool fresh = false;  // history is unknown: `changes` holds every entry as it is now, as `created`
  WatchGap gap = WatchGap::none;  // why states in between may be missing
};

}  // namespace zsync
