// The Linux eyes of a watch: one inotify instance over one root, kept in step with a Tree.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "watch/change.hpp"
#include "watch/fd.hpp"
#include "watch/filter.hpp"
#include "watch/tree.hpp"

struct inotify_event;

namespace zsync::watching {

inline constexpr size_t kEventsPerRead = 1024;  // kernel events of one read_events call, about 2 ms
inline constexpr size_t kEntriesPerScan =
    1024;  // directory entries of one scan_some call, about 3 ms
inline constexpr size_t kEventBufferBytes = 16 * 1024;
inline constexpr size_t kListBufferBytes = 16 * 1024;
inline constexpr size_t kProblemsMax = 100;  // paths named; more are only counted

// A part of the root that is not watched, and why.
struct Problem {
  std::string path;  // relative to the root, "" the root itself
  std::string message;
};

// Kernel events are hints: what is reported is the difference between the Tree and what stat says
// at the time of reading. A new directory is watched first and listed afterwards, so nothing made
// inside it is missed, whoever is faster. Symlinks are entries and never followed; ignored
// directories are neither listed nor watched; names are bytes.
//
// The owner waits until fd() is readable, then calls read_events until it says false, and scan_some
// until it says false (turn by turn with its other work), and takes the changes after each call.
// Once both say false, every change made before is in the Tree and among the changes taken: this is
// the barrier of a `sync`.
//
// Threads:  one at a time; nothing blocks but the file system itself.
// Lifetime: holds one inotify instance and one kernel watch for each directory that is not ignored,
// plus one for the
//           repository's directory (its lock).
// Limits:   a directory mounted at two places below the root is followed at one of them. Changes of
// info/exclude
//           and of .gitignore files above the root are seen at the next rescan. A rename of a
//           directory above the root is noticed with the next event.
class InotifySource {
 public:
  // The first scan is done by scan_some and reports nothing; the Tree is complete when ready().
  //
  // Errors:  InvalidArgument (not absolute, bad filter), NotFound, FailedPrecondition (not a
  // directory), PermissionDenied,
  //          ResourceExhausted with the sysctl line that raises the limit.
  static absl::StatusOr<std::unique_ptr<InotifySource>> open(std::string_view root,
                                                             FilterOptions options = {});
  ~InotifySource();
  InotifySource(const InotifySource&) = delete;
  InotifySource& operator=(const InotifySource&) = delete;

  // Readable when events wait; -1 after a failure.
  [[nodiscard]] int fd() const { return inotify_.get(); }
  // Takes in up to about `budget` events. True: more may be waiting.
  bool read_events(size_t budget = kEventsPerRead);
  // Looks at up to about `max_entries` directory entries. True: more are to be scanned.
  bool scan_some(size_t max_entries = kEntriesPerScan);
  [[nodiscard]] bool scanning() const { return active_.has_value() || !scans_.empty(); }
  // The first scan has finished.
  [[nodiscard]] bool ready() const { return ready_; }
  // A rescan of the whole root is under way: what it reports is incomplete until it ends.
  [[nodiscard]] bool rescanning() const { return rescanning_; }

  // What happened since the last call, in order, one step after the other.
  [[nodiscard]] std::vector<Change> take_changes() { return std::exchange(changes_, {}); }
  // Set when a rescan replaced events.
  [[nodiscard]] Gap take_gap() { return std::exchange(gap_, Gap::none); }
  // Git holds index.lock.
  [[nodiscard]] bool vcs_locked() const { return vcs_locked_; }
  // The root is gone; all entries were reported as deleted. It is watched again as soon as it is
  // back.
  [[nodiscard]] bool root_missing() const { return root_missing_; }
  // Not ok: this root is no longer watched, its watches were given back, and fd() is -1. Open a new
  // source after the cure.
  [[nodiscard]] const absl::Status& status() const { return status_; }

  [[nodiscard]] const std::string& root() const { return root_; }  // canonical
  [[nodiscard]] const Tree& tree() const { return tree_; }
  // Up to date with the .gitignore files.
  [[nodiscard]] const Filter& filter() const { return filter_; }
  [[nodiscard]] size_t watches() const { return wds_.size(); }
  [[nodiscard]] const std::vector<Problem>& problems() const { return problems_; }
  [[nodiscard]] size_t problem_count() const { return problem_count_; }

