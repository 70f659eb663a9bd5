#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class SpawnOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(SpawnOnEveryModel);

// Counts how often it was moved on its way.
struct Moved {
  Moved() = default;
  Moved(const Moved&) = delete;
  Moved(Moved&& other) noexcept : moves(other.moves + 1) {}
  int moves = 0;
};

Task<int> moves_of(Moved argument) {
  co_await yield_now();
  co_return argument.moves;
}
Task<size_t> length_after_a_while(std::string_view text) {
  co_await yield_now();
  co_return text.find('!') + 1;
}
Task<void> add_to(int& sum, long amount) {
  co_await yield_now();
  sum += static_cast<int>(amount);
}

TEST_P(SpawnOnEveryModel, AnArgumentGoesStraightIntoTheFrameThatUsesIt) {
  run_here([]() -> Task<void> {
    // Into the parameter, and with it into the frame.
    EXPECT_EQ(co_await spawn(moves_of, Moved()), 2);
    EXPECT_EQ(
        co_await spawn([](Moved argument) -> Task<int> { co_return argument.moves; }, Moved()), 2);
    // Not so where the callable has a state of its own, which has to live as long.
    auto state = std::make_unique<int>(5);
    auto with_state = [kept = std::move(state)](Moved argument) -> Task<int> {
      co_await yield_now();
      co_return argument.moves + *kept;
    };
    EXPECT_GT(co_await spawn(std::move(with_state), Moved()), 5 + 2);
  }());
}

TEST_P(SpawnOnEveryModel, AnArgumentLivesAsLongAsAParameterThatOnlyRefersToIt) {
  run_here([]() -> Task<void> {
    // The parameter is a view of the string, which is a temporary here.
    EXPECT_EQ(co_await spawn(length_after_a_while, std::string(100, 'x') + "!"), 101u);
    int sum = 1;
    co_await spawn(add_to, std::ref(sum), 4);
    EXPECT_EQ(sum, 5);
    auto by_reference = [](const std::string& text) -> Task<size_t> {
      co_await yield_now();
      co_return text.size();
    };
    EXPECT_EQ(co_await spawn(by_reference, std::string(200, 'y')), 200u);
  }());
}

Task<void> wait_for(Gate gate) { (void)co_await gate.opened(); }
Task<int> wait_and_give(Gate gate, int value) {
  (void)co_await gate.opened();
  co_return value;
}
Task<absl::Status> wait_for_status(Gate gate) {
  (void)co_await gate.opened();
  co_return absl::OkStatus();
}
Task<absl::StatusOr<int>> wait_for_status_or(Gate gate) {
  (void)co_await gate.opened();
  co_return 1;
}

TEST_P(SpawnOnEveryModel, ACoroutineFunctionOrAPlainCallableLivesInTheFrameWithItsArguments) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    Counted counted(count);
    auto coroutine = [kept = counted](Counted, int x) -> Task<int> {
      co_await yield_now();
      co_return x;
    };
    TaskHandle<int> first = spawn(coroutine, counted, 4);
    TaskHandle<int> second = spawn([kept = counted](Counted, int x) { return x + 1; }, counted, 4);
    TaskHandle<void> third = spawn([] {});
    EXPECT_EQ(co_await first + co_await second, 9);
    co_await third;
    EXPECT_EQ(count, 2);  // `counted` and the lambda's copy
  }(alive));
  EXPECT_EQ(alive, 0);
}

TEST_P(SpawnOnEveryModel, LocalsAndArgumentsAreGoneBeforeAnybodyLearnsThatTheTaskHasEnded) {
  std::atomic<int> alive{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    for (int i = 0; i < 200; ++i) {
      co_await spawn(
          [](Counted counted) -> Task<void> {
            Counted local = counted;
            co_await yield_now();
          },
          Counted(count));
      EXPECT_EQ(count, 0);
    }
  }(alive));
}

TEST_P(SpawnOnEveryModel, AnExceptionOfTheTaskSurfacesAtTheAwaitOfItsHandle) {
  run_here([]() -> Task<void> {
    TaskHandle<int> handle = spawn([]() -> Task<int> {
      co_await yield_now();
      throw std::runtime_error("broken");
    });
    try {
      co_await handle;
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "broken");
    }
  }());
}

