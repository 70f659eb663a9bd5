// Source: one watched root, kept in step with a Tree.
//
// What the sources have in common is here: what is looked at, compared and reported. What tells
// that something happened is the part of inotify (inotify_source.hpp), of libuv (uv_source.hpp) and
// of a timer (poll_source.hpp); open_source.hpp chooses between them.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
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
#include "watch/tree_file.hpp"
#include "zsync/watch/watcher.hpp"

namespace zsync::watching {

inline constexpr size_t kEventsPerRead = 1024;  // kernel events of one read_events call, about 2 ms
inline constexpr size_t kEntriesPerScan =
    1024;  // directory entries of one scan_some call, about 3 ms
inline constexpr size_t kListBufferBytes = 16 * 1024;
inline constexpr size_t kProblemsMax = 100;  // paths named; more are only counted

// A part of the root that is not watched, and why.
struct Problem {
  std::string path;  // relative to the root, "" the root itself
  std::string message;
};

// Gives what is known of a tree from before, so that a source compares with it instead of starting
// anew. Called where blocking is allowed, at most once for each source that is opened.
using Recall = std::function<std::optional<KnownTree>()>;

// The status of a failed system call on a root, by errno.
absl::Status errno_status(std::string_view root, std::string_view what, int error);

// Events are hints: what is reported is the difference between the Tree and what stat says at the
// time of reading. A new directory is watched first and listed afterwards, so nothing made inside
// it is missed, whoever is faster. Symlinks are entries and never followed; ignored directories are
// neither listed nor watched; names are bytes.
//
// The owner waits until fd() is readable or the time of due() has come, then calls read_events
// until it says false, and scan_some until it says false (turn by turn with its other work), and
// takes the changes after each call. Once both say false, every change that the kernel had told of
// before is in the Tree and among the changes taken; after rescan() it is every change made before:
// this is the barrier of a `sync`.
//
// Threads:  one at a time; nothing blocks but the file system itself.
// Limits:   a directory mounted at two places below the root is followed at one of them. Changes of
//           info/exclude and of .gitignore files above the root are seen at the next rescan. A
//           rename of a directory above the root is noticed with the next event.
class Source {
 public:
  using Clock = std::chrono::steady_clock;

  virtual ~Source();
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // What is at work; never `automatic`.
  [[nodiscard]] virtual WatchSource kind() const = 0;
  // Readable when events wait; -1 where there are none to wait for, and after a failure.
  [[nodiscard]] virtual int fd() const = 0;
  // Directories that the kernel watches for this source.
  [[nodiscard]] virtual size_t watches() const = 0;
  // When read_events begins a rescan of its own accord; nullopt: not before it has other work.
  [[nodiscard]] std::optional<Clock::time_point> due() const;

  // Takes in up to about `budget` events. True: more may be waiting.
  bool read_events(size_t budget = kEventsPerRead);
  // Looks at up to about `max_entries` directory entries. True: more are to be scanned.
  bool scan_some(size_t max_entries = kEntriesPerScan);
  // Everything is to be compared anew, by the calls of scan_some that follow.
  void rescan();
  [[nodiscard]] bool scanning() const { return active_.has_value() || !scans_.empty(); }
  // The Tree is complete: the first scan, which reports nothing, has finished. One that is known
  // from before is so from the start, and the first scan is a rescan.
  [[nodiscard]] bool ready() const { return ready_; }
  // A rescan of the whole root is under way: what it reports is incomplete until it ends.
  [[nodiscard]] bool rescanning() const { return rescanning_; }

  // What happened since the last call, in order, one step after the other.
  [[nodiscard]] std::vector<Change> take_changes() { return std::exchange(changes_, {}); }
  // Set when a rescan replaced events.
  [[nodiscard]] Gap take_gap() { return std::exchange(gap_, Gap::none); }
  // Git holds index.lock, or Mercurial its wlock.
  [[nodiscard]] bool vcs_locked() const { return vcs_locked_; }
  // The root is gone; all entries were reported as deleted. It is watched again as soon as it is
  // back.
  [[nodiscard]] bool root_missing() const { return root_missing_; }
  // Not ok: this root is no longer watched, its watches were given back, and fd() is -1. Open a new
  // source after the cure, or let PollSource take its place.
  [[nodiscard]] const absl::Status& status() const { return status_; }

  [[nodiscard]] const std::string& root() const { return root_; }  // canonical
  [[nodiscard]] const Tree& tree() const { return tree_; }
  // Earlier lives of the Tree; none when it began with this source.
  [[nodiscard]] const std::vector<TreeLife>& lives() const { return lives_; }
  // As Tree::record_to.
  void record_to(std::string* record) { tree_.record_to(record); }
  // Up to date with the .gitignore files.
  [[nodiscard]] const Filter& filter() const { return filter_; }
  [[nodiscard]] const std::vector<Problem>& problems() const { return problems_; }
  [[nodiscard]] size_t problem_count() const { return problem_count_; }

  // Why this one is at work and not the one that would do better; empty when it is the best.
  [[nodiscard]] const std::string& fallback() const { return fallback_; }
  // How often to look, should a limit of the system end this source and its owner take PollSource
  // in its place; nullopt: its end is to be told.
  void allow_polling(std::chrono::nanoseconds interval) { polling_allowed_ = interval; }
  [[nodiscard]] std::optional<std::chrono::nanoseconds> polling_allowed() const {
    return polling_allowed_;
  }

