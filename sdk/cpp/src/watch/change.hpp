// What a watch reports: changes, batches of changes, and the clock that names a moment between two
// batches.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zsync::watching {

enum class ChangeKind : uint8_t { created, modified, deleted, renamed };

// One path that differs from what was known before.
//
// `path` and `renamed_from` are relative to the root, separated by '/', and hold the bytes of the
// file system unchanged (they need not be UTF-8). `size` and `mtime_ns` (Unix time) describe the
// entry after the change, or the last known state of a deleted one. `renamed` says nothing about
// the content: a file that was renamed and then written is one `renamed`. A renamed directory is
// reported together with every entry below it.
struct Change {
  std::string path;
  ChangeKind kind = ChangeKind::created;
  std::string renamed_from;
  bool is_directory = false;
  uint64_t size = 0;
  int64_t mtime_ns = 0;

  friend bool operator==(const Change&, const Change&) = default;
};

// Why intermediate states may be missing. The final state is never missing: a gap is closed by a
// rescan.
enum class Gap : uint8_t {
  none,
  overflow,  // the kernel's event queue was full
  rescan,    // the root vanished and came back
};

// "", "overflow" or "rescan".
[[nodiscard]] std::string_view gap_name(Gap gap);

// Changes that belong together, in path order; each path occurs at most once as `path`. They
// describe the state after the batch against the state before it and hold simultaneously (two
// swapped files are two renames).
struct Batch {
  std::string clock;  // pass it as `since` to go on after this batch
  std::vector<Change> changes;
  bool fresh = false;  // history is unknown: `changes` holds every entry as it is now, as `created`
  Gap gap = Gap::none;
};

// The clock `c:<instance>:<counter>`. The instance names one life of one Tree, so that a clock of
// an earlier life is recognised; it is made of letters, digits, '-' and '_'.
struct Clock {
  std::string instance;
  uint64_t counter = 0;
};

[[nodiscard]] std::string format_clock(std::string_view instance, uint64_t counter);

// Nullopt when the text is not a clock at all.
[[nodiscard]] std::optional<Clock> parse_clock(std::string_view text);

}  // namespace zsync::watching
