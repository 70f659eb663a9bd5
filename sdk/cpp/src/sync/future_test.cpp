#include "zsync/future.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class FutureOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(FutureOnEveryModel);

TEST(Future, ItCompletesWithTheValueOrTheErrorThatThePromiseWasGiven) {
  Promise<std::unique_ptr<int>> promise;
  Future<std::unique_ptr<int>> future = promise.future();
  EXPECT_FALSE(future.done());
  EXPECT_FALSE(future.poll().has_value());
  EXPECT_TRUE(promise.set_value(std::make_unique<int>(5)));
  EXPECT_TRUE(future.done());
  EXPECT_EQ(**future.await(), 5);

  Promise<int> failing;
  Future<int> failed = failing.future();
  EXPECT_TRUE(failing.set_error(absl::DataLossError("torn")));
  EXPECT_EQ((*failed.poll()).status(), absl::DataLossError("torn"));

  Promise<> empty;
  EXPECT_TRUE(empty.set_value());
  EXPECT_TRUE(empty.future().await().ok());  // asked for after it was set
}

TEST(Future, ABrokenPromiseIsKUnavailable) {
  std::optional<Promise<int>> promise(std::in_place);
  Future<int> future = promise->future();
  Promise<int> moved = std::move(*promise);
  promise.reset();
  EXPECT_FALSE(future.done());
  {
    Promise<int> last = std::move(moved);
  }
  const absl::StatusOr<int> outcome = future.await();
  EXPECT_TRUE(absl::IsUnavailable(outcome.status()));
  EXPECT_EQ(outcome.status().message(),
            "broken promise: it was destroyed before set_value() or set_error()");
}

TEST(Future, AfterACancelItGivesKCancelledAtOnceEveryTimeAndThePromiseKnows) {
  Promise<int> promise;
  int told = 0;
  promise.on_cancel([&] { ++told; });
  Future<int> future = promise.future();
  EXPECT_FALSE(promise.is_cancelled());
  future.cancel();
  future.cancel();
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(promise.is_cancelled());
  EXPECT_TRUE(absl::IsCancelled(future.await().status()));
  EXPECT_TRUE(absl::IsCancelled(future.await().status()));
  EXPECT_TRUE(absl::IsCancelled((*future.poll()).status()));
  promise.on_cancel([&] { ++told; });  // now
  EXPECT_EQ(told, 2);
  EXPECT_FALSE(promise.set_value(1));
}

TEST(Future, ACompletionWinsOverALaterCancel) {
  Promise<int> promise;
  Future<int> future = promise.future();
  bool told = false;
  promise.on_cancel([&] { told = true; });
  EXPECT_TRUE(promise.set_value(3));
  future.cancel();
  EXPECT_EQ(*future.await(), 3);
  EXPECT_FALSE(told);
}

TEST(Future, DroppingItCancelsAndDetachingDoesNot) {
  Promise<int> dropped, detached;
  {
    Future<int> future = dropped.future();
  }
  EXPECT_TRUE(dropped.is_cancelled());
  detached.future().detach();
  EXPECT_FALSE(detached.is_cancelled());
  EXPECT_TRUE(detached.set_value(1));
  Promise<int> first, second;
  Future<int> future = first.future();
  future = second.future();
  EXPECT_TRUE(first.is_cancelled());
  EXPECT_FALSE(second.is_cancelled());
}

TEST(Future, OnCompleteIsCalledOnceNowOrByWhoeverCompletesIt) {
  Promise<int> promise;
  std::optional<absl::StatusOr<int>> seen;
  {
    promise.future().on_complete([&](absl::StatusOr<int> outcome) { seen = outcome; });
  }
  EXPECT_FALSE(seen.has_value());  // and the end of the future has cancelled nothing
  EXPECT_TRUE(promise.set_value(4));
  EXPECT_EQ(*seen, absl::StatusOr<int>(4));

  Promise<std::unique_ptr<int>> done;
  EXPECT_TRUE(done.set_value(std::make_unique<int>(6)));
  std::unique_ptr<int> value;
  done.future().on_complete([&](auto outcome) { value = *std::move(outcome); });
  EXPECT_EQ(*value, 6);

  Promise<> cancelled;
  Future<> future = cancelled.future();
  absl::Status status;
  future.on_complete([&](absl::Status outcome) { status = outcome; });
  future.cancel();
  EXPECT_TRUE(absl::IsCancelled(status));
}

