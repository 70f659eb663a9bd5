// The Linux eyes of a watch: one inotify instance over one root.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "watch/inotify_hub.hpp"
#include "watch/source.hpp"

struct inotify_event;

namespace zsync::watching {

// Renames are seen as such, and a full queue of the kernel is made up for by a rescan.
//
// Lifetime: holds one kernel watch for each directory that is not ignored, plus one for the
//           repository's directory (its lock; git's and Mercurial's), each shared with the other
//           sources of its hub; and without a hub one inotify instance of its own.
class InotifySource final : public Source {
 public:
  // The first scan is done by scan_some and reports nothing; the Tree is complete when ready().
  //
  // Errors:  InvalidArgument (not absolute, bad filter), NotFound, FailedPrecondition (not a
  //          directory), PermissionDenied, ResourceExhausted with the line that raises the limit.
  static absl::StatusOr<std::unique_ptr<InotifySource>> open(std::string_view root,
                                                             FilterOptions options = {},
                                                             const Recall& recall = nullptr,
                                                             std::shared_ptr<InotifyHub> hub = {});

  [[nodiscard]] WatchSource kind() const override { return WatchSource::inotify; }
  [[nodiscard]] int fd() const override { return kernel_ ? kernel_->fd() : -1; }
  [[nodiscard]] size_t watches() const override { return wds_.size(); }

 private:
  struct PendingMove {
    uint32_t cookie = 0;
    NodeRef directory;
    std::string name;
    bool is_directory = false;
  };

  explicit InotifySource(Opening opening) : Source(std::move(opening), {}) {}
  absl::Status start(std::shared_ptr<InotifyHub> hub);
  bool take_events(size_t budget) override;
  bool watch(NodeId directory, int fd) override;
  void unwatch(NodeId directory) override;
  bool watch_place(Place place, const std::string& path) override;
  void release() override;

  bool read_once(size_t& budget, bool& drained);
  bool refill(bool& drained);
  void handle(const inotify_event& event, std::string_view name);
  void handle_entry(NodeId directory, std::string_view name, const inotify_event& event);
  void let_go(int wd);
  void on_overflow();
  void apply_move(const PendingMove& from, NodeId directory, std::string_view name);

  std::unique_ptr<InotifyHub::Member> kernel_;  // null: all was given back
  std::string events_;                          // taken and, from events_at_ on, not handled
  size_t events_at_ = 0;
  // 1. A directory node's tag is its watch descriptor or -1, and wds_ maps exactly the tags >= 0
  // back to their nodes.
  absl::flat_hash_map<int, NodeRef> wds_;
  std::array<int, kPlaces> place_wds_{-1, -1, -1};
  std::vector<PendingMove> moves_;
};

}  // namespace zsync::watching
