// Consumer groups between real processes: what comes again, to whom, and what a kill leaves.
#include <signal.h>

#include <future>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Messages = std::vector<std::string>;

class ChannelGroups : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }

  void create(const std::string& name, Words group_flags = {}) {
    const kit::Ran made = ctl({"channels", "create", name, "--durable"});
    ASSERT_EQ(made.code, 0) << made.err;
    Words words{"channels", "add-group", name, "g"};
    words.insert(words.end(), group_flags.begin(), group_flags.end());
    const kit::Ran added = ctl(std::move(words));
    ASSERT_EQ(added.code, 0) << added.err;
  }
  void send(const std::string& name, int from, int to) {
    std::string lines;
    for (int i = from; i <= to; ++i) lines += std::to_string(i) + "\n";
    const kit::Ran sent = ctl({"channels", "send", name}, lines);
    ASSERT_EQ(sent.code, 0) << sent.err;
  }
  v1::ChannelGroup group(const std::string& name) {
    const auto channel = channels().get(name);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() && channel->groups_size() > 0 ? channel->groups(0) : v1::ChannelGroup();
  }
  // `count` messages, acknowledged unless by hand; the consumer leaves then.
  std::vector<v1::Record> consume(const std::string& name, uint64_t count,
                                  client::Acks acks = client::Acks::kOnReturn) {
    std::vector<v1::Record> records;
    const absl::Status status = channels().consume(
        name, "g", count, acks,
        [&](const v1::RecvBatch& batch) {
          records.insert(records.end(), batch.records().begin(), batch.records().end());
          return true;
        },
        {std::chrono::seconds(30), nullptr});
    EXPECT_TRUE(status.ok()) << status;
    return records;
  }
  absl::StatusOr<v1::AckReply> ack(const std::string& name, uint64_t seq, uint32_t delivery = 0) {
    v1::AckRequest request;
    request.set_channel(name);
    request.set_group("g");
    v1::Delivered& one = *request.add_messages();
    one.set_seq(seq);
    one.set_delivery(delivery);
    return channels().ack(request);
  }
  static Messages data_of(const std::vector<v1::Record>& records) {
    Messages data;
    for (const v1::Record& record : records) data.push_back(record.data());
    return data;
  }
  void restart() {
    drop_client();
    daemon().kill9();
    ASSERT_TRUE(daemon().start()) << daemon().log();
    connect();
  }
};

TEST_F(ChannelGroups, AGroupsCursorSurvivesAKilledDaemon) {
  create("jobs");
  send("jobs", 1, 100);
  EXPECT_EQ(consume("jobs", 40).size(), 40u);
  restart();
  EXPECT_EQ(group("jobs").floor(), 41u);
  const std::vector<v1::Record> rest = consume("jobs", 60);
  ASSERT_EQ(rest.size(), 60u);
  EXPECT_EQ(rest.front().data(), "41");
  EXPECT_EQ(rest.front().delivery(), 1u) << "nobody had it before";
  EXPECT_EQ(group("jobs").lag(), 0u);
  restart();
  EXPECT_EQ(group("jobs").lag(), 0u);
}

TEST_F(ChannelGroups, DeliveriesAreCountedAcrossAKilledDaemonAndEndInTheDeadLetters) {
  create("jobs", {"--max-deliveries", "2"});
  send("jobs", 1, 3);
  EXPECT_EQ(consume("jobs", 3, client::Acks::kByHand).size(), 3u);
  restart();
  const std::vector<v1::Record> again = consume("jobs", 2, client::Acks::kByHand);
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].delivery(), 2u);
  // 1 and 2 were delivered twice and are dead; 3 once.
  ASSERT_TRUE(kit::poll_until([&] { return group("jobs").dead() == 2; }));
  EXPECT_THAT(data_of(consume("jobs", 1)), ElementsAre("3"));
  std::vector<v1::Record> dead;
  ASSERT_TRUE(channels()
                  .follow("jobs.dead", 1,
                          [&](const v1::RecvBatch& batch) {
                            dead.insert(dead.end(), batch.records().begin(), batch.records().end());
                            return dead.size() < 2;
                          })
                  .ok());
  ASSERT_EQ(dead.size(), 2u);
  EXPECT_EQ(dead[0].data(), "1");
  EXPECT_EQ(dead[0].dead().channel(), "jobs");
  EXPECT_EQ(dead[0].dead().group(), "g");
  EXPECT_EQ(dead[0].dead().seq(), 1u);
  EXPECT_EQ(dead[0].dead().deliveries(), 2u);
  EXPECT_EQ(dead[0].dead().reason(), "its consumer went away");
}