TEST_P(FutureOnEveryModel, TasksAwaitWhatPlainThreadsGive) {
  run_here([]() -> Task<void> {
    for (int i = 0; i < 100; ++i) {
      Promise<int> promise;
      Future<int> future = promise.future();
      std::thread giver([i, given = std::move(promise)]() mutable { given.set_value(i); });
      EXPECT_EQ(co_await future, absl::StatusOr<int>(i));
      giver.join();
    }
  }());
}

TEST_P(FutureOnEveryModel, PlainThreadsAwaitWhatTasksGive) {
  Promise<int> promise;
  Future<int> future = promise.future();
  std::thread waiter([&] { EXPECT_EQ(future.await(), absl::StatusOr<int>(8)); });
  run_here([](Promise<int> given) -> Task<void> {
    co_await yield_now();
    given.set_value(8);
  }(std::move(promise)));
  waiter.join();
}

TEST_P(FutureOnEveryModel, ThenTakesPlainCallablesAndCoroutinesAndUnwrapsWhatTheyGive) {
  run_here([]() -> Task<void> {
    Promise<int> promise;
    std::string log;
    Future<void> last =
        promise.future()
            .then([](int n) { return n + 1; })
            .then([](int n) -> Task<std::string> {
              co_await yield_now();
              co_return std::to_string(n);
            })
            .then([](std::string text) -> absl::StatusOr<std::string> { return text + "!"; })
            .then(
                [](std::string text) -> Task<absl::StatusOr<std::string>> { co_return text + "?"; })
            .then([&](const std::string& text) { log = text; })
            .then([] { return absl::OkStatus(); });
    promise.set_value(41);
    EXPECT_TRUE((co_await last).ok());
    EXPECT_EQ(log, "42!?");
  }());
}

TEST_P(FutureOnEveryModel, AnErrorSkipsThenUntilCatchErrorTakesIt) {
  run_here([]() -> Task<void> {
    Promise<int> promise;
    int called = 0;
    Future<int> future = promise.future()
                             .then([&](int n) {
                               ++called;
                               return n;
                             })
                             .catch_error([](absl::Status status) -> absl::StatusOr<int> {
                               return absl::NotFoundError(status.message());
                             })
                             .catch_error([](absl::Status status) -> Task<int> {
                               EXPECT_TRUE(absl::IsNotFound(status));
                               co_return static_cast<int>(status.message().size());
                             })
                             .catch_error([&](const absl::Status&) {
                               ++called;
                               return 0;
                             });
    promise.set_error(absl::DataLossError("four"));
    EXPECT_EQ(co_await future, absl::StatusOr<int>(4));
    EXPECT_EQ(called, 0);
  }());
}

TEST_P(FutureOnEveryModel, AnExceptionOfThenIsKInternalAndACancelIsKCancelled) {
  run_here([]() -> Task<void> {
    Promise<int> first, second;
    Future<int> thrown =
        first.future().then([](int) -> int { throw std::runtime_error("no such luck"); });
    Future<int> cancelled = second.future().then([](int) -> Task<int> { throw Cancelled(); });
    first.set_value(1);
    second.set_value(1);
    EXPECT_EQ((co_await thrown).status(), absl::InternalError("no such luck"));
    EXPECT_TRUE(absl::IsCancelled((co_await cancelled).status()));
  }());
}

TEST(Future, CancellingTheEndOfAChainCancelsItsTaskAndThePromiseAtItsBeginning) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Promise<int> promise;
      int told = 0, began = 0, ended = 0;
      promise.on_cancel([&] { ++told; });
      struct Slow {
        int& began;
        int& ended;
        Task<int> operator()(int n) {
          ++began;
          co_await sleep(1h);
          ++ended;
          co_return n;
        }
      };
      const bool completes = world.random_below(2) == 0;
      std::optional<Future<int>> last(promise.future()
                                          .then([](int n) { return n + 1; })
                                          .then(Slow{began, ended})
                                          .then([](int n) { return n; }));
      if (completes) promise.set_value(1);
      for (uint64_t n = world.random_below(20); n > 0; --n) co_await yield_now();
      if (world.random_below(2) == 0) {
        last->cancel();
        EXPECT_TRUE(absl::IsCancelled((co_await *last).status()));
      } else {
        last.reset();
      }
      co_await sleep(1s);
      EXPECT_EQ(told, completes ? 0 : 1);
      EXPECT_EQ(promise.is_cancelled(), !completes);
      EXPECT_EQ(ended, 0);
    }(sim));
  });
}

