// The eyes of a watch where no kernel tells: everything is looked at again and again.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "watch/source.hpp"

namespace zsync::watching {

inline constexpr std::chrono::seconds kPollInterval{5};  // from the end of a rescan to the next

// Reports what the metadata of each entry tell when the interval is over. A change that is undone
// within it is not seen; a rename is a deletion and a creation; a second write of the same size is
// not seen when a rescan came in between and the clock of the file system (10 ms or less on most)
// had not moved on. The lock of a version control operation counts where a rescan meets it.
//
// Lifetime: holds no descriptor and no kernel watch between two scans.
// Cost:     one stat call an entry and some six system calls a directory, each interval.
class PollSource final : public Source {
 public:
  // `why`: what fallback() says.
  //
  // Errors:  as InotifySource::open, but for limits of inotify.
  static absl::StatusOr<std::unique_ptr<PollSource>> open(
      std::string_view root, FilterOptions options = {},
      std::chrono::nanoseconds interval = kPollInterval, std::string why = {},
      const Recall& recall = nullptr);
  // Takes the place of a source that has failed: the Tree and its clock go on. What was lost in
  // between is made up for by a rescan, which the gap `rescan` tells.
  static std::unique_ptr<PollSource> instead_of(std::unique_ptr<Source> failed,
                                                std::chrono::nanoseconds interval);

  [[nodiscard]] WatchSource kind() const override { return WatchSource::polling; }
  [[nodiscard]] int fd() const override { return -1; }
  [[nodiscard]] size_t watches() const override { return 0; }

 private:
  PollSource(Opening opening, std::chrono::nanoseconds interval)
      : Source(std::move(opening), interval) {}
  PollSource(Source& failed, std::chrono::nanoseconds interval) : Source(failed, interval) {}

  bool take_events(size_t budget) override { return true; }
  bool watch(NodeId directory, int fd) override;
  void unwatch(NodeId directory) override {}
  bool watch_place(Place place, const std::string& path) override { return true; }
  void release() override {}
};

}  // namespace zsync::watching
