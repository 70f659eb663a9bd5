// Channels whose memory is full, in the simulator, with a real disk.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "daemon/channels/follower.hpp"
#include "daemon/channels/receivers.hpp"
#include "zsync/flow.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;
using zsync::testing::SimRuntime;

class SpillingTest : public ::testing::Test {
 protected:
  SpillingTest() {
    char name[] = "/tmp/zsync-spill-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~SpillingTest() override { std::filesystem::remove_all(directory_); }

  // Room for about ten messages of 100 bytes.
  std::shared_ptr<NamedChannel> make(uint64_t disk_bytes_max = 1 << 20) {
    ChannelSpec spec{"c", 1024, true, 1700, Overflow::kBlock, ChannelClass::kMemory};
    spec.disk_bytes_max = disk_bytes_max;
    return std::make_shared<NamedChannel>(
        "chan_1", spec, 1, [this] { return ++now; }, std::nullopt, 1, spill_dir());
  }
  std::string spill_dir() const { return directory_ + "/spill"; }
  static std::string message(int number) {
    return absl::StrCat(number, std::string(100, '.')).substr(0, 100);
  }
  static std::vector<std::string> some(int from, int count) {
    std::vector<std::string> messages;
    for (int i = from; i < from + count; ++i) messages.push_back(message(i));
    return messages;
  }
  Accepted send(const std::shared_ptr<NamedChannel>& channel, int from, int count) {
    return sim.run(channel->send(some(from, count), ""));
  }
  void expect_all(const std::shared_ptr<NamedChannel>& channel, int from, int to) {
    NamedChannel::Receiver receiver(channel);
    for (int next = from; next < to;) {
      absl::StatusOr<Delivery> delivery =
          sim.run(receiver.next(static_cast<size_t>(std::min(7, to - next))));
      ASSERT_TRUE(delivery.ok()) << delivery.status();
      for (const Message& one : delivery->messages) {
        EXPECT_EQ(one.seq, static_cast<uint64_t>(next) + 1);
        EXPECT_EQ(one.data, message(next++));
      }
      receiver.confirm(delivery->messages.size());
    }
  }

  std::string directory_;
  int64_t now = 0;
  SimRuntime sim{1};
};

TEST_F(SpillingTest, WhatMemoryHasNoPlaceForIsReadBackInOrderAndItsFilesGo) {
  auto channel = make();
  EXPECT_EQ(send(channel, 0, 50).count, 50u);
  ChannelInfo info = channel->info(true);
  EXPECT_EQ(info.depth, 50u);
  EXPECT_LE(info.bytes, 1700u);
  EXPECT_EQ(info.disk_messages, 40u);
  EXPECT_GT(info.disk_bytes, 40 * 100u);
  EXPECT_TRUE(std::filesystem::exists(spill_dir()));
  expect_all(channel, 0, 30);
  EXPECT_EQ(send(channel, 50, 10).count, 10u) << "behind what is on disk";
  expect_all(channel, 30, 60);
  info = channel->info();
  EXPECT_EQ(info.depth, 0u);
  EXPECT_EQ(info.disk_messages, 0u);
  EXPECT_EQ(info.disk_bytes, 0u);
  EXPECT_FALSE(std::filesystem::exists(spill_dir()));
  EXPECT_EQ(send(channel, 60, 30).last_seq, 90u) << "and once more";
  expect_all(channel, 60, 90);
}

TEST_F(SpillingTest, NothingOvertakesWhatIsOnDisk) {
  auto channel = make();
  send(channel, 0, 30);
  std::vector<std::string> more = some(30, 1);
  EXPECT_FALSE(channel->try_send_all(more, "", {})) << "it has to wait for the disk";
  EXPECT_EQ(more.front(), message(30)) << "and is untouched";
  EXPECT_EQ(sim.run(channel->send_what_fits(std::move(more), "")).last_seq, 31u);
  expect_all(channel, 0, 31);
  more = some(31, 1);
  EXPECT_EQ(channel->try_send_all(more, "", {})->last_seq, 32u) << "memory has room again";
}

TEST_F(SpillingTest, OverItsCeilingOnDiskTheChannelIsFullAndKeepsWhatItAccepted) {
  auto channel = make(4096);
  const Accepted accepted = send(channel, 0, 100);
  EXPECT_TRUE(absl::IsResourceExhausted(accepted.status)) << accepted.status;
  EXPECT_GT(accepted.count, 20u);
  EXPECT_LT(accepted.count, 60u);
  EXPECT_EQ(channel->info().depth, accepted.count);
  EXPECT_LE(channel->info().disk_bytes, 4096u);
  expect_all(channel, 0, static_cast<int>(accepted.count));
  EXPECT_TRUE(send(channel, static_cast<int>(accepted.count), 1).status.ok());
}

TEST_F(SpillingTest, ADiskThatCannotBeWrittenIsAnErrorOfTheSenderAndLosesNothing) {
  std::ofstream(spill_dir()) << "in its way";
  auto channel = make();
  const Accepted accepted = send(channel, 0, 30);
  EXPECT_EQ(accepted.count, 10u);
  EXPECT_FALSE(accepted.status.ok());
  EXPECT_THAT(accepted.status.message(), HasSubstr("cannot write to the disk"));
  std::filesystem::remove(spill_dir());
  EXPECT_EQ(send(channel, 10, 20).count, 20u) << "as soon as it can";
  expect_all(channel, 0, 30);
}

TEST_F(SpillingTest, AFollowerSeesWhatIsOnDiskWithoutTakingIt) {
  auto channel = make();
  send(channel, 0, 40);
  NamedChannel::Follower follower(channel, 1);
  int next = 0;
  while (next < 40) {
    absl::StatusOr<Delivery> delivery = sim.run(follower.next());
    ASSERT_TRUE(delivery.ok()) << delivery.status();
    EXPECT_FALSE(delivery->gap);
    for (const Message& one : delivery->messages) EXPECT_EQ(one.data, message(next++));
  }
  EXPECT_EQ(channel->info().depth, 40u);
  // Messages of one send have one time; these are of a later one.
  send(channel, 40, 5);
  const int64_t later = now;
  EXPECT_EQ(*sim.run(channel->resolve({0, false, false, later})), 41u);
  expect_all(channel, 0, 45);
}

TEST_F(SpillingTest, AReceiverThatDiesGivesBackWhatCameFromTheDisk) {
  auto channel = make();
  send(channel, 0, 30);
  expect_all(channel, 0, 10);
  {
    NamedChannel::Receiver doomed(channel);
    EXPECT_EQ(sim.run(doomed.next(5))->messages.size(), 5u);
  }
  expect_all(channel, 10, 30);
  channel->close();
  NamedChannel::Receiver last(channel);
  EXPECT_TRUE(sim.run(last.next(5))->closed);
}

TEST_F(SpillingTest, ARemovedChannelLeavesNoFile) {
  auto channel = make();
  send(channel, 0, 30);
  channel->remove();
  sim.run(channel->remove_spill());
  EXPECT_FALSE(std::filesystem::exists(spill_dir()));
  EXPECT_TRUE(absl::IsNotFound(send(channel, 30, 1).status));
  EXPECT_FALSE(std::filesystem::exists(spill_dir()));
}

// Senders and receivers in whatever order, memory full again and again: each message once, in the
// order of its sender.
Task<void> send_some(std::shared_ptr<NamedChannel> channel, int from) {
  for (int i = 0; i < 30; i += 5) {
    std::vector<std::string> messages;
    for (int j = i; j < i + 5; ++j) {
      messages.push_back(absl::StrCat(from + j, std::string(100, '.')));
    }
    const Accepted accepted = co_await channel->send(std::move(messages), "");
    EXPECT_TRUE(accepted.status.ok()) << accepted.status;
  }
}

Task<void> receive_some(std::shared_ptr<NamedChannel> channel, std::map<int, uint64_t>& got) {
  NamedChannel::Receiver receiver(channel);
  while (true) {
    absl::StatusOr<Delivery> delivery = co_await receiver.next(3);
    EXPECT_TRUE(delivery.ok()) << delivery.status();
    if (!delivery.ok()) co_return;
    for (const Message& one : delivery->messages) {
      EXPECT_TRUE(got.emplace(std::stoi(one.data), one.seq).second) << "twice";
    }
    receiver.confirm(delivery->messages.size());
    if (delivery->closed) co_return;
  }
}

TEST_F(SpillingTest, NoMessageIsLostOrDoubledInWhateverOrderThingsHappen) {
  zsync::testing::explore(100, [this](SimRuntime& sim) {
    auto channel = make();
    std::map<int, uint64_t> got;
    auto program = [](std::shared_ptr<NamedChannel> channel,
                      std::map<int, uint64_t>& got) -> Task<void> {
      auto one = spawn(receive_some(channel, got));
      auto other = spawn(receive_some(channel, got));
      co_await all(send_some(channel, 0), send_some(channel, 100), send_some(channel, 200));
      channel->close();
      co_await std::move(one);
      co_await std::move(other);
    };
    sim.run(program(channel, got));
    EXPECT_EQ(got.size(), 90u);
    uint64_t last = 0;
    int before = -1;
    for (const auto& [number, seq] : got) {
      if (number / 100 != before) last = 0;
      before = number / 100;
      EXPECT_GT(seq, last) << number;
      last = seq;
    }
    EXPECT_EQ(channel->info().depth, 0u);
  });
}

}  // namespace
}  // namespace zsync::daemon
