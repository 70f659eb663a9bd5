#include "daemon/channels/channel_carry.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "daemon/channels/receivers.hpp"
#include "daemon/store/store_test_support.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ChannelCarryTest : public ::testing::Test {
 protected:
  using ChannelPtr = ChannelCarry::ChannelPtr;
  static int64_t now() { return 1'000'000'000; }

  static ChannelPtr make(ChannelForm form, uint64_t capacity = 100) {
    ChannelSpec spec{.name = "jobs", .capacity = capacity, .bytes_max = 1 << 20, .form = form};
    spec.overflow = Overflow::kDropOldest;
    spec.policy = *complete_policy({}, ChannelClass::kMemory);
    return std::make_shared<NamedChannel>("chan_1", spec, 7, now);
  }
  // What becomes of the channel in the next program.
  ChannelPtr carried(NamedChannel& channel) {
    std::filesystem::remove_all(dir_.file("carry"));
    auto log = segment_log::Writer::open(dir_.file("carry"));
    EXPECT_TRUE(log.ok() && ChannelCarry::write(channel, *log).ok());
    std::map<std::string, ChannelPtr> taken;
    absl::Status status =
        ChannelCarry::read(dir_.file("carry"), now,
                           [&](std::string name, ChannelPtr one) { taken[name] = std::move(one); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(taken.size(), 1u);
    return taken["jobs"];
  }
  static void send(NamedChannel& channel, std::vector<std::string> messages, Extras extras = {}) {
    const size_t count = messages.size();
    EXPECT_EQ(channel.try_send(std::move(messages), "00-trace", extras).count, count);
  }
  // What a receiver gets now.
  static std::vector<std::string> received(const ChannelPtr& channel, size_t confirm = SIZE_MAX) {
    std::vector<std::string> data;
    zsync::testing::SimRuntime sim(1);
    auto program = [](ChannelPtr from, std::vector<std::string>* into, size_t count) -> Task<void> {
      NamedChannel::Receiver receiver(from);
      absl::StatusOr<Delivery> delivery = co_await receiver.next(1000);
      for (const Message& message : delivery->messages) into->push_back(message.data);
      receiver.confirm(std::min(count, into->size()));
    };
    sim.run(program(channel, &data, confirm));
    return data;
  }

  ScratchDirectory dir_;
};

TEST_F(ChannelCarryTest, MessagesThatNobodyReceivedAreReceivedAfterwards) {
  ChannelPtr channel = make(ChannelForm::kQueue);
  send(*channel, {"a", "b", std::string(70'000, 'x'), ""});
  const ChannelPtr next = carried(*channel);
  EXPECT_THAT(received(next), ElementsAre("a", "b", std::string(70'000, 'x'), ""));
}

TEST_F(ChannelCarryTest, WhatIsOnDiskBecauseMemoryIsFullIsThereAgain) {
  ChannelSpec spec{.name = "jobs", .capacity = 100, .unbounded = true, .bytes_max = 500};
  spec.policy = *complete_policy({}, ChannelClass::kMemory);
  spec.disk_bytes_max = 1 << 20;
  auto channel = std::make_shared<NamedChannel>("chan_1", spec, 7, now, std::nullopt, 1,
                                                dir_.file("spill/chan_1"));
  std::vector<std::string> messages;
  for (int i = 0; i < 40; ++i) messages.push_back(std::to_string(i) + std::string(50, '.'));
  zsync::testing::SimRuntime sim(1);
  EXPECT_EQ(sim.run(channel->send(messages, "")).count, 40u);
  EXPECT_GT(channel->info().disk_messages, 30u);
  auto log = segment_log::Writer::open(dir_.file("carry"));
  ASSERT_TRUE(log.ok() && ChannelCarry::write(*channel, *log).ok());
  ChannelPtr next;
  const absl::Status status = ChannelCarry::read(
      dir_.file("carry"), now, [&](std::string, ChannelPtr one) { next = std::move(one); },
      dir_.file("next"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(next->info().spec.disk_bytes_max, spec.disk_bytes_max);
  EXPECT_LE(next->info().bytes, 500u);
  EXPECT_EQ(next->info().disk_messages, channel->info().disk_messages);
  std::vector<std::string> got = received(next);
  while (got.size() < 40) {
    const std::vector<std::string> more = received(next);
    ASSERT_FALSE(more.empty());
    got.insert(got.end(), more.begin(), more.end());
  }
  EXPECT_EQ(got, messages);
}

TEST_F(ChannelCarryTest, WhatWasReceivedStaysReceivedAndIsStillThereForFollowers) {
  ChannelPtr channel = make(ChannelForm::kQueue);
  send(*channel, {"a", "b", "c"});
  EXPECT_THAT(received(channel, 2), ElementsAre("a", "b", "c"));
  const ChannelPtr next = carried(*channel);
  EXPECT_EQ(next->info().depth, 1u);
  EXPECT_EQ(next->info().first_seq, 1u);
  EXPECT_EQ(next->info().received, channel->info().received);
  EXPECT_THAT(received(next), ElementsAre("c"));
}

TEST_F(ChannelCarryTest, AMessageReceivedBetweenTwoThatAreNotLeavesThoseTwo) {
  MessageQueue queue(10, 1 << 20);
  for (const char* data : {"a", "b", "c"}) queue.push({0, 0, "", data, nullptr});
  queue.take(3, SIZE_MAX);
  queue.confirm(2);
  queue.give_back(1);
  queue.give_back(3);
  MessageQueue next(10, 1 << 20);
  queue.each([&](const Message& message, bool held) { next.restore(message, held); });
  std::vector<std::string> taken;
  for (const Message& message : next.take(10, SIZE_MAX)) taken.push_back(message.data);
  EXPECT_THAT(taken, ElementsAre("a", "c"));
  EXPECT_EQ(next.held_bytes(), queue.held_bytes());
}

TEST_F(ChannelCarryTest, NumbersAndCountsGoOn) {
  ChannelPtr channel = make(ChannelForm::kQueue, 2);
  send(*channel, {"a", "b", "c"});  // "a" is dropped
  const ChannelPtr next = carried(*channel);
  EXPECT_EQ(next->info().dropped, 1u);
  EXPECT_EQ(next->info().sent, 3u);
  EXPECT_EQ(next->info().id, "chan_1");
  EXPECT_EQ(next->info().created_unix_nano, 7);
  EXPECT_EQ(next->info().spec, channel->info().spec);
  Accepted more = next->try_send({"d"}, "");
  EXPECT_EQ(more.last_seq, 4u);
}

TEST_F(ChannelCarryTest, AnEmptyChannelKeepsItsNextNumber) {
  ChannelPtr channel = make(ChannelForm::kQueue, 1);
  send(*channel, {"a"});
  received(channel);
  const ChannelPtr next = carried(*channel);
  EXPECT_EQ(next->info().next_seq, 2u);
  EXPECT_EQ(next->info().depth, 0u);
}

TEST_F(ChannelCarryTest, AClosedChannelStaysClosedAndCanBeDrained) {
  ChannelPtr channel = make(ChannelForm::kQueue);
  send(*channel, {"last"});
  channel->close();
  const ChannelPtr next = carried(*channel);
  EXPECT_TRUE(next->info().closed);
  EXPECT_FALSE(next->try_send({"more"}, "").status.ok());
  EXPECT_THAT(received(next), ElementsAre("last"));
}

TEST_F(ChannelCarryTest, AnIdThatWasAcceptedIsNotAcceptedTwice) {
  ChannelPtr channel = make(ChannelForm::kQueue);
  auto extra = std::make_shared<const MessageExtra>(MessageExtra{.key = "k", .id = "id-1"});
  send(*channel, {"a"}, {extra});
  const ChannelPtr next = carried(*channel);
  next->try_send({"again"}, "", {extra});
  EXPECT_THAT(received(next), ElementsAre("a"));
}

TEST_F(ChannelCarryTest, TheNewestValueOfEachKeyIsCarriedWithItsNumber) {
  ChannelPtr channel = make(ChannelForm::kLatest);
  for (const char* key : {"x", "y", "x"}) {
    send(*channel, {std::string(key) + "!"},
         {std::make_shared<const MessageExtra>(MessageExtra{.key = key})});
  }
  const ChannelPtr next = carried(*channel);
  EXPECT_EQ(next->info().next_seq, 4u);
  EXPECT_EQ(next->info().depth, 2u);
  Accepted more = next->try_send({"z!"}, "");
  EXPECT_EQ(more.last_seq, 4u);
}

TEST_F(ChannelCarryTest, ADamagedFileIsToldAndLosesOnlyWhatCameAfter) {
  ChannelPtr channel = make(ChannelForm::kQueue);
  send(*channel, {"a"});
  {
    auto log = segment_log::Writer::open(dir_.file("carry"));
    ASSERT_TRUE(log.ok());
    ASSERT_TRUE(ChannelCarry::write(*channel, *log).ok());
    std::string nonsense = "nonsense";
    log->append({{0, 0, nonsense, 0}});
  }
  std::vector<std::string> names;
  absl::Status status = ChannelCarry::read(
      dir_.file("carry"), now, [&](std::string name, ChannelPtr) { names.push_back(name); });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(names, ElementsAre("jobs"));
}

TEST_F(ChannelCarryTest, NothingIsReadWhereNothingWasWritten) {
  std::vector<std::string> names;
  absl::Status status = ChannelCarry::read(
      dir_.file("none"), now, [&](std::string name, ChannelPtr) { names.push_back(name); });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(names, IsEmpty());
}

}  // namespace
}  // namespace zsync::daemon
