// As runtime/wake.cpp: a plain thread posts a handler, which reads the clock.
#include <atomic>

#include "tests/bench/peers/asio/world.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kWakes = 500;
constexpr int64_t kPauseUs = 1'000;  // between two wakes: the threads park
constexpr int64_t kLookUs = 100;     // between two looks for the answer

void busy(asio::io_context& context, std::atomic<bool>& stop) {
  if (stop.load(std::memory_order_relaxed)) return;
  asio::post(context, [&context, &stop] { busy(context, stop); });
}

std::vector<int64_t> latencies(const Settings& settings, size_t busy_tasks) {
  std::vector<int64_t> latencies;
  std::atomic<size_t> answered{0};
  std::atomic<bool> stop{false};
  World world(settings);
  for (size_t i = 0; i < busy_tasks; ++i) busy(world.context, stop);
  for (size_t i = 0; i < kWakes; ++i) {
    pause_us(kPauseUs);
    const int64_t sent = now_ns();
    asio::post(world.context, [&latencies, &answered, sent] {
      latencies.push_back(now_ns() - sent);
      answered.fetch_add(1);
    });
    while (answered.load() <= i) pause_us(kLookUs);
  }
  stop.store(true);
  return latencies;
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
