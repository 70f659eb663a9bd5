// Calls of one client that go on after its daemon was killed, side by side.
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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

class ResumeGroup : public Resume {
 protected:
  void SetUp() override {
    Resume::SetUp();
    ASSERT_EQ(ctl({"channels", "create", "jobs", "--durable"}).code, 0);
    ASSERT_EQ(ctl({"channels", "add-group", "jobs", "g"}).code, 0);
  }
  void send(const std::string& message) {
    const kit::Ran sent = ctl({"channels", "send", "jobs", "-m", message});
    ASSERT_EQ(sent.code, 0) << sent.err;
  }
  void restart() {
    daemon().kill9();
    ASSERT_TRUE(daemon().start()) << daemon().log();
  }
  v1::ChannelGroup group() {
    const auto channel = client().channels().get("jobs");
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? channel->groups(0) : v1::ChannelGroup();
  }
  static v1::AckRequest ack_of(uint64_t seq, uint32_t delivery) {
    v1::AckRequest request;
    request.set_channel("jobs");
    request.set_group("g");
    v1::Delivered& one = *request.add_messages();
    one.set_seq(seq);
    one.set_delivery(delivery);
    return request;
  }
};

TEST_F(ResumeGroup, AConsumerJoinsItsGroupAgainAndWhatItHadNotAcknowledgedComesAgain) {
  std::atomic<int> begun{0}, go_on{0};
  std::vector<std::string> seen;  // by the consumer's thread
  std::thread consuming([&] {
    const absl::Status status = client().channels().consume(
        "jobs", "g", 0, client::Acks::kOnReturn, [&](const v1::RecvBatch& batch) {
          for (const v1::Record& record : batch.records()) {
            seen.push_back(absl::StrCat(record.data(), " ", record.delivery()));
          }
          if (batch.closed()) return true;
          const int mine = ++begun;
          return kit::poll_until([&] { return go_on >= mine; }, kit::milliseconds(60'000));
        });
    EXPECT_TRUE(status.ok()) << status;
  });
  send("killed");
  EXPECT_TRUE(kit::poll_until([&] { return begun == 1; }));
  restart();  // while the callback is at work on it: its acknowledgement has nowhere to go
  go_on = 1;
  EXPECT_TRUE(kit::poll_until([&] { return begun == 2; }, kit::milliseconds(30'000)));
  go_on = 2;
  EXPECT_TRUE(kit::poll_until([&] { return group().lag() == 0; }));
  send("upgraded");
  EXPECT_TRUE(kit::poll_until([&] { return begun == 3; }));
  const auto upgraded = client().daemon().upgrade();
  EXPECT_TRUE(upgraded.ok()) << upgraded.status();
  go_on = 100;
  EXPECT_TRUE(kit::poll_until([&] { return group().lag() == 0; }, kit::milliseconds(30'000)));
  send("after");
  EXPECT_TRUE(kit::poll_until([&] { return group().lag() == 0; }));
  EXPECT_EQ(ctl({"channels", "close", "jobs"}).code, 0);
  consuming.join();
  ASSERT_GE(seen.size(), 4u);
  EXPECT_EQ(seen[0], "killed 1");
  EXPECT_EQ(seen[1], "killed 2");
  EXPECT_EQ(seen[2], "upgraded 1");
  EXPECT_EQ(seen.back(), "after 1");
}

TEST_F(ResumeGroup, AnAckOfADeliveryBeforeTheBreakIsToldToBeLateAndIsNoError) {
  client::StopSource stop;
  std::atomic<uint32_t> delivery{0};
  std::thread consuming([&] {
    const absl::Status status = client().channels().consume("jobs", "g", 0, client::Acks::kByHand,
                                                            [&](const v1::RecvBatch& batch) {
                                                              if (batch.records_size() > 0)
                                                                delivery =
                                                                    batch.records(0).delivery();
                                                              return true;
                                                            },
                                                            {std::nullopt, &stop});
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  });
  send("x");
  EXPECT_TRUE(kit::poll_until([&] { return delivery == 1; }));
  restart();
  EXPECT_TRUE(kit::poll_until([&] { return delivery == 2; }, kit::milliseconds(30'000)));
  const auto late = client().channels().ack(ack_of(1, 1));
  EXPECT_TRUE(late.ok() && late->done() == 0 && late->refused_size() == 1 &&
              late->refused(0).reason() == "REDELIVERED")
      << late.status();
  auto other = client::Client::connect({.socket = daemon().socket(), .resume = true});
  EXPECT_FALSE(other.ok() && (*other)->channels().ack(ack_of(1, 1)).ok())
      << "who lost no call is told an error";
  const auto done = client().channels().ack(ack_of(1, 2));
  EXPECT_TRUE(done.ok() && done->done() == 1) << done.status();
  send("y");
  EXPECT_TRUE(kit::poll_until([&] { return delivery == 1; }));
  EXPECT_FALSE(client().channels().ack(ack_of(2, 7)).ok()) << "given after the break";
  stop.cancel();
  consuming.join();
}

TEST_F(ResumeGroup, AnAckWhileTheDaemonIsDownWaitsForItsReturn) {
  send("x");
  client::StopSource stop;
  std::atomic<bool> given{false};
  std::thread consuming([&] {
    (void)client().channels().consume("jobs", "g", 0, client::Acks::kByHand,
                                      [&](const v1::RecvBatch&) { return given = true, true; },
                                      {std::nullopt, &stop});
  });
  EXPECT_TRUE(kit::poll_until([&] { return given.load(); }));
  daemon().kill9();
  std::thread acking([&] {
    const auto reply = client().channels().ack(ack_of(1, 0));
    EXPECT_TRUE(reply.ok()) << reply.status();
  });
  EXPECT_TRUE(daemon().start()) << daemon().log();
  acking.join();
  stop.cancel();
  consuming.join();
}

TEST_F(ResumeGroup, TheCommandLineGoesOnAfterAKill) {
  const int out = ::open(file("out").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  ASSERT_GE(out, 0);
  kit::StartOptions options;
  options.out = out;
  kit::Process receiver(daemon().ctl_argv({"channels", "recv", "jobs", "-g", "g", "-n", "3"}),
                        options);
  ::close(out);
  for (const char* message : {"1", "2"}) {
    send(message);
    EXPECT_TRUE(kit::poll_until([&] { return group().lag() == 0; }, kit::milliseconds(30'000)));
    restart();
  }
  send("3");
  EXPECT_EQ(receiver.wait(kit::milliseconds(30'000)), 0);
  EXPECT_EQ(kit::read_file(file("out")), "1\n2\n3\n");
  EXPECT_EQ(group().lag(), 0u);
}

}  // namespace
}  // namespace zsync::integration
