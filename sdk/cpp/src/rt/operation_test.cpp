// Every operation cancelled before it starts, while it waits, and while it completes.
#include "zsync/rt/operation.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

// What an operation acts on, and how it is completed from outside.
struct World {
  Channel<int> empty = bounded<int>(1);
  Channel<int> full = bounded<int>(1);
  Semaphore semaphore{1};
  std::optional<Permit> held = semaphore.try_acquire();
  Gate gate;
  TaskHandle<int> target;

  World() : target(spawn(wait_for_gate, gate)) { (void)full.try_send(0); }
  static Task<int> wait_for_gate(Gate opened) {
    (void)co_await opened.opened();
    co_return 1;
  }
};

enum class End { kNone, kCompleted, kCancelled };

struct Case {
  const char* name;
  Task<End> (*wait)(World&);
  void (*complete)(World&);
  // What has to hold afterwards: the effect is there exactly if the operation said so.
  void (*check)(World&, End);
};

Task<End> wait_recv(World& world) {
  try {
    EXPECT_EQ(co_await world.empty.recv(), std::optional<int>(7));
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_send(World& world) {
  const absl::Status status = co_await world.full.send(8);
  EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
  co_return status.ok() ? End::kCompleted : End::kCancelled;
}
Task<End> wait_send_or_return(World& world) {
  Returned<int> returned = co_await world.full.send_or_return(8);
  EXPECT_EQ(returned.message.has_value(), !returned.status.ok());
  co_return returned.status.ok() ? End::kCompleted : End::kCancelled;
}
Task<End> wait_acquire(World& world) {
  try {
    Permit permit = co_await world.semaphore.acquire();
    EXPECT_EQ(world.semaphore.available(), 0u);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_join(World& world) {
  try {
    EXPECT_EQ(co_await world.target, 1);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_select(World& world) {
  try {
    auto chosen = co_await select(sleep(1h), world.empty.recv(), world.semaphore.acquire());
    EXPECT_EQ(chosen.index, 1u);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_all(World& world) {
  try {
    auto [first, second] = co_await all(wait_recv(world), []() -> Task<int> { co_return 1; }());
    co_return first;
  } catch (const Cancelled&) {
    co_return End::kCancelled;  // refused before its tasks were started
  }
}
Task<End> wait_timeout(World& world) {
  const absl::StatusOr<std::optional<int>> received = co_await timeout(world.empty.recv(), 1h);
  EXPECT_TRUE(received.ok() || absl::IsCancelled(received.status())) << received.status();
  co_return received.ok() ? End::kCompleted : End::kCancelled;
}

void complete_recv(World& world) { EXPECT_TRUE(world.empty.try_send(7).ok()); }
void complete_send(World& world) { EXPECT_TRUE(world.full.try_recv().has_value()); }
void complete_acquire(World& world) { world.held->release(); }
void complete_join(World& world) { world.gate.open(); }

void check_recv(World& world, End end) {
  EXPECT_EQ(world.empty.try_recv().has_value(), end == End::kCancelled);
}
void check_send(World& world, End end) {
  EXPECT_EQ(world.full.try_recv() == std::optional<int>(8), end == End::kCompleted);
}
void check_acquire(World& world, End) { EXPECT_EQ(world.semaphore.available(), 1u); }
void check_join(World& world, End end) {
  EXPECT_EQ(world.target.id() == 0, end == End::kCompleted);
}

const Case kCases[] = {
    {"recv", wait_recv, complete_recv, check_recv},
    {"send", wait_send, complete_send, check_send},
    {"send_or_return", wait_send_or_return, complete_send, check_send},
    {"acquire", wait_acquire, complete_acquire, check_acquire},
    {"join", wait_join, complete_join, check_join},
    {"select", wait_select, complete_recv, check_recv},
    {"all", wait_all, complete_recv, check_recv},
    {"timeout", wait_timeout, complete_recv, check_recv},
};

class EveryOperation : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Operations, EveryOperation, ::testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(EveryOperation, CancelledBeforeItStartsItHasNoEffect) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](const Case& tested) -> Task<void> {
      World world;
      TaskHandle<End> handle = spawn(
          [](const Case& c, World& w) -> Task<End> {
            try {
              co_await sleep(1h);
            } catch (const Cancelled&) {
            }
            co_return co_await c.wait(w);
          },
          std::ref(tested), std::ref(world));
      co_await sleep(1s);
      handle.cancel();
      const End end = co_await handle;
      EXPECT_EQ(end, End::kCancelled);
      tested.complete(world);
      co_await sleep(1s);
      tested.check(world, end);
      world.gate.open();
    }(GetParam()));
  });
}

TEST_P(EveryOperation, CancelledWhileItWaitsItHasNoEffect) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](const Case& tested) -> Task<void> {
      World world;
      TaskHandle<End> handle = spawn(tested.wait, std::ref(world));
      co_await sleep(1s);
      handle.cancel();
      const End end = co_await handle;
      EXPECT_EQ(end, End::kCancelled);
      tested.complete(world);
      co_await sleep(1s);
      tested.check(world, end);
      world.gate.open();
    }(GetParam()));
  });
}

TEST_P(EveryOperation, CancelledWhileItCompletesItEndsInExactlyOneOfBothWays) {
  int ends[3] = {0, 0, 0};
  explore(400, [&](SimRuntime& sim) {
    sim.run([](SimRuntime& random, const Case& tested, int* counts) -> Task<void> {
      World world;
      TaskHandle<End> handle = spawn(tested.wait, std::ref(world));
      TaskHandle<void> completer = spawn(
          [](SimRuntime& r, const Case& c, World& w) -> Task<void> {
            for (uint64_t n = r.random_below(6); n > 0; --n) co_await yield_now();
            c.complete(w);
          },
          std::ref(random), std::ref(tested), std::ref(world));
      for (uint64_t n = random.random_below(6); n > 0; --n) co_await yield_now();
      handle.cancel();
      const End end = co_await handle;
      co_await completer;
      co_await sleep(1s);
      tested.check(world, end);
      world.gate.open();
      ++counts[static_cast<int>(end)];
    }(sim, GetParam(), ends));
  });
  EXPECT_GT(ends[static_cast<int>(End::kCompleted)], 5);
  EXPECT_GT(ends[static_cast<int>(End::kCancelled)], 5);
}

TEST_P(EveryOperation, CompletionAndCancelFromTwoThreadsNeverBothWin) {
  constexpr int kRounds = 1000;
  constexpr int kSpinsMax = 40'000;  // about as long as a thread takes to wake up
  Channel<World*> begin = bounded<World*>(1);
  Channel<int> ended = bounded<int>(1);
  std::thread completer([begin, ended]() mutable {
    while (std::optional<World*> world = begin.recv_blocking()) {
      GetParam().complete(**world);
      (void)ended.try_send(1);
    }
  });
  run(
      [](const Case& tested, Channel<World*> out, Channel<int> in) -> Task<void> {
        std::atomic<int> spins{0};
        for (int round = 1; round <= kRounds; ++round) {
          World mine;
          TaskHandle<End> waiting = spawn(tested.wait, std::ref(mine));
          for (int step = round % 4; step > 0; --step) co_await yield_now();
          (void)co_await out.send(&mine);
          for (spins = round * 1009 % kSpinsMax; spins > 0;) --spins;
          waiting.cancel();
          const End end = co_await waiting;
          (void)co_await in.recv();
          tested.check(mine, end);
          mine.gate.open();
        }
        out.close();
      }(GetParam(), begin, ended),
      config_of(ExecutionModel::multi_thread));
  completer.join();
}

}  // namespace
}  // namespace zsync
