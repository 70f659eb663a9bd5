#include "zsync/channel.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class ChannelOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(ChannelOnEveryModel);

TEST(Channel, TryFormsNeverWaitAndSayFullEmptyOrClosedWithTheCodeOnly) {
  Channel<int> channel = bounded<int>(2);
  EXPECT_FALSE(channel.try_recv().has_value());
  EXPECT_TRUE(channel.try_send(1).ok());
  EXPECT_TRUE(channel.try_send(2).ok());
  EXPECT_EQ(channel.try_send(3), absl::ResourceExhaustedError(""));
  EXPECT_EQ(channel.size(), 2u);
  EXPECT_EQ(channel.capacity(), 2u);
  channel.close();
  EXPECT_TRUE(channel.is_closed());
  EXPECT_EQ(channel.try_send(3), absl::UnavailableError(""));
  EXPECT_EQ(*channel.try_recv(), 1);
  EXPECT_EQ(*channel.try_recv(), 2);
  EXPECT_FALSE(channel.try_recv().has_value());
}

TEST_P(ChannelOnEveryModel, SendAfterCloseFailsAndGivesTheMessageBack) {
  run_here([]() -> Task<void> {
    Channel<std::unique_ptr<int>> channel = bounded<std::unique_ptr<int>>(1);
    channel.close();
    EXPECT_EQ(co_await channel.send(std::make_unique<int>(1)), absl::UnavailableError(""));
    Returned<std::unique_ptr<int>> back = co_await channel.send_or_return(std::make_unique<int>(2));
    EXPECT_TRUE(absl::IsUnavailable(back.status));
    EXPECT_EQ(**back.message, 2);
    EXPECT_FALSE((co_await channel.recv()).has_value());
    channel.close();  // again: nothing happens
  }());
}

TEST_P(ChannelOnEveryModel, AFullChannelHoldsTheSenderUntilOneMessageIsReceived) {
  run_here([]() -> Task<void> {
    Channel<int> channel = bounded<int>(1);
    EXPECT_TRUE((co_await channel.send(1)).ok());
    TaskHandle<absl::Status> sender = spawn(
        [](Channel<int> out) -> Task<absl::Status> { co_return co_await out.send(2); }, channel);
    for (int i = 0; i < 5; ++i) co_await yield_now();
    EXPECT_FALSE(sender.done());
    EXPECT_EQ(*co_await channel.recv(), 1);
    EXPECT_TRUE((co_await sender).ok());
    EXPECT_EQ(*co_await channel.recv(), 2);
  }());
}

TEST(Channel, CloseWakesBlockedSendersWithKUnavailableAndBlockedReceiversWithNullopt) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Channel<int> empty = bounded<int>(1), full = bounded<int>(1);
      (void)full.try_send(0);
      std::vector<TaskHandle<absl::Status>> senders;
      std::vector<TaskHandle<std::optional<int>>> receivers;
      for (int i = 0; i < 3; ++i) {
        senders.push_back(spawn(
            [](Channel<int> out) -> Task<absl::Status> { co_return co_await out.send(1); }, full));
        receivers.push_back(
            spawn([](Channel<int> in) -> Task<std::optional<int>> { co_return co_await in.recv(); },
                  empty));
      }
      for (uint64_t n = world.random_below(6); n > 0; --n) co_await yield_now();
      empty.close();
      full.close();
      for (auto& sender : senders) EXPECT_EQ(co_await sender, absl::UnavailableError(""));
      for (auto& receiver : receivers) EXPECT_FALSE((co_await receiver).has_value());
      EXPECT_EQ(*co_await full.recv(), 0);  // what was buffered is drained
      EXPECT_FALSE((co_await full.recv()).has_value());
    }(sim));
  });
}

TEST(Channel, ASendCancelledMidwayWasNotSentAndLeavesTheOrderOfTheOthers) {
  explore(300, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Channel<int> channel = bounded<int>(1);
      (void)channel.try_send(0);
      std::vector<TaskHandle<absl::Status>> senders;
      for (int i = 1; i <= 3; ++i) {
        senders.push_back(spawn(
            [](Channel<int> out, int n) -> Task<absl::Status> { co_return co_await out.send(n); },
            channel, i));
        co_await sleep(1s);  // they queue in this order
      }
      senders[1].cancel();
      EXPECT_TRUE(absl::IsCancelled(co_await senders[1]));
      EXPECT_EQ(*co_await channel.recv(), 0);
      EXPECT_EQ(*co_await channel.recv(), 1);
      EXPECT_EQ(*co_await channel.recv(), 3);
      EXPECT_FALSE(channel.try_recv().has_value());
    }());
  });
}

TEST(Channel, WaitingReceiversAreServedInTheOrderOfTheirArrival) {
  explore(100, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Channel<int> channel = bounded<int>(8);
      std::vector<TaskHandle<std::optional<int>>> receivers;
      for (int i = 0; i < 5; ++i) {
        receivers.push_back(
            spawn([](Channel<int> in) -> Task<std::optional<int>> { co_return co_await in.recv(); },
                  channel));
        co_await sleep(1s);
      }
      for (int i = 0; i < 5; ++i) EXPECT_TRUE((co_await channel.send(i)).ok());
      for (int i = 0; i < 5; ++i) EXPECT_EQ(*co_await receivers[i], i);
    }());
  });
}

