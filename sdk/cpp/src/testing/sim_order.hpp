// SimOrder: which of the ready ones goes next. Every choice of a simulation that is not about time
// is made here, and counted into a hash by which two schedules are told apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::testing {

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
class SimRandom {
 public:
  explicit SimRandom(uint64_t seed) : state_(seed) {}
  uint64_t next();
  // 0 to `limit` - 1.
  uint64_t below(uint64_t limit) { return next() % limit; }

 private:
  uint64_t state_;
};

// A function that waits for its turn, and the scheduler it came by.
struct SimFunction {
  std::function<void()> run;
  const rt::Scheduler* owner;
  int64_t priority;
};

// What a step can run.
struct SimReady {
  std::vector<rt::TaskContext*> strands;
  std::vector<SimFunction> blocking;  // each in a thread of its own
  std::vector<SimFunction> posted;    // in order, as one thread

  size_t choices() const { return strands.size() + blocking.size() + (posted.empty() ? 0 : 1); }
};

// random:  each choice is uniform.
// pct:     Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic
//          Guarantees of Finding Bugs, ASPLOS 2010. Strands have random priorities, and the highest
//          runs. At depth - 1 random steps the one that would run falls below all that have not
//          fallen so: a bug that needs `depth` ordered steps among n strands and k steps is found
//          with a chance of at least 1 / (n * k^(depth - 1)) in each schedule. A strand that was
//          chosen pct_steps times in a row while others were ready falls below everything: it may
//          wait for one of them by yielding.
class SimOrder {
 public:
  SimOrder(const SimOptions& options, uint64_t seed);

  // A strand that has not run gets its priority.
  void strand_ready(const rt::TaskContext& context);
  // Of a function that waits for its turn.
  int64_t priority_of_function() { return policy_ == SimPolicy::pct ? random_priority() : 0; }
  // -> an index: strands, blocking functions, posted functions as one. There is at least one.
  size_t choose(SimReady& ready, SimRandom& random);
  // What was chosen since the beginning, as far as there was a choice.
  uint64_t hash() const { return hash_; }

 private:
  int64_t random_priority() { return static_cast<int64_t>(priorities_random_.next() >> 2) + 1; }
  size_t choose_highest(SimReady& ready);
  int64_t priority_at(const SimReady& ready, size_t index) const;
  void demote(SimReady& ready, size_t index);
  void count(size_t choice, size_t choices);

  const SimPolicy policy_;
  const uint64_t row_max_;       // steps
  SimRandom priorities_random_;  // of its own: the program's random numbers stay as they are
  std::vector<uint64_t> change_points_;  // steps, the earliest last
  absl::flat_hash_map<const rt::TaskContext*, int64_t> priorities_;
  int64_t posted_priority_ = 0;
  int64_t next_fallen_ = 0;  // below every priority so far
  uint64_t steps_ = 0;
  const void* last_ = nullptr;  // who was chosen
  uint64_t in_row_ = 0;         // times in a row while others were ready
  uint64_t hash_ = 0;
};

}  // namespace zsync::testing
