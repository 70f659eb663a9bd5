// Why nothing comes to a consumer: every reason, brought about by what brings it about.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/channels/receivers.hpp"
#include "zsync/flow.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;
using zsync::testing::SimRuntime;
using Cause = ConsumerGroup::Standstill;

constexpr int64_t kWait = 1000;

std::optional<std::string_view> no_key(uint64_t) { return ""; }

class StandstillTest : public ::testing::Test {
 protected:
  StandstillTest() : group({"g", kWait, 2, 3}, 1), one(group.join()), other(group.join()) {}
  void take(ConsumerGroup::ConsumerId consumer, size_t max, uint64_t next_seq, int64_t now = 0,
            const ConsumerGroup::KeyOf& key_of = no_key) {
    group.take(consumer, max, now, next_seq, key_of);
  }

  ConsumerGroup group;
  ConsumerGroup::ConsumerId one, other;
};

TEST_F(StandstillTest, NothingIsLeftWhenEverythingIsSettled) {
  EXPECT_EQ(group.standstill(one, 1).cause, Cause::kSettled);
  take(one, 1, 2);
  group.ack(1, 1);
  EXPECT_EQ(group.standstill(one, 2).cause, Cause::kSettled);
}

TEST_F(StandstillTest, WhatWasNeverHandedOutOrCameBackIsThere) {
  EXPECT_EQ(group.standstill(one, 4).cause, Cause::kNone);
  EXPECT_EQ(group.standstill(one, 4).count, 3u);
  take(other, 3, 4);
  group.nack(2, 1, 0, 0, "");
  EXPECT_EQ(group.standstill(one, 4).cause, Cause::kNone);
  EXPECT_EQ(group.standstill(one, 4).count, 1u);
}

TEST_F(StandstillTest, AConsumerWithAsManyAsItMayHaveIsToldTheOldest) {
  take(one, 2, 9, 10);
  take(one, 1, 9, 20);
  const ConsumerGroup::Standstill still = group.standstill(one, 9);
  EXPECT_EQ(still.cause, Cause::kInFlightMax);
  EXPECT_EQ(still.until, 10 + kWait);
  EXPECT_EQ(group.hands(one).count, 3u);
  EXPECT_EQ(group.hands(one).oldest, 1u);
  EXPECT_EQ(group.hands(one).since, 10);
  EXPECT_EQ(group.standstill(other, 9).cause, Cause::kNone) << "its own limit, not the group's";
  group.extend(1, 1, 50);
  EXPECT_EQ(group.hands(one).since, 50);
}

TEST_F(StandstillTest, WhatIsLeftIsInItsOwnHandsOrInThoseOfOthers) {
  take(one, 2, 3, 5);
  EXPECT_EQ(group.standstill(one, 3).cause, Cause::kOwnHands);
  EXPECT_EQ(group.standstill(one, 3).count, 2u);
  EXPECT_EQ(group.standstill(other, 3).cause, Cause::kOthersHold);
  EXPECT_EQ(group.standstill(other, 3).count, 2u);
  EXPECT_EQ(group.standstill(other, 3).until, 5 + kWait);
  EXPECT_EQ(group.hands(other).count, 0u);
  EXPECT_EQ(group.hands(other).oldest, 0u);
}

TEST_F(StandstillTest, MessagesWaitBehindAnOlderOneOfTheirKeyWhereverThatIs) {
  const auto same = [](uint64_t) -> std::optional<std::string_view> { return "k"; };
  EXPECT_FALSE(group.a_line());
  take(other, 3, 4, 0, same);  // 1; 2 and 3 are behind it
  EXPECT_EQ(group.standstill(one, 4).cause, Cause::kKeyHeld);
  EXPECT_EQ(group.standstill(one, 4).count, 2u);
  EXPECT_EQ(group.standstill(other, 4).cause, Cause::kKeyHeld) << "though it holds the key itself";
  EXPECT_EQ(group.a_line()->holder, other);
  EXPECT_EQ(group.a_line()->first, 1u);
  EXPECT_EQ(group.a_line()->key, "k");
  group.nack(1, 1, 0, 70, "");
  EXPECT_EQ(group.a_line()->holder, 0u);
  EXPECT_TRUE(group.a_line()->delayed);
  EXPECT_EQ(group.standstill(one, 4).until, 70);
  take(one, 1, 4, 70, same);
  group.nack(1, 2, 70, 0, "");  // for the last time
  EXPECT_TRUE(group.a_line()->dying);
  EXPECT_EQ(group.standstill(one, 4).cause, Cause::kKeyHeld);
}

TEST_F(StandstillTest, ADelayIsToldWithItsEndAndADyingMessageAsSuch) {
  take(other, 1, 2);
  group.nack(1, 1, 0, 300, "");
  EXPECT_EQ(group.standstill(one, 2).cause, Cause::kDelayed);
  EXPECT_EQ(group.standstill(one, 2).until, 300);
  take(other, 1, 2, 300);
  group.nack(1, 2, 300, 0, "");
  EXPECT_EQ(group.standstill(one, 2).cause, Cause::kDying);
  EXPECT_EQ(group.standstill(one, 2).count, 1u);
}

TEST_F(StandstillTest, AGroupThatKeepsTooManyOpenHandsOutNoMore) {
  ConsumerGroup wide({"g", kWait, 2, 1'000'000}, 1);
  const auto first = wide.join();
  const auto second = wide.join();
  wide.take(first, kGroupOpenMax, 0, kGroupOpenMax + 6, no_key);
  EXPECT_EQ(wide.standstill(second, kGroupOpenMax + 6).cause, Cause::kOpenMax);
  EXPECT_EQ(wide.standstill(second, kGroupOpenMax + 6).count, 5u);
}