TEST(Channel, EveryMessageArrivesOnceAndInTheOrderOfItsSender) {
  explore(500, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Channel<std::pair<int, int>> channel =
          bounded<std::pair<int, int>>(1 + world.random_below(3));
      std::vector<TaskHandle<void>> senders;
      for (int s = 0; s < 3; ++s) {
        senders.push_back(spawn(
            [](Channel<std::pair<int, int>> out, int id) -> Task<void> {
              for (int i = 0; i < 10; ++i) EXPECT_TRUE((co_await out.send({id, i})).ok());
            },
            channel, s));
      }
      std::vector<TaskHandle<int>> receivers;
      std::vector<std::vector<int>> seen(3);
      for (int r = 0; r < 2; ++r) {
        receivers.push_back(spawn(
            [](Channel<std::pair<int, int>> in, std::vector<std::vector<int>>& out) -> Task<int> {
              int count = 0;
              int last[3] = {-1, -1, -1};
              while (auto message = co_await in.recv()) {
                EXPECT_GT(message->second, last[message->first]);
                last[message->first] = message->second;
                out[message->first].push_back(message->second);
                ++count;
              }
              co_return count;
            },
            channel, std::ref(seen)));
      }
      for (auto& sender : senders) co_await sender;
      channel.close();
      EXPECT_EQ(co_await receivers[0] + co_await receivers[1], 30);
      for (const auto& numbers : seen) EXPECT_EQ(numbers.size(), 10u);
    }(sim));
  });
}

TEST(Channel, WhenTheLastHalfOfOneSideIsGoneTheChannelClosesForTheOther) {
  Channel<int> channel = bounded<int>(4);
  {
    Sender<int> first = channel.sender();
    Sender<int> second = first;
    Sender<int> third = std::move(first);
    EXPECT_TRUE(second.try_send(1).ok());
    second = std::move(third);
    EXPECT_FALSE(channel.is_closed());
  }
  EXPECT_TRUE(channel.is_closed());
  EXPECT_EQ(*channel.try_recv(), 1);
  Channel<int> other = bounded<int>(4);
  {
    Receiver<int> receiver = other.receiver();
  }
  EXPECT_EQ(other.try_send(1), absl::UnavailableError(""));
  explore(100, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Channel<int> shared = bounded<int>(1);
      for (int i = 0; i < 2; ++i) {
        spawn(
            [](Sender<int> out) -> Task<void> {
              for (int n = 0; n < 5; ++n) EXPECT_TRUE((co_await out.send(n)).ok());
            },
            shared.sender())
            .detach();
      }
      int count = 0;
      Receiver<int> receiver = shared.receiver();
      while (co_await receiver.recv()) ++count;
      EXPECT_EQ(count, 10);
    }());
  });
}

TEST(Channel, BatchesKeepTheOrderAndGiveBackWhatWasNotSent) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Channel<int> channel = bounded<int>(4);
      TaskHandle<std::vector<int>> sender = spawn(
          [](Channel<int> out) -> Task<std::vector<int>> {
            std::vector<int> messages;
            for (int i = 0; i < 50; ++i) messages.push_back(i);
            const absl::Status status = co_await out.send_many(messages);
            EXPECT_EQ(status.ok(), messages.empty());
            EXPECT_TRUE(status.ok() || absl::IsUnavailable(status));
            co_return messages;
          },
          channel);
      const uint64_t close_after = world.random_below(60);
      int next = 0;
      while (static_cast<uint64_t>(next) < close_after && next < 50) {
        const std::vector<int> some = co_await channel.recv_many(1 + world.random_below(7));
        EXPECT_LE(some.size(), 7u);
        for (int message : some) EXPECT_EQ(message, next++);
      }
      channel.close();
      while (true) {
        const std::vector<int> rest = co_await channel.recv_many(100);
        if (rest.empty()) break;
        for (int message : rest) EXPECT_EQ(message, next++);
      }
      const std::vector<int> unsent = co_await sender;
      EXPECT_EQ(next + unsent.size(), 50u);
      if (!unsent.empty()) EXPECT_EQ(unsent.front(), next);
      EXPECT_TRUE((co_await channel.recv_many(0)).empty());
    }(sim));
  });
}

TEST(Channel, HalvesSendAndReceiveInBatchesToo) {
  explore(100, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Channel<int> channel = bounded<int>(2);
      TaskHandle<void> sending = spawn(
          [](Sender<int> out) -> Task<void> {
            std::vector<int> messages{0, 1, 2, 3, 4, 5, 6, 7};
            EXPECT_TRUE((co_await out.send_many(messages)).ok());
            EXPECT_TRUE((co_await out.send_or_return(8)).status.ok());
          },
          channel.sender());
      int next = 0;
      Receiver<int> in = channel.receiver();
      while (true) {
        const std::vector<int> some = co_await in.recv_many(3);
        if (some.empty()) break;
        for (int message : some) EXPECT_EQ(message, next++);
      }
      EXPECT_EQ(next, 9);
      co_await sending;
    }());
  });
}

