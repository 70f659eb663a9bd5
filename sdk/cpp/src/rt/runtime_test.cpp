#include "zsync/runtime.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <thread>

#include "rt/models_test.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class RuntimeOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(RuntimeOnEveryModel);

Task<void> semaphore_wait(Semaphore& semaphore) { Permit permit = co_await semaphore.acquire(); }

size_t threads_of_this_process() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    (void)entry;
    ++count;
  }
  return count;
}

TEST(Runtime, RunSimpleStartsNoThread) {
  const size_t before = threads_of_this_process();
  EXPECT_EQ(run_simple([] { return threads_of_this_process(); }), before);
  EXPECT_EQ(run_simple([]() -> Task<size_t> {
              TaskHandle<void> child = spawn([]() -> Task<void> { co_await sleep(1ms); });
              co_await child;
              co_return threads_of_this_process();
            }),
            before);
}

TEST_P(RuntimeOnEveryModel, WorkersAreJoinedWhenItIsDestroyed) {
  const size_t before = threads_of_this_process();
  const std::thread::id here = std::this_thread::get_id();
  {
    auto runtime = std::move(Runtime::create(config_of(GetParam()))).value();
    const size_t workers = GetParam() == ExecutionModel::caller ? 0 : runtime->workers();
    EXPECT_EQ(threads_of_this_process(), before + workers);
    EXPECT_EQ(runtime->block_on([](std::thread::id caller) -> Task<bool> {
      co_return std::this_thread::get_id() == caller;
    }(here)),
              GetParam() == ExecutionModel::caller);
  }
  // A joined thread may be listed a moment longer.
  while (threads_of_this_process() > before) std::this_thread::yield();
}

TEST_P(RuntimeOnEveryModel, StopCancelsAThousandPendingTasksAndWaitsUntilTheyHaveUnwound) {
  std::atomic<int> alive{0};
  auto runtime = std::move(Runtime::create(config_of(GetParam()))).value();
  for (int i = 0; i < 1000; ++i) {
    runtime
        ->spawn([](Counted, int n) -> Task<void> {
          Channel<int> silent = bounded<int>(1);
          Semaphore semaphore(1);
          Permit permit = co_await semaphore.acquire();
          if (n % 4 == 0) co_await sleep(1h);
          if (n % 4 == 1) (void)co_await silent.recv();
          if (n % 4 == 2) co_await all(semaphore_wait(semaphore), semaphore_wait(semaphore));
          co_await sleep(1h);
        }(Counted(alive), i))
        .detach();
  }
  EXPECT_GE(runtime->active_tasks(), 1000u);
  runtime->block_on([]() -> Task<void> { co_await yield_now(); }());
  runtime->stop();
  EXPECT_EQ(alive, 0);
  EXPECT_EQ(runtime->active_tasks(), 0u);
  runtime->stop();  // idempotent
}

TEST_P(RuntimeOnEveryModel, ATaskSpawnedWhileItStopsIsCancelledToo) {
  std::atomic<int> alive{0};
  {
    auto runtime = std::move(Runtime::create(config_of(GetParam()))).value();
    runtime
        ->spawn([](std::atomic<int>& count) -> Task<void> {
          Counted counted(count);
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
            spawn([](Counted) -> Task<void> { co_await sleep(1h); }, Counted(count)).detach();
          }
        }(alive))
        .detach();
    runtime->block_on([]() -> Task<void> { co_await sleep(1ms); }());
  }
  EXPECT_EQ(alive, 0);
}

TEST_P(RuntimeOnEveryModel, TwoRuntimesInOneProcessWakeEachOthersTasks) {
  auto first = std::move(Runtime::create(config_of(ExecutionModel::multi_thread))).value();
  Channel<int> there = bounded<int>(1), back = bounded<int>(1);
  TaskHandle<void> echo = first->spawn([](Channel<int> in, Channel<int> out) -> Task<void> {
    while (std::optional<int> v = co_await in.recv()) (void)co_await out.send(*v + 1);
  }(there, back));
  const int sum = run_here([](Channel<int> out, Channel<int> in) -> Task<int> {
    int total = 0;
    for (int i = 0; i < 2000; ++i) {
      (void)co_await out.send(i);
      total += *co_await in.recv() - i;
    }
    out.close();
    co_return total;
  }(there, back));
  EXPECT_EQ(sum, 2000);
  echo.join();
}

// The waker of the last task once touched the runtime after that task had let it be destroyed.
TEST_P(RuntimeOnEveryModel, ItMayBeDestroyedRightAfterAnotherThreadWokeItsLastTask) {
  for (int i = 0; i < 400; ++i) {
    Channel<int> channel = bounded<int>(1);
    Gate waiting;
    std::thread sender([channel, waiting]() mutable {
      waiting.wait_blocking();
      (void)channel.try_send(1);
    });
    run_here([](Channel<int> in, Gate ready) -> Task<void> {
      ready.open();
      (void)co_await in.recv();
    }(channel, waiting));
    sender.join();
  }
}

