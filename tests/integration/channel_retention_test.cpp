// What a durable channel keeps, between real processes.
#include "absl/strings/str_cat.h"
#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class ChannelRetention : public DaemonTest {
 protected:
  v1::Channel channel(const std::string& name) {
    const auto found = client().channels().get(name);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : v1::Channel();
  }
  void send(const std::string& name, int from, int to, size_t padding = 0) {
    std::string lines;
    for (int i = from; i <= to; ++i) lines += absl::StrCat(i, std::string(padding, ' '), "\n");
    const kit::Ran sent = ctl({"channels", "send", name}, lines);
    ASSERT_EQ(sent.code, 0) << sent.err;
  }
  void restart() {
    drop_client();
    daemon().kill9();
    ASSERT_TRUE(daemon().start()) << daemon().log();
    connect();
  }
};

TEST_F(ChannelRetention, WhatIsOverTheBytesGoesOnceItIsReceivedAndStaysGoneAfterAKill) {
  const kit::Ran made = ctl({"channels", "create", "d", "--durable", "--retention-bytes", "64KiB"});
  ASSERT_EQ(made.code, 0) << made.err;
  send("d", 1, 500, 1000);
  EXPECT_EQ(channel("d").first_seq(), 1u) << "nobody has received anything";
  ASSERT_EQ(ctl({"channels", "recv", "d", "-n", "500"}).code, 0);
  ASSERT_TRUE(kit::poll_until([&] { return channel("d").log_bytes() <= 64 << 10; }));
  const uint64_t first = channel("d").first_seq();
  EXPECT_GT(first, 300u);
  for (int daemon = 0; daemon < 2; ++daemon) {
    const kit::Ran old = ctl({"channels", "follow", "d", "--from", "5", "-n", "1"});
    EXPECT_EQ(old.code, 0) << old.err;
    EXPECT_THAT(old.err,
                HasSubstr(absl::StrCat("messages 5 to ", first - 1, " are missing (retention)")));
    EXPECT_THAT(old.out, ::testing::StartsWith(absl::StrCat(first, " ")));
    const kit::Ran start = ctl({"channels", "follow", "d", "--from", "start", "-n", "1"});
    EXPECT_THAT(start.out, ::testing::StartsWith(absl::StrCat(first, " ")));
    EXPECT_EQ(start.err, "") << "it asked for what there is";
    if (daemon == 0) restart();
  }
  EXPECT_THAT(ctl({"channels", "get", "d"}).out, HasSubstr("at most 64.0 KiB"));
}

TEST_F(ChannelRetention, SetChangesItAtOnceAndIsKept) {
  ASSERT_EQ(ctl({"channels", "create", "d", "--durable"}).code, 0);
  send("d", 1, 300, 1000);
  send("d", 301, 302);
  ASSERT_EQ(ctl({"channels", "recv", "d", "-n", "302"}).code, 0);
  const kit::Ran set = ctl({"channels", "set", "d", "--retention-bytes", "64KiB", "--retention-age",
                            "none", "--dedup-window", "1h"});
  EXPECT_EQ(set.code, 0) << set.err;
  restart();
  const v1::ChannelPolicy policy = channel("d").spec().policy();
  EXPECT_EQ(policy.retention_bytes(), 64u << 10);
  EXPECT_EQ(policy.retention_age().seconds(), 0);
  EXPECT_EQ(policy.dedup_window().seconds(), 3600);
  EXPECT_EQ(policy.dedup_ids_max(), 262144u);
  // New segments are small now; the large one goes with the first that follows it.
  send("d", 303, 400, 1000);
  ASSERT_EQ(ctl({"channels", "recv", "d", "-n", "98"}).code, 0);
  EXPECT_TRUE(kit::poll_until([&] { return channel("d").first_seq() > 302; }));
  const kit::Ran bad = ctl({"channels", "set", "d", "--retention-age", "1ms"});
  EXPECT_EQ(bad.code, 2) << bad.err;
  EXPECT_THAT(bad.err, HasSubstr("retention_age is 1s to 10 years"));
  EXPECT_EQ(channel("d").spec().policy().retention_age().seconds(), 0) << "unchanged";
  ASSERT_EQ(ctl({"channels", "create", "m"}).code, 0);
  EXPECT_EQ(ctl({"channels", "set", "m", "--retention-bytes", "1MiB"}).code, 2);
  EXPECT_EQ(ctl({"channels", "set", "m", "--dedup-window", "none"}).code, 0);
  EXPECT_EQ(ctl({"channels", "set", "none", "--dedup-window", "1s"}).code, 3);
}