 protected:
  // What is known of an entry that has to be verified.
  enum Hint : uint8_t {
    kChanged = 1,
    kModified = 2,
    kNewDirectory = 4,
    kIsDirectory = 8,
    kAnyKind = 16  // a directory or not
  };
  // A directory outside the Tree whose entries matter: the repository's, git's and Mercurial's,
  // with its lock; the one through which a missing root would come back.
  enum class Place : uint8_t { repository, mercurial, ancestor };
  static constexpr size_t kPlaces = 3;

  struct Opening {
    std::string root;
    Filter filter;
    std::optional<KnownTree> known;
  };
  // Errors:  InvalidArgument (not absolute, bad filter), NotFound, PermissionDenied.
  static absl::StatusOr<Opening> prepare(std::string_view root, FilterOptions options,
                                         const Recall& recall);

  // Rescans every `rescan_every`; 0: never.
  Source(Opening opening, std::chrono::nanoseconds rescan_every);
  // Goes on where `failed` ended; of that only the destructor may be called.
  Source(Source& failed, std::chrono::nanoseconds rescan_every);

  // Watches the root and schedules the first scan.
  //
  // Errors:  as prepare, FailedPrecondition (not a directory), ResourceExhausted.
  absl::Status begin();

  // The side of the kernel, for implementations.
  //
  // Hands what happened to the members below. True: nothing is left.
  virtual bool take_events(size_t budget) = 0;
  // `fd` is the open directory. Sets the tag of the node to a number that is not negative; watches
  // it anew where it has one. False: errno says why, and status() whether the whole root is lost to
  // a limit.
  virtual bool watch(NodeId directory, int fd) = 0;
  // Of a directory whose tag is not negative.
  virtual void unwatch(NodeId directory) = 0;
  // In the place of the one before; "": none any more. False: it cannot be watched.
  virtual bool watch_place(Place place, const std::string& path) = 0;
  // Gives everything back to the kernel.
  virtual void release() = 0;

  // What an implementation tells.
  //
  // The entry is to be verified.
  void mark_dirty(NodeId directory, std::string_view name, uint8_t hints);
  // The hints of an entry that is still to be verified, or 0.
  [[nodiscard]] uint8_t waiting_hints(NodeId directory, const std::string& name) const;
  // Something happened to the entry: rules may be stale, or the repository another one.
  void notice_name(NodeId directory, std::string_view name);
  // The directory is not at its place any more, or may not be.
  void misplaced(NodeId directory);
  void stale_rules(NodeId directory) { stale_rules_.insert(directory); }
  // `gone`: it was moved, or is not watched any more.
  void place_changed(Place place, bool gone);
  // Events were lost.
  void overflowed();
  // Entries are to be scanned; `deep`: below directories already known, too.
  void schedule(NodeId directory, bool deep);
  void fail(absl::Status status);
  // To be called for an entry of the Tree that vanishes.
  void drop(NodeId id);
  Tree::Changes* sink() { return ready_ ? &changes_ : nullptr; }
  void set_fallback(std::string why) { fallback_ = std::move(why); }

  Filter filter_;
  // The tag of a directory is what watch() has set, or -1.
  Tree tree_;

 private:
  struct Dirty {
    NodeRef directory;
    std::string name;
    uint8_t hints = 0;
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

  void report(std::string path, std::string message);

  // source.cpp: the root and its surroundings.
  void finish_reading(bool drained);
  [[nodiscard]] bool to_finish() const;
  void forget_work();
  void lose_root();
  bool regain_root();
  void watch_ancestor();
  void watch_repository();
  void check_vcs_lock();

  // source_scan.cpp: what is there.
  Fd open_directory(NodeId directory, int flags);
  Fd open_at_path(const std::string& path, int flags) const;
  void verify_dirty();
  void verify(const Dirty& dirty);
  void reconcile(Cursor& cursor, std::string_view name, const struct stat& st, uint8_t hints,
                 bool deep);
  void reload_rules();
  bool begin_scan();
  size_t list_some();
  void end_scan();
  void scans_finished();

  std::string root_;
  absl::Status status_;
  uint64_t root_device_ = 0;
  bool ready_ = false;
  bool rescanning_ = false;
  bool root_missing_ = false;
  bool root_lost_ = false;
  bool ancestor_event_ = false;
  bool vcs_event_ = false;
  bool vcs_locked_ = false;
  bool repository_changed_ = false;

  // 1. dirty_index_ finds the place in dirty_ of a (directory, name) that still has to be verified.
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
  // Entries whose metadata changed at this Unix time or later may have changed again within the
  // same tick while nobody looked.
  int64_t suspect_ctime_ns_ = INT64_MAX;
  std::vector<TreeLife> lives_;
  const std::chrono::nanoseconds rescan_every_;
  Clock::time_point next_rescan_{};

  std::vector<Change> changes_;
  Gap gap_ = Gap::none;
  std::vector<Problem> problems_;
  size_t problem_count_ = 0;
  std::string fallback_;
  std::optional<std::chrono::nanoseconds> polling_allowed_;
};

}  // namespace zsync::watching
