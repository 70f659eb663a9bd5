// The eyes of a watch through libuv's file system events, for systems without inotify.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "watch/source.hpp"

struct uv_loop_s;

namespace zsync::watching {

inline constexpr std::chrono::seconds kSafetyRescan{60};  // from the end of a rescan to the next
// Events of one call of read_events beyond which some are taken for lost: half of the queue that
// Linux has as a rule.
inline constexpr size_t kUvEventsTrusted = 8'192;

// One handle a directory; where libuv looks below directories by itself (macOS, Windows) one for
// the root. What it cannot see, and inotify_source.hpp does:
//   - a rename: it is a deletion and a creation, of a directory with every entry below it;
//   - that the kernel lost events. libuv does not tell, so very many at once are taken for a loss,
//     and the whole is rescanned every kSafetyRescan;
//   - on Linux, what is written through a memory mapping, before the next rescan;
//   - on BSD, what is written into a file that is there already, before the next rescan: kqueue
//     tells of a directory that its list of entries changed, and the directory is scanned.
//
// Lifetime: holds a libuv loop (five descriptors on Linux), of which fd() is the backend.
// Limits:   read_events takes in whatever is queued; libuv knows no budget.
class UvSource final : public Source {
 public:
  // `rescan_every`: 0 for never.
  //
  // Errors:  as InotifySource::open.
  static absl::StatusOr<std::unique_ptr<UvSource>> open(
      std::string_view root, FilterOptions options = {},
      std::chrono::nanoseconds rescan_every = kSafetyRescan, const Recall& recall = nullptr);
  ~UvSource() override;

  [[nodiscard]] WatchSource kind() const override { return WatchSource::fs_events; }
  [[nodiscard]] int fd() const override;
  [[nodiscard]] size_t watches() const override { return eyes_.size() - free_.size(); }

 private:
  struct Eye;

  UvSource(Opening opening, std::chrono::nanoseconds rescan_every);
  absl::Status start();
  bool take_events(size_t budget) override;
  bool watch(NodeId directory, int fd) override;
  void unwatch(NodeId directory) override;
  bool watch_place(Place place, const std::string& path) override;
  void release() override;

  Eye* look(std::unique_ptr<Eye> eye, const std::string& path);
  void take_event(Eye& eye, const char* name, int events);
  void take_path(NodeId directory, std::string_view path, uint8_t hints);

  std::unique_ptr<uv_loop_s> loop_;
  // 1. A directory node's tag is its place in eyes_, or -1; free_ are the places of no directory.
  std::vector<Eye*> eyes_;
  std::vector<int32_t> free_;
  std::array<Eye*, kPlaces> places_{};
  size_t events_ = 0;  // since the last call of take_events
};

}  // namespace zsync::watching
