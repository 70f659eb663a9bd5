#include "zsync/broadcast.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "rt/models_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;
using testing::explore;
using testing::SimRuntime;

class BroadcastOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(BroadcastOnEveryModel);

TEST(Broadcast, EverySubscriberGetsWhatWasSentAfterItSubscribed) {
  Broadcast<std::string> news = broadcast<std::string>(4);
  EXPECT_EQ(news.capacity(), 4u);
  EXPECT_TRUE(news.send("nobody hears it").ok());
  Subscription<std::string> first = news.subscribe();
  EXPECT_TRUE(news.send("a").ok());
  Subscription<std::string> second = news.subscribe();
  EXPECT_TRUE(news.send("b").ok());
  EXPECT_EQ(**first.try_recv(), "a");
  EXPECT_EQ(**first.try_recv(), "b");
  EXPECT_EQ(**second.try_recv(), "b");
  EXPECT_FALSE(first.try_recv().has_value());
  EXPECT_FALSE(second.try_recv().has_value());
}

TEST(Broadcast, ASlowSubscriberIsToldHowManyItMissedAndGoesOnWithTheOldestThatIsThere) {
  Broadcast<int> numbers = broadcast<int>(3);
  Subscription<int> slow = numbers.subscribe();
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(numbers.send(i).ok());
  const absl::StatusOr<int> lagged = slow.recv_blocking();
  EXPECT_TRUE(absl::IsDataLoss(lagged.status()));
  EXPECT_EQ(lagged.status().message(),
            "missed 7 messages: receive faster, or give the broadcast a larger capacity");
  EXPECT_EQ(slow.missed(), 7u);
  for (int i = 7; i < 10; ++i) EXPECT_EQ(*slow.recv_blocking(), i);
  EXPECT_FALSE(slow.try_recv().has_value());
}

TEST(Broadcast, AfterTheCloseSubscribersGetWhatIsInTheRingAndThenKUnavailable) {
  Broadcast<int> numbers = broadcast<int>(2);
  Subscription<int> subscription = numbers.subscribe();
  EXPECT_TRUE(numbers.send(1).ok());
  numbers.close();
  EXPECT_TRUE(numbers.is_closed());
  EXPECT_EQ(numbers.send(2), absl::UnavailableError(""));
  EXPECT_EQ(*subscription.recv_blocking(), 1);
  EXPECT_EQ(subscription.recv_blocking().status(), absl::UnavailableError(""));
  EXPECT_TRUE(absl::IsUnavailable(numbers.subscribe().recv_blocking().status()));
}

TEST(Broadcast, ItClosesWhenTheLastCopyOfItIsGone) {
  std::optional<Broadcast<int>> first = broadcast<int>(2);
  std::optional<Broadcast<int>> second = first;
  Subscription<int> subscription = first->subscribe();
  first.reset();
  EXPECT_TRUE(second->send(1).ok());
  second.reset();
  EXPECT_EQ(*subscription.recv_blocking(), 1);
  EXPECT_TRUE(absl::IsUnavailable(subscription.recv_blocking().status()));
}

TEST(Broadcast, OverwrittenAndUnreadMessagesAreDestroyed) {
  std::atomic<int> alive{0};
  {
    Broadcast<Counted> messages = broadcast<Counted>(2);
    Subscription<Counted> subscription = messages.subscribe();
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(messages.send(Counted(alive)).ok());
    EXPECT_EQ(alive, 2);
    EXPECT_TRUE(absl::IsDataLoss(subscription.recv_blocking().status()));
    EXPECT_TRUE(subscription.recv_blocking().ok());
  }
  EXPECT_EQ(alive, 0);
}

// What the broadcast should do, without any waiting.
struct Model {
  size_t capacity;
  std::vector<int> sent{};
};

Task<size_t> follow(SimRuntime& world, Model& model, Subscription<int> subscription) {
  size_t position = 0, missed = 0;
  while (true) {
    const bool in_time = world.random_below(4) > 0;
    absl::StatusOr<int> received;
    if (in_time) {
      received = co_await subscription.recv();
    } else {  // a recv() that is cancelled takes nothing
      received = co_await timeout(subscription.recv(), 1ms * world.random_below(3));
      if (absl::IsDeadlineExceeded(received.status())) continue;
    }
    if (absl::IsUnavailable(received.status())) {
      EXPECT_EQ(position, model.sent.size());
      break;
    }
    if (absl::IsDataLoss(received.status())) {
      EXPECT_GT(model.sent.size() - position, model.capacity);
      position += subscription.missed() - missed;
      missed = subscription.missed();
      continue;
    }
    EXPECT_TRUE(received.ok()) << received.status();
    EXPECT_LT(position, model.sent.size());
    EXPECT_EQ(*received, model.sent[position++]);
    if (world.random_below(3) == 0) co_await sleep(1ms * world.random_below(4));
  }
  co_return missed;
}

TEST(Broadcast, EverySubscriberSeesTheSequenceAndMissesOnlyWhatTheRingCouldNotHold) {
  testing::SimOptions options;
  options.overload_percent = 10;
  size_t missed = 0, followed = 0;
  explore(
      300,
      [&](SimRuntime& sim) {
        sim.run([](SimRuntime& world, size_t& lost, size_t& runs) -> Task<void> {
          Model model{1 + world.random_below(4)};
          Broadcast<int> numbers = broadcast<int>(model.capacity);
          std::vector<TaskHandle<size_t>> followers;
          for (int i = 0; i < 3; ++i) {
            followers.push_back(spawn(follow(world, model, numbers.subscribe())));
          }
          for (int i = 0; i < 20; ++i) {
            model.sent.push_back(i);
            EXPECT_TRUE(numbers.send(i).ok());
            if (world.random_below(2) == 0) co_await sleep(1ms * world.random_below(3));
          }
          numbers.close();
          for (auto& follower : followers) {
            lost += co_await follower;
            ++runs;
          }
        }(sim, missed, followed));
      },
      options);
  EXPECT_GT(missed, followed);
}

TEST_P(BroadcastOnEveryModel, PlainThreadsAndTasksFollowOneBroadcast) {
  Broadcast<int> numbers = broadcast<int>(1 << 16);
  auto follow_all = [](Subscription<int> in) {
    int next = 0;
    while (true) {
      const absl::StatusOr<int> received = in.recv_blocking();
      if (!received.ok()) break;
      EXPECT_EQ(*received, next++);
    }
    EXPECT_EQ(next, 5000);
  };
  std::thread first(follow_all, numbers.subscribe()), second(follow_all, numbers.subscribe());
  run_here([](Broadcast<int> out) -> Task<void> {
    auto follower = [](Subscription<int> in) -> Task<int> {
      int count = 0;
      while ((co_await in.recv()).ok()) ++count;
      co_return count;
    };
    TaskHandle<int> counting = spawn(follower(out.subscribe()));
    for (int i = 0; i < 5000; ++i) {
      EXPECT_TRUE(out.send(i).ok());
      if (i % 64 == 0) co_await yield_now();
    }
    out.close();
    EXPECT_EQ(co_await counting, 5000);
  }(numbers));
  first.join();
  second.join();
}

TEST(BroadcastDeathTest, ARingForNothingDies) {
  EXPECT_DEATH((void)broadcast<int>(0), "its ring holds at least one message");
}

}  // namespace
}  // namespace zsync