 private:
  enum Hint : uint8_t { kChanged = 1, kModified = 2, kNewDirectory = 4, kIsDirectory = 8 };
  struct Dirty {
    NodeRef directory;
    std::string name;
    uint8_t hints = 0;
  };
  struct PendingMove {
    uint32_t cookie = 0;
    NodeRef directory;
    std::string name;
    bool is_directory = false;
  };
  struct ScanJob {
    NodeRef directory;
    bool deep = false;  // directories already known are scanned again, too
  };
  struct ActiveScan {
    ScanJob job;
    Fd fd;
    uint32_t mark = 0;
  };
  // The directory that entries are being compared in.
  struct Cursor {
    NodeRef directory;
    Fd fd;
    Filter::Scope scope;
  };

  InotifySource(std::string root, Filter filter);
  Tree::Changes* sink() { return ready_ ? &changes_ : nullptr; }
  void fail(absl::Status status);
  void report(std::string path, std::string message);

  // inotify_source.cpp: the kernel's side.
  absl::Status start();
  bool read_once(size_t& budget, bool& drained);
  void handle(const inotify_event& event);
  void handle_self(NodeId directory, uint32_t mask);
  void handle_entry(NodeId directory, std::string_view name, const inotify_event& event);
  void finish_reading(bool drained);
  void on_overflow();
  void apply_move(const PendingMove& from, NodeId directory, std::string_view name);
  bool add_watch(NodeId directory, int fd);
  absl::Status watch_limit_error() const;
  void drop(NodeId id);
  void lose_root();
  bool regain_root();
  void watch_ancestor();
  void watch_repository();
  void check_vcs_lock();

  // inotify_scan.cpp: the file system's side.
  Fd open_directory(NodeId directory, int flags);
  Fd open_at_path(const std::string& path, int flags) const;
  void mark_dirty(NodeId directory, std::string_view name, uint8_t hints);
  void verify_dirty();
  void verify(const Dirty& dirty);
  void reconcile(Cursor& cursor, std::string_view name, const struct stat& st, uint8_t hints,
                 bool deep);
  void schedule(NodeId directory, bool deep);
  void reload_rules();
  bool begin_scan();
  size_t list_some();
  void end_scan();
  void scans_finished();

  const std::string root_;
  Filter filter_;
  Tree tree_;
  Fd inotify_;
  absl::Status status_;
  uint64_t root_device_ = 0;
  bool ready_ = false;
  bool rescanning_ = false;
  bool root_missing_ = false;
  bool root_lost_ = false;

  // 1. A directory node's tag is its watch descriptor or -1, and wds_ maps exactly the tags >= 0
  // back to their nodes.
  absl::flat_hash_map<int, NodeRef> wds_;
  int ancestor_wd_ = -1;
  bool ancestor_event_ = false;
  int vcs_wd_ = -1;
  bool vcs_event_ = false;
  bool vcs_locked_ = false;
  bool repository_changed_ = false;

  std::vector<PendingMove> moves_;
  // 2. dirty_index_ finds the place in dirty_ of a (directory, name) that still has to be verified.
  std::deque<Dirty> dirty_;
  absl::flat_hash_map<std::pair<NodeId, std::string>, Dirty*> dirty_index_;
  absl::flat_hash_set<NodeId> stale_rules_;
  Cursor cursor_;

  std::vector<ScanJob> scans_;
  absl::flat_hash_map<std::pair<NodeId, uint32_t>, bool> scheduled_;  // what scans_ holds; deep?
  std::optional<ActiveScan> active_;
  uint32_t scan_mark_ = 0;
  uint64_t drained_at_ = 0;  // the Tree's clock when the event queue was last empty
  uint64_t suspect_after_ =
      UINT64_MAX;  // entries changed later may have changed again within one tick of the clock of
                   // the file system, and the event was lost

  std::vector<Change> changes_;
  Gap gap_ = Gap::none;
  std::vector<Problem> problems_;
  size_t problem_count_ = 0;
};

}  // namespace zsync::watching
