// Groups of a channel in the simulator: its order of things and its time, a real log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <random>

#include "daemon/channels/receivers.hpp"
#include "zsync/flow.hpp"
#include "zsync/testing/sim_runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using zsync::testing::SimRuntime;

constexpr int64_t kWaitNs = 1'000'000'000;

// What the store would have: survives a channel object, as the disk survives a daemon.
struct Disk {
  std::map<std::string, std::string> groups;
  absl::Status status;  // of every save
};

class ChannelGroupsTest : public ::testing::Test {
 protected:
  ChannelGroupsTest() {
    char name[] = "/tmp/zsync-groups-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~ChannelGroupsTest() override { std::filesystem::remove_all(directory_); }

  std::shared_ptr<NamedChannel> open(SimRuntime& sim, Disk& disk, uint64_t capacity = 1000,
                                     Overflow overflow = Overflow::kBlock) {
    segment_log::WriterOptions options;
    options.durable = true;
    absl::StatusOr<segment_log::Writer> writer =
        segment_log::Writer::open(directory_ + "/log", options);
    EXPECT_TRUE(writer.ok()) << writer.status();
    const uint64_t next = writer->next_seq();
    NamedChannel::Durable durable;
    durable.writer = std::make_unique<segment_log::Writer>(std::move(*writer));
    durable.dir = directory_ + "/log";
    durable.save_group = [&disk](std::string group, std::function<std::string()> encode,
                                 std::function<void(absl::Status)> done) {
      if (disk.status.ok()) disk.groups[group] = encode();
      done(disk.status);
    };
    durable.monotonic = [&sim] { return sim.now().time_since_epoch().count(); };
    ChannelSpec spec{"d", capacity, false, 1 << 20, overflow, ChannelClass::kDurable};
    auto channel = std::make_shared<NamedChannel>(
        "chan_2", spec, 1, [] { return int64_t{5}; }, std::move(durable), next);
    for (const auto& [name, state] : disk.groups) {
      std::optional<ConsumerGroup> group = ConsumerGroup::decode(spec_of(name), state);
      EXPECT_TRUE(group);
      channel->put_group(std::move(*group), 1);
    }
    return channel;
  }
  static GroupSpec spec_of(std::string name) { return {std::move(name), kWaitNs, 3, 100}; }
  static void add_group(NamedChannel& channel, Disk& disk, const std::string& name = "g") {
    ConsumerGroup group(spec_of(name), 1);
    disk.groups[name] = group.encode();
    channel.put_group(std::move(group), 1);
  }

  std::string directory_;
};

Settling settling(Settling::Kind kind, ConsumerGroup::Handed one, int64_t delay_ns = 0) {
  return {kind, {one}, delay_ns, "why"};
}

Task<void> send_numbers(std::shared_ptr<NamedChannel> channel, int count) {
  for (int i = 0; i < count; i += 3) {
    std::vector<std::string> messages;
    for (int j = i; j < std::min(count, i + 3); ++j) messages.push_back(std::to_string(j));
    const Accepted accepted = co_await channel->send(std::move(messages), "");
    EXPECT_TRUE(accepted.status.ok()) << accepted.status;
  }
}

// What happened to every message, across daemons.
struct Ledger {
  std::map<uint64_t, int> acked;
  std::map<uint64_t, int> dead;
};

// Takes, and acknowledges, gives back, or forgets; leaves after some messages.
Task<void> consume_somehow(std::shared_ptr<NamedChannel> channel, uint64_t seed, Ledger& ledger) {
  std::mt19937_64 random(seed);
  while (true) {
    NamedChannel::Consumer consumer(channel, "g");
    for (uint64_t left = 1 + random() % 5; left > 0; --left) {
      absl::StatusOr<Delivery> delivery = co_await consumer.next(1 + random() % 4);
      if (!delivery.ok() || delivery->closed) co_return;
      for (size_t i = 0; i < delivery->messages.size(); ++i) {
        const ConsumerGroup::Handed one{delivery->messages[i].seq, delivery->deliveries[i]};
        EXPECT_FALSE(ledger.acked.contains(one.seq)) << "acknowledged before";
        const uint64_t what = random() % 10;
        if (what < 7) {
          auto settled = co_await channel->settle("g", settling(Settling::kAck, one));
          if (settled.ok() && settled->done == 1) ++ledger.acked[one.seq];
        } else if (what == 7) {
          (void)co_await channel->settle("g", settling(Settling::kNack, one, kWaitNs / 3));
        }
      }
      co_await sleep(std::chrono::nanoseconds(random() % kWaitNs));
    }
  }
}

// What the engine does: time, and the dead letters.
Task<void> tend(std::shared_ptr<NamedChannel> channel, Ledger& ledger) {
  while (true) {
    channel->tend();
    absl::StatusOr<std::vector<DeadLetter>> letters = co_await channel->dying();
    EXPECT_TRUE(letters.ok());
    for (const DeadLetter& letter : *letters) {
      EXPECT_EQ(letter.origin.deliveries, 3u);
      ++ledger.dead[letter.origin.seq];
    }
    co_await channel->bury(std::move(*letters));
    co_await sleep(std::chrono::nanoseconds(kWaitNs / 4));
  }
}

TEST_F(ChannelGroupsTest, EveryMessageIsAcknowledgedOnceOrDiesWhateverItsConsumersAndDaemonsDo) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    std::filesystem::remove_all(directory_ + "/log");
    Disk disk;
    Ledger ledger;
    for (int daemon = 0; daemon < 3; ++daemon) {
      SimRuntime sim(seed * 10 + static_cast<uint64_t>(daemon));
      auto channel = open(sim, disk);
      if (daemon == 0) add_group(*channel, disk);
      auto program = [](std::shared_ptr<NamedChannel> channel, uint64_t seed, Ledger& ledger,
                        bool last) -> Task<void> {
        TaskHandle<void> tending = spawn(tend(channel, ledger));
        std::vector<TaskHandle<void>> consumers;
        for (uint64_t i = 0; i < 3; ++i) {
          consumers.push_back(spawn(consume_somehow(channel, seed * 7 + i, ledger)));
        }
        co_await send_numbers(channel, 20);
        if (last) {
          channel->close();
          for (TaskHandle<void>& consumer : consumers) co_await consumer;
        } else {
          co_await sleep(3s);
        }
        for (TaskHandle<void>& consumer : consumers) consumer.cancel();
        tending.cancel();
      };
      sim.run(program(channel, seed, ledger, daemon == 2));
    }
    EXPECT_EQ(ledger.acked.size() + ledger.dead.size(), 60u);
    for (const auto& [seq, count] : ledger.acked) {
      EXPECT_EQ(count, 1) << seq;
      EXPECT_FALSE(ledger.dead.contains(seq)) << seq;
    }
    for (const auto& [seq, count] : ledger.dead) EXPECT_EQ(count, 1) << seq;
    if (HasFailure()) return;
  }
}

