// Broadcast and latest: what followers see of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/channels/follower.hpp"
#include "daemon/channels/named_channel.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/flow.hpp"
#include "zsync/spawn.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using zsync::testing::SimRuntime;
using ChannelPtr = std::shared_ptr<NamedChannel>;

ChannelPtr make(ChannelForm form, uint64_t capacity, Overflow overflow = Overflow::kBlock) {
  ChannelSpec spec{"c", capacity, false, 1 << 20, overflow, ChannelClass::kMemory, {}, form};
  return std::make_shared<NamedChannel>("chan_1", spec, 1, [] { return int64_t{5}; });
}
MessageExtraPtr key(std::string name) {
  return std::make_shared<const MessageExtra>(MessageExtra{std::move(name), "", std::nullopt});
}
Accepted send(NamedChannel& channel, std::vector<std::string> messages) {
  Extras extras;
  for (const std::string& one : messages) extras.push_back(key(one.substr(0, 1)));
  return channel.try_send(std::move(messages), "", extras);
}
struct Seen {
  std::vector<std::string> data;
  uint64_t missed = 0;
};
Task<Seen> follow(ChannelPtr channel, uint64_t seq) {
  Seen seen;
  NamedChannel::Follower follower(channel, seq);
  while (true) {
    absl::StatusOr<Delivery> delivery = co_await follower.next();
    EXPECT_TRUE(delivery.ok()) << delivery.status();
    if (delivery->gap) {
      EXPECT_EQ(delivery->gap->reason, segment_log::GapReason::kLagged);
      seen.missed += delivery->gap->to - delivery->gap->from + 1;
    }
    for (const Message& one : delivery->messages) seen.data.push_back(one.data);
    if (delivery->closed) co_return seen;
  }
}

TEST(Broadcast, EveryFollowerSeesEveryMessageAndASlowOneIsToldHowManyItMissed) {
  zsync::testing::explore(100, [](SimRuntime& sim) {
    auto channel = make(ChannelForm::kBroadcast, 4);
    auto program = [](ChannelPtr channel) -> Task<void> {
      auto fast = spawn(follow(channel, 1));
      for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(send(*channel, {std::to_string(i)}).count, 1u) << "nobody holds a sender back";
        co_await yield_now();
      }
      channel->close();
      const Seen all = co_await fast;
      EXPECT_EQ(all.data.size() + all.missed, 20u);
      const Seen slow = co_await follow(channel, 3);
      EXPECT_THAT(slow.data, ElementsAre("16", "17", "18", "19"));
      EXPECT_EQ(slow.missed, 14u);
    };
    sim.run(program(channel));
    EXPECT_EQ(channel->info().depth, 0u);
    EXPECT_EQ(channel->info().first_seq, 17u);
  });
}

TEST(Broadcast, ABatchLargerThanTheCapacityIsAcceptedAsAWhole) {
  auto channel = make(ChannelForm::kBroadcast, 3);
  EXPECT_EQ(send(*channel, {"1", "2", "3", "4", "5"}).count, 5u);
  EXPECT_EQ(channel->info().first_seq, 3u);
}

TEST(Latest, AReaderHasTheValuesOfNowAtOnceAndThenTheChanges) {
  SimRuntime sim(1);
  auto channel = make(ChannelForm::kLatest, 10);
  auto program = [](ChannelPtr channel) -> Task<void> {
    send(*channel, {"a1", "b1", "a2"});
    NamedChannel::Follower follower(channel, 0);
    absl::StatusOr<Delivery> now = co_await follower.next();
    EXPECT_EQ(now->messages.size(), 2u);
    EXPECT_EQ(now->messages[0].data, "b1");
    EXPECT_EQ(now->messages[1].data, "a2");
    EXPECT_FALSE(now->gap) << "a value that was replaced is not missing";
    send(*channel, {"b2", "b3"});
    absl::StatusOr<Delivery> change = co_await follower.next();
    EXPECT_EQ(change->messages.size(), 1u);
    EXPECT_EQ(change->messages[0].data, "b3");
    channel->close();
    EXPECT_TRUE((co_await follower.next())->closed);
  };
  sim.run(program(channel));
  EXPECT_EQ(channel->info().depth, 2u);
  EXPECT_EQ(channel->info().dropped, 3u);
}

TEST(Latest, AKeyTooManyIsRefusedOrTakesThePlaceOfTheOneThatChangedLast) {
  auto refusing = make(ChannelForm::kLatest, 2);
  const Accepted accepted = send(*refusing, {"a1", "b1", "c1", "a2"});
  EXPECT_EQ(accepted.count, 2u);
  EXPECT_EQ(fault_detail(accepted.status)->limit, "capacity = 2 keys, bytes_max = 1048576");
  EXPECT_EQ(send(*refusing, {"a2"}).count, 1u);
  auto dropping = make(ChannelForm::kLatest, 2, Overflow::kDropOldest);
  EXPECT_EQ(send(*dropping, {"a1", "b1", "c1"}).count, 3u);
  EXPECT_EQ(dropping->info().first_seq, 2u);
}

TEST(Forms, WhatAFormIsNotForIsRefusedWithWhatItIsFor) {
  auto channel = make(ChannelForm::kRequest, 2);
  EXPECT_TRUE(channel->check_form({ChannelForm::kRequest}).ok());
  const absl::Status refused = channel->check_form({ChannelForm::kQueue, ChannelForm::kLatest});
  EXPECT_EQ(fault_detail(refused)->reason, "WRONG_FORM");
  EXPECT_EQ(refused.message(), "channel \"c\" is of the form request");
}

}  // namespace
}  // namespace zsync::daemon
