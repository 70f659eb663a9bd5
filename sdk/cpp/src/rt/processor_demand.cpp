#include "rt/processor_demand.hpp"

#include <algorithm>

namespace zsync::rt {
namespace {

Duration saturating_add(Duration a, Duration b) {
  return a > Duration::max() - b ? Duration::max() : a + b;
}

Duration times(Duration duration, size_t count) {
  const auto factor = static_cast<int64_t>(count);
  return duration > Duration::max() / factor ? Duration::max() : duration * factor;
}

}  // namespace

void ProcessorDemand::advance(TimePoint now) {
  const Duration passed = std::max(now - now_, Duration{0});
  now_ = std::max(now_, now);
  Duration capacity = times(passed, processors_);
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    // No job runs on two processors at once.
    const Duration done = std::min({it->second.left, passed, capacity});
    it->second.left -= done;
    capacity -= done;
    it = it->first <= now_ ? jobs_.erase(it) : std::next(it);
  }
}

Duration ProcessorDemand::missing(TimePoint deadline, Duration cost) const {
  const Duration room = deadline - now_;
  if (cost > room) return cost - room;
  const auto lacking = [this](Duration demand, TimePoint due) {
    return std::max(demand - times(due - now_, processors_), Duration{0});
  };
  // What is due before it is not delayed by it.
  Duration demand = cost;
  auto it = jobs_.begin();
  for (; it != jobs_.end() && it->first <= deadline; ++it) {
    demand = saturating_add(demand, it->second.left);
  }
  Duration lacks = lacking(demand, deadline);
  for (; lacks == Duration{0} && it != jobs_.end(); ++it) {
    demand = saturating_add(demand, it->second.left);
    lacks = lacking(demand, it->first);
  }
  return lacks;
}

void ProcessorDemand::add(uint64_t job, TimePoint deadline, Duration cost) {
  jobs_.emplace(deadline, Job{job, cost});
}

void ProcessorDemand::remove(uint64_t job) {
  const auto found = std::find_if(jobs_.begin(), jobs_.end(),
                                  [job](const auto& entry) { return entry.second.job == job; });
  if (found != jobs_.end()) jobs_.erase(found);
}

std::optional<ProcessorDemand::Latest> ProcessorDemand::latest() const {
  if (jobs_.empty()) return std::nullopt;
  return Latest{jobs_.rbegin()->second.job, jobs_.rbegin()->first};
}

}  // namespace zsync::rt
