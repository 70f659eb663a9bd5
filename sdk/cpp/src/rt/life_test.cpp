// The life of a runtime in its process: idle ones, exit(), fork(), static ones.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "rt/forbid_test.hpp"
#include "rt/models_test.hpp"
#include "zsync/pipe.hpp"
#include "zsync/signal.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ZS_WITH_THREAD_SANITIZER
#endif
#endif

namespace zsync {
namespace {

using namespace std::chrono_literals;

size_t entries(const char* directory) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    (void)entry;
    ++count;
  }
  return count;
}
size_t threads_here() {
#if defined(ZS_WITH_THREAD_SANITIZER)
  // It has a thread of its own, from the program's first one on.
  if (entries("/proc/self/task") == 1) {
    std::thread([] {}).join();
    while (entries("/proc/self/task") != 2) std::this_thread::yield();
  }
#endif
  return entries("/proc/self/task");
}
void wait_for_threads(size_t count) {
  while (threads_here() != count) std::this_thread::yield();
}

Config of_workers(size_t workers, std::optional<std::chrono::milliseconds> idle = std::nullopt) {
  Config config;
  config.model = workers == 1 ? ExecutionModel::one_thread : ExecutionModel::multi_thread;
  config.workers = workers;
  config.idle_timeout = idle;
  return config;
}

TEST(IdleTimeout, AnIdleGlobalRuntimeHasNoThreadsAndTheNextTaskStartsThemAgain) {
  const size_t before = threads_here();
  ASSERT_TRUE(init_global_runtime(of_workers(3, 1ms)).ok());
  Runtime* const runtime = get_global_runtime();
  for (int i = 0; i < 20; ++i) {
    wait_for_threads(before);
    EXPECT_EQ(get_global_runtime(), runtime);
    EXPECT_EQ(runtime->active_tasks(), 0u);
    EXPECT_EQ(spawn([i] { return i; }).join(), i);
    EXPECT_EQ(runtime->block_on([](int n) -> Task<int> { co_return n; }(i)), i);
  }
  wait_for_threads(before);
  runtime->wait_idle();
  deinit_global_runtime();
  EXPECT_EQ(threads_here(), before);
}

Task<void> turn() { co_await yield_now(); }

TEST(IdleTimeout, NoTaskIsLostThatPlainThreadsSpawnWhileTheThreadsEnd) {
  for (const size_t workers : {1u, 2u, 4u}) {
    auto runtime = std::move(Runtime::create(of_workers(workers, 0ms))).value();
    std::vector<std::thread> spawners;
    std::atomic<int> ran{0};
    for (int s = 0; s < 2; ++s) {
      spawners.emplace_back([&] {
        for (int i = 0; i < 1500; ++i) {
          // Now alone, now with children that go to other workers, now pinned.
          SpawnOptions options;
          options.pinned = i % 3 == 1;
          runtime
              ->spawn(std::move(options),
                      [](int n, std::atomic<int>& count) -> Task<void> {
                        if (n % 3 == 2) co_await all(turn(), turn(), turn());
                        ++count;
                      }(i, ran))
              .join();
        }
      });
    }
    for (std::thread& spawner : spawners) spawner.join();
    EXPECT_EQ(ran, 3000);
  }
}

TEST(IdleTimeout, ATaskThatOnlyWaitsKeepsTheThreads) {
  auto runtime = std::move(Runtime::create(of_workers(2, 0ms))).value();
  for (int i = 0; i < 20; ++i) {
    runtime->spawn([]() -> Task<void> { co_await sleep(1ms); }()).join();
    EXPECT_EQ(runtime->spawn(rt::call_blocking([] { return 4; })).join(), 4);
  }
}

TEST(IdleTimeout, ADescriptorThatIsDroppedMeanwhileIsClosed) {
  const size_t before = threads_here();
  auto runtime = std::move(Runtime::create(of_workers(2, 0ms))).value();
  wait_for_threads(before);
  auto make = []() -> Task<absl::StatusOr<std::pair<PipeReader, PipeWriter>>> {
    auto pipe = make_pipe();
    std::byte byte{};
    (void)co_await pipe->second.write_all("x");
    (void)co_await pipe->first.read_some(std::span(&byte, 1));
    co_return pipe;
  };
  (void)runtime->block_on(make());
  wait_for_threads(before);
  const size_t descriptors = entries("/proc/self/fd");
  for (int i = 0; i < 20; ++i) {
    auto pipe = runtime->block_on(make());
    ASSERT_TRUE(pipe.ok());
    wait_for_threads(before);
    EXPECT_EQ(entries("/proc/self/fd"), descriptors + 2);
    pipe = absl::CancelledError();
    while (entries("/proc/self/fd") != descriptors) std::this_thread::yield();
  }
}