TEST(Channel, ABatchReceiveThatIsCancelledLosesNoMessage) {
  int cancelled = 0, completed = 0;
  explore(400, [&](SimRuntime& sim) {
    sim.run([](SimRuntime& world, int& cancels, int& completions) -> Task<void> {
      Channel<int> channel = bounded<int>(8);
      size_t received = 0;
      TaskHandle<void> receiving =
          spawn([](Channel<int> in,
                   size_t& count) -> Task<void> { count += (co_await in.recv_many(2)).size(); },
                channel, std::ref(received));
      TaskHandle<void> sending = spawn(
          [](SimRuntime& random, Channel<int> out) -> Task<void> {
            for (uint64_t n = random.random_below(5); n > 0; --n) co_await yield_now();
            for (int i = 0; i < 3; ++i) EXPECT_TRUE((co_await out.send(i)).ok());
          },
          std::ref(world), channel);
      for (uint64_t n = world.random_below(5); n > 0; --n) co_await yield_now();
      receiving.cancel();
      co_await sending;
      try {
        co_await receiving;
        ++completions;
      } catch (const Cancelled&) {
        ++cancels;
        EXPECT_EQ(received, 0u);
      }
      EXPECT_EQ(received + channel.size(), 3u);
    }(sim, cancelled, completed));
  });
  EXPECT_GT(cancelled, 5);
  EXPECT_GT(completed, 5);
}

TEST(Channel, ABatchSendThatIsCancelledKeepsTheRest) {
  explore(200, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      Channel<int> channel = bounded<int>(3);
      TaskHandle<size_t> sender = spawn(
          [](Channel<int> out) -> Task<size_t> {
            std::vector<int> messages{0, 1, 2, 3, 4, 5, 6, 7};
            EXPECT_TRUE(absl::IsCancelled(co_await out.send_many(messages)));
            EXPECT_EQ(messages.empty() ? 8 : messages.front(),
                      static_cast<int>(8 - messages.size()));
            co_return messages.size();
          },
          channel);
      for (uint64_t n = world.random_below(4); n > 0; --n) co_await sleep(1s);
      for (uint64_t n = world.random_below(4); n > 0; --n) (void)channel.try_recv();
      const size_t received_before = 0;
      sender.cancel();
      const size_t unsent = co_await sender;
      EXPECT_LE(unsent + received_before, 8u);
      EXPECT_GE(unsent, 2u);
    }(sim));
  });
}

TEST(Channel, BlockingFormsWorkBetweenPlainThreads) {
  Channel<int> channel = bounded<int>(2);
  std::thread sender([channel]() mutable {
    for (int i = 0; i < 5000; ++i) EXPECT_TRUE(channel.send_blocking(i).ok());
    channel.close();
    EXPECT_TRUE(absl::IsUnavailable(channel.send_blocking(1)));
  });
  int next = 0;
  while (std::optional<int> v = channel.recv_blocking()) EXPECT_EQ(*v, next++);
  EXPECT_EQ(next, 5000);
  sender.join();
}

TEST_P(ChannelOnEveryModel, PlainThreadsAndTasksShareAChannel) {
  Channel<int> channel = bounded<int>(2);
  std::thread sender([out = channel.sender()]() mutable {
    for (int i = 0; i < 2000; ++i) EXPECT_TRUE(out.send_blocking(1).ok());
  });
  const int sum = run_here([](Channel<int> in) -> Task<int> {
    int total = 0;
    while (std::optional<int> v = co_await in.recv()) total += *v;
    co_return total;
  }(channel));
  sender.join();
  EXPECT_EQ(sum, 2000);
}

TEST_P(ChannelOnEveryModel, MessagesAreDestroyedWithTheChannel) {
  std::atomic<int> alive{0};
  {
    Channel<Counted> channel = unbounded<Counted>();
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(channel.try_send(Counted(alive)).ok());
    run_here([](Channel<Counted> in) -> Task<void> { (void)co_await in.recv(); }(channel));
    EXPECT_EQ(alive, 9);
  }
  EXPECT_EQ(alive, 0);
}

TEST(ChannelDeathTest, MisuseDiesWithTheCallAndTheCure) {
  EXPECT_DEATH((void)bounded<int>(0), "bounded<T>\\(0\\): a channel holds at least one message");
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     Channel<int> channel = bounded<int>(1);
                     (void)channel.recv_blocking();
                     co_return;
                   }(),
                   Config::for_cli()),
               "recv_blocking\\(\\) on a worker blocks every task of it: co_await recv\\(\\)");
  EXPECT_DEATH(run(
                   []() -> Task<void> {
                     Channel<int> channel = bounded<int>(1);
                     (void)channel.send_blocking(1);
                     co_return;
                   }(),
                   Config::for_cli()),
               "send_blocking\\(\\) on a worker blocks every task of it: co_await send\\(\\)");
}

}  // namespace
}  // namespace zsync
