#include "zsync/select.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class SelectOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(SelectOnEveryModel);

TEST_P(SelectOnEveryModel, TheFirstReadyOperationOfTheListWinsAndTheOthersHaveNotHappened) {
  run_here([]() -> Task<void> {
    Channel<int> a = bounded<int>(2), b = bounded<int>(2), full = bounded<int>(1);
    EXPECT_TRUE(b.try_send(1).ok());
    EXPECT_TRUE(full.try_send(0).ok());
    Semaphore semaphore(1);
    TaskHandle<int> never = spawn([]() -> Task<int> {
      co_await sleep(1h);
      co_return 1;
    });
    auto chosen =
        co_await select(a.recv(), full.send(9), never, b.recv(), semaphore.acquire(), sleep(0s));
    EXPECT_EQ(chosen.index, 3u);
    EXPECT_EQ(*std::get<3>(chosen.value), 1);
    EXPECT_EQ(semaphore.available(), 1u);
    EXPECT_EQ(full.size(), 1u);
    EXPECT_TRUE(a.try_send(5).ok());  // the loser does not take it
    EXPECT_EQ(*a.try_recv(), 5);
    never.cancel();
  }());
}

TEST_P(SelectOnEveryModel, EveryKindOfOperationCanWinLater) {
  run_here([]() -> Task<void> {
    Channel<int> silent = bounded<int>(1);
    EXPECT_EQ((co_await select(silent.recv(), sleep(1ms))).index, 1u);
    TaskHandle<int> task = spawn([]() -> Task<int> {
      co_await sleep(1ms);
      co_return 4;
    });
    auto joined = co_await select(silent.recv(), task);
    EXPECT_EQ(std::get<1>(joined.value), 4);
    Semaphore semaphore(1);
    std::optional<Permit> held = semaphore.try_acquire();
    TaskHandle<void> giver = spawn(
        [](std::optional<Permit>& permit) -> Task<void> {
          co_await sleep(1ms);
          permit.reset();
        },
        std::ref(held));
    auto acquired = co_await select(silent.recv(), semaphore.acquire());
    EXPECT_EQ(acquired.index, 1u);
    EXPECT_EQ(semaphore.available(), 0u);
    co_await giver;
    EXPECT_TRUE(silent.try_send(0).ok());
    TaskHandle<void> taker = spawn(
        [](Channel<int> in) -> Task<void> {
          co_await sleep(1ms);
          (void)co_await in.recv();
        },
        silent);
    auto sent = co_await select(sleep(1h), silent.send(8));
    EXPECT_EQ(sent.index, 1u);
    EXPECT_TRUE(std::get<1>(sent.value).ok());
    co_await taker;
    silent.close();
    EXPECT_EQ(*(co_await silent.recv()), 8);
    auto closed = co_await select(sleep(1h), silent.recv());
    EXPECT_FALSE(std::get<1>(closed.value).has_value());
  }());
}

