// Calls of one client that go on after its daemon was killed, side by side.
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

// gRPC looks at connections that no call waits for every 5 s; nothing here may live on that.
const bool kNobodyElseLooks =
    setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "600000", 1) == 0;

class Resume : public DaemonTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(kNobodyElseLooks);
    DaemonTest::SetUp();
  }
};

TEST_F(Resume, SeveralFollowersOfOneClientAllGoOnAfterAKill) {
  constexpr int kFollowers = 4;
  constexpr int kRounds = 3;
  std::atomic<int> seen[kFollowers] = {};  // the round that each has heard of
  client::StopSource stop;
  std::vector<std::thread> followers;
  for (int i = 0; i < kFollowers; ++i) {
    followers.emplace_back([&, i] {
      v1::FollowEventsRequest request;
      request.set_follow(true);
      request.set_from_seq(1);
      const absl::Status status =
          client().events().follow(request,
                                   [&](const v1::EventBatch& batch) {
                                     for (const v1::Event& event : batch.events()) {
                                       if (event.type() == "daemon.started") ++seen[i];
                                     }
                                     return true;
                                   },
                                   {std::nullopt, &stop});
      EXPECT_TRUE(absl::IsCancelled(status)) << status;
    });
  }
  for (int round = 1; round <= kRounds + 1; ++round) {
    for (const std::atomic<int>& one : seen) {
      EXPECT_TRUE(kit::poll_until([&] { return one >= round; }, kit::milliseconds(20'000)))
          << "round " << round << ": " << one;
    }
    daemon().kill9();
    ASSERT_TRUE(daemon().start()) << daemon().log();
  }
  stop.cancel();
  for (std::thread& one : followers) one.join();
}

TEST_F(Resume, AWatchAndAStateOfOneClientBothGoOnAfterAKill) {
  std::filesystem::create_directory(file("tree"));
  std::atomic<int> batches{0};
  std::atomic<int> held{0};
  client::StopSource stop;
  std::thread watching([&] {
    v1::SubscribeWatchRequest request;
    request.set_path(file("tree"));
    const absl::Status status = client().watch().subscribe(
        request, [&](const v1::WatchBatch&) { return ++batches, true; }, {std::nullopt, &stop});
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  });
  std::thread holding([&] {
    v1::HoldStateRequest request;
    request.set_path(file("tree"));
    request.set_name("build");
    const absl::Status status = client().watch().hold_state(
        request, [&](const v1::HoldStateReply&) { return ++held, true; }, {std::nullopt, &stop});
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  });
  for (int round = 1; round <= 4; ++round) {
    EXPECT_TRUE(kit::poll_until([&] { return held >= round; })) << "round " << round;
    const int before = batches;
    EXPECT_TRUE(kit::write_file(file("tree/" + std::to_string(round)), "x"));
    EXPECT_TRUE(kit::poll_until([&] { return batches > before; })) << "round " << round;
    daemon().kill9();
    ASSERT_TRUE(daemon().start()) << daemon().log();
  }
  stop.cancel();
  watching.join();
  holding.join();
}

}  // namespace
}  // namespace zsync::integration
