#include "watch/batcher.hpp"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace zsync::watching {
namespace {

std::vector<Change> net_changes(const PathChanges& paths) {
  absl::flat_hash_set<absl::string_view> moved_away;
  for (const auto& [path, at] : paths) {
    if (at.now && at.from && *at.from != path) moved_away.insert(*at.from);
  }
  std::vector<Change> out;
  for (const auto& [path, at] : paths) {
    Change change{path, ChangeKind::modified, {}, at.is_directory, at.size, at.mtime_ns};
    if (!at.now) {
      if (!at.before || moved_away.contains(path)) continue;
      change.kind = ChangeKind::deleted;
    } else if (!at.from) {
      if (!at.before) change.kind = ChangeKind::created;
    } else if (*at.from != path) {
      change.kind = ChangeKind::renamed;
      change.renamed_from = *at.from;
    } else if (!at.touched) {
      continue;
    }
    out.push_back(std::move(change));
  }
  std::sort(out.begin(), out.end(),
            [](const Change& a, const Change& b) { return a.path < b.path; });
  return out;
}

}  // namespace

Batcher::Batcher(std::string instance, BatcherOptions options, GlobSet globs)
    : instance_(std::move(instance)), options_(options), globs_(std::move(globs)) {}

void Batcher::add(std::span<const Change> changes, uint64_t clock, Time now) {
  clock_ = std::max(clock_, clock);
  for (const Change& change : changes) {
    if (!concerns(change)) continue;
    if (!pending_) first_ = first_change_ = now;
    pending_ = true;
    last_ = now;
    apply(change);
  }
}

// A path beside the selection counts once an entry of the selection has been moved there, since it
// may come back changed.
bool Batcher::concerns(const Change& change) const {
  if (globs_.empty() || globs_.matches(change.path) || paths_.contains(change.path)) return true;
  return change.kind == ChangeKind::renamed &&
         (globs_.matches(change.renamed_from) || paths_.contains(change.renamed_from));
}

void Batcher::add_gap(Gap gap, uint64_t clock, Time now) {
  if (gap == Gap::none) return;
  clock_ = std::max(clock_, clock);
  if (!pending_) first_ = first_change_ = now;
  pending_ = true;
  last_ = now;
  // An overflow is the more telling reason.
  if (gap_ != Gap::overflow) gap_ = gap;
}

void Batcher::set_vcs_locked(bool locked, Time now) {
  if (locked == held()) return;
  if (locked) {
    locked_since_ = now;
    return;
  }
  locked_since_.reset();
  if (pending_) first_ = last_ = now;
}

std::optional<Batcher::Time> Batcher::deadline() const {
  if (!pending_ || rescanning_) return std::nullopt;
  if (paths_.size() >= options_.paths_max) return last_;
  const Time settled = std::min(last_ + options_.settle, first_ + options_.max_wait);
  return held() ? std::max(settled, *locked_since_ + options_.vcs_hold_max) : settled;
}

std::optional<Batch> Batcher::take(Time now) {
  std::optional<Collected> collected = collect(now);
  return collected ? std::move(*collected).reduce() : std::nullopt;
}

std::optional<Collected> Batcher::collect(Time now) {
  const std::optional<Time> due = deadline();
  if (!due || *due > now) return std::nullopt;
  return collect_all();
}

std::optional<Batch> Batcher::flush() {
  std::optional<Collected> collected = collect_all();
  return collected ? std::move(*collected).reduce() : std::nullopt;
}

std::optional<Collected> Batcher::collect_all() {
  if (!pending_) return std::nullopt;
  Collected out;
  out.instance_ = instance_;
  out.globs_ = globs_;
  out.paths_ = std::exchange(paths_, {});
  out.gap_ = std::exchange(gap_, Gap::none);
  out.clock_ = clock_;
  pending_ = false;
  return out;
}

void Batcher::forget_changes() {
  paths_ = {};
  pending_ = gap_ != Gap::none;
}

