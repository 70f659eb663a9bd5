#include "zsync/rwlock.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class RwLockOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(RwLockOnEveryModel);

TEST(RwLock, ManyReadOrOneWrites) {
  RwLock lock;
  std::optional<Permit> first = lock.try_read();
  std::optional<Permit> second = lock.try_read();
  EXPECT_TRUE(first && second);
  EXPECT_FALSE(lock.try_write().has_value());
  first.reset();
  EXPECT_FALSE(lock.try_write().has_value());
  second->release();
  std::optional<Permit> writing = lock.try_write();
  EXPECT_TRUE(writing.has_value());
  EXPECT_FALSE(lock.try_read().has_value());
  EXPECT_FALSE(lock.try_write().has_value());
  writing.reset();
  EXPECT_TRUE(lock.try_read().has_value());
}

Task<void> log_when_held(AcquireOperation operation, std::string& log, char letter) {
  Permit permit = co_await operation;
  log += letter;
  co_await sleep(1s);
}

TEST(RwLock, AWriterIsNotOvertakenByReadersThatComeLater) {
  explore(200, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      RwLock lock;
      std::string log;
      std::optional<Permit> reading = lock.try_read();
      std::vector<TaskHandle<void>> handles;
      handles.push_back(spawn(log_when_held(lock.write(), log, 'W')));
      co_await sleep(1ms);
      for (int i = 0; i < 3; ++i) handles.push_back(spawn(log_when_held(lock.read(), log, 'r')));
      co_await sleep(1ms);
      handles.push_back(spawn(log_when_held(lock.write(), log, 'V')));
      co_await sleep(1ms);
      EXPECT_EQ(log, "");
      EXPECT_FALSE(lock.try_read().has_value());
      reading.reset();
      for (auto& handle : handles) co_await handle;
      EXPECT_EQ(log, "WrrrV");
    }());
  });
}

TEST(RwLock, WhenAWaitingWriterIsCancelledTheReadersBehindItAreServed) {
  explore(200, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      RwLock lock;
      std::string log;
      std::optional<Permit> reading = lock.try_read();
      TaskHandle<void> writer = spawn(log_when_held(lock.write(), log, 'W'));
      co_await sleep(1ms);
      TaskHandle<void> reader = spawn(log_when_held(lock.read(), log, 'r'));
      co_await sleep(1ms);
      writer.cancel();
      co_await reader;
      EXPECT_EQ(log, "r");
    }());
  });
}

// Who is inside; checked at every entry.
struct Inside {
  int readers = 0, writers = 0, entries = 0;

  void enter(bool writes) {
    (writes ? writers : readers) += 1;
    ++entries;
    EXPECT_LE(writers, 1);
    EXPECT_TRUE(writers == 0 || readers == 0);
  }
  void leave(bool writes) { (writes ? writers : readers) -= 1; }
};

Task<void> come_and_go(SimRuntime& world, RwLock& lock, Inside& inside) {
  struct Leave {
    Inside& inside;
    bool writes;
    ~Leave() { inside.leave(writes); }
  };
  for (int n = 0; n < 4; ++n) {
    const bool writes = world.random_below(3) == 0;
    absl::StatusOr<Permit> permit = co_await timeout(writes ? lock.write() : lock.read(),
                                                     1ms * (world.random_below(4) + n % 2 * 1000));
    if (!permit.ok()) continue;
    inside.enter(writes);
    Leave leave{inside, writes};
    co_await sleep(1ms * world.random_below(3));
  }
}

TEST(RwLock, NobodyReadsWhileSomebodyWritesAndNoPermitIsLostWhoeverIsCancelled) {
  testing::SimOptions options;
  options.overload_percent = 10;
  explore(
      500,
      [](SimRuntime& sim) {
        sim.run([](SimRuntime& world) -> Task<void> {
          RwLock lock;
          Inside inside;
          std::vector<TaskHandle<void>> handles;
          for (int i = 0; i < 6; ++i) handles.push_back(spawn(come_and_go(world, lock, inside)));
          co_await sleep(1ms * world.random_below(8));
          for (size_t i = 0; i < handles.size(); i += 3) handles[i].cancel();
          for (auto& handle : handles) {
            try {
              co_await handle;
            } catch (const Cancelled&) {
            }
          }
          EXPECT_GT(inside.entries, 0);
          EXPECT_TRUE(lock.try_write().has_value());
        }(sim));
      },
      options);
}

TEST_P(RwLockOnEveryModel, WhatIsWrittenUnderTheLockIsReadWhole) {
  run_here([]() -> Task<void> {
    RwLock lock;
    int first = 0, second = 0;  // equal whenever nobody writes
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 20; ++i) {
      tasks.push_back([](RwLock& guard, int& a, int& b, bool writes) -> Task<int> {
        for (int n = 0; n < 50; ++n) {
          Permit permit = co_await (writes ? guard.write() : guard.read());
          if (writes) {
            ++a;
            co_await yield_now();
            ++b;
          } else {
            EXPECT_EQ(a, b);
          }
        }
        co_return 0;
      }(lock, first, second, i % 4 == 0));
    }
    (void)co_await all(std::move(tasks));
    EXPECT_EQ(first, 250);
    EXPECT_EQ(second, 250);
  }());
}

}  // namespace
}  // namespace zsync
