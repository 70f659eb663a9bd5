#include "zsync/notify.hpp"

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

class NotifyOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(NotifyOnEveryModel);

Task<void> log_when_notified(Notify& notify, std::string& log, char letter) {
  co_await notify.notified();
  log += letter;
}

TEST(Notify, NotifyOneWakesTheLongestWaitingAndNotifyAllTheRest) {
  explore(100, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Notify notify;
      std::string log;
      std::vector<TaskHandle<void>> handles;
      for (char letter : {'a', 'b', 'c', 'd'}) {
        handles.push_back(spawn(log_when_notified(notify, log, letter)));
        co_await sleep(1s);
      }
      handles[0].cancel();
      co_await sleep(1s);
      notify.notify_one();
      co_await sleep(1s);
      EXPECT_EQ(log, "b");
      notify.notify_all();
      co_await handles[2];
      co_await handles[3];
      EXPECT_EQ(log.size(), 3u);
    }());
  });
}

TEST(Notify, ANotifyOneThatFindsNobodyIsKeptForTheNextAndSeveralAreOne) {
  explore(100, [](SimRuntime& sim) {
    sim.run([]() -> Task<void> {
      Notify notify;
      notify.notify_one();
      notify.notify_one();
      EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(notify.changed(notify.epoch()), 1s)));
      co_await notify.notified();
      EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(notify.notified(), 1s)));
    }());
  });
}

TEST(Notify, ANotifyAllBetweenTheAskAndTheWaitIsNotMissed) {
  SimRuntime sim(1);
  sim.run([]() -> Task<void> {
    Notify notify;
    auto notified = notify.notified();
    notify.notify_all();
    co_await notified;
    EXPECT_TRUE(absl::IsDeadlineExceeded(co_await timeout(notify.notified(), 1s)));
  }());
}

TEST_P(NotifyOnEveryModel, AConsumerThatLooksAgainAfterEachNotifyOneMissesNothing) {
  Notify notify;
  std::atomic<int> produced{0};
  std::thread producer([&] {
    for (int i = 0; i < 5000; ++i) {
      ++produced;
      notify.notify_one();
    }
  });
  run_here([](Notify& changed, std::atomic<int>& count) -> Task<void> {
    int seen = 0;
    while (seen < 5000) {
      co_await changed.notified();
      seen = count;
    }
  }(notify, produced));
  producer.join();
}

}  // namespace
}  // namespace zsync
