#include <gtest/gtest.h>

#include <stdexcept>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class FlowOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(FlowOnEveryModel);
class FlowOnOneWorker : public EveryModel {};
ZS_FOR_ONE_WORKER_MODELS(FlowOnOneWorker);

Task<int> after(rt::Duration delay, int value) {
  co_await sleep(delay);
  co_return value;
}
Task<void> fail_after(rt::Duration delay, const char* what) {
  co_await sleep(delay);
  throw std::runtime_error(what);
}
Task<absl::Status> status_after(rt::Duration delay, absl::Status status) {
  co_await sleep(delay);
  co_return status;
}
Task<absl::StatusOr<int>> status_or_after(rt::Duration delay, absl::StatusOr<int> value) {
  co_await sleep(delay);
  co_return value;
}
Task<void> count_unwound(std::atomic<int>& unwound) {
  struct Guard {
    std::atomic<int>& count;
    ~Guard() { ++count; }
  } guard{unwound};
  co_await sleep(1h);
}

TEST_P(FlowOnEveryModel, AllGivesEveryResultInOrder) {
  run_here([]() -> Task<void> {
    auto [a, b, c] =
        co_await all(after(2ms, 1), after(1ms, 2), []() -> Task<void> { co_return; }());
    EXPECT_EQ(a * 10 + b, 12);
    EXPECT_EQ(c, std::monostate{});
    std::vector<Task<int>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(after(0ms, i));
    const std::vector<int> results = co_await all(std::move(tasks));
    for (int i = 0; i < 100; ++i) EXPECT_EQ(results[i], i);
    co_await all();
    EXPECT_TRUE((co_await all(std::vector<Task<int>>{})).empty());
    std::vector<Task<void>> nothing;
    nothing.push_back([]() -> Task<void> { co_return; }());
    co_await all(std::move(nothing));
  }());
}

TEST_P(FlowOnEveryModel, TheFirstExceptionOfAllCancelsTheRestWaitsForThemAndIsRethrown) {
  run_here([]() -> Task<void> {
    std::atomic<int> unwound{0};
    try {
      co_await all(count_unwound(unwound), fail_after(1ms, "first"), count_unwound(unwound));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "first");
    }
    EXPECT_EQ(unwound, 2);
  }());
}

TEST_P(FlowOnEveryModel, AStatusThatATaskOfAllReturnsIsAResultLikeAnyOther) {
  run_here([]() -> Task<void> {
    auto [a, b] = co_await all(status_after(0ms, absl::DataLossError("x")), after(1ms, 1));
    EXPECT_EQ(a.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(b, 1);
  }());
}

TEST_P(FlowOnEveryModel, RaceGivesTheFirstAndEndsAfterTheOthersHaveUnwound) {
  run_here([]() -> Task<void> {
    std::atomic<int> unwound{0};
    auto first = co_await race(count_unwound(unwound), after(1ms, 9), count_unwound(unwound));
    EXPECT_EQ(first.index, 1u);
    EXPECT_EQ(std::get<1>(first.value), 9);
    EXPECT_EQ(unwound, 2);
    bool thrown = false;
    try {
      co_await race(fail_after(1ms, "x"), count_unwound(unwound));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }());
}

TEST_P(FlowOnEveryModel, AnyGivesTheFirstSuccessElseTheLastError) {
  run_here([]() -> Task<void> {
    const absl::StatusOr<int> good = co_await any(status_or_after(0ms, absl::InternalError("no")),
                                                  status_or_after(2ms, 3), status_or_after(1h, 4));
    EXPECT_EQ(*good, 3);
    const absl::Status bad = co_await any(status_after(0ms, absl::InternalError("a")),
                                          status_after(1ms, absl::DataLossError("b")));
    EXPECT_EQ(bad.message(), "b");
  }());
}

TEST_P(FlowOnEveryModel, AnyPassesOverExceptionsAndItsLosersHaveUnwoundWhenItEnds) {
  run_here([]() -> Task<void> {
    std::atomic<int> unwound{0};
    auto lose = [](std::atomic<int>& count) -> Task<int> {
      co_await count_unwound(count);
      co_return 0;
    };
    auto fail = []() -> Task<int> {
      co_await fail_after(0ms, "first");
      co_return 0;
    };
    EXPECT_EQ(co_await any(lose(unwound), fail(), after(1ms, 4), lose(unwound)), 4);
    EXPECT_EQ(unwound, 2);
    bool thrown = false;
    try {
      (void)co_await any(fail(), fail());
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }());
}

TEST(Flow, TheDecisionOfAllRaceAndAnyIsTheSameOneUnderEverySchedule) {
  explore(300, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      std::atomic<int> unwound{0};
      const auto raced = co_await race(after(1s, 1), after(2s, 2), after(3s, 3));
      EXPECT_EQ(raced.index, 0u);
      EXPECT_EQ(co_await any(status_or_after(2s, 5), status_or_after(1s, absl::InternalError(""))),
                absl::StatusOr<int>(5));
      try {
        co_await all(fail_after(2s, "late"), fail_after(1s, "early"), count_unwound(unwound));
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "early");
      }
      EXPECT_EQ(unwound, 1);
    }());
  });
}