TEST_F(ChannelGroupsTest, AMessageThatIsNotAcknowledgedGoesToWhoeverWaitsWhenItsTimeIsOver) {
  SimRuntime sim(1);
  Disk disk;
  auto channel = open(sim, disk);
  add_group(*channel, disk);
  auto program = [](std::shared_ptr<NamedChannel> channel, SimRuntime& sim) -> Task<void> {
    Ledger ledger;
    TaskHandle<void> tending = spawn(tend(channel, ledger));
    co_await send_numbers(channel, 1);
    NamedChannel::Consumer slow(channel, "g");
    NamedChannel::Consumer other(channel, "g");
    const rt::TimePoint start = sim.now();
    EXPECT_EQ((co_await slow.next(1))->deliveries[0], 1u);
    EXPECT_EQ((co_await other.next(1))->deliveries[0], 2u);
    EXPECT_GE(sim.now() - start, std::chrono::nanoseconds(kWaitNs));
    auto late = co_await channel->settle("g", settling(Settling::kAck, {1, 1}));
    EXPECT_EQ(late->refused.size(), 1u);
    tending.cancel();
  };
  sim.run(program(channel, sim));
}

TEST_F(ChannelGroupsTest, ADeliveryOrAnAckThatCannotBeWrittenIsNoSuccess) {
  SimRuntime sim(1);
  Disk disk;
  auto channel = open(sim, disk);
  add_group(*channel, disk);
  auto program = [](std::shared_ptr<NamedChannel> channel, Disk& disk) -> Task<void> {
    co_await send_numbers(channel, 2);
    {
      NamedChannel::Consumer consumer(channel, "g");
      disk.status = absl::ResourceExhaustedError("full");
      EXPECT_TRUE(absl::IsResourceExhausted((co_await consumer.next(1)).status()));
    }
    disk.status = absl::OkStatus();
    NamedChannel::Consumer consumer(channel, "g");
    EXPECT_EQ((co_await consumer.next(9))->messages.size(), 2u);
    disk.status = absl::ResourceExhaustedError("full");
    auto refused = co_await channel->settle("g", settling(Settling::kAck, {2, 1}));
    EXPECT_TRUE(absl::IsResourceExhausted(refused.status()));
    // Once more: it says that it is settled only when that is on disk.
    disk.status = absl::OkStatus();
    auto again = co_await channel->settle("g", settling(Settling::kAck, {2, 1}));
    EXPECT_EQ(again->refused.size(), 1u);
    std::optional<ConsumerGroup> stored = ConsumerGroup::decode(spec_of("g"), disk.groups["g"]);
    EXPECT_EQ(stored->check(2, 1), ConsumerGroup::Verdict::kSettled);
  };
  sim.run(program(channel, disk));
}