TEST(Runtime, StealingReallyUsesTwoThreads) {
  run(
      []() -> Task<void> {
        // Both halves are needed at once, so one thread alone could not end this.
        std::atomic<int> inside{0};
        auto meet = [](std::atomic<int>& count) -> Task<int> {
          ++count;
          while (count < 2) std::this_thread::yield();
          co_return static_cast<int>(std::hash<std::thread::id>()(std::this_thread::get_id()) &
                                     0xffff);
        };
        TaskHandle<int> a = spawn(meet, std::ref(inside));
        TaskHandle<int> b = spawn(meet, std::ref(inside));
        const int first = co_await a, second = co_await b;
        EXPECT_NE(first, second);
      }(),
      config_of(ExecutionModel::multi_thread));
}

TEST(Runtime, NoWakeUpIsLostBetweenPlainThreadsAndParkedWorkers) {
  run(
      []() -> Task<void> {
        Channel<int> there = bounded<int>(1), back = bounded<int>(1);
        TaskHandle<int> peer = spawn_blocking([there, back]() mutable {
          int count = 0;
          while (std::optional<int> v = there.recv_blocking()) {
            (void)back.send_blocking(*v);
            ++count;
          }
          return count;
        });
        for (int i = 0; i < 3000; ++i) {
          (void)co_await there.send(i);
          EXPECT_EQ(*co_await back.recv(), i);
        }
        there.close();
        EXPECT_EQ(co_await peer, 3000);
      }(),
      config_of(ExecutionModel::multi_thread));
}

// It once waited for up to 61 turns.
TEST(Runtime, WhatAnotherThreadMakesReadyIsTakenWithinAFewTurnsOfABusyWorker) {
  Config one = Config::for_server();
  one.workers = 1;
  const int turns = run(
      []() -> Task<int> {
        std::atomic<bool> ran{false};
        Notify notify;
        TaskHandle<void> waiter = spawn([](Notify& asked, std::atomic<bool>& done) -> Task<void> {
          co_await asked.notified();
          done = true;
        }(notify, ran));
        co_await yield_now();
        std::thread([&notify] { notify.notify_one(); }).join();
        int yields = 0;
        for (; !ran; ++yields) co_await yield_now();
        co_await waiter;
        co_return yields;
      }(),
      one);
  EXPECT_LE(turns, 10);
}

TEST_P(RuntimeOnEveryModel, WaitIdleWaitsForTheForegroundOnly) {
  auto runtime = std::move(Runtime::create(config_of(GetParam()))).value();
  std::atomic<bool> ended{false};
  runtime
      ->spawn([](std::atomic<bool>& out) -> Task<void> {
        co_await sleep(2ms);
        out = true;
      }(ended))
      .detach();
  SpawnOptions options;
  options.background = true;
  runtime->spawn(options, []() -> Task<void> { co_await sleep(1h); }()).detach();
  runtime->wait_idle();
  EXPECT_TRUE(ended);
  EXPECT_EQ(runtime->active_tasks(), 1u);
}

TEST_P(RuntimeOnEveryModel, BlockOnRethrowsWhatTheTaskThrew) {
  auto runtime = std::move(Runtime::create(config_of(GetParam()))).value();
  EXPECT_THROW(runtime->block_on([]() -> Task<void> {
    co_await yield_now();
    throw std::runtime_error("x");
  }()),
               std::runtime_error);
}

TEST(Runtime, TheGlobalOneServesSpawnOnPlainThreads) {
  EXPECT_EQ(get_global_runtime(), nullptr);
  ASSERT_TRUE(init_global_runtime(config_of(ExecutionModel::multi_thread)).ok());
  EXPECT_EQ(init_global_runtime().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(get_global_runtime(), nullptr);
  EXPECT_EQ(spawn([] { return 5; }).join(), 5);
  deinit_global_runtime();
  EXPECT_EQ(get_global_runtime(), nullptr);
  deinit_global_runtime();
}

TEST(Runtime, AConfigThatCannotBeIsRefusedWithTheFieldAndTheCure) {
  const absl::Status many = Runtime::builder().workers(5000).build().status();
  EXPECT_EQ(many.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(many.message().find("Config::workers is 5000, the limit is 1024"), std::string::npos);
  EXPECT_FALSE(Runtime::builder().model(ExecutionModel::one_thread).workers(2).build().ok());
  EXPECT_FALSE(Runtime::builder().blocking_threads_max(5000).build().ok());
  for (const Config& config :
       {Config::optimal(), Config::for_cli(), Config::for_server(), Config::for_embedded()}) {
    EXPECT_TRUE(config.validate().ok());
  }
  EXPECT_GE(usable_cpus(), 1u);
}

TEST(RuntimeDeathTest, MisuseOnAWorkerDiesWithTheCure) {
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     run([]() -> Task<void> { co_return; }(), Config::for_cli());
                     co_return;
                   }(),
                   Config::for_cli()),
               "block_on\\(\\) on a worker blocks every task of it: co_await the task");
  EXPECT_DEATH(
      {
        auto runtime = std::move(Runtime::create(Config::for_cli())).value();
        runtime->block_on([](Runtime& own) -> Task<void> {
          own.stop();
          co_return;
        }(*runtime));
      },
      "stop\\(\\) on a worker");
}

}  // namespace
}  // namespace zsync