TEST(Future, ThenInAnExecutorIsWaitedForAndCancelledWithIt) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Promise<int> promise, never;
      Executor executor;
      int called = 0;
      Future<int> sum = promise.future()
                            .then(executor, [](int n) -> Task<int> { co_return n + 1; })
                            .then([&](int n) {
                              ++called;
                              return n;
                            });
      Future<int> rescued =
          never.future().catch_error(executor, [](const absl::Status&) { return 5; });
      EXPECT_EQ(executor.size(), 2u);
      for (uint64_t n = world.random_below(4); n > 0; --n) co_await yield_now();
      promise.set_value(1);
      EXPECT_EQ(co_await sum, absl::StatusOr<int>(2));
      executor.cancel_all();
      co_await executor.join_all();
      EXPECT_TRUE(absl::IsCancelled((co_await rescued).status()));
      EXPECT_TRUE(never.is_cancelled());
      EXPECT_EQ(called, 1);
    }(sim));
  });
}

TEST(Future, SettingRacesCancellingAndDroppingAndOneOfThemWins) {
  int values = 0, cancels = 0;
  explore(300, [&](SimRuntime& sim) {
    sim.run([](SimRuntime& world, int& set, int& cancelled) -> Task<void> {
      Promise<int> promise;
      Future<int> future = promise.future();
      TaskHandle<bool> giver = spawn(
          [](SimRuntime& random, Promise<int> given) -> Task<bool> {
            for (uint64_t n = random.random_below(4); n > 0; --n) co_await yield_now();
            co_return given.set_value(2);
          },
          std::ref(world), std::move(promise));
      TaskHandle<absl::StatusOr<int>> waiter =
          spawn([](Future<int>& in) -> Task<absl::StatusOr<int>> { co_return co_await in; },
                std::ref(future));
      for (uint64_t n = world.random_below(4); n > 0; --n) co_await yield_now();
      future.cancel();
      const bool accepted = co_await giver;
      const absl::StatusOr<int> outcome = co_await waiter;
      EXPECT_EQ(outcome.ok(), accepted);
      if (!accepted) EXPECT_TRUE(absl::IsCancelled(outcome.status()));
      ++(accepted ? set : cancelled);
    }(sim, values, cancels));
  });
  EXPECT_GT(values, 5);
  EXPECT_GT(cancels, 5);
}

TEST(Future, TimeoutLeavesABorrowedOneAliveAndCancelsAnOwnedOne) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    Promise<int> promise;
    Future<int> future = promise.future();
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(future, 1s)).status()));
    EXPECT_FALSE(promise.is_cancelled());
    const auto chosen = co_await select(future, sleep(1s));
    EXPECT_EQ(chosen.index, 1u);
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(std::move(future), 1s)).status()));
    EXPECT_TRUE(promise.is_cancelled());
    Promise<> soon;
    Future<> second = soon.future();
    soon.set_value();
    EXPECT_TRUE((co_await timeout(second, 1s)).ok());
  }());
}

TEST(FutureDeathTest, ASecondConsumerDiesInsteadOfHanging) {
  EXPECT_DEATH(SimRuntime(1).run([]() -> Task<void> {
    Promise<int> promise;
    Future<int> future = promise.future();
    TaskHandle<absl::StatusOr<int>> first = spawn(rt::await_borrowed(future));
    TaskHandle<absl::StatusOr<int>> second = spawn(rt::await_borrowed(future));
    (void)co_await first;
    (void)co_await second;
  }()),
               "one consumer takes the outcome; use watch<T>\\(\\) for several");
}

TEST(FutureDeathTest, MisuseDiesWithTheCallAndTheCure) {
  Promise<int> promise;
  Future<int> future = promise.future();
  EXPECT_DEATH((void)promise.future(), "Promise::future\\(\\) was called before");
  EXPECT_DEATH((void)promise.set_error(absl::OkStatus()), "call set_value\\(\\)");
  promise.on_cancel([] {});
  EXPECT_DEATH(promise.on_cancel([] {}), "it keeps one function");
  EXPECT_TRUE(promise.set_value(1));
  EXPECT_DEATH((void)promise.set_value(2), "it is set once");
  EXPECT_TRUE(future.poll()->ok());
  EXPECT_DEATH((void)future.poll(), "a Future is awaited once");
  future.detach();
  EXPECT_DEATH(future.cancel(), "was moved, detached or continued before");
  EXPECT_DEATH((void)future.then([](int n) { return n; }), "was moved, detached or continued");
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     Promise<int> given;
                     (void)given.future().await();
                     co_return;
                   }(),
                   Config::for_cli()),
               "Future::await\\(\\) on a worker blocks every task of it: co_await it");
}

}  // namespace
}  // namespace zsync