TEST_F(ChannelRetention, IdsAreRememberedForTheWindowAndUpToTheirNumber) {
  ASSERT_EQ(ctl({"channels", "create", "d", "--dedup-ids-max", "2"}).code, 0);
  const auto send_id = [&](const char* id) {
    return ctl({"channels", "send", "d", "-m", "x", "--id", id, "-o", "json"});
  };
  EXPECT_EQ(send_id("a").code, 0);
  EXPECT_EQ(send_id("b").code, 0);
  EXPECT_THAT(send_id("a").out, HasSubstr("\"duplicates\": \"1\""));
  const kit::Ran full = send_id("c");
  EXPECT_NE(full.code, 0);
  EXPECT_THAT(full.err, HasSubstr("remembers the ids of 2 messages"));
  ASSERT_EQ(ctl({"channels", "set", "d", "--dedup-window", "none"}).code, 0);
  EXPECT_EQ(send_id("a").code, 0);
  EXPECT_EQ(channel("d").sent(), 3u);
}

TEST_F(ChannelRetention, AGroupAndAFollowerMayBeginAtATime) {
  ASSERT_EQ(ctl({"channels", "create", "d", "--durable"}).code, 0);
  send("d", 1, 5);
  std::vector<v1::Record> records;
  v1::FollowChannelRequest all;
  all.set_channel("d");
  all.set_from_start(true);
  ASSERT_TRUE(client()
                  .channels()
                  .follow(all,
                          [&](const v1::RecvBatch& batch) {
                            records.insert(records.end(), batch.records().begin(),
                                           batch.records().end());
                            return records.size() < 5;
                          })
                  .ok());
  ASSERT_EQ(ctl({"channels", "recv", "d", "-n", "5"}).code, 0);
  send("d", 6, 8);
  restart();
  const int64_t behind = records.back().time_unix_nano() + 1;
  all.set_from_start(false);
  all.set_from_time_unix_nano(behind);
  uint64_t first = 0;
  ASSERT_TRUE(client()
                  .channels()
                  .follow(all,
                          [&](const v1::RecvBatch& batch) {
                            first = batch.records(0).seq();
                            return false;
                          })
                  .ok());
  EXPECT_EQ(first, 6u);
  v1::CreateGroupRequest group;
  group.set_channel("d");
  group.mutable_spec()->set_name("g");
  group.set_from_time_unix_nano(records.front().time_unix_nano());
  const auto made = client().channels().create_group(group);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->next_seq(), 1u);
  EXPECT_EQ(ctl({"channels", "recv", "d", "-g", "g", "-n", "8"}).out, "1\n2\n3\n4\n5\n6\n7\n8\n");
  EXPECT_EQ(ctl({"channels", "add-group", "d", "h", "--from-time", "1h"}).code, 0);
  EXPECT_EQ(channel("d").groups(1).next_seq(), 1u);
  const kit::Ran future = ctl({"channels", "follow", "d", "--from", "10"});
  EXPECT_EQ(future.code, 2) << future.err;
  EXPECT_THAT(future.err, HasSubstr("the next one will be 9"));
}

TEST_F(ChannelRetention, ADelayOfANackSurvivesAKilledDaemon) {
  ASSERT_EQ(ctl({"channels", "create", "jobs", "--durable"}).code, 0);
  ASSERT_EQ(ctl({"channels", "add-group", "jobs", "g"}).code, 0);
  send("jobs", 1, 2);
  const absl::Status status = client().channels().consume(
      "jobs", "g", 1, client::Acks::kByHand, [&](const v1::RecvBatch& batch) {
        v1::NackRequest nack;
        nack.set_channel("jobs");
        nack.set_group("g");
        nack.add_messages()->set_seq(batch.records(0).seq());
        nack.mutable_delay()->set_seconds(3600);
        EXPECT_TRUE(client().channels().nack(nack).ok());
        return true;
      });
  EXPECT_TRUE(status.ok()) << status;
  restart();
  EXPECT_EQ(channel("jobs").groups(0).delayed(), 1u);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-g", "g", "-n", "1"}).out, "2\n");
  EXPECT_EQ(channel("jobs").groups(0).lag(), 1u);
}

TEST_F(ChannelRetention, ADaemonThatHasSomethingToDoLaterStopsAllTheSame) {
  ASSERT_EQ(ctl({"channels", "create", "jobs", "--durable", "--retention-age", "1h"}).code, 0);
  send("jobs", 1, 2);
  ASSERT_EQ(ctl({"channels", "recv", "jobs", "-n", "1"}).code, 0);
  drop_client();
  EXPECT_EQ(daemon().stop(), 0) << daemon().log();
}

}  // namespace
}  // namespace zsync::integration
