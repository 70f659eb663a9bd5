// Start + stop of a runtime that runs one empty task, the median of 100; and how often the threads
// of an idle runtime, one of whose tasks sleeps for an hour, wake up in a second.
//
// Cannot be optimised away: threads begin and end; the kernel counts their switches.
#include <dirent.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

using namespace std::chrono_literals;

constexpr size_t kTimes = 100;
constexpr int64_t kSettleUs = 100'000;
constexpr int64_t kIdleUs = 1'000'000;

Task<void> nothing() { co_return; }
Task<void> sleeper() { co_await sleep(1h); }

int64_t start_and_stop(const Settings& settings) {
  const int64_t before = now_ns();
  auto runtime = Runtime::create(config_of(settings));
  expect(runtime.ok(), "start of the runtime");
  (*runtime)->block_on(nothing());
  runtime->reset();
  return now_ns() - before;
}

int64_t switches_of(const std::string& thread) {
  std::FILE* file = std::fopen(("/proc/self/task/" + thread + "/status").c_str(), "r");
  if (!file) return 0;
  char line[256];
  long long count = 0;
  while (std::fgets(line, sizeof line, file)) {
    if (std::sscanf(line, "voluntary_ctxt_switches: %lld", &count) == 1) break;
  }
  std::fclose(file);
  return count;
}

// Voluntary switches of all threads but the first one, which is waiting here.
int64_t switches_of_workers() {
  DIR* tasks = opendir("/proc/self/task");
  expect(tasks != nullptr, "/proc/self/task");
  int64_t sum = 0;
  while (const dirent* entry = readdir(tasks)) {
    if (entry->d_name[0] == '.' || entry->d_name == std::to_string(getpid())) continue;
    sum += switches_of(entry->d_name);
  }
  closedir(tasks);
  return sum;
}

}  // namespace

void life_rows(const Settings& settings) {
  (void)start_and_stop(settings);
  std::vector<int64_t> times;
  for (size_t i = 0; i < kTimes; ++i) times.push_back(start_and_stop(settings));
  report("start + stop", "us", quantile_us(times, 0.5));

  auto runtime = Runtime::create(config_of(settings));
  expect(runtime.ok(), "start of the runtime");
  TaskHandle<void> handle = (*runtime)->spawn(sleeper());
  pause_us(kSettleUs);
  const int64_t before = switches_of_workers();
  pause_us(kIdleUs);
  report("idle: wake-ups", "1/s", static_cast<double>(switches_of_workers() - before));
}

}  // namespace zsync::bench
