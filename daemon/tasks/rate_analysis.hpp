// Whether tasks that come again and again can all end within their periods, where the shortest
// period starts first and nothing that runs is interrupted. Pure.
//
// Response times of fixed priorities without preemption: R. Davis, A. Burns, R. Bril, J. Lukkien,
// "Controller Area Network (CAN) schedulability analysis: Refuted, revisited and revised",
// Real-Time Systems 35, 2007, section 3.4 (sufficient: each task also counts as its own blocking).
// With several places each period counts once more, for what a run before still does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace zsync::daemon {

struct PeriodicTask {
  int64_t period_ms = 0;
  int64_t cost_ms = 0;  // what one run takes at most
};

// Steps towards the longest wait of one task; what has not settled by then counts as late.
inline constexpr size_t kResponseStepsMax = 1'000;

// Of each task the longest time from its run's coming to its end; nullopt: maybe longer than its
// period. `places` run at once. As long as nothing else runs there. At most kResponseStepsMax
// passes over the tasks for each of them.
std::vector<std::optional<int64_t>> worst_responses(const std::vector<PeriodicTask>& tasks,
                                                    uint32_t places);

// Of one place: 1.0 is all of its time.
double utilization(const std::vector<PeriodicTask>& tasks);

}  // namespace zsync::daemon
