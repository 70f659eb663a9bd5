#include "zsync/oneshot.hpp"

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

class OneshotOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(OneshotOnEveryModel);

TEST(Oneshot, TheMessageIsReceivedOnceAndThenThereIsNone) {
  auto [sender, receiver] = oneshot<std::unique_ptr<int>>();
  EXPECT_FALSE(receiver.try_recv().has_value());
  EXPECT_TRUE(sender.send(std::make_unique<int>(5)).ok());
  EXPECT_EQ(**receiver.try_recv(), 5);
  EXPECT_FALSE(receiver.try_recv().has_value());
  EXPECT_FALSE(receiver.recv_blocking().has_value());
}

TEST(Oneshot, ASenderThatGoesWithoutSendingGivesNullopt) {
  auto [sender, receiver] = oneshot<int>();
  {
    auto dropped = std::move(sender);
  }
  EXPECT_FALSE(receiver.recv_blocking().has_value());
}

TEST(Oneshot, SendingToAReceiverThatIsGoneFails) {
  auto [sender, receiver] = oneshot<int>();
  EXPECT_FALSE(sender.is_closed());
  {
    auto dropped = std::move(receiver);
  }
  EXPECT_TRUE(sender.is_closed());
  EXPECT_EQ(sender.send(1), absl::UnavailableError(""));
}

TEST(Oneshot, AMessageThatNobodyReceivesIsDestroyedWithTheReceiver) {
  std::atomic<int> alive{0};
  auto [sender, receiver] = oneshot<Counted>();
  EXPECT_TRUE(sender.send(Counted(alive)).ok());
  EXPECT_EQ(alive, 1);
  {
    auto dropped = std::move(receiver);
  }
  EXPECT_EQ(alive, 0);
}

TEST(Oneshot, TheReceiverGetsTheMessageOrTheEndUnderEverySchedule) {
  explore(300, [](SimRuntime& sim) {
    sim.run([](SimRuntime& world) -> Task<void> {
      auto [sender, receiver] = oneshot<int>();
      const bool sends = world.random_below(2) == 0;
      TaskHandle<std::optional<int>> waiting = spawn(
          [](OneshotReceiver<int> in) -> Task<std::optional<int>> { co_return co_await in.recv(); },
          std::move(receiver));
      TaskHandle<void> sending = spawn(
          [](SimRuntime& random, OneshotSender<int> out, bool send) -> Task<void> {
            for (uint64_t n = random.random_below(4); n > 0; --n) co_await yield_now();
            if (send) EXPECT_TRUE(out.send(3).ok());
          },
          std::ref(world), std::move(sender), sends);
      EXPECT_EQ(co_await waiting, sends ? std::optional<int>(3) : std::nullopt);
      co_await sending;
    }(sim));
  });
}

TEST_P(OneshotOnEveryModel, APlainThreadAnswersATask) {
  Channel<OneshotSender<int>> requests = bounded<OneshotSender<int>>(1);
  std::thread server([requests]() mutable {
    int answer = 0;
    while (std::optional<OneshotSender<int>> reply = requests.recv_blocking()) {
      (void)reply->send(answer++);  // some do not wait for it
    }
  });
  run_here([](Channel<OneshotSender<int>> out) -> Task<void> {
    for (int i = 0; i < 1000; ++i) {
      auto [reply, answer] = oneshot<int>();
      EXPECT_TRUE((co_await out.send(std::move(reply))).ok());
      if (i % 3 == 0) continue;
      EXPECT_EQ(co_await answer.recv(), std::optional<int>(i));
    }
    out.close();
  }(requests));
  server.join();
}

TEST(OneshotDeathTest, SendingTwiceDies) {
  auto [sender, receiver] = oneshot<int>();
  EXPECT_TRUE(sender.send(1).ok());
  EXPECT_DEATH((void)sender.send(2), "OneshotSender::send\\(\\) was called before");
}

}  // namespace
}  // namespace zsync