TEST_P(SelectOnEveryModel, WhatTheChosenTaskThrewSurfacesAtTheSelect) {
  run_here([]() -> Task<void> {
    TaskHandle<int> task = spawn([]() -> int { throw std::runtime_error("x"); });
    bool thrown = false;
    try {
      co_await select(sleep(1h), task);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  }());
}

Task<void> send_numbers(Channel<int> out, int count) {
  for (int i = 0; i < count; ++i) EXPECT_TRUE((co_await out.send(i)).ok());
  out.close();
}

// Reads two channels through selects that also time out; every message is received once, in order.
Task<int> select_everything(SimRuntime& sim, Channel<int> a, Channel<int> b) {
  int next[2] = {0, 0};
  bool open[2] = {true, true};
  while (open[0] || open[1]) {
    auto chosen = co_await select(a.recv(), b.recv(), sleep(1ms * sim.random_below(3)));
    if (chosen.index == 2) {
      if (!open[0] || !open[1]) {
        Channel<int>& rest = open[0] ? a : b;
        if (auto v = rest.try_recv()) {
          EXPECT_EQ(*v, next[open[0] ? 0 : 1]++);
        } else if (rest.is_closed() && rest.size() == 0) {
          break;
        }
      }
      continue;
    }
    std::optional<int>& message =
        chosen.index == 0 ? std::get<0>(chosen.value) : std::get<1>(chosen.value);
    if (!message) {
      open[chosen.index] = false;
      // A closed channel is always ready: read the other one to its end.
      Channel<int>& rest = chosen.index == 0 ? b : a;
      while (std::optional<int> v = co_await rest.recv()) EXPECT_EQ(*v, next[1 - chosen.index]++);
      break;
    }
    EXPECT_EQ(*message, next[chosen.index]++);
  }
  co_return next[0] + next[1];
}

TEST(Select, NeverLosesAMessageOverThousandsOfSchedules) {
  testing::SimOptions options;
  options.overload_percent = 10;
  explore(
      3000,
      [](SimRuntime& sim) {
        EXPECT_EQ(sim.run([](SimRuntime& world) -> Task<int> {
          Channel<int> a = bounded<int>(1 + world.random_below(3));
          Channel<int> b = bounded<int>(1 + world.random_below(3));
          TaskHandle<void> first = spawn(send_numbers, a, 8);
          TaskHandle<void> second = spawn(send_numbers, b, 8);
          const int received = co_await select_everything(world, a, b);
          co_await first;
          co_await second;
          co_return received;
        }(sim)),
                  16);
      },
      options);
}

TEST(Select, TwoSelectsThatSendAndReceiveMeetOnceForEachMessage) {
  explore(1000, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Channel<int> channel = bounded<int>(1), other = bounded<int>(1);
      TaskHandle<int> sender = spawn(
          [](SimRuntime& w, Channel<int> out, Channel<int> quiet) -> Task<int> {
            int sent = 0;
            for (int i = 0; i < 10; ++i) {
              auto chosen =
                  co_await select(quiet.recv(), out.send(sent), sleep(1us * w.random_below(3)));
              if (chosen.index == 1 && std::get<1>(chosen.value).ok()) ++sent;
            }
            out.close();
            co_return sent;
          },
          std::ref(world), channel, other);
      int received = 0;
      while (true) {
        auto chosen =
            co_await select(channel.recv(), other.recv(), sleep(1us * world.random_below(3)));
        if (chosen.index != 0) continue;
        if (!std::get<0>(chosen.value)) break;
        EXPECT_EQ(*std::get<0>(chosen.value), received++);
      }
      EXPECT_EQ(co_await sender, received);
    }(sim));
  });
}

TEST(Select, ACancelledSelectThrowsAndNoOperationHasHappened) {
  explore(500, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Channel<int> channel = bounded<int>(1);
      Semaphore semaphore(1);
      std::optional<Permit> held = semaphore.try_acquire();
      int received = 0;
      TaskHandle<void> handle = spawn(
          [](Channel<int> in, Semaphore& permits, int& count) -> Task<void> {
            auto chosen = co_await select(in.recv(), permits.acquire(), sleep(1h));
            if (chosen.index == 0) ++count;
          },
          channel, std::ref(semaphore), std::ref(received));
      TaskHandle<void> sender =
          spawn([](Channel<int> out) -> Task<void> { (void)co_await out.send(1); }, channel);
      TaskHandle<void> giver = spawn(
          [](std::optional<Permit>& permit) -> Task<void> {
            permit.reset();
            co_return;
          },
          std::ref(held));
      for (uint64_t n = world.random_below(6); n > 0; --n) co_await yield_now();
      handle.cancel();
      bool cancelled = false;
      try {
        co_await handle;
      } catch (const Cancelled&) {
        cancelled = true;
      }
      co_await sender;
      co_await giver;
      if (cancelled) EXPECT_EQ(received, 0);
      EXPECT_EQ(channel.size() + received, 1u);
      EXPECT_EQ(semaphore.available(), 1u);
    }(sim));
  });
}

