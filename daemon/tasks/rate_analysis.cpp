#include "daemon/tasks/rate_analysis.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace zsync::daemon {
namespace {

// What keeps the places taken when a run of `ranked[at]` comes: each may just have begun one that
// comes later in the order, or the one before of itself.
int64_t blocking(const std::vector<PeriodicTask>& ranked, size_t at, uint32_t places) {
  std::vector<int64_t> costs;
  for (size_t i = at; i < ranked.size(); ++i) costs.push_back(ranked[i].cost_ms);
  std::sort(costs.begin(), costs.end(), std::greater<>());
  costs.resize(std::min<size_t>(costs.size(), places));
  return std::accumulate(costs.begin(), costs.end(), int64_t{0});
}

std::optional<int64_t> response(const std::vector<PeriodicTask>& ranked, size_t at,
                                uint32_t places) {
  const PeriodicTask& task = ranked[at];
  const int64_t slack = task.period_ms - task.cost_ms;  // how long it may wait
  const int64_t carried = places > 1 ? 1 : 0;
  const int64_t blocked = blocking(ranked, at, places);
  int64_t waits = 0;
  for (size_t step = 0; step < kResponseStepsMax; ++step) {
    int64_t work = blocked;
    for (size_t i = 0; i < at; ++i) {
      work += (waits / ranked[i].period_ms + 1 + carried) * ranked[i].cost_ms;
      if (work / places > slack) return std::nullopt;
    }
    const int64_t next = work / places;
    if (next > slack) return std::nullopt;
    if (next == waits) return waits + task.cost_ms;
    waits = next;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::optional<int64_t>> worst_responses(const std::vector<PeriodicTask>& tasks,
                                                    uint32_t places) {
  std::vector<size_t> order(tasks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&tasks](size_t a, size_t b) {
    return std::pair(tasks[a].period_ms, a) < std::pair(tasks[b].period_ms, b);
  });
  std::vector<PeriodicTask> ranked;
  for (size_t index : order) ranked.push_back(tasks[index]);
  std::vector<std::optional<int64_t>> responses(tasks.size());
  for (size_t at = 0; at < ranked.size(); ++at) {
    responses[order[at]] = response(ranked, at, places);
  }
  return responses;
}

double utilization(const std::vector<PeriodicTask>& tasks) {
  double sum = 0;
  for (const PeriodicTask& task : tasks) {
    sum += static_cast<double>(task.cost_ms) / static_cast<double>(task.period_ms);
  }
  return sum;
}

}  // namespace zsync::daemon
