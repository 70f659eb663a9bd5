// Memory of a spawned task that waits: growth of the resident set while 500,000 tasks are spawned
// and each waits for one Notify, divided by their number. The handles are in memory touched before.
// The second figure leaves out the waiting operation, which is the only local of such a task.
//
// Cannot be optimised away: every task counts itself before it waits and after.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

using namespace std::chrono_literals;

constexpr size_t kTasks = 500'000;
constexpr size_t kWarmUp = 1'000;

double resident_bytes() {
  long pages = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  expect(file && std::fscanf(file, "%ld %ld", &pages, &resident) == 2, "/proc/self/statm");
  std::fclose(file);
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

struct Waiting {
  Notify notify;
  std::atomic<size_t> began{0};
  std::atomic<size_t> ended{0};
};

Task<void> waiter(Waiting& waiting) {
  waiting.began.fetch_add(1);
  co_await waiting.notify.changed(0);
  waiting.ended.fetch_add(1);
}

Task<double> bytes_each(size_t tasks) {
  Waiting waiting;
  std::vector<TaskHandle<void>> handles;
  handles.reserve(tasks);
  std::fill_n(reinterpret_cast<char*>(handles.data()), tasks * sizeof(TaskHandle<void>), 0);
  const double before = resident_bytes();
  for (size_t i = 0; i < tasks; ++i) handles.push_back(spawn(waiter(waiting)));
  while (waiting.began.load() < tasks) co_await sleep(1ms);
  const double after = resident_bytes();
  waiting.notify.notify_all();
  for (TaskHandle<void>& handle : handles) co_await handle;
  expect(waiting.ended == tasks, "waiting tasks");
  co_return (after - before) / static_cast<double>(tasks);
}

Task<void> measured() {
  (void)co_await bytes_each(kWarmUp);
  const double each = co_await bytes_each(kTasks);
  report("idle task", "bytes", each);
  report("idle task beyond its locals", "bytes", each - sizeof(NotifiedOperation));
}

}  // namespace

void memory_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