TEST_F(ChannelGroups, ADeadLetterIsWaitedForBeforeThereIsOne) {
  create("jobs", {"--max-deliveries", "1"});
  std::future<kit::Ran> waiting = std::async(
      std::launch::async, [&] { return ctl({"channels", "recv", "jobs.dead", "-n", "1"}); });
  ASSERT_TRUE(kit::poll_until([&] { return channels().get("jobs.dead").ok(); }));
  send("jobs", 1, 1);
  EXPECT_EQ(consume("jobs", 1, client::Acks::kByHand).size(), 1u);
  const kit::Ran received = waiting.get();
  EXPECT_EQ(received.out, "1\n") << received.err;
  EXPECT_EQ(ctl({"channels", "recv", "nothing.dead", "-n", "1"}).code, 3);
}

TEST_F(ChannelGroups, WhatAKilledConsumerHadGoesToAnotherOneAtOnce) {
  create("jobs", {"--ack-wait", "1h"});
  send("jobs", 1, 5);
  kit::Process doomed(daemon().ctl_argv({"channels", "recv", "jobs", "--group", "g", "--no-ack"}),
                      {});
  ASSERT_TRUE(kit::poll_until([&] { return group("jobs").in_hand() == 5; }));
  std::future<std::vector<v1::Record>> other =
      std::async(std::launch::async, [&] { return consume("jobs", 5); });
  doomed.kill9();
  const std::vector<v1::Record> records = other.get();
  EXPECT_THAT(data_of(records), ElementsAre("1", "2", "3", "4", "5"));
  for (const v1::Record& record : records) EXPECT_EQ(record.delivery(), 2u);
}

