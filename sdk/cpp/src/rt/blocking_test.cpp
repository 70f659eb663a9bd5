#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "rt/blocking_pool.hpp"
#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class BlockingOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(BlockingOnEveryModel);

TEST_P(BlockingOnEveryModel, TheFunctionRunsOnAThreadOfItsOwnAndItsResultComesBack) {
  run_here([]() -> Task<void> {
    const std::thread::id worker = std::this_thread::get_id();
    EXPECT_NE(co_await spawn_blocking([] { return std::this_thread::get_id(); }), worker);
    bool ran = false;
    co_await spawn_blocking([&ran] { ran = true; });
    EXPECT_TRUE(ran);
    EXPECT_EQ(*co_await spawn_blocking([] { return std::make_unique<int>(3); }), 3);
    bool thrown = false;
    try {
      co_await spawn_blocking([] { throw std::runtime_error("x"); });
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }());
}

TEST_P(BlockingOnEveryModel, WhatTheFunctionHoldsIsGoneWhenItsTaskHasEnded) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    for (int i = 0; i < 300; ++i) {
      co_await spawn_blocking([counted = Counted(count)] {});
      EXPECT_EQ(count, 0);
    }
  }(alive));
}

TEST_P(BlockingOnEveryModel, ACancelBeforeItsBeginRemovesItAndAfterwardsItsResultCounts) {
  Config config = config_of(GetParam());
  config.blocking_threads_max = 1;
  std::atomic<int> alive{0};
  run(
      [](std::atomic<int>& count) -> Task<void> {
        Gate begun, release;
        TaskHandle<int> running = spawn_blocking([begun, release]() mutable {
          begun.open();
          release.wait_blocking();
          return 6;
        });
        (void)co_await begun.opened();
        bool ran = false;
        TaskHandle<void> queued = spawn_blocking([&ran, counted = Counted(count)] { ran = true; });
        for (int i = 0; i < 5; ++i) co_await yield_now();
        queued.cancel();
        running.cancel();
        bool thrown = false;
        try {
          co_await queued;
        } catch (const Cancelled&) {
          thrown = true;
        }
        EXPECT_TRUE(thrown);
        EXPECT_EQ(count, 0);  // it is not kept until a thread is free
        release.open();
        EXPECT_EQ(co_await running, 6);
        EXPECT_FALSE(ran);
      }(alive),
      config);
}

TEST(Blocking, ACancelAtAnyMomentEitherRunsTheFunctionOrDoesNot) {
  explore(500, [](SimRuntime& sim) {
    std::atomic<int> alive{0};
    sim.run([](SimRuntime& world, std::atomic<int>& count) -> Task<void> {
      bool ran = false;
      TaskHandle<int> handle = spawn_blocking([&ran, counted = Counted(count)] {
        ran = true;
        return 1;
      });
      for (uint64_t n = world.random_below(5); n > 0; --n) co_await yield_now();
      handle.cancel();
      bool cancelled = false;
      try {
        EXPECT_EQ(co_await handle, 1);
      } catch (const Cancelled&) {
        cancelled = true;
      }
      EXPECT_NE(ran, cancelled);
      EXPECT_EQ(count, 0);
    }(sim, alive));
    EXPECT_EQ(alive, 0);
  });
}

TEST_P(BlockingOnEveryModel, CancelsFromAnotherThreadRaceItsStart) {
  Config config = config_of(GetParam());
  auto runtime = std::move(Runtime::create(config)).value();
  for (int i = 0; i < 500; ++i) {
    std::atomic<int> ran{0};
    TaskHandle<int> handle = runtime->spawn(rt::call_blocking([&ran] { return ++ran; }));
    // A handle belongs to one thread at a time; this one has a reference of its own.
    rt::TaskContext& strand = handle.strand();
    strand.ref();
    std::thread canceller([&strand] {
      strand.cancel();
      strand.unref();
    });
    const absl::StatusOr<int> outcome =
        runtime->block_on([](TaskHandle<int>& awaited) -> Task<absl::StatusOr<int>> {
          try {
            co_return co_await awaited;
          } catch (const Cancelled&) {
            co_return absl::CancelledError();
          }
        }(handle));
    canceller.join();
    EXPECT_EQ(outcome.ok(), ran == 1);
  }
}

TEST(BlockingPool, ThreadsAreStartedOnDemandUpToTheLimitAndEndWhenIdle) {
  rt::BlockingPool pool(2, 1ms);
  std::atomic<int> ran{0};
  for (int round = 0; round < 20; ++round) {
    Channel<int> done = unbounded<int>();
    for (int i = 0; i < 10; ++i) {
      pool.run([&ran, done]() mutable {
        ++ran;
        (void)done.try_send(1);
      });
    }
    for (int i = 0; i < 10; ++i) (void)done.recv_blocking();
  }
  pool.stop();
  EXPECT_EQ(ran, 200);
}

TEST(BlockingPool, StopRunsWhatIsQueued) {
  std::atomic<int> ran{0};
  rt::BlockingPool pool(1, 1h);
  for (int i = 0; i < 100; ++i) pool.run([&ran] { ++ran; });
  pool.stop();
  EXPECT_EQ(ran, 100);
}

}  // namespace
}  // namespace zsync
