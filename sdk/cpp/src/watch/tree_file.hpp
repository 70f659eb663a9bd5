// A Tree on disk, so that its clocks are known to the next process: a snapshot, and what changed
// after it.
//
// The file is
//
//   frame*   with   frame = u32 size | u32 check | bytes
//
// in the byte order of the machine: the frame of the head (key, lives), the frame of the snapshot
// (Tree::save), then a frame for each append (clock after it, time until which it was verified,
// Tree's record). A torn tail is cut. Nothing is synced to the disk: after a power cut the tail may
// be missing, and clocks from beyond it are unknown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "watch/change.hpp"
#include "watch/fd.hpp"
#include "watch/tree.hpp"

namespace zsync::watching {

inline constexpr size_t kTreeFileBytesMax = size_t{512} << 20;  // a larger tree is not kept
inline constexpr size_t kTreeLivesMax = 32;                     // clocks of older lives are unknown
inline constexpr size_t kTreeRecordBytesMin = size_t{1} << 20;  // before it is written anew

// What is known of a tree from before.
struct KnownTree {
  Tree tree;
  std::vector<TreeLife> lives;  // oldest first
  // Unix time: all that had happened until then is in the tree.
  int64_t verified_ns = 0;
};

// Threads: one at a time. What it writes is buffered by the kernel, so a killed process loses
//          nothing of it.
class TreeFile {
 public:
  // `key` names what is watched and how; a file of another key is not read.
  TreeFile(std::string path, std::string key) : path_(std::move(path)), key_(std::move(key)) {}

  // What the file holds; nullopt when there is none, or none that can be used.
  [[nodiscard]] std::optional<KnownTree> read() const;

  // Replaces the file as a whole; `lives` ends with the present one. After it changes are appended.
  absl::Status write(const Tree& tree, const std::vector<TreeLife>& lives, int64_t verified_ns);
  // `verified_ns`: 0 when nothing was verified since the last one.
  absl::Status append(std::string_view record, uint64_t clock, int64_t verified_ns);
  // A file that cannot be kept up to date would tell what is not so.
  void discard();

  [[nodiscard]] bool written() const { return static_cast<bool>(file_); }
  // What was appended outweighs the snapshot.
  [[nodiscard]] bool grown() const {
    return appended_ > kTreeRecordBytesMin && appended_ > snapshot_;
  }

 private:
  absl::Status put(std::string_view bytes);

  const std::string path_;
  const std::string key_;
  Fd file_;
  size_t snapshot_ = 0;
  size_t appended_ = 0;
};

}  // namespace zsync::watching
