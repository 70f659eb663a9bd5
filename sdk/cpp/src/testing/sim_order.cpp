#include "testing/sim_order.hpp"

#include <algorithm>

namespace zsync::testing {

uint64_t SimRandom::next() {
  uint64_t mixed = state_ += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

SimOrder::SimOrder(const SimOptions& options, uint64_t seed)
    : policy_(options.policy),
      row_max_(std::max<uint64_t>(1, options.pct_steps)),
      priorities_random_(~seed) {
  if (policy_ != SimPolicy::pct) return;
  posted_priority_ = random_priority();
  for (uint32_t i = 1; i < options.pct_depth; ++i) {
    change_points_.push_back(1 + priorities_random_.below(row_max_));
  }
  std::sort(change_points_.rbegin(), change_points_.rend());
}

void SimOrder::strand_ready(const rt::TaskContext& context) {
  // By address, and renewed for each strand: another one may have stood there.
  if (policy_ == SimPolicy::pct && !context.has_run) priorities_[&context] = random_priority();
}

size_t SimOrder::choose(SimReady& ready, SimRandom& random) {
  const size_t choices = ready.choices();
  const size_t choice = policy_ == SimPolicy::pct ? choose_highest(ready) : random.below(choices);
  if (choices > 1) count(choice, choices);
  return choice;
}

size_t SimOrder::choose_highest(SimReady& ready) {
  const size_t choices = ready.choices();
  const auto highest = [&] {
    size_t best = 0;
    for (size_t i = 1; i < choices; ++i) {
      if (priority_at(ready, i) > priority_at(ready, best)) best = i;
    }
    return best;
  };
  size_t choice = highest();
  ++steps_;
  while (!change_points_.empty() && change_points_.back() <= steps_) {
    change_points_.pop_back();
    demote(ready, choice);
    choice = highest();
  }
  const void* const chosen = choice < ready.strands.size() ? ready.strands[choice] : nullptr;
  in_row_ = chosen && chosen == last_ && choices > 1 ? in_row_ + 1 : 0;
  last_ = chosen;
  if (in_row_ >= row_max_) {
    in_row_ = 0;
    demote(ready, choice);
    choice = highest();
  }
  return choice;
}

int64_t SimOrder::priority_at(const SimReady& ready, size_t index) const {
  if (index < ready.strands.size()) return priorities_.at(ready.strands[index]);
  index -= ready.strands.size();
  return index < ready.blocking.size() ? ready.blocking[index].priority : posted_priority_;
}

void SimOrder::demote(SimReady& ready, size_t index) {
  --next_fallen_;
  if (index < ready.strands.size()) {
    priorities_[ready.strands[index]] = next_fallen_;
    return;
  }
  index -= ready.strands.size();
  (index < ready.blocking.size() ? ready.blocking[index].priority : posted_priority_) =
      next_fallen_;
}

void SimOrder::count(size_t choice, size_t choices) {
  hash_ = (hash_ ^ (choice * 0x100000001b3 + choices)) * 0x9e3779b97f4a7c15;
  hash_ ^= hash_ >> 29;
}

}  // namespace zsync::testing