TEST_P(FlowOnEveryModel, TimeoutOfEveryFormGivesTheResultInTime) {
  run_here([]() -> Task<void> {
    static_assert(
        std::same_as<decltype(timeout(count_unwound(std::declval<std::atomic<int>&>()), 1s)),
                     Task<absl::Status>>);
    static_assert(std::same_as<decltype(timeout(after(1s, 1), 1s)), Task<absl::StatusOr<int>>>);
    static_assert(std::same_as<decltype(timeout(status_after(1s, absl::OkStatus()), 1s)),
                               Task<absl::Status>>);
    static_assert(
        std::same_as<decltype(timeout(status_or_after(1s, 1), 1s)), Task<absl::StatusOr<int>>>);
    EXPECT_EQ(*co_await timeout(after(0ms, 1), 1h), 1);
    EXPECT_EQ(*co_await timeout(status_or_after(1ms, 2), 1h), 2);
    EXPECT_TRUE(absl::IsDataLoss(co_await timeout(status_after(1ms, absl::DataLossError("")), 1h)));
    EXPECT_TRUE((co_await timeout([]() -> Task<void> { co_return; }(), 1h)).ok());
    TaskHandle<int> handle = spawn(after(1ms, 3));
    EXPECT_EQ(*co_await timeout(handle, 1h), 3);
    EXPECT_EQ(*co_await timeout(spawn(after(1ms, 4)), 1h), 4);
    Channel<int> channel = bounded<int>(1);
    EXPECT_TRUE((co_await timeout(channel.send(5), 1h)).ok());
    EXPECT_EQ(**co_await timeout(channel.recv(), 1h), 5);
    EXPECT_TRUE((co_await timeout(sleep(0ms), 1h)).ok());
    EXPECT_TRUE(channel.try_send(6).ok());
    auto chosen = co_await timeout(select(channel.recv(), sleep(1h)), 1h);
    EXPECT_EQ(chosen->index, 0u);
    bool thrown = false;
    try {
      (void)co_await timeout(fail_after(0ms, "x"), 1h);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }());
}

TEST_P(FlowOnEveryModel, TimeoutOfEveryFormGivesKDeadlineExceededAfterTheTaskHasUnwound) {
  run_here([]() -> Task<void> {
    std::atomic<int> unwound{0};
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(count_unwound(unwound), 1ms)));
    EXPECT_EQ(unwound, 1);
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(after(1h, 1), 1ms)).status()));
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(status_or_after(1h, 1), 0ms)).status()));
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(spawn(count_unwound(unwound)), 1ms)));
    EXPECT_EQ(unwound, 2);
    Channel<int> channel = bounded<int>(1);
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(channel.recv(), 1ms)).status()));
    EXPECT_TRUE(channel.try_send(1).ok());
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(channel.send(2), 1ms)));
    EXPECT_EQ(*channel.try_recv(), 1);
    EXPECT_FALSE(channel.try_recv().has_value());
    EXPECT_TRUE(absl::IsDeadlineExceeded(
        (co_await timeout(select(channel.recv(), sleep(1h)), 1ms)).status()));
    TaskHandle<int> borrowed = spawn(after(5ms, 6));
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(borrowed, 0ms)).status()));
    EXPECT_EQ(co_await borrowed, 6);  // it went on
  }());
}

