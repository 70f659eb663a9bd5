#include "zsync/executor.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class ExecutorOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(ExecutorOnEveryModel);

// Sleeps until cancelled and takes a few steps to unwind.
Task<void> linger(std::atomic<int>& alive) {
  Counted counted(alive);
  try {
    co_await sleep(1h);
  } catch (const Cancelled&) {
  }
  co_await shield([]() -> Task<void> {
    for (int i = 0; i < 5; ++i) co_await yield_now();
  }());
}

TEST_P(ExecutorOnEveryModel, JoinAllCompletesWhenEveryTaskHasEnded) {
  run_here([]() -> Task<void> {
    Executor executor;
    std::atomic<int> ended{0};
    for (int i = 0; i < 20; ++i) {
      executor.spawn(
          [](std::atomic<int>& count, int n) -> Task<void> {
            co_await sleep(n % 3 * 1ms);
            ++count;
          },
          std::ref(ended), i);  // the dropped handle does not cancel it
    }
    co_await executor.join_all();
    EXPECT_EQ(ended, 20);
    EXPECT_EQ(executor.size(), 0u);
    co_await executor.join_all();  // nothing left: completes at once
  }());
}

TEST_P(ExecutorOnEveryModel, TheFirstExceptionCancelsTheOthersAndIsRethrownByJoinAll) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    Executor executor;
    for (int i = 0; i < 5; ++i) executor.spawn(linger(count));
    executor.spawn([]() -> Task<void> {
      co_await sleep(1ms);
      throw std::runtime_error("broken");
    });
    bool thrown = false;
    try {
      co_await executor.join_all();
    } catch (const std::runtime_error& error) {
      thrown = std::string(error.what()) == "broken";
    }
    EXPECT_TRUE(thrown);
    EXPECT_EQ(count, 0);
    co_await executor.join_all();  // told once
  }(alive));
}

TEST_P(ExecutorOnEveryModel, AJoinAllThatIsCancelledCancelsTheChildrenWaitsAndCompletes) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    Gate started;
    TaskHandle<bool> handle = spawn(
        [](std::atomic<int>& live, Gate begun) -> Task<bool> {
          Executor executor;
          for (int i = 0; i < 5; ++i) executor.spawn(linger(live));
          begun.open();
          co_await executor.join_all();
          EXPECT_EQ(live, 0);
          co_return StopToken::current().stop_requested();
        },
        std::ref(count), started);
    (void)co_await started.opened();
    handle.cancel();
    EXPECT_TRUE(co_await handle);
  }(alive));
}

TEST_P(ExecutorOnEveryModel,
       AnExecutorDestroyedWithLiveTasksEndsThemBeforeTheEnclosingTaskCompletes) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    co_await spawn(
        [](std::atomic<int>& live) -> Task<void> {
          Executor executor;
          for (int i = 0; i < 5; ++i) executor.spawn(linger(live));
          co_await yield_now();
        },
        std::ref(count));
    EXPECT_EQ(count, 0);
    // The enclosing task may be a branch, or end by an exception.
    try {
      co_await all([](std::atomic<int>& live) -> Task<void> {
        Executor executor;
        executor.spawn(linger(live));
        co_await yield_now();
        throw std::runtime_error("x");
      }(count));
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(count, 0);
  }(alive));
}

TEST(Executor, OnAPlainThreadItsDestructorBlocksUntilTheTasksHaveEnded) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(init_global_runtime(config_of(ExecutionModel::multi_thread)).ok());
    std::atomic<int> alive{0};
    {
      Executor executor;
      for (int n = 0; n < 5; ++n) executor.spawn(linger(alive));
    }
    EXPECT_EQ(alive, 0);
    deinit_global_runtime();
  }
}

TEST_P(ExecutorOnEveryModel, ScopeJoinsOnEveryExitPathAndChildrenMayReferToTheParentsLocals) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    int local = 0;
    const int result = co_await Executor::scope([&](Executor& executor) -> Task<int> {
      executor.spawn(
          [](int& out) -> Task<void> {
            co_await sleep(1ms);
            out = 5;
          },
          std::ref(local));
      co_return 3;
    });
    EXPECT_EQ(result * 10 + local, 35);
    try {
      co_await Executor::scope([&](Executor& executor) -> Task<void> {
        executor.spawn(linger(count));
        co_await yield_now();
        throw std::runtime_error("body");
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "body");
    }
    EXPECT_EQ(count, 0);
    try {
      co_await Executor::scope([&](Executor& executor) -> Task<void> {
        executor.spawn(linger(count));
        executor.spawn([]() -> Task<void> {
          co_await yield_now();
          throw std::runtime_error("child");
        });
        co_return;
      });
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "child");
    }
    EXPECT_EQ(count, 0);
  }(alive));
}

