// How late a sleep of 1 ms ends while 10,000 other tasks sleep for about an hour: one task, 500
// sleeps one after another, each against the clock read before it. Never early.
//
// Cannot be optimised away: it is the clock that is read.
#include <chrono>
#include <vector>

#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

using namespace std::chrono_literals;

constexpr size_t kLive = 10'000;
constexpr size_t kSleeps = 500;
constexpr int64_t kDelayNs = 1'000'000;

Task<absl::Status> sleeper(std::chrono::milliseconds delay) {
  co_await sleep(delay);
  co_return absl::OkStatus();
}

Task<void> measured() {
  std::vector<TaskHandle<absl::Status>> handles;
  for (size_t i = 0; i < kLive; ++i) {
    handles.push_back(spawn(sleeper(std::chrono::milliseconds(3'600'000 + i))));
  }
  std::vector<int64_t> late;
  size_t early = 0;
  for (size_t i = 0; i < kSleeps; ++i) {
    const int64_t before = now_ns();
    co_await sleep(1ms);
    late.push_back(now_ns() - before - kDelayNs);
    early += late.back() < 0;
  }
  report("1 ms sleep, 10 k live: late p50", "us", quantile_us(late, 0.5));
  report("1 ms sleep, 10 k live: late p99", "us", quantile_us(late, 0.99));
  report("1 ms sleep, 10 k live: early", "", static_cast<double>(early));
  for (TaskHandle<absl::Status>& handle : handles) handle.cancel();
  for (TaskHandle<absl::Status>& handle : handles) (void)co_await handle;
}

}  // namespace

void lateness_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
