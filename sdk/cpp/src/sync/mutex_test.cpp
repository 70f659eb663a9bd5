// Priority inheritance of Mutex. What it has in common with Semaphore: semaphore_test.cpp.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "rt/models_test.hpp"
#include "zsync/sync.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class MutexOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(MutexOnOneWorker);
class MutexOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(MutexOnEveryModel);

constexpr int kSteps = 10;    // of who holds a mutex
constexpr int kFlood = 3000;  // yields; aging would take kAgingRounds for each of kSteps
constexpr int kRoundsMax =
    70;  // until a strand that stands among normal ones is found: 61 and more

SpawnOptions with(Priority priority) { return {.priority = priority}; }

// Holds the mutex for kSteps scheduling points.
Task<void> hold(Mutex& mutex, Gate& held) {
  Permit guard = co_await mutex.lock();
  held.open();
  for (int i = 0; i < kSteps; ++i) co_await yield_now();
}

Task<void> lock_and_tell(Mutex& mutex, bool& got) {
  Permit guard = co_await mutex.lock();
  got = true;
}

// Yields until `stop`, at most kFlood times -> how often.
Task<int> flood_until(const bool& stop) {
  int rounds = 0;
  while (!stop && rounds < kFlood) {
    ++rounds;
    co_await yield_now();
  }
  co_return rounds;
}

// A holder, one that waits, and one in between that never lets go of the worker -> how often that
// one ran before the other had its mutex.
Task<int> inversion(Priority holds, Priority floods, SpawnOptions waits) {
  Mutex mutex;
  Gate held;
  bool got = false;
  TaskHandle<void> low = spawn(with(holds), hold(mutex, held));
  (void)co_await held.opened();
  TaskHandle<void> high = spawn(waits, lock_and_tell(mutex, got));
  TaskHandle<int> medium = spawn(with(floods), flood_until(got));
  const int rounds = co_await medium;
  co_await high;
  co_await low;
  co_return rounds;
}

SpawnOptions due(rt::Duration delay) {
  return {.deadline = std::chrono::steady_clock::now() + delay};
}

TEST_P(MutexOnOneWorker, WhoFloodsTheWorkerDoesNotHoldUpOneOfAHigherClassThatWaitsForALowOne) {
  EXPECT_LE(run_here(inversion(Priority::low, Priority::normal, with(Priority::high))), 3);
  EXPECT_LE(run_here(inversion(Priority::low, Priority::high, with(Priority::critical))), 3);
  EXPECT_LE(run_here(inversion(Priority::low, Priority::critical, due(1h))), 3);
  EXPECT_LE(run_here(inversion(Priority::low, Priority::normal, with(Priority::normal))),
            kFlood / 2);
}

TEST_P(MutexOnOneWorker, AHolderThatStandsAmongNormalStrandsIsFoundThere) {
  EXPECT_LE(run_here(inversion(Priority::normal, Priority::high, with(Priority::critical))),
            kRoundsMax);
}

TEST(Mutex, TheHolderRunsWithTheClassOfWhoWaitsInEverySchedule) {
  explore(200, [](SimRuntime& sim) {
    EXPECT_LE(sim.run(inversion(Priority::low, Priority::normal, with(Priority::high))), 3);
    EXPECT_LE(sim.run(inversion(Priority::normal, Priority::high, with(Priority::critical))), 3);
  });
}

// `first` is held by a low task; `second` by one that waits for it; and so on.
Task<int> chain(int length) {
  std::vector<Mutex> mutexes(static_cast<size_t>(length));
  std::vector<Gate> held(static_cast<size_t>(length));
  std::vector<TaskHandle<void>> handles;
  Gate go;
  handles.push_back(spawn(with(Priority::low), [](Mutex& m, Gate& h, Gate& g) -> Task<void> {
    Permit guard = co_await m.lock();
    h.open();
    (void)co_await g.opened();
    for (int i = 0; i < kSteps; ++i) co_await yield_now();
  }(mutexes[0], held[0], go)));
  (void)co_await held[0].opened();
  for (size_t i = 1; i < mutexes.size(); ++i) {
    handles.push_back(
        spawn(with(Priority::low), [](Mutex& before, Mutex& mine, Gate& gate) -> Task<void> {
          Permit outer = co_await mine.lock();
          gate.open();
          Permit inner = co_await before.lock();
        }(mutexes[i - 1], mutexes[i], held[i])));
    (void)co_await held[i].opened();
  }
  bool got = false;
  handles.push_back(spawn(with(Priority::critical), lock_and_tell(mutexes.back(), got)));
  co_await sleep(1us);  // all of them wait
  go.open();
  const int rounds = co_await spawn(with(Priority::high), flood_until(got));
  for (auto& handle : handles) co_await handle;
  co_return rounds;
}

