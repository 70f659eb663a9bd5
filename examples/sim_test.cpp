// SimRuntime: a test that runs the same program under hundreds of schedules, in virtual time.
//
// The seed decides the order of every step. Time jumps from timer to timer, so a day costs nothing.
// In a GoogleTest program a failing schedule prints the line that repeats it. With a network, a
// disk and crashes: sim_cluster.cpp.
//
// Prints:
//   a naive counter loses updates under some schedules: true
//   a guarded counter loses none: true
//   a day went by in virtual time: true
#include <chrono>
#include <cstdio>

#include "zsync/testing/sim_runtime.hpp"
#include "zsync/zsync.hpp"

using namespace std::chrono_literals;
using zsync::testing::SimRuntime;

zsync::Task<void> add(int& counter, zsync::Mutex* mutex) {
  for (int i = 0; i < 3; ++i) {
    std::optional<zsync::Permit> guard;
    if (mutex) guard.emplace(co_await mutex->lock());
    const int before = counter;
    co_await zsync::yield_now();  // somebody else may count here
    counter = before + 1;
  }
}

zsync::Task<int> count_together(bool guarded) {
  int counter = 0;
  zsync::Mutex mutex;
  zsync::Mutex* const lock = guarded ? &mutex : nullptr;
  co_await zsync::all(add(counter, lock), add(counter, lock));
  co_return counter;
}

int main() {
  bool lost_naive = false, lost_guarded = false;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    // In a GoogleTest program: zsync::testing::explore(200, [](SimRuntime& sim) { ... });
    lost_naive |= SimRuntime(seed).run(count_together(false)) != 6;
    lost_guarded |= SimRuntime(seed).run(count_together(true)) != 6;
  }
  std::printf("a naive counter loses updates under some schedules: %s\n",
              lost_naive ? "true" : "false");
  std::printf("a guarded counter loses none: %s\n", lost_guarded ? "false" : "true");

  SimRuntime sim(1);
  const auto begin = sim.now();
  sim.run([]() -> zsync::Task<void> { co_await zsync::sleep(24h); }());
  std::printf("a day went by in virtual time: %s\n", sim.now() == begin + 24h ? "true" : "false");
}
