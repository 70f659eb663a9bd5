// What a durable channel keeps: a real log, a clock of the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "daemon/channels/follower.hpp"
#include "daemon/channels/receivers.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;
using zsync::testing::SimRuntime;

constexpr uint64_t kLogBytes = 64 << 10;

class ChannelRetention : public ::testing::Test {
 protected:
  ChannelRetention() {
    char name[] = "/tmp/zsync-retention-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~ChannelRetention() override { std::filesystem::remove_all(directory_); }

  std::shared_ptr<NamedChannel> open(ChannelPolicy policy) {
    segment_log::WriterOptions options;
    options.durable = true;
    options.segment_bytes = segment_log::kSegmentBytesMin;
    absl::StatusOr<segment_log::Writer> writer =
        segment_log::Writer::open(directory_ + "/log", options);
    EXPECT_TRUE(writer.ok()) << writer.status();
    const uint64_t next = writer->next_seq();
    NamedChannel::Durable durable;
    durable.writer = std::make_unique<segment_log::Writer>(std::move(*writer));
    durable.dir = directory_ + "/log";
    durable.save_group = [](std::string, std::function<std::string()> encode,
                            std::function<void(absl::Status)> done) {
      (void)encode();
      done(absl::OkStatus());
    };
    durable.due = [this](int64_t at) { due_ = std::min(due_, at); };
    durable.monotonic = [this] { return now_; };
    ChannelSpec spec{"d", 1000, false, 1 << 20, Overflow::kBlock, ChannelClass::kDurable, policy};
    return std::make_shared<NamedChannel>(
        "chan_1", spec, 1, [this] { return now_; }, std::move(durable), next);
  }
  Task<void> send(std::shared_ptr<NamedChannel> channel, int count) {
    for (int i = 0; i < count; ++i) {
      now_ += kSecondNs;
      const Accepted accepted = co_await channel->send({std::string(970, 'm')}, "");
      EXPECT_TRUE(accepted.status.ok()) << accepted.status;
    }
  }
  static Task<void> receive(std::shared_ptr<NamedChannel> channel, uint64_t count) {
    NamedChannel::Receiver receiver(channel);
    while (count > 0) {
      absl::StatusOr<Delivery> delivery = co_await receiver.next(count);
      count -= delivery->messages.size();
      receiver.confirm(delivery->messages.size());
    }
  }
  static Task<Delivery> first_from(std::shared_ptr<NamedChannel> channel, uint64_t seq) {
    NamedChannel::Follower follower(channel, seq);
    absl::StatusOr<Delivery> delivery = co_await follower.next();
    EXPECT_TRUE(delivery.ok()) << delivery.status();
    co_return std::move(*delivery);
  }

  std::string directory_;
  int64_t now_ = 0;
  int64_t due_ = INT64_MAX;
};

TEST_F(ChannelRetention, WhatIsOverTheBytesGoesAndWhoComesFromBeforeItIsToldSo) {
  SimRuntime sim(1);
  auto channel = open({.retention_bytes = kLogBytes});
  auto program = [&]() -> Task<void> {
    co_await send(channel, 100);
    EXPECT_EQ(due_, 0) << "the engine is asked as soon as the log is too large";
    co_await receive(channel, 90);
    EXPECT_TRUE((co_await channel->retire()).ok());
    const ChannelInfo info = channel->info();
    EXPECT_LE(info.log_bytes, kLogBytes);
    EXPECT_GT(info.first_seq, 30u);
    EXPECT_LE(info.first_seq, 91u) << "message 91 was not received";
    EXPECT_EQ(info.depth, 10u);
    const Delivery old = co_await first_from(channel, 5);
    EXPECT_TRUE(old.gap);
    if (!old.gap) co_return;
    EXPECT_EQ(old.gap->from, 5u);
    EXPECT_EQ(old.gap->to, info.first_seq - 1);
    EXPECT_EQ(old.gap->reason, segment_log::GapReason::kRetention);
    const Delivery kept = co_await first_from(channel, info.first_seq);
    EXPECT_EQ(kept.messages.front().seq, info.first_seq);
    EXPECT_EQ(*co_await channel->resolve({.oldest = true}), info.first_seq);
  };
  sim.run(program());
}

TEST_F(ChannelRetention, WhatIsNotReceivedStaysUntilItIsOrThePolicySaysOtherwise) {
  SimRuntime sim(1);
  auto channel = open({.retention_bytes = kLogBytes});
  auto program = [&]() -> Task<void> {
    co_await send(channel, 100);
    EXPECT_TRUE((co_await channel->retire()).ok());
    EXPECT_EQ(channel->info().first_seq, 1u);
    EXPECT_EQ(channel->retires_at(), INT64_MAX) << "there is nothing to do";
    co_await receive(channel, 10);
    EXPECT_EQ(channel->retires_at(), 0) << "now there is";
    EXPECT_TRUE((co_await channel->retire()).ok());
    EXPECT_GT(channel->info().first_seq, 1u);
    EXPECT_LE(channel->info().first_seq, 11u);
    channel->set_policy({.retention_bytes = kLogBytes, .retention_drops_unsettled = true});
    EXPECT_TRUE((co_await channel->retire()).ok());
    const ChannelInfo info = channel->info();
    EXPECT_LE(info.log_bytes, kLogBytes);
    EXPECT_EQ(info.depth, 101 - info.first_seq);
    NamedChannel::Receiver receiver(channel);
    const absl::StatusOr<Delivery> next = co_await receiver.next(1);
    EXPECT_TRUE(next.ok() && next->gap);
    EXPECT_EQ(next->gap->reason, segment_log::GapReason::kRetention);
    EXPECT_EQ(next->gap->to, info.first_seq - 1);
    EXPECT_EQ(next->messages.front().seq, info.first_seq);
  };
  sim.run(program());
}

TEST_F(ChannelRetention, WhatAGroupOwesStaysAndIsItsGapWhenThePolicySaysSo) {
  SimRuntime sim(1);
  auto channel = open({.retention_bytes = kLogBytes});
  auto program = [&]() -> Task<void> {
    channel->put_group(ConsumerGroup({"g", kSecondNs, 3, 100}, 1), 1);
    co_await send(channel, 100);
    {
      NamedChannel::Consumer consumer(channel, "g");
      absl::StatusOr<Delivery> delivery = co_await consumer.next(20);
      EXPECT_EQ(delivery->messages.size(), 20u);
      consumer.confirm(20);
    }
    EXPECT_TRUE((co_await channel->retire()).ok());
    EXPECT_GT(channel->info().first_seq, 10u);
    EXPECT_LE(channel->info().first_seq, 21u);
    EXPECT_EQ(channel->group_info("g")->counts.lost, 0u);
    channel->set_policy({.retention_bytes = kLogBytes, .retention_drops_unsettled = true});
    EXPECT_TRUE((co_await channel->retire()).ok());
    const uint64_t first = channel->info().first_seq;
    EXPECT_GT(first, 30u);
    EXPECT_EQ(channel->group_info("g")->counts.lost, first - 21);
    NamedChannel::Consumer consumer(channel, "g");
    const absl::StatusOr<Delivery> delivery = co_await consumer.next(1);
    EXPECT_TRUE(delivery.ok() && delivery->gap);
    EXPECT_EQ(delivery->gap->from, 21u);
    EXPECT_EQ(delivery->gap->to, first - 1);
    EXPECT_EQ(delivery->messages.front().seq, first);
  };
  sim.run(program());
}

TEST_F(ChannelRetention, WhatIsTooOldGoesAlsoFromAChannelThatHasBecomeQuiet) {
  SimRuntime sim(1);
  auto channel = open({.retention_age_ns = 80 * kSecondNs});
  auto program = [&]() -> Task<void> {
    co_await send(channel, 10);
    co_await receive(channel, 10);
    EXPECT_EQ(channel->retires_at(), 11 * kSecondNs) << "an eighth after the first one";
    for (int step = 0; step < 20 && channel->retires_at() != INT64_MAX; ++step) {
      now_ = channel->retires_at();
      EXPECT_TRUE((co_await channel->retire()).ok());
      if (now_ <= 81 * kSecondNs) {
        EXPECT_EQ(channel->info().first_seq, 1u) << now_;
      }
    }
    EXPECT_EQ(channel->info().first_seq, 11u);
    EXPECT_LE(now_, 110 * kSecondNs) << "10 s after the last one is too old at most, twice";
  };
  sim.run(program());
}

TEST_F(ChannelRetention, AReaderBeginsAtATimeAtANumberOrAtTheOldest) {
  SimRuntime sim(1);
  auto channel = open({});
  auto program = [&]() -> Task<void> {
    co_await send(channel, 30);
    co_await receive(channel, 30);
    EXPECT_EQ(*co_await channel->resolve({}), 0u);
    EXPECT_EQ(*co_await channel->resolve({.now = true}), 31u);
    EXPECT_EQ(*co_await channel->resolve({.oldest = true}), 1u);
    EXPECT_EQ(*co_await channel->resolve({.seq = 31}), 31u);
    EXPECT_TRUE(absl::IsInvalidArgument((co_await channel->resolve({.seq = 32})).status()));
    EXPECT_TRUE(
        absl::IsInvalidArgument((co_await channel->resolve({.seq = 3, .now = true})).status()));
    for (uint64_t seq : {1, 7, 30}) {
      const auto time = static_cast<int64_t>(seq) * kSecondNs;
      EXPECT_EQ(*co_await channel->resolve({.time_unix_nano = time}), seq);
      EXPECT_EQ(*co_await channel->resolve({.time_unix_nano = time + 1}), seq + 1);
    }
  };
  sim.run(program());
  channel.reset();
  // Also when memory has none of it.
  SimRuntime later(1);
  auto again = open({});
  EXPECT_EQ(*later.run([](std::shared_ptr<NamedChannel> channel) -> Task<absl::StatusOr<uint64_t>> {
    co_return co_await channel->resolve({.time_unix_nano = 7 * kSecondNs});
  }(again)),
            7u);
}

TEST(ChannelPolicy, EachLimitIsNamedWithItsCure) {
  const auto refused = [](ChannelPolicy policy, ChannelClass kind = ChannelClass::kDurable) {
    const auto complete = complete_policy(policy, kind);
    return complete.ok() ? FaultDetail() : *fault_detail(complete.status());
  };
  EXPECT_TRUE(complete_policy({}, ChannelClass::kMemory).ok());
  EXPECT_EQ(complete_policy({}, ChannelClass::kDurable)->age_ns(), 7 * 24 * 3600 * kSecondNs);
  EXPECT_EQ(complete_policy({}, ChannelClass::kDurable)->bytes(), 1ull << 30);
  EXPECT_EQ(refused({.retention_age_ns = 1}).field, "policy.retention_age");
  EXPECT_EQ(refused({.retention_age_ns = kSecondNs}).field, "policy.dedup_window")
      << "ids of messages that are gone";
  EXPECT_EQ(refused({.retention_bytes = 1}).limit, "retention_bytes_min = 65536");
  EXPECT_EQ(refused({.dedup_window_ns = kDedupWindowNsMax + 1}).field, "policy.dedup_window");
  EXPECT_EQ(refused({.dedup_ids_max = 0}).field, "policy.dedup_ids_max");
  EXPECT_THAT(refused({.retention_bytes = 1 << 20}, ChannelClass::kMemory).hint,
              HasSubstr("durable"));
}

}  // namespace
}  // namespace zsync::daemon
