// Wake latency: a plain thread reads the clock and calls Notify::notify_one(); the waiting task
// reads it when it runs. Once with nothing else to do (the workers are parked: 1 ms between two
// wakes), once with a task on each worker that yields in a loop.
//
// Cannot be optimised away: two threads, and the time passes through an atomic.
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kWakes = 500;
constexpr int64_t kPauseUs = 1'000;  // between two wakes: the workers park
constexpr int64_t kLookUs = 100;     // between two looks for the answer

struct Wake {
  Notify notify;
  std::atomic<int64_t> sent_ns{0};
  std::atomic<size_t> answered{0};
  std::atomic<bool> stop{false};
  std::vector<int64_t> latencies;
};

Task<void> waiter(Wake& wake) {
  for (size_t i = 0; i < kWakes; ++i) {
    co_await wake.notify.notified();
    wake.latencies.push_back(now_ns() - wake.sent_ns.load());
    wake.answered.store(i + 1);
  }
  wake.stop.store(true);
}

Task<void> busy(Wake& wake) {
  while (!wake.stop.load(std::memory_order_relaxed)) co_await yield_now();
}

// Wakes, then leaves the processor until the answer is there and a pause has passed.
void wake_by_thread(Wake& wake) {
  for (size_t i = 0; i < kWakes; ++i) {
    pause_us(kPauseUs);
    wake.sent_ns.store(now_ns());
    wake.notify.notify_one();
    while (wake.answered.load() <= i) pause_us(kLookUs);
  }
}

std::vector<int64_t> latencies(const Settings& settings, size_t busy_tasks) {
  Wake wake;
  wake.latencies.reserve(kWakes);
  auto runtime = Runtime::create(config_of(settings));
  expect(runtime.ok(), "start of the runtime");
  std::vector<TaskHandle<void>> handles;
  for (size_t i = 0; i < busy_tasks; ++i) handles.push_back((*runtime)->spawn(busy(wake)));
  handles.push_back((*runtime)->spawn(waiter(wake)));
  wake_by_thread(wake);
  for (TaskHandle<void>& handle : handles) handle.join();
  return wake.latencies;
}

}  // namespace

void wake_rows(const Settings& settings) {
  const std::vector<int64_t> idle = latencies(settings, 0);
  report("wake, idle: p50", "us", quantile_us(idle, 0.5));
  report("wake, idle: p99", "us", quantile_us(idle, 0.99));
  const std::vector<int64_t> busy = latencies(settings, settings.threads);
  report("wake, busy: p50", "us", quantile_us(busy, 0.5));
  report("wake, busy: p99", "us", quantile_us(busy, 0.99));
}

}  // namespace zsync::bench
