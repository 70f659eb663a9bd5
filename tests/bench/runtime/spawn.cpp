// Spawn + join: a task spawns a million tasks that do nothing, keeps their handles, awaits each in
// turn. From before the first spawn to after the last await, divided by the number of tasks.
//
// Cannot be optimised away: every task counts itself in memory that the check reads afterwards.
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kTasks = 1'000'000;
constexpr size_t kWarmUp = 50'000;

struct alignas(64) Count {
  std::atomic<size_t> value{0};
};

Task<void> empty(Count& ran) {
  ran.value.fetch_add(1, std::memory_order_relaxed);
  co_return;
}

Task<void> spawn_and_join(size_t tasks) {
  Count ran;
  std::vector<TaskHandle<void>> handles;
  handles.reserve(tasks);
  for (size_t i = 0; i < tasks; ++i) handles.push_back(spawn(empty(ran)));
  for (TaskHandle<void>& handle : handles) co_await handle;
  expect(ran.value == tasks, "spawn");
}

Task<void> measured() {
  co_await spawn_and_join(kWarmUp);
  const Stopwatch watch;
  co_await spawn_and_join(kTasks);
  report("spawn + join of 1 M", "ns/task", watch.ns_each(kTasks));
}

}  // namespace

void spawn_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
