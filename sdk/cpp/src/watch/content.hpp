// What stands in a file, as a fingerprint, and what of a batch differs by it: a file that was
// touched, or written anew with what was there before, is no change.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "watch/change.hpp"

namespace zsync::watching {

// Of a larger file size and modification time stand for the content: each touch is a change.
inline constexpr uint64_t kContentBytesMax = 64 << 20;
// Files remembered for one subscription, about 120 bytes each beside its path; what changes of
// others is always told.
inline constexpr size_t kContentFilesMax = 200'000;

// Kind, permissions and bytes of an entry; of a symlink where it leads.
struct Content {
  using Print = std::array<uint8_t, 16>;

  bool there = false;
  Print print{};
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;  // before it was read

  friend bool operator==(const Content& a, const Content& b) {
    return a.there == b.there && a.print == b.print;
  }
};

// Reads the file, of a large one nothing.
Content read_content(const std::string& path);
// The print as a text to be compared; empty for a file that is gone.
std::string content_mark(const std::string& path);

// Remembers the content of files as it was when they were last told.
//
// Threads: one at a time.
class ContentFilter {
 public:
  using Read = std::function<Content(const std::string& path)>;

  // `read` gets paths as they stand in changes.
  explicit ContentFilter(Read read, size_t files_max = kContentFilesMax)
      : read_(std::move(read)), files_max_(files_max) {}

  // A file as the tree knew it at `looked_ns` (Unix time). One that was changed at that time or
  // later is not remembered: its change is still to be told.
  void learn(const Change& entry, int64_t looked_ns);
  // Is the change to be told? Reads the file where its content is known, or will be.
  bool tells(const Change& change);

  [[nodiscard]] size_t files() const { return known_.size(); }

 private:
  void remember(const std::string& path, const Content& content);

  const Read read_;
  const size_t files_max_;
  absl::flat_hash_map<std::string, Content::Print> known_;
};

}  // namespace zsync::watching