TEST_P(SpawnOnEveryModel, ACancelledTaskGivesKCancelledWhereItsTypeCarriesAStatusElseThrows) {
  run_here([]() -> Task<void> {
    Gate gate;
    TaskHandle<absl::Status> status = spawn(wait_for_status, gate);
    TaskHandle<absl::StatusOr<int>> status_or = spawn(wait_for_status_or, gate);
    TaskHandle<int> plain = spawn(wait_and_give, gate, 1);
    TaskHandle<void> nothing = spawn(wait_for, gate);
    status.cancel(), status_or.cancel(), plain.cancel(), nothing.cancel();
    EXPECT_TRUE(absl::IsCancelled(co_await status));
    EXPECT_TRUE(absl::IsCancelled((co_await status_or).status()));
    int caught = 0;
    try {
      co_await plain;
    } catch (const Cancelled&) {
      ++caught;
    }
    try {
      co_await nothing;
    } catch (const Cancelled&) {
      ++caught;
    }
    EXPECT_EQ(caught, 2);
  }());
}

template <typename T>
Task<void> until_done(TaskHandle<T>& handle) {
  while (!handle.done()) co_await yield_now();
}

TEST_P(SpawnOnEveryModel, OutcomeAlwaysGivesAStatus) {
  run_here([]() -> Task<void> {
    Gate gate;
    TaskHandle<int> cancelled = spawn(wait_and_give, gate, 1);
    EXPECT_EQ(cancelled.outcome().status().code(), absl::StatusCode::kUnavailable);
    cancelled.cancel();
    co_await until_done(cancelled);
    EXPECT_TRUE(absl::IsCancelled(cancelled.outcome().status()));

    TaskHandle<int> thrown = spawn([]() -> int { throw std::runtime_error("why"); });
    co_await until_done(thrown);
    const absl::StatusOr<int> error = thrown.outcome();
    EXPECT_EQ(error.status(), absl::InternalError("why"));

    TaskHandle<int> foreign = spawn([]() -> int { throw 7; });
    co_await until_done(foreign);
    EXPECT_EQ(foreign.outcome().status().code(), absl::StatusCode::kInternal);

    TaskHandle<int> good = spawn([] { return 3; });
    co_await until_done(good);
    EXPECT_EQ(*good.outcome(), 3);
    TaskHandle<void> nothing = spawn([] {});
    co_await until_done(nothing);
    EXPECT_TRUE(nothing.outcome().ok());
  }());
}

TEST_P(SpawnOnEveryModel, ADroppedHandleRequestsCancelAndTheRuntimeStillWaitsForTheTask) {
  std::atomic<bool> unwound{false};
  run_here([](std::atomic<bool>& flag) -> Task<void> {
    Gate started, never;
    {
      TaskHandle<void> handle = spawn(
          [](Gate begun, Gate gate, std::atomic<bool>& out) -> Task<void> {
            begun.open();
            try {
              (void)co_await gate.opened();
              ADD_FAILURE() << "not cancelled";
            } catch (const Cancelled&) {
            }
            co_await shield([]() -> Task<void> {
              for (int i = 0; i < 50; ++i) co_await yield_now();
            }());
            out = true;
          },
          started, never, std::ref(flag));
      (void)co_await started.opened();
    }
    EXPECT_FALSE(flag);  // dropping did not wait
  }(unwound));
  EXPECT_TRUE(unwound);
}

TEST_P(SpawnOnEveryModel, ADetachedTaskGoesOnAndRunWaitsForIt) {
  std::atomic<int> ended{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    for (int i = 0; i < 3; ++i) {
      spawn(
          [](std::atomic<int>& out) -> Task<void> {
            co_await sleep(2ms);
            ++out;
          },
          std::ref(count))
          .detach();
    }
    co_return;
  }(ended));
  EXPECT_EQ(ended, 3);
}