TEST(IdleTimeout, OneBelowZeroIsRefused) {
  const absl::Status refused = Runtime::builder().idle_timeout(-1ms).build().status();
  EXPECT_EQ(refused.message(),
            "Config::idle_timeout is -1 ms; it has to be 0 or more, or nullopt to keep the "
            "threads");
}

TEST(RuntimeLife, StoppingWakesEveryParkedWorker) {
  const size_t before = threads_here();
  for (int i = 0; i < 100; ++i) {
    auto runtime = std::move(Runtime::create(of_workers(8))).value();
    if (i % 2 == 0) runtime->block_on([]() -> Task<void> { co_await yield_now(); }());
    runtime->stop();
    wait_for_threads(before);
  }
}

// Each of these is a process of its own, which the test program is started again for.
class RuntimeLifeDeathTest : public ::testing::Test {
 protected:
  RuntimeLifeDeathTest() { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

// Says that it is destroyed; as a static object it proves that exit() came that far.
struct Herald {
  const char* text;
  ~Herald() { std::fputs(text, stderr); }
};

Task<void> never() { co_await sleep(24h); }
Task<void> busy() {
  while (true) co_await yield_now();
}
Task<void> exit_in_task(int code) {
  co_await yield_now();
  std::exit(code);
}

TEST_F(RuntimeLifeDeathTest, ASignalEndsTheProgramWhileItsWorkersAreParked) {
  EXPECT_EXIT(
      {
        run(
            []() -> Task<void> {
              auto signals = Signals::open({SIGTERM});
              ::kill(::getpid(), SIGTERM);
              (void)co_await signals->next();
            }(),
            of_workers(8));
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(RuntimeLifeDeathTest, ExitInATaskEndsTheProgramWithItsCode) {
  for (const size_t workers : {1u, 4u}) {
    EXPECT_EXIT(
        {
          static const Herald herald{"static objects are destroyed"};
          run(
              []() -> Task<void> {
                for (int i = 0; i < 10; ++i) spawn(never()).detach();
                spawn(exit_in_task(3)).detach();
                co_await never();
              }(),
              of_workers(workers));
        },
        ::testing::ExitedWithCode(3), "static objects are destroyed");
  }
  EXPECT_EXIT(run_simple([] { return exit_in_task(4); }), ::testing::ExitedWithCode(4), "");
}

TEST_F(RuntimeLifeDeathTest, ExitInATaskOfTheGlobalRuntimeLeavesItAsItIs) {
  EXPECT_EXIT(
      {
        static const Herald herald{"static objects are destroyed"};
        (void)init_global_runtime(of_workers(4));
        for (int i = 0; i < 10; ++i) spawn(i % 2 ? busy() : never()).detach();
        spawn(exit_in_task(5)).join();
      },
      ::testing::ExitedWithCode(5), "static objects are destroyed");
}

TEST_F(RuntimeLifeDeathTest, ExitInABlockingFunctionDoesNotWaitForItself) {
  EXPECT_EXIT(
      {
        static const Herald herald{"static objects are destroyed"};
        (void)init_global_runtime(of_workers(2));
        spawn_blocking([] { std::exit(6); }).join();
      },
      ::testing::ExitedWithCode(6), "static objects are destroyed");
}

TEST_F(RuntimeLifeDeathTest, ExitInATaskOfAStaticRuntimeLeavesItAndDestroysTheOther) {
  EXPECT_EXIT(
      {
        static auto other = std::move(Runtime::create(of_workers(2))).value();
        static auto runtime = std::move(Runtime::create(of_workers(2))).value();
        other->spawn([](Herald) -> Task<void> { co_await never(); }({"unwound"})).detach();
        runtime->block_on(exit_in_task(7));
      },
      ::testing::ExitedWithCode(7), "unwound");
}

TEST_F(RuntimeLifeDeathTest, TheEndOfMainStopsTheGlobalRuntimeWhileOlderObjectsStillLive) {
  EXPECT_EXIT(
      {
        static std::string older(100, 'x');
        static const Herald herald{", older objects destroyed"};
        (void)init_global_runtime(of_workers(2));
        struct Last {
          ~Last() { std::fputs(older.size() == 100 ? "unwound in time" : "too late", stderr); }
        };
        auto task = [](Last, Channel<int> started) -> Task<void> {
          started.close();
          co_await never();
        };
        Channel<int> started = bounded<int>(1);
        spawn(task(Last{}, started)).detach();
        (void)started.recv_blocking();
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "unwound in time.*, older objects destroyed");
}

TEST_F(RuntimeLifeDeathTest, ExitOnAPlainThreadEndsTheProgramWhileMainIsInRun) {
  EXPECT_EXIT(
      {
        std::thread([] { std::exit(8); }).detach();
        run(never(), of_workers(2));
      },
      ::testing::ExitedWithCode(8), "");
}

TEST_F(RuntimeLifeDeathTest, ARestingGlobalRuntimeEndsWithTheProgram) {
  EXPECT_EXIT(
      {
        const size_t before = threads_here();
        (void)init_global_runtime(of_workers(2, 0ms));
        spawn([] {}).join();
        wait_for_threads(before);
        std::exit(9);
      },
      ::testing::ExitedWithCode(9), "");
}

TEST_F(RuntimeLifeDeathTest, StoppingInABlockingFunctionDiesWithTheCure) {
  EXPECT_DEATH(
      {
        auto runtime = std::move(Runtime::create(of_workers(1))).value();
        runtime->spawn(rt::call_blocking([&runtime] { runtime->stop(); })).join();
      },
      "stop\\(\\) in spawn_blocking\\(\\) waits for itself: call it where run\\(\\) was called");
  EXPECT_DEATH(
      {
        auto runtime = std::move(Runtime::create(of_workers(1))).value();
        runtime->spawn(rt::call_blocking([&runtime] { runtime->wait_idle(); })).join();
      },
      "wait_idle\\(\\) in spawn_blocking\\(\\) waits for itself: use an Executor");
}

TEST_F(RuntimeLifeDeathTest, WithoutThreadsToHaveTheProgramEndsWithTheCause) {
  EXPECT_DEATH(
      {
        const size_t before = threads_here();
        (void)init_global_runtime(of_workers(2, 0ms));
        wait_for_threads(before);
        if (!forbid(SYS_clone3, EAGAIN)) std::abort();
        (void)spawn([] {});
      },
      "spawn\\(\\): the idle runtime cannot start its threads again.*set no Config::idle_timeout");
}

// Forks -> what the child says, and its end.
std::string in_a_fork(const std::function<void()>& child_does, int* status = nullptr) {
  std::fflush(nullptr);
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    child_does();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[512];
  for (ssize_t count; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<size_t>(count));
  }
  ::close(ends[0]);
  int ended = -1;
  EXPECT_EQ(::waitpid(child, &ended, 0), child);
  if (status) *status = ended;
  if (!status) EXPECT_TRUE(WIFEXITED(ended) && WEXITSTATUS(ended) == 0) << said;
  return said;
}

// Says something and ends by abort(), other than by waiting for ever.
void expect_refused(const std::function<void()>& use, const char* call) {
  int status = 0;
  const std::string said = in_a_fork(use, &status);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status << said;
  EXPECT_NE(said.find(std::string(call) + ": this runtime was created before fork()"),
            std::string::npos)
      << said;
  EXPECT_NE(said.find("exec or _exit, or create a runtime there"), std::string::npos) << said;
}

TEST(Fork, BeforeTheRuntimeStartsParentAndChildEachHaveTheirs) {
  in_a_fork([] {
    if (run([]() -> Task<int> { co_return 1; }(), of_workers(2)) != 1) ::_exit(1);
    if (run_simple([]() -> Task<int> { co_return 2; }) != 2) ::_exit(2);
    if (!init_global_runtime(of_workers(2)).ok()) ::_exit(3);
    if (spawn([] { return 4; }).join() != 4) ::_exit(4);
    deinit_global_runtime();
  });
  EXPECT_EQ(run([]() -> Task<int> { co_return 1; }(), of_workers(2)), 1);
}

TEST(Fork, AChildThatUsesTheParentsRuntimeEndsWithTheCallAndTheCure) {
  for (const ExecutionModel model :
       {ExecutionModel::caller, ExecutionModel::one_thread, ExecutionModel::multi_thread}) {
    auto runtime = std::move(Runtime::create(config_of(model))).value();
    Channel<int> channel = bounded<int>(1);
    TaskHandle<void> waiting =
        runtime->spawn([](Channel<int> in) -> Task<void> { (void)co_await in.recv(); }(channel));
    auto nothing = []() -> Task<void> { co_return; };
    expect_refused([&] { (void)runtime->spawn(nothing()); }, "spawn() or block_on()");
    expect_refused([&] { runtime->block_on(nothing()); }, "spawn() or block_on()");
    expect_refused([&] { runtime->wait_idle(); }, "Runtime::wait_idle()");
    expect_refused([&] { runtime->stop(); }, "Runtime::stop()");
    expect_refused([&] { waiting.join(); }, "TaskHandle::join()");
    channel.close();
    runtime->wait_idle();
  }
}

TEST(Fork, ATaskThatGoesOnInTheChildEndsWithTheCallAndTheCure) {
  for (const size_t workers : {1u, 2u}) {
    auto forked = [&] {
      run(
          []() -> Task<void> {
            const pid_t child = ::fork();
            if (child == 0) co_await sleep(1h);
            int status = 0;
            EXPECT_EQ(::waitpid(child, &status, 0), child);
            EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
          }(),
          of_workers(workers));
    };
    EXPECT_NE(in_a_fork(forked).find("a task that goes on after fork(): this runtime"),
              std::string::npos);
  }
}

TEST(Fork, AChildDestroysTheParentsRuntimeWithoutWaitingAndMayStartItsOwn) {
#if defined(ZS_WITH_THREAD_SANITIZER)
  GTEST_SKIP() << "the sanitizer starts no threads in a child of a process that has some";
#endif
  ASSERT_TRUE(init_global_runtime(of_workers(2)).ok());
  auto runtime = std::move(Runtime::create(of_workers(2))).value();
  runtime->spawn(busy()).detach();
  spawn(busy()).detach();
  for (int i = 0; i < 20; ++i) {  // in any state of the parent's threads
    in_a_fork([&] {
      runtime.reset();
      deinit_global_runtime();
      if (!init_global_runtime(of_workers(2)).ok()) ::_exit(1);
      if (spawn([] { return 2; }).join() != 2) ::_exit(2);
      deinit_global_runtime();
    });
  }
  deinit_global_runtime();
}

TEST(Fork, AChildMayExitWhileTheParentHasAGlobalRuntime) {
  ASSERT_TRUE(init_global_runtime(of_workers(2)).ok());
  spawn(busy()).detach();
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    // As exit() does, without the sanitizers' and gtest's own affairs.
    deinit_global_runtime();
    ::_exit(get_global_runtime() == nullptr ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  deinit_global_runtime();
}

TEST(TwoRuntimes, TheGlobalOneAndOneThatRestsExchangeThroughChannels) {
  ASSERT_TRUE(init_global_runtime(of_workers(2, 0ms)).ok());
  auto other = std::move(Runtime::create(of_workers(1, 0ms))).value();
  for (int round = 0; round < 50; ++round) {
    Channel<int> there = bounded<int>(1), back = bounded<int>(1);
    TaskHandle<void> echo = other->spawn([](Channel<int> in, Channel<int> out) -> Task<void> {
      while (std::optional<int> v = co_await in.recv()) (void)co_await out.send(*v + 1);
    }(there, back));
    TaskHandle<int> sum = spawn([](Channel<int> out, Channel<int> in) -> Task<int> {
      int total = 0;
      for (int i = 0; i < 20; ++i) {
        (void)co_await out.send(i);
        total += *co_await in.recv() - i;
      }
      out.close();
      co_return total;
    }(there, back));
    EXPECT_EQ(sum.join(), 20);
    echo.join();
  }
  deinit_global_runtime();
}

}  // namespace
}  // namespace zsync
