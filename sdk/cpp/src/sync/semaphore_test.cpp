#include <gtest/gtest.h>

#include <thread>

#include "rt/models_test.hpp"
#include "zsync/sync.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class SemaphoreOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(SemaphoreOnEveryModel);

TEST(Semaphore, PermitsComeBackAtTheEndOfTheirLifeOrAtRelease) {
  Semaphore semaphore(3);
  {
    std::optional<Permit> two = semaphore.try_acquire(2);
    EXPECT_EQ(semaphore.available(), 1u);
    EXPECT_FALSE(semaphore.try_acquire(2).has_value());
    Permit moved = std::move(*two);
    EXPECT_EQ(semaphore.available(), 1u);
    std::optional<Permit> one = semaphore.try_acquire();
    moved = std::move(*one);  // gives the two back
    EXPECT_EQ(semaphore.available(), 2u);
    moved.release();
    moved.release();
    EXPECT_EQ(semaphore.available(), 3u);
  }
  EXPECT_EQ(semaphore.available(), 3u);
}

TEST_P(SemaphoreOnEveryModel, NeverMoreTasksInsideThanPermits) {
  run_here([]() -> Task<void> {
    Semaphore semaphore(3);
    std::atomic<int> inside{0}, most{0};
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 50; ++i) {
      tasks.push_back([](Semaphore& s, std::atomic<int>& in, std::atomic<int>& max) -> Task<int> {
        Permit permit = co_await s.acquire();
        const int now = ++in;
        int seen = max;
        while (now > seen && !max.compare_exchange_weak(seen, now)) {
        }
        co_await yield_now();
        --in;
        co_return 0;
      }(semaphore, inside, most));
    }
    (void)co_await all(std::move(tasks));
    EXPECT_LE(most, 3);
    EXPECT_EQ(semaphore.available(), 3u);
  }());
}

Task<void> acquire_and_log(Semaphore& semaphore, size_t count, std::string& log, char letter) {
  Permit permit = co_await semaphore.acquire(count);
  log += letter;
}

TEST(Semaphore, PermitsAreGivenInTheOrderOfAskingAndALargeRequestIsNotOvertaken) {
  explore(200, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Semaphore semaphore(3);
      std::string log;
      std::optional<Permit> held = semaphore.try_acquire(2);
      TaskHandle<void> large = spawn(acquire_and_log(semaphore, 3, log, 'L'));
      co_await sleep(1s);
      TaskHandle<void> small = spawn(acquire_and_log(semaphore, 1, log, 's'));
      co_await sleep(1s);
      EXPECT_EQ(log, "");  // one is free, but the large request stands first
      EXPECT_FALSE(semaphore.try_acquire().has_value());
      held->release();
      co_await large;
      co_await small;
      EXPECT_EQ(log, "Ls");
    }());
  });
}

TEST(Semaphore, WhenALargeRequestIsCancelledThoseBehindItAreServed) {
  explore(200, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Semaphore semaphore(3);
      std::string log;
      std::optional<Permit> held = semaphore.try_acquire(2);
      TaskHandle<void> large = spawn(acquire_and_log(semaphore, 3, log, 'L'));
      co_await sleep(1s);
      TaskHandle<void> small = spawn(acquire_and_log(semaphore, 1, log, 's'));
      co_await sleep(1s);
      large.cancel();
      co_await small;
      EXPECT_EQ(log, "s");
    }());
  });
}

TEST(Semaphore, NoPermitIsLostWhenWaitersAreCancelledAtAnyMoment) {
  testing::SimOptions options;
  options.overload_percent = 10;
  explore(
      1000,
      [](SimRuntime& sim) {
        sim.run([](SimRuntime& world) -> Task<void> {
          Semaphore semaphore(4);
          std::vector<TaskHandle<void>> handles;
          for (int i = 0; i < 8; ++i) {
            handles.push_back(spawn(
                [](SimRuntime& w, Semaphore& s) -> Task<void> {
                  for (int n = 0; n < 3; ++n) {
                    Permit permit = co_await s.acquire(1 + w.random_below(4));
                    co_await sleep(1ms * w.random_below(3));
                    permit.release();
                    (void)co_await timeout(s.acquire(1 + w.random_below(4)),
                                           1ms * w.random_below(3));
                  }
                },
                std::ref(world), std::ref(semaphore)));
          }
          co_await sleep(1ms * world.random_below(10));
          for (size_t i = 0; i < handles.size(); i += 2) handles[i].cancel();
          for (auto& handle : handles) {
            try {
              co_await handle;
            } catch (const Cancelled&) {
            }
          }
          EXPECT_EQ(semaphore.available(), 4u);
        }(sim));
      },
      options);
}

TEST_P(SemaphoreOnEveryModel, AMutexIsHeldAcrossAwaitsByOneTaskAtATime) {
  run_here([]() -> Task<void> {
    Mutex mutex;
    int balance = 0;  // guarded by `mutex`
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 40; ++i) {
      tasks.push_back([](Mutex& m, int& value) -> Task<int> {
        for (int n = 0; n < 20; ++n) {
          Permit guard = co_await m.lock();
          const int before = value;
          co_await yield_now();
          value = before + 1;
        }
        co_return 0;
      }(mutex, balance));
    }
    (void)co_await all(std::move(tasks));
    EXPECT_EQ(balance, 800);
    EXPECT_TRUE(mutex.try_lock().has_value());
  }());
}

TEST(SemaphoreDeathTest, AskingForMoreThanThereIsDies) {
  Semaphore semaphore(2);
  EXPECT_DEATH((void)semaphore.acquire(3), "with n above its permits would wait for ever");
}

}  // namespace
}  // namespace zsync
