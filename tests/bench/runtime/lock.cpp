// Semaphore and Mutex with nobody waiting: acquire and release by one task, divided by the number
// of pairs. Not taken in a loop by anybody else; the second worker, where there is one, is idle.
//
// Cannot be optimised away: the state is shared memory that is changed atomically or under a lock.
#include "tests/bench/runtime/groups.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kPairs = 3'000'000;
constexpr size_t kWarmUp = 100'000;

Task<double> semaphore_pairs(size_t pairs) {
  Semaphore semaphore(10);
  const Stopwatch watch;
  for (size_t i = 0; i < pairs; ++i) Permit permit = co_await semaphore.acquire();
  const double each = watch.ns_each(static_cast<double>(pairs));
  expect(semaphore.available() == 10, "semaphore");
  co_return each;
}

Task<double> mutex_pairs(size_t pairs) {
  Mutex mutex;
  size_t counter = 0;
  const Stopwatch watch;
  for (size_t i = 0; i < pairs; ++i) {
    Permit guard = co_await mutex.lock();
    ++counter;
  }
  const double each = watch.ns_each(static_cast<double>(pairs));
  expect(counter == pairs, "mutex");
  co_return each;
}

Task<void> measured() {
  (void)co_await semaphore_pairs(kWarmUp);
  report("Semaphore acquire + release", "ns", co_await semaphore_pairs(kPairs));
  (void)co_await mutex_pairs(kWarmUp);
  report("Mutex lock + unlock", "ns", co_await mutex_pairs(kPairs));
}

}  // namespace

void lock_rows(const Settings& settings) { run_on(settings, measured()); }

}  // namespace zsync::bench