TEST(Flow, ATimeoutWithoutALimitIsFine) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    EXPECT_EQ(*co_await timeout(after(1h, 1), rt::Duration::max()), 1);
    const auto chosen = co_await select(sleep(rt::Duration::max()), sleep(1s));
    EXPECT_EQ(chosen.index, 1u);
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(sleep(rt::Duration::max()), 1h)));
    EXPECT_TRUE((co_await timeout(sleep(-1s), 1h)).ok());
    EXPECT_TRUE(
        absl::IsDeadlineExceeded((co_await timeout(after(1h, 1), rt::Duration::min())).status()));
  }());
}

// A cancel from outside must not look like a deadline, although it ends the timer's branch too.
TEST(Flow, ATimeoutInACancelledTaskGivesKCancelled) {
  for (uint32_t owned = 0; owned < 3; ++owned) {
    explore(300, [owned](SimRuntime& sim) {
      sim.run([](SimRuntime& world, uint32_t form) -> Task<void> {
        TaskHandle<absl::Status> handle = spawn(
            [](uint32_t which) -> Task<absl::Status> {
              std::atomic<int> unwound{0};
              absl::Status status;
              if (which == 0) status = co_await timeout(count_unwound(unwound), 1h);
              if (which == 1) status = co_await timeout(spawn(count_unwound(unwound)), 1h);
              if (which == 2) {
                Channel<int> silent = bounded<int>(1);
                status = (co_await timeout(silent.recv(), 1h)).status();
              }
              if (which == 1) EXPECT_EQ(unwound, 1);
              co_return status;
            },
            form);
        for (uint64_t n = world.random_below(8); n > 0; --n) co_await yield_now();
        handle.cancel();
        EXPECT_TRUE(absl::IsCancelled(co_await handle)) << "form " << form;
      }(sim, owned));
    });
  }
}

TEST(Flow, ATaskThatCompletesInSpiteOfTheDeadlineGivesItsResult) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    EXPECT_EQ(*co_await timeout(
                  []() -> Task<int> {
                    try {
                      co_await sleep(1h);
                    } catch (const Cancelled&) {
                    }
                    co_return 5;
                  }(),
                  1s),
              5);
  }());
}

TEST(Flow, CancellingACombinatorCancelsItsTasksAndItEndsAfterThem) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      std::atomic<int> unwound{0};
      std::atomic<int> begun{0};
      TaskHandle<void> handle = spawn(
          [](std::atomic<int>& in, std::atomic<int>& out) -> Task<void> {
            auto one = [](std::atomic<int>& starts, std::atomic<int>& ends) -> Task<void> {
              ++starts;
              co_await count_unwound(ends);
            };
            co_await all(all(one(in, out), one(in, out)), race(one(in, out), one(in, out)),
                         timeout(one(in, out), 2h));
          },
          std::ref(begun), std::ref(unwound));
      for (uint64_t n = world.random_below(30); n > 0; --n) co_await yield_now();
      handle.cancel();
      bool thrown = false;
      try {
        co_await handle;
      } catch (const Cancelled&) {
        thrown = true;
      }
      EXPECT_TRUE(thrown);
      EXPECT_EQ(begun.load(), unwound.load());
    }(sim));
  });
}

TEST(Flow, ShieldKeepsACancelAwayAndTheTaskFeelsItAfterwards) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      int inside = 0, after_it = 0;
      TaskHandle<void> handle = spawn(
          [](int& in, int& out) -> Task<void> {
            co_await shield([](int& count) -> Task<void> {
              for (int i = 0; i < 3; ++i) {
                co_await sleep(1s);
                ++count;
              }
            }(in));
            co_await sleep(1s);
            ++out;
          },
          std::ref(inside), std::ref(after_it));
      co_await sleep(std::chrono::milliseconds(world.random_below(2500)));
      handle.cancel();
      try {
        co_await handle;
      } catch (const Cancelled&) {
      }
      EXPECT_EQ(inside, 3);
      EXPECT_EQ(after_it, 0);
    }(sim));
  });
}