TEST_P(SpawnOnEveryModel, RunCancelsAndUnwindsBackgroundTasksOnceTheForegroundHasEnded) {
  std::atomic<int> alive{0};
  std::atomic<bool> foreground{false};
  run_here([](std::atomic<int>& count, std::atomic<bool>& flag) -> Task<void> {
    SpawnOptions options;
    options.background = true;
    options.name = "ticker";
    TaskHandle<void> handle = spawn(
        options,
        [](Counted) -> Task<void> {
          while (true) co_await sleep(1h);
        },
        Counted(count));
    EXPECT_EQ(handle.name(), "ticker");
    handle.detach();
    spawn(
        [](std::atomic<bool>& out) -> Task<void> {
          co_await sleep(2ms);
          out = true;
        },
        std::ref(flag))
        .detach();
    co_return;
  }(alive, foreground));
  EXPECT_TRUE(foreground);
  EXPECT_EQ(alive, 0);
}

TEST_P(SpawnOnEveryModel, LaterOperationsOfACancelledTaskFailAtOnceExceptInsideShield) {
  run_here([]() -> Task<void> {
    Gate never;
    TaskHandle<int> handle = spawn(
        [](Gate gate) -> Task<int> {
          int thrown = 0;
          try {
            (void)co_await gate.opened();
          } catch (const Cancelled&) {
            ++thrown;
          }
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
            ++thrown;
          }
          try {
            co_await yield_now();
          } catch (const Cancelled&) {
            ++thrown;
          }
          Channel<int> channel = bounded<int>(1);
          if (absl::IsCancelled(co_await channel.send(1))) ++thrown;
          EXPECT_TRUE(StopToken::current().stop_requested());
          co_await shield([](Channel<int> out) -> Task<void> {
            EXPECT_FALSE(StopToken::current().stop_requested());
            co_await sleep(1ms);
            EXPECT_TRUE((co_await out.send(1)).ok());
          }(channel));
          co_return thrown;
        },
        never);
    co_await yield_now();
    handle.cancel();
    EXPECT_EQ(co_await handle, 4);
  }());
}

TEST_P(SpawnOnEveryModel, IdsAreUniqueAndNamesAreKept) {
  run_here([]() -> Task<void> {
    std::set<uint64_t> ids;
    for (int i = 0; i < 100; ++i) {
      TaskHandle<void> handle = spawn([] {});
      ids.insert(handle.id());
      co_await handle;
    }
    EXPECT_EQ(ids.size(), 100u);
  }());
}

