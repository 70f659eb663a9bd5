// Ranking: tasks in the order in which they start. Pure.
//
// By priority, then the earlier deadline, then the order of submission. So that none waits for
// ever, one that has waited `aging` longer counts one point of priority more: if the task with the
// highest aged priority is then above the first one of that order, it comes first.
#pragma once

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/btree_set.h"

namespace zsync::daemon {

// What a task is ranked by.
struct Rank {
  int32_t priority = 0;
  int64_t deadline = INT64_MAX;  // ns since the Unix epoch
  int64_t since = 0;             // when it became ready; ns since the Unix epoch
  uint64_t order = 0;

  bool operator<(const Rank& other) const {
    return std::tuple(-int64_t{priority}, deadline, order) <
           std::tuple(-int64_t{other.priority}, other.deadline, other.order);
  }
};

class Ranking {
 public:
  // `aging` is how long, in ns, one point of priority is waited for; 0: for ever.
  void insert(const Rank& rank, int64_t aging) {
    ranks_.insert(rank);
    aged_.insert({aged_key(rank, aging), rank});
  }
  // With the same `aging` as it was inserted.
  void erase(const Rank& rank, int64_t aging) {
    ranks_.erase(rank);
    aged_.erase({aged_key(rank, aging), rank});
  }
  bool empty() const { return ranks_.empty(); }
  // Precondition: not empty.
  const Rank& first(int64_t now, int64_t aging) const {
    const Rank& first = *ranks_.begin();
    if (aging == 0) return first;
    const Rank& eldest = aged_.begin()->second;
    return aged_priority(eldest, now, aging) > aged_priority(first, now, aging) ? eldest : first;
  }
  // Of two rankings' firsts, the first of both.
  static bool before(const Rank& a, const Rank& b, int64_t now, int64_t aging) {
    if (aging == 0) return a < b;
    const int64_t of_a = aged_priority(a, now, aging);
    const int64_t of_b = aged_priority(b, now, aging);
    return of_a != of_b ? of_a > of_b : a < b;
  }
  const absl::btree_set<Rank>& ranks() const { return ranks_; }

 private:
  // Whose aged priority is the highest does not change with time: since - priority * aging decides.
  static int64_t aged_key(const Rank& rank, int64_t aging) {
    return rank.since - int64_t{rank.priority} * aging;
  }
  static int64_t aged_priority(const Rank& rank, int64_t now, int64_t aging) {
    return rank.priority + (now > rank.since ? (now - rank.since) / aging : 0);
  }

  absl::btree_set<Rank> ranks_;
  absl::btree_set<std::pair<int64_t, Rank>> aged_;
};

}  // namespace zsync::daemon