TEST_F(ChannelGroups, AnAckThatDoesNotFitNamesWhatIsWrongAndChangesNothing) {
  create("jobs", {"--ack-wait", "50ms", "--max-deliveries", "1000"});
  send("jobs", 1, 2);
  EXPECT_EQ(consume("jobs", 1, client::Acks::kOnReturn).size(), 1u);
  const auto twice = ack("jobs", 1, 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(twice.status())) << twice.status();
  EXPECT_THAT(twice.status().message(), HasSubstr("message 1 of channel \"jobs\", group \"g\""));
  EXPECT_THAT(twice.status().message(), HasSubstr("settled already"));
  const auto future = ack("jobs", 900);
  EXPECT_TRUE(absl::IsInvalidArgument(future.status())) << future.status();
  EXPECT_THAT(future.status().message(), HasSubstr("was not delivered yet"));
  // One consumer holds message 2 too long; it is delivered again, and the first delivery is over.
  bool first = true;
  const absl::Status status =
      channels().consume("jobs", "g", 0, client::Acks::kByHand, [&](const v1::RecvBatch& batch) {
        for (const v1::Record& record : batch.records()) {
          if (std::exchange(first, false)) continue;
          EXPECT_GE(record.delivery(), 2u);
          const auto late = ack("jobs", 2, 1);
          EXPECT_TRUE(absl::IsFailedPrecondition(late.status())) << late.status();
          EXPECT_THAT(late.status().message(), HasSubstr("delivered again since delivery 1"));
        }
        return batch.records().empty() || batch.records(0).delivery() < 2;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(group("jobs").lag(), 1u);
  const kit::Ran cli = ctl({"channels", "ack", "jobs", "g", "1"});
  EXPECT_EQ(cli.code, 7) << cli.err;
  EXPECT_THAT(cli.err, HasSubstr("settled already"));
}

TEST_F(ChannelGroups, ABatchOfAcksSettlesWhatFitsAndNamesTheRest) {
  create("jobs");
  send("jobs", 1, 3);
  EXPECT_EQ(consume("jobs", 1).size(), 1u);
  bool asked = false;
  const absl::Status status =
      channels().consume("jobs", "g", 2, client::Acks::kByHand, [&](const v1::RecvBatch& batch) {
        if (batch.records_size() < 2 && !std::exchange(asked, true)) return true;
        v1::AckRequest request;
        request.set_channel("jobs");
        request.set_group("g");
        for (uint64_t seq : {1, 2, 3, 4}) request.add_messages()->set_seq(seq);
        const auto reply = channels().ack(request);
        EXPECT_TRUE(reply.ok()) << reply.status();
        if (!reply.ok()) return false;
        EXPECT_EQ(reply->done(), 2u);
        EXPECT_EQ(reply->refused_size(), 2);
        EXPECT_EQ(reply->refused(0).seq(), 1u);
        EXPECT_EQ(reply->refused(0).reason(), "SETTLED");
        EXPECT_EQ(reply->refused(1).reason(), "NOT_DELIVERED");
        return false;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(group("jobs").lag(), 0u);
}

TEST_F(ChannelGroups, ANackComesBackAfterItsDelayAndExtendingHoldsIt) {
  create("jobs", {"--ack-wait", "150ms"});
  send("jobs", 1, 1);
  std::vector<uint32_t> deliveries;
  const absl::Status status =
      channels().consume("jobs", "g", 0, client::Acks::kByHand, [&](const v1::RecvBatch& batch) {
        for (const v1::Record& record : batch.records()) {
          deliveries.push_back(record.delivery());
          if (record.delivery() == 1) {
            v1::NackRequest nack;
            nack.set_channel("jobs");
            nack.set_group("g");
            nack.add_messages()->set_seq(1);
            nack.mutable_delay()->set_nanos(50'000'000);
            EXPECT_TRUE(channels().nack(nack).ok());
            continue;
          }
          v1::ExtendRequest extend;
          extend.set_channel("jobs");
          extend.set_group("g");
          extend.add_messages()->set_seq(record.seq());
          EXPECT_TRUE(channels().extend(extend).ok());
          EXPECT_TRUE(ack("jobs", 1, record.delivery()).ok());
        }
        return deliveries.size() < 2;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(deliveries, ElementsAre(1, 2));
}

TEST_F(ChannelGroups, AKeyIsInOneConsumersHandsUntilItIsSettled) {
  create("jobs");
  v1::SendRequest request;
  for (const char* key : {"a", "a", "b", ""}) {
    request.add_messages(key);
    request.add_keys(key);
  }
  client::ChannelSender sender = channels().send("jobs");
  ASSERT_TRUE(sender.send(std::move(request)));
  ASSERT_TRUE(sender.finish().ok());
  std::vector<uint64_t> seqs;
  const absl::Status status =
      channels().consume("jobs", "g", 0, client::Acks::kByHand, [&](const v1::RecvBatch& batch) {
        for (const v1::Record& record : batch.records()) seqs.push_back(record.seq());
        if (seqs.size() < 3) return true;
        if (seqs.size() == 4) return false;
        EXPECT_EQ(group("jobs").parked(), 1u) << "2 waits for 1";
        EXPECT_TRUE(ack("jobs", 1).ok());
        return true;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seqs, ElementsAre(1, 3, 4, 2));
  restart();
  EXPECT_THAT(data_of(consume("jobs", 3)), ElementsAre("a", "b", ""));
}

TEST_F(ChannelGroups, AMessageWithTheIdOfAnotherOneIsKeptOnceAlsoAcrossAKilledDaemon) {
  ASSERT_EQ(ctl({"channels", "create", "jobs", "--durable"}).code, 0);
  v1::SendRequest request;
  request.set_channel("jobs");
  for (const char* id : {"one", "two", "one", ""}) {
    request.add_messages(id);
    request.add_ids(id);
  }
  auto sent = channels().try_send(request);
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->accepted(), 4u);
  EXPECT_EQ(sent->duplicates(), 1u);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "3"}).out, "one\ntwo\n\n");
  restart();
  const kit::Ran again =
      ctl({"channels", "send", "jobs", "-m", "other", "--id", "two", "--key", "k", "-o", "json"});
  EXPECT_THAT(again.out, HasSubstr("\"duplicates\": \"1\"")) << again.out;
  EXPECT_THAT(again.out, HasSubstr("\"lastSeq\": \"2\"")) << "the number of the first";
  EXPECT_EQ(channels().get("jobs")->depth(), 0u);
  request.add_keys("only one");
  EXPECT_TRUE(absl::IsInvalidArgument(channels().try_send(request).status()));
  request.clear_keys();
  request.set_ids(0, std::string(257, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(channels().try_send(request).status()));
}

TEST_F(ChannelGroups, EachGroupGetsEveryMessageAndASlowOneHoldsABoundedChannelsSenders) {
  ASSERT_EQ(ctl({"channels", "create", "jobs", "--durable", "--capacity", "4"}).code, 0);
  ASSERT_EQ(ctl({"channels", "add-group", "jobs", "g"}).code, 0);
  ASSERT_EQ(ctl({"channels", "add-group", "jobs", "slow"}).code, 0);
  std::future<kit::Ran> sender = std::async(
      std::launch::async, [&] { return ctl({"channels", "send", "jobs"}, "1\n2\n3\n4\n5\n6\n"); });
  EXPECT_THAT(data_of(consume("jobs", 4)), ElementsAre("1", "2", "3", "4"));
  ASSERT_TRUE(kit::poll_until([&] { return channels().get("jobs")->senders_waiting() == 1; }));
  const kit::Ran table = ctl({"channels", "groups", "jobs"});
  EXPECT_THAT(table.out, HasSubstr("no consumer is connected for 4 unsettled messages"));
  EXPECT_THAT(table.out, HasSubstr("everything sent so far is settled"));
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-g", "slow", "-n", "6"}).out, "1\n2\n3\n4\n5\n6\n");
  EXPECT_EQ(sender.get().code, 0);
  EXPECT_THAT(data_of(consume("jobs", 2)), ElementsAre("5", "6"));
}

TEST_F(ChannelGroups, AGroupMayBeginWithWhatOthersHaveReceivedLongAgo) {
  ASSERT_EQ(ctl({"channels", "create", "jobs", "--durable", "--capacity", "8"}).code, 0);
  for (int i = 0; i < 5; ++i) {
    send("jobs", 8 * i + 1, 8 * i + 8);
    ASSERT_EQ(ctl({"channels", "recv", "jobs", "-n", "8"}).code, 0);
  }
  ASSERT_EQ(ctl({"channels", "add-group", "jobs", "g", "--from", "3"}).code, 0);
  restart();
  const std::vector<v1::Record> records = consume("jobs", 38);
  ASSERT_EQ(records.size(), 38u);
  EXPECT_EQ(records.front().data(), "3");
  EXPECT_EQ(records.back().data(), "40");
  EXPECT_EQ(ctl({"channels", "add-group", "jobs", "h", "--from", "42"}).code, 2);
}

TEST_F(ChannelGroups, AClosedChannelEndsItsConsumersOnceEverythingIsSettled) {
  create("jobs");
  send("jobs", 1, 10);
  ASSERT_EQ(ctl({"channels", "close", "jobs"}).code, 0);
  EXPECT_EQ(consume("jobs", 0).size(), 10u);
  EXPECT_THAT(consume("jobs", 0), IsEmpty());
}

TEST_F(ChannelGroups, WhatDoesNotGoTogetherIsRefusedWithACure) {
  ASSERT_EQ(ctl({"channels", "create", "quick"}).code, 0);
  const kit::Ran memory = ctl({"channels", "add-group", "quick", "g"});
  EXPECT_EQ(memory.code, 7) << memory.err;
  EXPECT_THAT(memory.err, HasSubstr("memory class"));
  create("jobs");
  const kit::Ran plain = ctl({"channels", "recv", "jobs", "-n", "1"});
  EXPECT_EQ(plain.code, 7) << plain.err;
  EXPECT_THAT(plain.err, HasSubstr("is received by groups"));
  const kit::Ran unknown = ctl({"channels", "recv", "jobs", "-g", "h", "-n", "1"});
  EXPECT_EQ(unknown.code, 3) << unknown.err;
  EXPECT_THAT(unknown.err, HasSubstr("channels add-group jobs h"));
  EXPECT_EQ(ctl({"channels", "add-group", "jobs", "g"}).code, 0) << "the same again";
  EXPECT_EQ(ctl({"channels", "add-group", "jobs", "g", "--max-deliveries", "9"}).code, 7);
  EXPECT_EQ(ctl({"channels", "add-group", "jobs", "x", "--ack-wait", "1ms"}).code, 2);
  EXPECT_EQ(ctl({"channels", "remove-group", "-y", "jobs", "g"}).code, 0);
  send("jobs", 1, 1);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "1"}).out, "1\n") << "as before it had groups";
}

}  // namespace
}  // namespace zsync::integration