TEST(Executor, ACancelledScopeEndsWithNoChildLeftUnderEverySchedule) {
  explore(500, [](SimRuntime& sim) {
    std::atomic<int> alive{0};
    sim.run([](SimRuntime& world, std::atomic<int>& count) -> Task<void> {
      TaskHandle<void> handle = spawn(
          [](std::atomic<int>& live) -> Task<void> {
            int local = 0;
            co_await Executor::scope([&](Executor& executor) -> Task<void> {
              for (int i = 0; i < 3; ++i) {
                executor.spawn(
                    [](std::atomic<int>& out, int& parents) -> Task<void> {
                      co_await linger(out);
                      ++parents;
                    },
                    std::ref(live), std::ref(local));
                co_await yield_now();
              }
              co_await Executor::scope([&](Executor& inner) -> Task<void> {
                inner.spawn(linger(live));
                co_await sleep(1h);
              });
            });
          },
          std::ref(count));
      for (uint64_t n = world.random_below(12); n > 0; --n) co_await yield_now();
      handle.cancel();
      try {
        co_await handle;
      } catch (const Cancelled&) {
      }
      EXPECT_EQ(count, 0);
    }(sim, alive));
  });
}

// A task that is spawned into a group which is already ending would keep it waiting for ever.
TEST(Executor, ATaskSpawnedWhileTheGroupIsBeingCancelledIsCancelledToo) {
  explore(200, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      for (const bool fails : {false, true}) {
        TaskHandle<void> handle = spawn(
            [](bool throws) -> Task<void> {
              co_await Executor::scope([throws](Executor& executor) -> Task<void> {
                executor.spawn(
                    [](Executor& group) -> Task<void> {
                      try {
                        co_await sleep(1h);
                      } catch (const Cancelled&) {
                        group.spawn(
                            []() -> Task<void> { co_await Channel<int>(bounded<int>(1)).recv(); });
                      }
                    },
                    std::ref(executor));
                co_await sleep(1s);
                if (throws) throw std::runtime_error("x");
                co_await sleep(1h);
              });
            },
            fails);
        co_await sleep(2s);
        handle.cancel();
        try {
          co_await handle;
        } catch (const Cancelled&) {
        } catch (const std::runtime_error&) {
        }
      }
    }());
  });
}

TEST_P(ExecutorOnEveryModel, CancelAllRequestsAndReturnsAtOnce) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    Executor executor;
    TaskHandle<void> child = executor.spawn(linger(count));
    executor.cancel_all();
    co_await executor.join_all();
    EXPECT_EQ(count, 0);
    TaskHandle<int> next = executor.spawn([]() -> Task<int> {
      co_await sleep(1ms);
      co_return 4;
    });  // only the present tasks were meant
    EXPECT_EQ(co_await next, 4);
  }(alive));
}

TEST_P(ExecutorOnEveryModel, ATaskOfTheGroupTakesTheOptionsOfSpawn) {
  run_here([]() -> Task<void> {
    Executor executor;
    TaskHandle<int> named =
        executor.spawn({.name = "report"}, [](int n) -> Task<int> { co_return n; }, 7);
    EXPECT_EQ(named.name(), "report");
    EXPECT_EQ(co_await named, 7);

    SpawnOptions late;
    late.deadline = std::chrono::steady_clock::now() - 1ms;
    bool ran = false;
    TaskHandle<void> refused = executor.spawn(late, [](bool& began) -> Task<void> {
      began = true;
      co_return;
    }(ran));
    while (!refused.done()) co_await yield_now();
    EXPECT_TRUE(absl::IsDeadlineExceeded(refused.outcome()));
    EXPECT_FALSE(ran);
    EXPECT_EQ(executor.size(), 0u);
    co_await executor.join_all();  // a task that was refused is no error of the group's
  }());
}

// The group once read a child's error after its joiner was allowed to take it.
TEST_P(ExecutorOnEveryModel, AnErrorReachesBothTheHandleAndTheGroup) {
  run_here([]() -> Task<void> {
    for (int i = 0; i < 300; ++i) {
      Executor executor;
      TaskHandle<int> handle = executor.spawn([]() -> Task<int> {
        co_await yield_now();
        throw std::runtime_error("both");
      });
      while (!handle.done()) co_await yield_now();
      EXPECT_EQ(handle.outcome().status(), absl::InternalError("both"));
      bool thrown = false;
      try {
        co_await executor.join_all();
      } catch (const std::runtime_error&) {
        thrown = true;
      }
      EXPECT_TRUE(thrown);
    }
  }());
}

}  // namespace
}  // namespace zsync