// Claimed by a completer while the select was starting, which wakes it only later.
class ClaimedEarly final : public rt::LeafOperation {
 public:
  explicit ClaimedEarly(rt::Operation*& claimed) : claimed_(&claimed) {}
  rt::Start start() override {
    claimed_[0] = try_claim() ? this : nullptr;
    return rt::Start::kWaiting;
  }
  bool withdraw() noexcept override { return false; }
  int await_resume() const { return 5; }

 private:
  rt::Operation** claimed_;
};

TEST(Select, ItEndsOnlyAfterTheCompleterOfTheChosenOperationHasLetGoOfIt) {
  explore(20, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      rt::Operation* claimed = nullptr;
      TaskHandle<int> handle = spawn(
          [](rt::Operation*& out) -> Task<int> {
            auto chosen = co_await select(ClaimedEarly(out), sleep(1h));
            co_return std::get<0>(chosen.value);
          },
          std::ref(claimed));
      co_await sleep(1s);
      EXPECT_FALSE(handle.done());
      if (handle.done()) co_return;
      claimed->wake();
      EXPECT_EQ(co_await handle, 5);
    }());
  });
}

// A child operation that another thread completes while the select is still starting must not be
// touched after the select has ended.
TEST(Select, OperationsThatCompleteOnOtherThreadsWhileItStartsAreSafe) {
  constexpr int kMessages = 20'000;
  Channel<int> a = bounded<int>(1), b = bounded<int>(1);
  auto feed = [](Channel<int> out) {
    for (int i = 0; i < kMessages; ++i) (void)out.send_blocking(i);
  };
  std::thread first(feed, a), second(feed, b);
  const int received = run(
      [](Channel<int> x, Channel<int> y) -> Task<int> {
        auto reader = [](Channel<int> one, Channel<int> two, std::atomic<int>& left) -> Task<int> {
          int count = 0;
          Channel<int> silent = bounded<int>(1);
          while (left.fetch_sub(1) > 0) {
            auto chosen = co_await select(one.recv(), silent.recv(), two.recv());
            EXPECT_NE(chosen.index, 1u);
            ++count;
          }
          co_return count;
        };
        std::atomic<int> left{2 * kMessages};
        auto [m, n] = co_await all(reader(x, y, left), reader(y, x, left));
        co_return m + n;
      }(a, b),
      config_of(ExecutionModel::multi_thread));
  first.join();
  second.join();
  EXPECT_EQ(received, 2 * kMessages);
}

// The end of a task, a notification out of it and a cancel, all from another worker.
TEST(Select, TheEndOfATaskElsewhereIsMetOnceOrLeftForALaterJoin) {
  constexpr int kRounds = 20'000;
  auto end = [](Notify& out, int number) -> Task<int> {
    if (number % 4 != 0) out.notify_one();
    co_return number;
  };
  auto meet = [](TaskHandle<int>& task, Notify& in, int number) -> Task<absl::Status> {
    auto chosen = co_await select(in.notified(), task);
    const int ended = chosen.index == 1 ? std::get<1>(chosen.value) : co_await task;
    EXPECT_EQ(ended, number);
    co_return absl::OkStatus();
  };
  auto rounds = [end, meet]() -> Task<int> {
    int met = 0;
    for (int i = 0; i < kRounds; ++i) {
      Notify told;
      TaskHandle<int> task = spawn(end, std::ref(told), i);
      TaskHandle<absl::Status> meeting = spawn(meet, std::ref(task), std::ref(told), i);
      if (i % 3 == 0) meeting.cancel();
      if ((co_await meeting).ok()) {
        ++met;
      } else {
        EXPECT_EQ(co_await task, i);
      }
    }
    co_return met;
  };
  EXPECT_GE(run(rounds(), config_of(ExecutionModel::multi_thread)), kRounds * 2 / 3);
}

}  // namespace
}  // namespace zsync