TEST_P(SpawnOnEveryModel, AHundredThousandTasksRunAndEnd) {
  std::atomic<int> ran{0};
  run_here([](std::atomic<int>& count) -> Task<void> {
    for (int i = 0; i < 100'000; ++i) {
      spawn(
          [](std::atomic<int>& out) -> Task<void> {
            out.fetch_add(1, std::memory_order_relaxed);
            co_return;
          },
          std::ref(count))
          .detach();
    }
    co_return;
  }(ran));
  EXPECT_EQ(ran, 100'000);
}

TEST_P(SpawnOnEveryModel, AStopTokenOutlivesItsTask) {
  StopToken token;
  EXPECT_FALSE(token.stop_requested());
  std::atomic<int> alive{0};
  run_here([](StopToken& out, std::atomic<int>& count) -> Task<void> {
    TaskHandle<void> handle = spawn(
        [](StopToken& mine, Counted) -> Task<void> {
          mine = StopToken::current();
          co_await sleep(1h);
        },
        std::ref(out), Counted(count));
    co_await yield_now();
    handle.cancel();
    try {
      co_await handle;
    } catch (const Cancelled&) {
    }
  }(token, alive));
  EXPECT_TRUE(token.stop_requested());
  EXPECT_EQ(alive, 0);
}

TEST_P(SpawnOnEveryModel, ACancelledJoinEndsTheWaitingAndNotTheTask) {
  run_here([]() -> Task<void> {
    Gate gate;
    TaskHandle<int> target = spawn(wait_and_give, gate, 5);
    TaskHandle<int> waiter =
        spawn([](TaskHandle<int>& awaited) -> Task<int> { co_return co_await awaited; },
              std::ref(target));
    for (int i = 0; i < 3; ++i) co_await yield_now();
    waiter.cancel();
    bool thrown = false;
    try {
      co_await waiter;
    } catch (const Cancelled&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
    EXPECT_FALSE(target.done());
    gate.open();
    EXPECT_EQ(co_await target, 5);
  }());
}

TEST(Spawn, JoinWaitsOnAPlainThreadAndRethrows) {
  auto runtime =
      std::move(Runtime::builder().model(ExecutionModel::multi_thread).workers(2).build()).value();
  EXPECT_EQ(runtime
                ->spawn([]() -> Task<int> {
                  co_await sleep(1ms);
                  co_return 8;
                }())
                .join(),
            8);
  EXPECT_THROW(runtime
                   ->spawn([]() -> Task<void> {
                     co_await yield_now();
                     throw std::runtime_error("x");
                   }())
                   .join(),
               std::runtime_error);
  Gate gate;
  TaskHandle<int> cancelled = runtime->spawn(wait_and_give(gate, 1));
  cancelled.cancel();
  EXPECT_THROW(cancelled.join(), Cancelled);
}

TEST(Spawn, AResultThatNobodyTakesIsDestroyed) {
  std::atomic<int> alive{0};
  for (int i = 0; i < 100; ++i) {
    testing::SimRuntime sim(i);
    sim.run([](std::atomic<int>& count) -> Task<void> {
      auto make = [](std::atomic<int>& out) -> Task<Counted> {
        co_await yield_now();
        co_return Counted(out);
      };
      spawn(make, std::ref(count)).detach();
      TaskHandle<Counted> kept = spawn(make, std::ref(count));
      for (int n = 0; n < 5; ++n) co_await yield_now();
    }(alive));
    EXPECT_EQ(alive, 0);
  }
}

TEST(SpawnDeathTest, MisuseDiesWithTheCallAndTheCure) {
  EXPECT_DEATH((void)spawn([] {}), "spawn\\(\\) outside a runtime: call it from a task");
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     TaskHandle<void> handle = spawn([] {});
                     handle.join();
                     co_return;
                   }(),
                   Config::for_cli()),
               "join\\(\\) on a worker blocks every task of it: co_await the handle");
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     TaskHandle<void> handle = spawn([] {});
                     co_await handle;
                     co_await handle;
                   }(),
                   Config::for_cli()),
               "a task is joined once");
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     TaskHandle<void> handle = spawn([] {});
                     handle.take();
                     co_return;
                   }(),
                   Config::for_cli()),
               "before the task has ended: co_await the handle");
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    TaskHandle<void> handle = spawn([] {});
    handle.join();
    co_return;
  }()),
               "join\\(\\) on a worker blocks every task of it");
}

TEST(Spawn, APinnedTaskAndItsBranchesStayOnTheirWorkerWhileOthersSteal) {
  run(
      []() -> Task<void> {
        std::atomic<bool> moved{false};
        Executor executor;
        for (int i = 0; i < 8; ++i)
          executor.spawn([]() -> Task<void> {
            for (int n = 0; n < 200; ++n) co_await yield_now();
          });
        SpawnOptions options;
        options.pinned = true;
        TaskHandle<void> pinned = spawn(
            options,
            [](std::atomic<bool>& out) -> Task<void> {
              const std::thread::id home = std::this_thread::get_id();
              Channel<int> channel = bounded<int>(1);
              for (int n = 0; n < 200; ++n) {
                co_await all(
                    [](Channel<int> c) -> Task<int> {
                      co_return (co_await c.send(1)).ok();
                    }(channel),
                    [](Channel<int> c) -> Task<int> { co_return *co_await c.recv(); }(channel));
                co_await yield_now();
                if (std::this_thread::get_id() != home) out = true;
              }
            },
            std::ref(moved));
        co_await pinned;
        co_await executor.join_all();
        EXPECT_FALSE(moved);
      }(),
      config_of(ExecutionModel::multi_thread));
}

}  // namespace
}  // namespace zsync