TEST_P(MutexOnOneWorker, TheClassIsPassedOnThroughAChainOfMutexes) {
  EXPECT_LE(run_here(chain(2)), 3);
  EXPECT_LE(run_here(chain(5)), 3);
  EXPECT_LE(run_here(chain(Mutex::kInheritanceDepthMax)), 3);
  EXPECT_GE(run_here(chain(Mutex::kInheritanceDepthMax + 2)), 10);  // the bound, then aging
}

TEST(Mutex, TheClassIsPassedOnThroughAChainInEverySchedule) {
  explore(50, [](SimRuntime& sim) { EXPECT_LE(sim.run(chain(4)), 3); });
}

Task<void> append(std::string& log, char letter, int times) {
  for (int i = 0; i < times; ++i) {
    log += letter;
    co_await yield_now();
  }
}

Task<std::string> unlock_then_go_on() {
  std::string log;
  Mutex mutex;
  Gate held;
  TaskHandle<void> low =
      spawn(with(Priority::low), [](Mutex& m, Gate& h, std::string& out) -> Task<void> {
        {
          Permit guard = co_await m.lock();
          h.open();
          co_await yield_now();
          co_await append(out, 'l', 3);
        }
        co_await yield_now();
        co_await append(out, 'L', 3);
      }(mutex, held, log));
  (void)co_await held.opened();
  bool got = false;
  TaskHandle<void> high = spawn(with(Priority::high), lock_and_tell(mutex, got));
  TaskHandle<void> normal = spawn(append(log, 'n', 3));
  co_await normal;
  EXPECT_TRUE(got);
  co_await high;
  co_await low;
  co_return log;
}

TEST_P(MutexOnOneWorker, AfterUnlockingTheHolderRunsWithItsOwnClassAgain) {
  EXPECT_EQ(run_here(unlock_then_go_on()), "lllnnnLLL");
}

TEST(Mutex, AfterUnlockingTheHolderHasItsOwnClassInEverySchedule) {
  explore(100, [](SimRuntime& sim) { EXPECT_EQ(sim.run(unlock_then_go_on()), "lllnnnLLL"); });
}

// What is left to a holder when the one that lent it its class is cancelled.
Task<std::string> cancel_who_waits() {
  std::string log;
  Mutex mutex;
  Gate held, lent;
  TaskHandle<void> low =
      spawn(with(Priority::low), [](Mutex& m, Gate& h, Gate& l, std::string& out) -> Task<void> {
        Permit guard = co_await m.lock();
        h.open();
        co_await yield_now();
        co_await append(out, 'l', 2);
        l.open();
        co_await append(out, 'l', 2);
      }(mutex, held, lent, log));
  (void)co_await held.opened();
  bool got = false;
  TaskHandle<void> high = spawn(with(Priority::high), lock_and_tell(mutex, got));
  TaskHandle<void> cancels =
      spawn(with(Priority::critical), [](Gate& l, TaskHandle<void>& waits) -> Task<void> {
        (void)co_await l.opened();
        waits.cancel();
      }(lent, high));
  co_await append(log, 'n', 3);
  co_await low;
  co_await cancels;
  EXPECT_FALSE(got);
  try {
    co_await high;
  } catch (const Cancelled&) {
    log += 'c';
  }
  co_return log;
}

TEST_P(MutexOnOneWorker, ACancelledWaiterTakesItsClassAway) {
  const std::string log = run_here(cancel_who_waits());
  EXPECT_TRUE(log == "nlllnnlc" || log == "nllnnllc") << log;
}

TEST(Mutex, ACancelledWaiterTakesItsClassAwayInEverySchedule) {
  explore(100, [](SimRuntime& sim) {
    const std::string log = sim.run(cancel_who_waits());
    EXPECT_TRUE(log == "nlllnnlc" || log == "nllnnllc") << log;
  });
}

TEST_P(MutexOnOneWorker, WhoGetsItNextIsLentTheClassOfThoseWhoStillWait) {
  const int rounds = run_here([]() -> Task<int> {
    Mutex mutex;
    Gate held, second;
    bool got = false;
    std::vector<TaskHandle<void>> handles;
    handles.push_back(spawn(with(Priority::low), hold(mutex, held)));
    (void)co_await held.opened();
    handles.push_back(spawn(with(Priority::low), hold(mutex, second)));
    co_await sleep(1us);
    handles.push_back(spawn(with(Priority::high), lock_and_tell(mutex, got)));
    const int flood = co_await spawn(flood_until(got));
    for (auto& handle : handles) co_await handle;
    co_return flood;
  }());
  EXPECT_LE(rounds, kRoundsMax);
}