TEST_P(FlowOnEveryModel, ALongRecursionOfAllCompletesAndCanBeCancelled) {
  struct Deep {
    static Task<int> sum(int depth) {
      if (depth == 0) co_return 1;
      auto [a, b] = co_await all(sum(depth - 1), []() -> Task<int> { co_return 1; }());
      co_return a + b;
    }
    static Task<void> wait(int depth, Gate started) {
      if (depth == 0) {
        started.open();
        co_await sleep(1h);
      } else {
        co_await all(wait(depth - 1, started));
      }
    }
  };
  EXPECT_EQ(run_here(Deep::sum(2000)), 2001);
  run_here([]() -> Task<void> {
    Gate started;
    TaskHandle<void> handle = spawn(Deep::wait, 1000, started);
    (void)co_await started.opened();
    handle.cancel();
    bool thrown = false;
    try {
      co_await handle;
    } catch (const Cancelled&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }());
}

TEST(Flow, ACombinatorInACancelledTaskStartsNothingAndDestroysTheArguments) {
  std::atomic<int> alive{0};
  SimRuntime sim(1);
  sim.run([](std::atomic<int>& count) -> Task<void> {
    TaskHandle<int> handle = spawn(
        [](std::atomic<int>& out) -> Task<int> {
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
          }
          bool ran = false;
          auto body = [](bool& flag, Counted) -> Task<void> {
            flag = true;
            co_return;
          };
          int thrown = 0;
          try {
            co_await all(body(ran, Counted(out)), body(ran, Counted(out)));
          } catch (const Cancelled&) {
            ++thrown;
          }
          try {
            co_await race(body(ran, Counted(out)));
          } catch (const Cancelled&) {
            ++thrown;
          }
          EXPECT_TRUE(absl::IsCancelled(co_await timeout(body(ran, Counted(out)), 1h)));
          EXPECT_FALSE(ran);
          EXPECT_EQ(out, 0);
          co_return thrown;
        },
        std::ref(count));
    co_await sleep(1s);
    handle.cancel();
    EXPECT_EQ(co_await handle, 2);
  }(alive));
}

TEST_P(FlowOnOneWorker, YieldNowLetsEveryOtherReadyTaskRunFirst) {
  run_here([]() -> Task<void> {
    for (const bool pinned : {false, true}) {
      int ran = 0;
      SpawnOptions options;
      options.pinned = pinned;
      std::vector<TaskHandle<void>> others;
      for (int i = 0; i < 20; ++i) {
        SpawnOptions other;
        other.pinned = i % 2 == 0;
        others.push_back(spawn(other, [](int& count) { ++count; }, std::ref(ran)));
      }
      co_await spawn(
          options,
          [](int& count) -> Task<void> {
            co_await yield_now();
            EXPECT_EQ(count, 20);
          },
          std::ref(ran));
      for (auto& other : others) co_await other;
    }
  }());
}

// The queue of pinned strands once starved the shared one.
TEST_P(FlowOnEveryModel, APinnedTaskThatYieldsInALoopStarvesNobody) {
  run_here([]() -> Task<void> {
    std::atomic<bool> stop{false};
    SpawnOptions options;
    options.pinned = true;
    TaskHandle<void> spinner = spawn(
        options,
        [](std::atomic<bool>& flag) -> Task<void> {
          for (int i = 0; i < 100'000 && !flag; ++i) co_await yield_now();
          EXPECT_TRUE(flag);
        },
        std::ref(stop));
    co_await yield_now();
    stop = true;
    co_await spinner;
  }());
}

TEST_P(FlowOnEveryModel, TwoTasksThatPlayPingPongCannotStarveATimer) {
  run_here([]() -> Task<void> {
    Channel<int> there = bounded<int>(1), back = bounded<int>(1);
    TaskHandle<void> echo = spawn(
        [](Channel<int> in, Channel<int> out) -> Task<void> {
          while (std::optional<int> v = co_await in.recv()) (void)co_await out.send(*v);
        },
        there, back);
    TaskHandle<void> player = spawn(
        [](Channel<int> out, Channel<int> in) -> Task<void> {
          while ((co_await out.send(1)).ok()) (void)co_await in.recv();
        },
        there, back);
    TaskHandle<void> always_ready = spawn(
        [](Channel<int> own) -> Task<void> {
          while ((co_await own.send(1)).ok() && co_await own.recv()) {
          }
        },
        bounded<int>(1));
    co_await sleep(5ms);
    always_ready.cancel();
    there.close();
    back.close();
    co_await echo;
    co_await player;
    try {
      co_await always_ready;
    } catch (const Cancelled&) {
    }
  }());
}

}  // namespace
}  // namespace zsync
