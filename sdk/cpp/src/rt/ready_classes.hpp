// ReadyClasses: what is ready and has a class, in the order of zsync/priority.hpp.
//
// An engine without clock, threads and tasks: `Entry` is what is ordered, and what it has to be
// told comes with push().
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <tuple>
#include <vector>

#include "zsync/priority.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

// The higher one goes first. The first four are Priority's.
enum class Rank : uint8_t {
  kLow,
  kNormal,
  kHigh,
  kCritical,
  kPeriodic,  // zsync/periodic.hpp
  kDeadline,
  kOverdue,  // raised by aging beyond all others
};

// What a task's strands are ordered by.
struct Urgency {
  Rank rank = Rank::kNormal;
  TimePoint deadline = TimePoint::max();  // of kDeadline; of kPeriodic after its release at 0

  friend bool operator==(const Urgency&, const Urgency&) = default;
  friend bool operator<(const Urgency& a, const Urgency& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.deadline > b.deadline;
  }
};

inline Urgency urgency_of(Priority priority) { return {.rank = static_cast<Rank>(priority)}; }

// Threads: one at a time.
template <typename Entry>
class ReadyClasses {
 public:
  // One of `workers` may be the only one that an entry is for.
  explicit ReadyClasses(size_t workers) : lanes_(workers + 1) {}

  // `home`: the worker that it is for; -1: any.
  void push(Entry* entry, const Urgency& urgency, int home) {
    lanes_[home + 1].push({entry, urgency, rounds_, next_order_++});
    above_normal_ += urgency.rank > Rank::kNormal;
  }

  // The first one that `worker` may run, if it has been raised to `least` or is of a higher rank.
  Entry* pop(int worker, Rank least) {
    Lane* chosen = nullptr;
    std::optional<Place> best;
    for (Lane* lane : {&lanes_[0], &lanes_[worker + 1]}) {
      const std::optional<Place> place = lane->first(rounds_);
      if (!place || place->rank < least || (best && !place->before(*best))) continue;
      best = place;
      chosen = lane;
    }
    if (!chosen) return nullptr;
    ++rounds_;
    above_normal_ -= best->level > static_cast<size_t>(Rank::kNormal);
    return chosen->take(*best);
  }

  // Calls `take(entry, home)` for all that `matches(entry)`, which are in no list any more, in the
  // order in which they were pushed.
  template <typename Matches, typename Take>
  void extract(const Matches& matches, const Take& take) {
    for (size_t i = 0; i < lanes_.size(); ++i) {
      std::vector<Waiting> found = lanes_[i].extract(matches);
      std::sort(found.begin(), found.end(),
                [](const Waiting& a, const Waiting& b) { return a.order < b.order; });
      for (const Waiting& waiting : found) {
        above_normal_ -= waiting.urgency.rank > Rank::kNormal;
        take(waiting.entry, static_cast<int>(i) - 1);
      }
    }
  }

  // Those that any worker may run, and those for one of them.
  size_t shared() const { return lanes_[0].size(); }
  size_t pinned(int worker) const { return lanes_[worker + 1].size(); }
  // Those that were pushed with a rank above normal.
  size_t above_normal() const { return above_normal_; }

 private:
  static constexpr size_t kLevels = 4;  // the ranks below kPeriodic

  struct Waiting {
    Entry* entry;
    Urgency urgency;
    uint64_t since;  // rounds
    uint64_t order;
  };

  // Where the first of a lane stands.
  struct Place {
    Rank rank;  // after aging
    TimePoint deadline;
    uint64_t order;
    size_t level;  // kLevels and more: by deadline
    bool before(const Place& other) const {
      if (rank != other.rank) return rank > other.rank;
      return std::tie(deadline, order) < std::tie(other.deadline, other.order);
    }
  };

  static bool later(const Waiting& a, const Waiting& b) {
    return std::tie(a.urgency.deadline, a.order) > std::tie(b.urgency.deadline, b.order);
  }