TEST_F(ChannelGroupsTest, WhatADropOldestChannelDropsIsAGapOfEachGroup) {
  SimRuntime sim(1);
  Disk disk;
  auto channel = open(sim, disk, 3, Overflow::kDropOldest);
  add_group(*channel, disk, "g");
  add_group(*channel, disk, "h");
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    co_await send_numbers(channel, 9);
    for (const char* name : {"g", "h"}) {
      NamedChannel::Consumer consumer(channel, name);
      absl::StatusOr<Delivery> delivery = co_await consumer.next(9);
      EXPECT_EQ(delivery->gap->from, 1u);
      EXPECT_EQ(delivery->gap->to, 6u);
      EXPECT_EQ(delivery->messages.front().seq, 7u);
      EXPECT_EQ(delivery->messages.size(), 3u);
    }
  };
  sim.run(program(channel));
}

TEST_F(ChannelGroupsTest, EachConsumerIsToldWhatItWaitsFor) {
  SimRuntime sim(1);
  Disk disk;
  auto channel = open(sim, disk);
  add_group(*channel, disk);
  static const auto told = [](NamedChannel& channel, size_t which) {
    return channel.groups_info(/*consumers=*/true).at(0).attending.at(which);
  };
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    NamedChannel::Consumer one(channel, "g", 11);
    NamedChannel::Consumer other(channel, "g", 12);
    EXPECT_EQ(told(*channel, 0).state, ConsumerState::kEmpty);
    EXPECT_EQ(told(*channel, 1).pid, 12);
    const auto key = std::make_shared<const MessageExtra>(MessageExtra{"k", "", {}});
    (void)co_await channel->send({"a", "b", "c"}, "", {key, key, key});
    EXPECT_EQ(told(*channel, 0).state, ConsumerState::kReceiving);
    EXPECT_EQ(told(*channel, 0).there, 3u);
    EXPECT_EQ((co_await one.next(9))->messages.size(), 1u);
    EXPECT_EQ(told(*channel, 0).state, ConsumerState::kDisk) << "its call has not gone on yet";
    auto waits = spawn([](NamedChannel::Consumer* consumer) { return consumer->next(9); }, &other);
    for (int i = 0; i < 10; ++i) co_await yield_now();
    const ConsumerInfo held = told(*channel, 1);
    EXPECT_EQ(held.state, ConsumerState::kKeyHeld);
    EXPECT_EQ(held.key, "k");
    EXPECT_EQ(held.held_by, 1u);
    EXPECT_EQ(held.waits_for, 2u);
    EXPECT_EQ(held.why,
              "2 messages behind older ones of their keys: message 1 of key \"k\" is in the hands "
              "of consumer 1");
    one.enter(Phase::kWaiting);
    EXPECT_THAT(told(*channel, 0).why, ::testing::HasSubstr("in its own hands"));
    EXPECT_EQ(told(*channel, 0).oldest_seq, 1u);
    waits.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await waits).status()));
  };
  sim.run(program(channel));
}

}  // namespace
}  // namespace zsync::daemon
