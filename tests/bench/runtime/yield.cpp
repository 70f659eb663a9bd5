// yield_now by the only task, and by a hundred tasks in turn: wall time divided by the number of
// yields of all tasks together.
//
// Cannot be optimised away: each yield puts the task into the run queue and takes it out again.
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kAlone = 1'000'000;
constexpr size_t kTasks = 100;
constexpr size_t kEach = 20'000;

Task<void> yield_times(size_t times) {
  for (size_t i = 0; i < times; ++i) co_await yield_now();
}

Task<void> among(size_t each) {
  std::vector<TaskHandle<void>> handles;
  for (size_t i = 0; i < kTasks; ++i) handles.push_back(spawn(yield_times(each)));
  for (TaskHandle<void>& handle : handles) co_await handle;
}

Task<void> measured() {
  co_await yield_times(kAlone / 10);
  const Stopwatch alone;
  co_await yield_times(kAlone);
  report("yield_now alone", "ns", alone.ns_each(kAlone));
  co_await among(kEach / 10);
  const Stopwatch many;
  co_await among(kEach);
  report("yield_now among 100 tasks", "ns", many.ns_each(kTasks * kEach));
}

}  // namespace

void yield_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
