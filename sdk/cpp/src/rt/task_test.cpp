#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <stdexcept>

#include "rt/models_test.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class TaskOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(TaskOnEveryModel);

Task<int> square(int x) {
  co_await yield_now();
  co_return x* x;
}

Task<int> main_task() {
  auto [a, b] = co_await all(square(3), square(4));
  TaskHandle<int> handle = spawn(square, 5);
  Channel<int> channel = bounded<int>(1024);
  spawn(
      [](Channel<int> out) -> Task<void> {
        for (int i = 0; i < 10; ++i) (void)co_await out.send(i);
        out.close();
      },
      channel)
      .detach();
  int sum = 0;
  while (std::optional<int> v = co_await channel.recv()) sum += *v;
  absl::StatusOr<int> late = co_await timeout(square(6), 5s);
  EXPECT_EQ(*late, 36);
  auto first = co_await race(square(7), square(8));
  EXPECT_TRUE(first.value == 49 || first.value == 64);
  Semaphore semaphore(2);
  auto permit = co_await semaphore.acquire();
  co_return a + b + sum + co_await handle;
}

TEST_P(TaskOnEveryModel, TheProgramOfTheManualRuns) {
  EXPECT_EQ(run_here(main_task()), 9 + 16 + 45 + 25);
}

Task<void> note(bool& ran, Counted) {
  ran = true;
  co_return;
}

class NeverDefined;

Task<int> of_a_reference(NeverDefined&, int x) { co_return x + 1; }
Task<int> of_silent_arguments(int x, double, const char*) { co_return x + 1; }

TEST(Task, AnArgumentMayBeAReferenceToATypeThatIsNotComplete) {
  int stand_in = 0;
  EXPECT_EQ(run(of_a_reference(reinterpret_cast<NeverDefined&>(stand_in), 1)), 2);
}

TEST(Task, AFrameIsMarkedToBeDestroyedOnlyWhereAnArgumentHasSomethingToDo) {
  std::atomic<int> alive{0};
  bool ran = false;
  const Task<void> counted = note(ran, Counted(alive));
  const Task<int> silent = of_silent_arguments(1, 2.0, "three");
  EXPECT_TRUE(counted.block().header().has(rt::FrameHeader::kBody));
  EXPECT_FALSE(silent.block().header().has(rt::FrameHeader::kBody));
}

TEST(Task, ATaskThatIsNotStartedDestroysItsArgumentsAndItsBodyNeverRuns) {
  std::atomic<int> alive{0};
  bool ran = false;
  {
    Task<void> task = note(ran, Counted(alive));
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
  EXPECT_FALSE(ran);
}

TEST_P(TaskOnEveryModel, CallingACoroutineFunctionRunsNothingUntilItIsAwaited) {
  run_here([]() -> Task<void> {
    std::atomic<int> alive{0};
    bool ran = false;
    Task<void> task = note(ran, Counted(alive));
    co_await yield_now();
    EXPECT_FALSE(ran);
    co_await std::move(task);
    EXPECT_TRUE(ran);
  }());
}

TEST_P(TaskOnEveryModel, AnExceptionSurfacesAtTheAwaitWithItsTypeThroughAThousandFrames) {
  struct Deep {
    static Task<int> fail(int depth) {
      if (depth == 0) throw std::out_of_range("the bottom");
      co_return 1 + co_await fail(depth - 1);
    }
  };
  run_here([]() -> Task<void> {
    try {
      co_await Deep::fail(1000);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::out_of_range& error) {
      EXPECT_STREQ(error.what(), "the bottom");
    }
  }());
  EXPECT_THROW(run_here(Deep::fail(1)), std::out_of_range);
}

TEST_P(TaskOnEveryModel, ResultsMoveAndNeedNoDefaultConstructor) {
  struct Exact {
    explicit Exact(int v) : value(std::make_unique<int>(v)) {}
    std::unique_ptr<int> value;
  };
  EXPECT_EQ(*run_here([]() -> Task<Exact> { co_return Exact(7); }()).value, 7);
}

TEST_P(TaskOnEveryModel, AMillionCompletingTasksInALoopDoNotGrowTheStack) {
  struct Leaf {
    static Task<uintptr_t> where() {
      volatile char here = 0;
      co_return reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) + (here ? 1 : 0);
    }
  };
  const uintptr_t span = run_here([]() -> Task<uintptr_t> {
    const uintptr_t first = co_await Leaf::where();
    uintptr_t low = first, high = first;
    for (int i = 0; i < 1'000'000; ++i) {
      const uintptr_t here = co_await Leaf::where();
      low = std::min(low, here);
      high = std::max(high, here);
    }
    co_return high - low;
  }());
  EXPECT_LT(span, 64u * 1024);
}

TEST_P(TaskOnEveryModel, ATenThousandFramesDeepRecursionLivesOnTheHeap) {
  struct Deep {
    static Task<int> count(int depth) {
      if (depth == 0) {
        co_await yield_now();
        co_return 0;
      }
      co_return 1 + co_await count(depth - 1);
    }
  };
  EXPECT_EQ(run_here(Deep::count(10'000)), 10'000);
}

TEST(TaskDeathTest, ASecondAwaitOfTheSameTaskDiesWithTheCure) {
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     Task<int> task = square(1);
                     co_await std::move(task);
                     co_await std::move(task);
                   }(),
                   Config::for_cli()),
               "awaited or moved before: a Task is awaited once");
}

TEST(TaskDeathTest, AnAwaitOfAMovedTaskDiesWithTheCure) {
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     Task<int> task = square(1);
                     Task<int> other = std::move(task);
                     co_await std::move(task);
                   }(),
                   Config::for_cli()),
               "a Task is awaited once");
}

TEST(Task, AThreadsLockIsRefusedAsAParameter) {
  static_assert(rt::no_lock_guards<int, std::string&>());
  static_assert(!rt::no_lock_guards<std::unique_lock<std::mutex>&>());
  static_assert(!rt::no_lock_guards<int, const std::lock_guard<std::mutex>&>());
  static_assert(!rt::no_lock_guards<std::scoped_lock<std::mutex, std::mutex>>());
}

}  // namespace
}  // namespace zsync