TEST_P(MutexOnOneWorker, TryLockAndBranchesTellTheHolderToo) {
  EXPECT_LE(
      run_here([]() -> Task<int> {
        Mutex mutex;
        Gate held;
        bool got = false;
        TaskHandle<void> low = spawn(with(Priority::low), [](Mutex& m, Gate& h) -> Task<void> {
          std::optional<Permit> guard = m.try_lock();
          h.open();
          co_await all([]() -> Task<void> {
            for (int i = 0; i < kSteps; ++i) co_await yield_now();
          }());
        }(mutex, held));
        (void)co_await held.opened();
        TaskHandle<void> high = spawn(with(Priority::high), [](Mutex& m, bool& flag) -> Task<void> {
          co_await all(lock_and_tell(m, flag));
        }(mutex, got));
        const int rounds = co_await spawn(flood_until(got));
        co_await high;
        co_await low;
        co_return rounds;
      }()),
      3);
}

TEST_P(MutexOnEveryModel, APermitMayOutliveTheTaskThatLocked) {
  run_here([]() -> Task<void> {
    Mutex mutex;
    std::optional<Permit> kept;
    co_await spawn(with(Priority::low), [](Mutex& m, std::optional<Permit>& out) -> Task<void> {
      out.emplace(co_await m.lock());
    }(mutex, kept));
    bool got = false;
    TaskHandle<void> high = spawn(with(Priority::high), lock_and_tell(mutex, got));
    co_await sleep(1ms);
    EXPECT_FALSE(got);
    kept.reset();
    co_await high;
    EXPECT_TRUE(got);
  }());
}

TEST(Mutex, ARuntimeMayEndWhileAPermitOfItsTaskIsHeldElsewhere) {
  Mutex mutex;
  std::optional<Permit> kept;
  run([](Mutex& m, std::optional<Permit>& out) -> Task<void> {
    co_await spawn(with(Priority::low), [](Mutex& locked, std::optional<Permit>& to) -> Task<void> {
      to.emplace(co_await locked.lock());
    }(m, out));
  }(mutex, kept));
  run([](Mutex& m, std::optional<Permit>& from) -> Task<void> {
    bool got = false;
    TaskHandle<void> high = spawn(with(Priority::high), lock_and_tell(m, got));
    co_await sleep(1us);
    from.reset();
    co_await high;
  }(mutex, kept));
}

TEST_P(MutexOnEveryModel, TasksThatLockEachOtherOutCanBeCancelled) {
  run_here([]() -> Task<void> {
    Mutex a, b;
    const auto crossed = [](Mutex& first, Mutex& second, Gate& mine, Gate& other) -> Task<void> {
      Permit outer = co_await first.lock();
      mine.open();
      (void)co_await other.opened();
      Permit inner = co_await second.lock();
    };
    Gate left, right;
    TaskHandle<void> one = spawn(with(Priority::low), crossed(a, b, left, right));
    TaskHandle<void> two = spawn(with(Priority::high), crossed(b, a, right, left));
    co_await sleep(1ms);
    one.cancel();
    co_await two;
    bool cancelled = false;
    try {
      co_await one;
    } catch (const Cancelled&) {
      cancelled = true;
    }
    EXPECT_TRUE(cancelled);
  }());
}

TEST_P(MutexOnEveryModel, ManyTasksOfAllClassesShareManyMutexes) {
  run_here([]() -> Task<void> {
    constexpr int kTasks = 24, kRounds = 60;
    std::array<Mutex, 3> mutexes;
    std::array<int, 3> counts{};  // each guarded by its mutex
    std::vector<TaskHandle<void>> handles;
    for (int i = 0; i < kTasks; ++i) {
      SpawnOptions options = with(static_cast<Priority>(i % 4));
      if (i % 5 == 0) options = due(1h + 1s * i);
      handles.push_back(spawn(
          options, [](std::array<Mutex, 3>& m, std::array<int, 3>& n, int seed) -> Task<void> {
            std::mt19937 random(static_cast<unsigned>(seed));
            for (int round = 0; round < kRounds; ++round) {
              const size_t first = random() % 3, second = first + random() % (3 - first);
              Permit outer = co_await m[first].lock();
              if (random() % 4 == 0) co_await yield_now();
              if (second != first) {
                absl::StatusOr<Permit> inner = co_await timeout(m[second].lock(), 1h);
                ++n[second];
              }
              ++n[first];
              if (random() % 16 == 0) co_await sleep(1us);
            }
          }(mutexes, counts, i)));
    }
    co_await sleep(1ms);
    for (int i = 0; i < kTasks; i += 6) handles[i].cancel();
    for (auto& handle : handles) {
      try {
        co_await handle;
      } catch (const Cancelled&) {
      }
    }
    for (Mutex& mutex : mutexes) EXPECT_TRUE(mutex.try_lock().has_value());
  }());
}

}  // namespace
}  // namespace zsync
