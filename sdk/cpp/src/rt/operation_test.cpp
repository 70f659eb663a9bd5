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
  Promise<int> promise;
  Future<int> future = promise.future();
  Broadcast<int> sent = broadcast<int>(2);
  Subscription<int> subscription = sent.subscribe();
  WatchValue<int> watched = watch(0);
  std::pair<OneshotSender<int>, OneshotReceiver<int>> once = oneshot<int>();
  RwLock rwlock;
  std::optional<Permit> written = rwlock.try_write();
  Notify notify;
  OnceCell<int> cell;
  Gate made;

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
// Gives the end of a wait that throws when it is cancelled.
template <typename Op, typename Value>
Task<End> wait_for(Op operation, Value expected) {
  try {
    EXPECT_EQ(co_await operation, expected);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
// The same for one whose result carries a status.
template <typename Op>
Task<End> wait_for_status(Op operation) {
  const absl::StatusOr<int> outcome = co_await std::move(operation);
  EXPECT_TRUE(outcome.ok() ? *outcome == 7 : absl::IsCancelled(outcome.status()))
      << outcome.status();
  co_return outcome.ok() ? End::kCompleted : End::kCancelled;
}
Task<End> wait_future(World& world) { return wait_for_status(world.future.operator co_await()); }
Task<End> wait_broadcast(World& world) { return wait_for_status(world.subscription.recv()); }
Task<End> wait_watch(World& world) {
  return wait_for(world.watched.changed(), std::optional<int>(7));
}
Task<End> wait_oneshot(World& world) {
  return wait_for(world.once.second.recv(), std::optional<int>(7));
}
Task<End> wait_permit(AcquireOperation operation) {
  try {
    Permit permit = co_await operation;
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_read(World& world) { return wait_permit(world.rwlock.read()); }
Task<End> wait_write(World& world) { return wait_permit(world.rwlock.write()); }
Task<End> wait_notified(World& world) {
  try {
    co_await world.notify.notified();
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
struct MakeSeven {
  Gate made;
  Task<int> operator()() {
    (void)co_await made.opened();
    co_return 7;
  }
};
Task<End> wait_once_cell(World& world) {
  try {
    EXPECT_EQ(co_await world.cell.get_or_init(MakeSeven{world.made}), 7);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_select_of_many(World& world) {
  try {
    auto chosen =
        co_await select(world.notify.notified(), world.watched.changed(), world.rwlock.read(),
                        world.once.second.recv(), world.subscription.recv(), world.future);
    EXPECT_EQ(chosen.index, 5u);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<absl::StatusOr<int>> value_after(World& world, bool awaits_future) {
  if (awaits_future) co_return co_await world.future;
  co_await sleep(1h);
  co_return 0;
}
Task<End> wait_any(World& world) {
  try {
    const absl::StatusOr<int> first =
        co_await any(value_after(world, false), value_after(world, true));
    EXPECT_TRUE(first.ok() ? *first == 7 : absl::IsCancelled(first.status())) << first.status();
    co_return first.ok() ? End::kCompleted : End::kCancelled;
  } catch (const Cancelled&) {
    co_return End::kCancelled;  // refused before its tasks were started
  }
}
Task<End> wait_race(World& world) {
  try {
    const auto first = co_await race(value_after(world, true), value_after(world, false));
    if (!first.value.ok()) co_return End::kCancelled;
    EXPECT_EQ(*first.value, 7);
    co_return End::kCompleted;
  } catch (const Cancelled&) {
    co_return End::kCancelled;
  }
}
Task<End> wait_timeout_of_future(World& world) {
  return wait_for_status(timeout(world.future, 1h));
}

void complete_recv(World& world) { EXPECT_TRUE(world.empty.try_send(7).ok()); }
void complete_send(World& world) { EXPECT_TRUE(world.full.try_recv().has_value()); }
void complete_acquire(World& world) { world.held->release(); }
void complete_join(World& world) { world.gate.open(); }
void complete_future(World& world) { EXPECT_TRUE(world.promise.set_value(7)); }
void complete_broadcast(World& world) { EXPECT_TRUE(world.sent.send(7).ok()); }
void complete_watch(World& world) { EXPECT_TRUE(world.watched.set(7)); }
void complete_oneshot(World& world) { EXPECT_TRUE(world.once.first.send(7).ok()); }
void complete_rwlock(World& world) { world.written->release(); }
void complete_notified(World& world) { world.notify.notify_one(); }
void complete_once_cell(World& world) { world.made.open(); }

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
void check_future(World& world, End end) {
  if (end == End::kCancelled) EXPECT_EQ(*world.future.poll(), absl::StatusOr<int>(7));
}
void check_broadcast(World& world, End end) {
  EXPECT_EQ(world.subscription.try_recv().has_value(), end == End::kCancelled);
}
void check_watch(World& world, End end) {
  EXPECT_EQ(world.watched.try_changed().has_value(), end == End::kCancelled);
}
void check_oneshot(World& world, End end) {
  EXPECT_EQ(world.once.second.try_recv().has_value(), end == End::kCancelled);
}
void check_rwlock(World& world, End) { EXPECT_TRUE(world.rwlock.try_write().has_value()); }
void check_nothing(World&, End) {}
void check_once_cell(World& world, End end) {
  EXPECT_EQ(world.cell.get() != nullptr, end == End::kCompleted);
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
    {"future", wait_future, complete_future, check_future},
    {"broadcast", wait_broadcast, complete_broadcast, check_broadcast},
    {"watch", wait_watch, complete_watch, check_watch},
    {"oneshot", wait_oneshot, complete_oneshot, check_oneshot},
    {"read", wait_read, complete_rwlock, check_rwlock},
    {"write", wait_write, complete_rwlock, check_rwlock},
    {"notified", wait_notified, complete_notified, check_nothing},
    {"once_cell", wait_once_cell, complete_once_cell, check_once_cell},
    {"any", wait_any, complete_future, check_future},
    {"race", wait_race, complete_future, check_nothing},
    {"timeout_of_future", wait_timeout_of_future, complete_future, check_future},
    {"select_of_many", wait_select_of_many, complete_future, check_future},
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