// Receivers without a group.
class ReceiversTest : public ::testing::Test {
 protected:
  ReceiversTest() {
    ChannelSpec spec{"c", 10, false, 1 << 20, Overflow::kBlock, ChannelClass::kMemory};
    channel = std::make_shared<NamedChannel>("chan_1", spec, 1, [this] { return now; });
  }
  ConsumerInfo told(size_t which = 0) {
    const ChannelInfo info = channel->info(/*consumers=*/true);
    EXPECT_GT(info.consumers.size(), which);
    return which < info.consumers.size() ? info.consumers[which] : ConsumerInfo();
  }
  static constexpr int64_t kSecond = 1'000'000'000;
  int64_t now = kSecond;
  std::shared_ptr<NamedChannel> channel;
  SimRuntime sim{1};
};

TEST_F(ReceiversTest, AnEmptyChannelIsToldWithHowLongNothingCame) {
  NamedChannel::Receiver receiver(channel, 4711);
  now += 12 * kSecond;
  EXPECT_EQ(told().state, ConsumerState::kEmpty);
  EXPECT_EQ(told().pid, 4711);
  EXPECT_EQ(told().since_unix_nano, kSecond);
  EXPECT_EQ(told().why, "nothing is left to receive, for 12s");
  EXPECT_EQ(channel->info(true).why, "everything sent was received");
  EXPECT_TRUE(channel->info().consumers.empty()) << "only who asks for them gets them";
  channel->close();
  EXPECT_EQ(told().state, ConsumerState::kDrained);
}

TEST_F(ReceiversTest, WhatIsInHandsIsToldWithTheHands) {
  (void)channel->try_send({"a", "b", "c"}, "");
  EXPECT_EQ(channel->info(true).why, "no receiver is connected for 3 messages");
  NamedChannel::Receiver one(channel), other(channel);
  EXPECT_EQ(told().state, ConsumerState::kReceiving);
  EXPECT_EQ(told().there, 3u);
  EXPECT_EQ(sim.run(one.next(3))->messages.size(), 3u);
  now += 2 * kSecond;
  EXPECT_EQ(told(0).state, ConsumerState::kOutstanding);
  EXPECT_EQ(told(0).in_hand, 3u);
  EXPECT_EQ(told(0).delivered, 3u);
  EXPECT_EQ(told(0).oldest_seq, 1u);
  EXPECT_EQ(told(0).oldest_unix_nano, kSecond);
  EXPECT_THAT(told(0).why, HasSubstr("confirmed none for 2s"));
  EXPECT_EQ(told(1).state, ConsumerState::kOthersHold);
  EXPECT_EQ(told(1).waits_for, 3u);
  EXPECT_EQ(channel->info(true).why, "0 messages waiting, 3 messages in receivers' hands");
  one.confirm(2);
  EXPECT_EQ(told(0).oldest_seq, 3u);
  EXPECT_EQ(told(0).oldest_unix_nano, now) << "it does confirm";
  channel->close();
  EXPECT_EQ(told(0).state, ConsumerState::kDrained);
  EXPECT_THAT(told(1).why, HasSubstr("of the closed channel")) << "it may come back";
}

TEST_F(ReceiversTest, WhatItsCallWaitsForComesBeforeWhatTheChannelHas) {
  (void)channel->try_send({"a", "b"}, "");
  NamedChannel::Receiver receiver(channel);
  (void)sim.run(receiver.next(1));
  receiver.enter(Phase::kNoCredit);
  now += 3 * kSecond;
  EXPECT_EQ(told().state, ConsumerState::kNoCredit);
  EXPECT_EQ(told().why,
            "its client has asked for no more for 3s and has 1 message in hand; 1 message is "
            "there for it");
  receiver.enter(Phase::kSending);
  EXPECT_EQ(told().state, ConsumerState::kNotReading);
  EXPECT_EQ(told().since_unix_nano, now);
  receiver.enter(Phase::kDisk);
  EXPECT_EQ(told().state, ConsumerState::kDisk);
  receiver.enter(Phase::kLast);
  EXPECT_EQ(told().state, ConsumerState::kLast);
  (void)sim.run(receiver.next(1));
  EXPECT_EQ(told().state, ConsumerState::kOutstanding) << "it waits for messages again";
}

TEST_F(ReceiversTest, AReceiverConfirmsInTheOrderInWhichItGotThem) {
  (void)channel->try_send({"1", "2", "3"}, "");
  NamedChannel::Receiver receiver(channel);
  {
    NamedChannel::Receiver leaves(channel);
    (void)sim.run(leaves.next(1));  // 1
    (void)sim.run(receiver.next(2));
  }
  EXPECT_EQ(sim.run(receiver.next(9))->messages.front().seq, 1u) << "what came back, last";
  receiver.confirm(2);  // 2 and 3, not 1
  receiver.leave();
  NamedChannel::Receiver next(channel);
  const absl::StatusOr<Delivery> again = sim.run(next.next(9));
  ASSERT_EQ(again->messages.size(), 1u);
  EXPECT_EQ(again->messages.front().data, "1") << "it was not confirmed, so it is not lost";
}

}  // namespace
}  // namespace zsync::daemon