PathChange& Batcher::entry(const std::string& path, bool existed) {
  const auto [at, inserted] = paths_.try_emplace(path);
  if (inserted) {
    at->second.before = at->second.now = existed;
    if (existed) at->second.from = path;
  }
  return at->second;
}

void Batcher::apply(const Change& change) {
  if (change.kind == ChangeKind::renamed) {
    PathChange& source = entry(change.renamed_from, true);
    const std::optional<std::string> from = std::exchange(source.from, std::nullopt);
    const bool touched = source.touched;
    source.now = false;
    source.is_directory = change.is_directory;
    source.size = change.size;
    source.mtime_ns = change.mtime_ns;
    PathChange& target = entry(change.path, false);
    target.now = true;
    target.from = from;
    target.touched = touched;
    target.is_directory = change.is_directory;
    target.size = change.size;
    target.mtime_ns = change.mtime_ns;
    return;
  }
  PathChange& at = entry(change.path, change.kind != ChangeKind::created);
  at.is_directory = change.is_directory;
  at.size = change.size;
  at.mtime_ns = change.mtime_ns;
  at.now = change.kind != ChangeKind::deleted;
  if (change.kind == ChangeKind::modified) {
    at.touched = true;
  } else {
    at.from.reset();
  }
}

std::optional<Batch> Collected::reduce() && {
  Batch batch{format_clock(instance_, clock_), net_changes(std::exchange(paths_, {})), false, gap_};
  batch = narrow(std::move(batch), globs_);
  if (batch.changes.empty() && batch.gap == Gap::none) return std::nullopt;
  return batch;
}

Batch narrow(Batch batch, const GlobSet& globs) {
  if (globs.empty()) return batch;
  std::vector<Change> kept;
  for (Change& change : batch.changes) {
    const bool to = globs.matches(change.path);
    if (change.kind == ChangeKind::renamed) {
      const bool from = globs.matches(change.renamed_from);
      if (!to && from) {
        change.path = std::move(change.renamed_from);
        change.kind = ChangeKind::deleted;
      }
      if (to && !from) change.kind = ChangeKind::created;
      if (to != from) change.renamed_from.clear();
      if (to || from) kept.push_back(std::move(change));
    } else if (to) {
      kept.push_back(std::move(change));
    }
  }
  std::sort(kept.begin(), kept.end(),
            [](const Change& a, const Change& b) { return a.path < b.path; });
  // A path that was renamed out of the selection and is there again has a change of its own.
  absl::flat_hash_set<std::string> there;
  for (const Change& change : kept) {
    if (change.kind != ChangeKind::deleted) there.insert(change.path);
  }
  std::erase_if(kept, [&](const Change& change) {
    return change.kind == ChangeKind::deleted && there.contains(change.path);
  });
  batch.changes = std::move(kept);
  return batch;
}

absl::StatusOr<Batch> answer_since(const Tree& tree, std::string_view instance,
                                   std::string_view since, std::span<const TreeLife> lives) {
  Batch batch;
  batch.clock = format_clock(instance, tree.clock());
  if (since.empty()) return batch;
  const std::optional<Clock> clock = parse_clock(since);
  if (!clock) {
    return absl::InvalidArgumentError(
        absl::StrCat("since: \"", absl::string_view(since.data(), since.size()),
                     "\" is not a clock; pass the clock of an earlier batch (c:INSTANCE:NUMBER)"));
  }
  const bool earlier = std::any_of(lives.begin(), lives.end(), [&](const TreeLife& life) {
    return life.instance == clock->instance && life.first <= clock->counter &&
           clock->counter <= life.last;
  });
  if (clock->instance != instance && !earlier) {
    batch.fresh = true;
    batch.changes = tree.everything();
    return batch;
  }
  Tree::Since answer = tree.since(clock->counter);
  batch.fresh = answer.fresh;
  batch.changes = std::move(answer.changes);
  return batch;
}

}  // namespace zsync::watching