  class Lane {
   public:
    void push(const Waiting& waiting) {
      const auto level = static_cast<size_t>(waiting.urgency.rank);
      if (level < kLevels) {
        levels_[level].push_back(waiting);
      } else {
        Heap& heap = by_deadline_[level - kLevels];
        heap.push_back(waiting);
        std::push_heap(heap.begin(), heap.end(), later);
      }
    }

    // Only the oldest of each level can be the most raised one.
    std::optional<Place> first(uint64_t rounds) const {
      std::optional<Place> best;
      for (size_t level = kLevels + 1; level >= kLevels && !best; --level) {
        const Heap& heap = by_deadline_[level - kLevels];
        if (heap.empty()) continue;
        best = Place{static_cast<Rank>(level), heap.front().urgency.deadline, heap.front().order,
                     level};
      }
      for (size_t level = 0; level < kLevels; ++level) {
        if (levels_[level].empty()) continue;
        const Waiting& front = levels_[level].front();
        const uint64_t raised = level + (rounds - front.since) / kAgingRounds;
        const Rank rank =
            static_cast<Rank>(std::min<uint64_t>(raised, static_cast<uint64_t>(Rank::kOverdue)));
        const Place place{rank, TimePoint::max(), front.order, level};
        if (!best || place.before(*best)) best = place;
      }
      return best;
    }

    Entry* take(const Place& place) {
      if (place.level < kLevels) {
        std::deque<Waiting>& level = levels_[place.level];
        Entry* const entry = level.front().entry;
        level.pop_front();
        return entry;
      }
      Heap& heap = by_deadline_[place.level - kLevels];
      std::pop_heap(heap.begin(), heap.end(), later);
      Entry* const entry = heap.back().entry;
      heap.pop_back();
      return entry;
    }

    template <typename Matches>
    std::vector<Waiting> extract(const Matches& matches) {
      std::vector<Waiting> found;
      const auto taken = [&](const Waiting& waiting) {
        if (!matches(waiting.entry)) return false;
        found.push_back(waiting);
        return true;
      };
      for (std::deque<Waiting>& level : levels_) std::erase_if(level, taken);
      for (Heap& heap : by_deadline_) {
        if (std::erase_if(heap, taken) > 0) std::make_heap(heap.begin(), heap.end(), later);
      }
      return found;
    }

    size_t size() const {
      size_t sum = 0;
      for (const Heap& heap : by_deadline_) sum += heap.size();
      for (const std::deque<Waiting>& level : levels_) sum += level.size();
      return sum;
    }

   private:
    using Heap = std::vector<Waiting>;  // the earliest first
    std::array<std::deque<Waiting>, kLevels> levels_;
    std::array<Heap, 2> by_deadline_;  // kPeriodic, kDeadline
  };

  std::vector<Lane> lanes_;  // the shared one, then one a worker
  uint64_t rounds_ = 0;      // entries taken
  uint64_t next_order_ = 0;
  size_t above_normal_ = 0;
};

// Whose turn it is: of what has a class, or of what is normal and stands elsewhere.
class ClassTurns {
 public:
  // What waits in the classes may go from which rank on; nullopt: it is a normal one's turn.
  // `above`: there is one above normal; `normal`: a normal one is ready.
  std::optional<Rank> next(bool above, bool normal) {
    if (!normal) return Rank::kLow;
    if (above) return in_row_ < kAgingRounds ? std::optional(Rank::kHigh) : std::nullopt;
    return ++passed_ > kAgingRounds ? std::optional(Rank::kLow) : std::nullopt;
  }
  // Whether one with a class goes now.
  void took(bool classed) {
    in_row_ = classed ? in_row_ + 1 : 0;
    if (classed) passed_ = 0;
  }

 private:
  uint32_t in_row_ = 0;  // with a class, since a normal one
  uint32_t passed_ = 0;  // normal ones, while only low ones waited in the classes
};

}  // namespace zsync::rt
