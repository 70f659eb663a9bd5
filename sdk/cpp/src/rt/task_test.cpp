#include <gtest/gtest.h>

#include "zsync/zsync.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

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
  absl::StatusOr<int> late = co_await timeout(square(6), 50ms);
  EXPECT_EQ(*late, 36);
  auto first = co_await race(square(7), square(8));
  EXPECT_TRUE(first.value == 49 || first.value == 64);
  Semaphore semaphore(2);
  auto permit = co_await semaphore.acquire();
  co_return a + b + sum + co_await handle;
}

TEST(Task, TheProgramOfTheManualRuns) { EXPECT_EQ(run(main_task()), 9 + 16 + 45 + 25); }

}  // namespace
}  // namespace zsync
