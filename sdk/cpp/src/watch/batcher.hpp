// Turns single changes into settled batches. Pure: time comes in as an argument, deadlines go out
// as answers.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "watch/change.hpp"
#include "watch/glob.hpp"
#include "watch/tree.hpp"

namespace zsync::watching {

inline constexpr std::chrono::milliseconds kSettle{50};
inline constexpr std::chrono::milliseconds kMaxWait{1000};
inline constexpr std::chrono::seconds kVcsHoldMax{10};  // a lock older than this is a left-over
inline constexpr size_t kBatchPathsMax = 500'000;  // a batch with so many paths goes out at once

struct BatcherOptions {
  std::chrono::nanoseconds settle = kSettle;     // quiet time that ends a batch
  std::chrono::nanoseconds max_wait = kMaxWait;  // under continuous change, a batch lasts this long
  std::chrono::nanoseconds vcs_hold_max = kVcsHoldMax;
  size_t paths_max = kBatchPathsMax;
};

// What becomes of one path within a batch.
struct PathChange {
  bool before = false;              // the path existed when the batch began
  bool now = false;                 // it exists
  bool touched = false;             // its content may differ
  std::optional<std::string> from;  // which path of the state before the entry is from
  bool is_directory = false;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
};
using PathChanges = absl::flat_hash_map<std::string, PathChange>;

// A batch that left its Batcher and is not reduced yet, which costs about 1 us a path: independent
// of the Batcher, so that it may be done on another thread.
class Collected {
 public:
  // Nullopt when the changes cancelled each other out and there is no gap.
  [[nodiscard]] std::optional<Batch> reduce() &&;
  [[nodiscard]] size_t paths() const { return paths_.size(); }
  [[nodiscard]] uint64_t clock() const { return clock_; }
  [[nodiscard]] Gap gap() const { return gap_; }

 private:
  friend class Batcher;
  std::string instance_;
  GlobSet globs_;
  PathChanges paths_;
  Gap gap_ = Gap::none;
  uint64_t clock_ = 0;
};

// Collects changes until they have settled, and reduces them to the difference between the state
// before the batch and after it: created and deleted again is nothing, deleted and created again is
// `modified`, a chain of renames is one, and a file that was renamed away and back untouched is
// nothing. While a version control operation holds its lock nothing goes out, so that a checkout is
// one batch. With globs it holds what `narrow` leaves, and changes of other paths do not delay it.
//
// Threads:  one at a time.
class Batcher {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit Batcher(std::string instance, BatcherOptions options = {}, GlobSet globs = {});

  // `clock` is the Tree's after these changes.
  void add(std::span<const Change> changes, uint64_t clock, Time now);
  // The next batch says that intermediate states were lost, even if it holds no change.
  void add_gap(Gap gap, uint64_t clock, Time now);
  // Tells whether the version control lock exists; to be called whenever that may have changed.
  void set_vcs_locked(bool locked, Time now);
  // While a rescan runs its differences are incomplete, and nothing goes out.
  void set_rescanning(bool rescanning) { rescanning_ = rescanning; }

  // When `take` may have a batch, if nothing else happens; nullopt: not before the next call of
  // another member.
  [[nodiscard]] std::optional<Time> deadline() const;
  // The batch when it is due. A batch whose changes cancelled each other out is dropped, unless it
  // has a gap.
  [[nodiscard]] std::optional<Batch> take(Time now);
  // As take, unreduced.
  [[nodiscard]] std::optional<Collected> collect(Time now);
  // The batch at once, settled or not: what a `sync` or a closing subscription asks for.
  [[nodiscard]] std::optional<Batch> flush();
  [[nodiscard]] std::optional<Collected> collect_all();
  // Forgets the changes, for an owner that will tell the difference in another way; a gap stays.
  void forget_changes();

  [[nodiscard]] size_t paths() const { return paths_.size(); }
  // When the first change of the batch came that is being collected.
  [[nodiscard]] std::optional<Time> since() const {
    return pending_ ? std::optional(first_change_) : std::nullopt;
  }
  [[nodiscard]] const GlobSet& globs() const { return globs_; }

 private:
  void apply(const Change& change);
  PathChange& entry(const std::string& path, bool existed);
  [[nodiscard]] bool concerns(const Change& change) const;
  [[nodiscard]] bool held() const { return locked_since_.has_value(); }

  const std::string instance_;
  const BatcherOptions options_;
  const GlobSet globs_;
  PathChanges paths_;
  Gap gap_ = Gap::none;
  uint64_t clock_ = 0;
  bool pending_ = false;
  bool rescanning_ = false;
  Time first_change_{};
  Time first_{};  // the same, or when a version control operation ended since
  Time last_{};
  std::optional<Time> locked_since_;
};

// What a subscriber with these globs sees of a batch: changes of selected paths. A rename out of
// the selection is `deleted`, one into it `created`.
[[nodiscard]] Batch narrow(Batch batch, const GlobSet& globs);

// The first batch of a subscription that knows the state of `since` (a clock, or empty: nothing is
// asked for and the batch only tells the clock). `lives`: earlier ones of this Tree. Fresh when the
// clock is of none of them, or too old.
//
// Errors:  InvalidArgument when `since` is not a clock.
[[nodiscard]] absl::StatusOr<Batch> answer_since(const Tree& tree, std::string_view instance,
                                                 std::string_view since,
                                                 std::span<const TreeLife> lives = {});

}  // namespace zsync::watching
