// A million tasks that sleep at once.
//   fire + insert     all sleep until one moment and then again, for an hour: from that moment to
//                     the last task that went to sleep again. The spawning and the waiting before
//                     it are not counted; the resuming of the tasks is.
//   insert + cancel   select of a sleep of an hour and a permit that is free, by one task while the
//                     million sleeps; the permit's acquire and release are part of it.
//   cancel + join     of the million tasks.
// And never early: every 16th task compares the clock with its deadline.
//
// Cannot be optimised away: each task counts itself after its sleep; a task that was not asleep
// before the moment makes the run fail.
#include <chrono>
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr size_t kSleeps = 1'000'000;
constexpr size_t kSelects = 200'000;
constexpr auto kUntilFirst = 3s;  // for a million to be spawned and to go to sleep
constexpr auto kLong = 1h;

struct Moment {
  steady_clock::time_point first = steady_clock::now() + kUntilFirst;
  steady_clock::time_point second = first + kLong;
  alignas(64) std::atomic<size_t> asleep{0};
  alignas(64) std::atomic<size_t> fired{0};
  std::atomic<size_t> early{0};
  std::atomic<int64_t> last_ns{0};
};

int64_t ns_of(steady_clock::time_point time) {
  return std::chrono::nanoseconds(time.time_since_epoch()).count();
}

Task<absl::Status> sleeper(Moment& moment, size_t number) {
  moment.asleep.fetch_add(1, std::memory_order_relaxed);
  co_await sleep_until(moment.first);
  if (number % 16 == 0 && now_ns() < ns_of(moment.first)) moment.early.fetch_add(1);
  if (moment.fired.fetch_add(1, std::memory_order_relaxed) + 1 == kSleeps) {
    moment.last_ns.store(now_ns());
  }
  co_await sleep_until(moment.second);
  co_return absl::OkStatus();
}

Task<void> fire_and_insert(Moment& moment) {
  while (moment.asleep.load() < kSleeps) co_await sleep(1ms);
  expect(steady_clock::now() < moment.first, "sleeps: the machine is too busy to start in time");
  co_await sleep_until(moment.first);
  while (moment.last_ns.load() == 0) co_await sleep(5ms);
  const auto took = static_cast<double>(moment.last_ns.load() - ns_of(moment.first));
  report("1 M sleeps: fire + insert", "ns/sleep", took / kSleeps);
  report("1 M sleeps: early", "", static_cast<double>(moment.early.load()));
}

Task<void> insert_and_cancel() {
  Semaphore free(1);
  const Stopwatch watch;
  for (size_t i = 0; i < kSelects; ++i) {
    auto chosen = co_await select(sleep(kLong), free.acquire());
    expect(chosen.index == 1, "select");
  }
  report("1 M sleeps: insert + cancel", "ns/sleep", watch.ns_each(kSelects));
}

Task<void> measured() {
  Moment moment;
  std::vector<TaskHandle<absl::Status>> handles;
  handles.reserve(kSleeps);
  for (size_t i = 0; i < kSleeps; ++i) handles.push_back(spawn(sleeper(moment, i)));
  co_await fire_and_insert(moment);
  co_await insert_and_cancel();
  const Stopwatch watch;
  for (TaskHandle<absl::Status>& handle : handles) handle.cancel();
  size_t cancelled = 0;
  for (TaskHandle<absl::Status>& handle : handles) cancelled += !(co_await handle).ok();
  report("1 M sleeps: cancel + join", "ns/task", watch.ns_each(kSleeps));
  expect(cancelled == kSleeps, "cancelled sleeps");
}

}  // namespace

void sleep_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
