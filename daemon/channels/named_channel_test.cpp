#include <gtest/gtest.h>

#include <filesystem>
#include <span>

#include "absl/strings/str_cat.h"
#include "daemon/channels/follower.hpp"
#include "daemon/channels/receivers.hpp"
#include "zsync/flow.hpp"
#include "zsync/testing/sim_runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

using namespace std::chrono_literals;
using zsync::testing::SimRuntime;

constexpr int kSchedules = 200;

std::shared_ptr<NamedChannel> make(Overflow overflow, uint64_t capacity) {
  ChannelSpec spec{"c", capacity, false, 1 << 20, overflow, ChannelClass::kMemory};
  return std::make_shared<NamedChannel>("chan_1", spec, 1, [] { return int64_t{5}; });
}

Task<void> send_numbers(std::shared_ptr<NamedChannel> channel, int from, int count, int batch) {
  for (int i = 0; i < count; i += batch) {
    std::vector<std::string> messages;
    for (int j = i; j < std::min(count, i + batch); ++j)
      messages.push_back(std::to_string(from + j));
    const Accepted accepted = co_await channel->send(std::move(messages), "");
    EXPECT_TRUE(accepted.status.ok()) << accepted.status;
  }
}

Task<std::vector<std::string>> receive_all(std::shared_ptr<NamedChannel> channel, size_t max) {
  std::vector<std::string> received;
  NamedChannel::Receiver receiver(channel);
  while (true) {
    absl::StatusOr<Delivery> delivery = co_await receiver.next(max);
    if (!delivery.ok()) co_return received;
    for (const Message& message : delivery->messages) received.push_back(message.data);
    receiver.confirm(delivery->messages.size());
    if (delivery->closed) co_return received;
  }
}

TEST(NamedChannel, EveryMessageGoesToExactlyOneReceiverInWhateverOrderThingsHappen) {
  zsync::testing::explore(kSchedules, [](SimRuntime& sim) {
    auto channel = make(Overflow::kBlock, 3);
    auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
      auto first = spawn(receive_all(channel, 2));
      auto second = spawn(receive_all(channel, 5));
      co_await all(send_numbers(channel, 0, 20, 3), send_numbers(channel, 100, 20, 7));
      channel->close();
      std::vector<std::string> got = co_await first;
      for (std::string& more : co_await second) got.push_back(std::move(more));
      std::sort(got.begin(), got.end());
      EXPECT_EQ(got.size(), 40u);
      EXPECT_EQ(std::unique(got.begin(), got.end()), got.end());
    };
    sim.run(program(channel));
    EXPECT_EQ(channel->info().depth, 0u);
    EXPECT_EQ(channel->info().received, 40u);
  });
}

TEST(NamedChannel, OneReceiverSeesEachSendersOrder) {
  zsync::testing::explore(kSchedules, [](SimRuntime& sim) {
    auto channel = make(Overflow::kBlock, 2);
    auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
      auto receiver = spawn(receive_all(channel, 3));
      co_await send_numbers(channel, 0, 30, 4);
      channel->close();
      std::vector<std::string> got = co_await receiver;
      EXPECT_EQ(got.size(), 30u);
      for (int i = 0; i < static_cast<int>(got.size()); ++i) EXPECT_EQ(got[i], std::to_string(i));
    };
    sim.run(program(channel));
  });
}

TEST(NamedChannel, AReceiverThatDiesGivesBackWhatItDidNotConfirm) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kBlock, 10);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    co_await send_numbers(channel, 0, 4, 4);
    {
      NamedChannel::Receiver doomed(channel);
      absl::StatusOr<Delivery> delivery = co_await doomed.next(3);
      EXPECT_EQ(delivery->messages.size(), 3u);
      doomed.confirm(1);
    }
    channel->close();
    EXPECT_EQ(co_await receive_all(channel, 10), (std::vector<std::string>{"1", "2", "3"}));
  };
  sim.run(program(channel));
}

TEST(NamedChannel, ACancelledReceiverTakesNothing) {
  zsync::testing::explore(kSchedules, [](SimRuntime& sim) {
    auto channel = make(Overflow::kBlock, 10);
    auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
      TaskHandle<std::vector<std::string>> doomed = spawn(receive_all(channel, 10));
      co_await yield_now();
      doomed.cancel();
      co_await send_numbers(channel, 0, 5, 5);
      channel->close();
      std::vector<std::string> got = co_await receive_all(channel, 10);
      absl::StatusOr<std::vector<std::string>> other = co_await timeout(doomed, 1s);
      EXPECT_LE(got.size(), 5u);
      // The doomed one confirms what it got, so together they have all of it.
      if (!other.ok()) EXPECT_EQ(got.size(), 5u);
    };
    try {
      sim.run(program(channel));
    } catch (const Cancelled&) {
      // the doomed task was cancelled: joining it says so
    }
  });
}

TEST(NamedChannel, AFullChannelHoldsItsSenderUntilThereIsRoom) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kBlock, 2);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    TaskHandle<void> sender = spawn(send_numbers(channel, 0, 3, 3));
    for (int i = 0; i < 10; ++i) co_await yield_now();
    EXPECT_FALSE(sender.done());
    EXPECT_EQ(channel->info().senders_waiting, 1u);
    EXPECT_EQ(channel->info().depth, 2u);
    NamedChannel::Receiver receiver(channel);
    (void)co_await receiver.next(1);
    co_await sender;
    EXPECT_EQ(channel->info().senders_waiting, 0u);
  };
  sim.run(program(channel));
}

TEST(NamedChannel, AFullChannelWithOverflowErrorRefusesTheRestAndSaysHowManyItTook) {
  auto channel = make(Overflow::kError, 2);
  const Accepted accepted = channel->try_send({"a", "b", "c"}, "");
  EXPECT_EQ(accepted.count, 2u);
  EXPECT_EQ(accepted.last_seq, 2u);
  EXPECT_TRUE(absl::IsResourceExhausted(accepted.status));
}

TEST(NamedChannel, ADroppingChannelAcceptsEverythingAndTellsTheGap) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kDropOldest, 2);
  EXPECT_TRUE(channel->try_send({"a", "b", "c", "d"}, "").status.ok());
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    NamedChannel::Receiver receiver(channel);
    absl::StatusOr<Delivery> delivery = co_await receiver.next(10);
    EXPECT_TRUE(delivery->gap && delivery->gap->from == 1 && delivery->gap->to == 2);
    EXPECT_EQ(delivery->messages.size(), 2u);
  };
  sim.run(program(channel));
}

TEST(NamedChannel, AClosedChannelRefusesSendersAndDrainsReceivers) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kBlock, 10);
  (void)channel->try_send({"a"}, "");
  channel->close();
  EXPECT_TRUE(absl::IsFailedPrecondition(channel->try_send({"b"}, "").status));
  EXPECT_EQ(sim.run(receive_all(channel, 10)), (std::vector<std::string>{"a"}));
}

TEST(NamedChannel, ClosingWakesASenderThatWaitsForRoom) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kBlock, 1);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    (void)channel->try_send({"a"}, "");
    TaskHandle<Accepted> sender = spawn(channel->send({"b"}, ""));
    for (int i = 0; i < 5; ++i) co_await yield_now();
    channel->close();
    const Accepted accepted = co_await sender;
    EXPECT_EQ(accepted.count, 0u);
    EXPECT_TRUE(absl::IsFailedPrecondition(accepted.status));
  };
  sim.run(program(channel));
}

TEST(NamedChannel, RemovingTellsWhoeverWaits) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kBlock, 1);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    NamedChannel::Receiver receiver(channel);
    auto waiting =
        spawn([](NamedChannel::Receiver* receiver) { return receiver->next(1); }, &receiver);
    for (int i = 0; i < 5; ++i) co_await yield_now();
    channel->remove();
    EXPECT_TRUE(absl::IsNotFound((co_await waiting).status()));
  };
  sim.run(program(channel));
}

TEST(NamedChannel, AFollowerTakesNothingAwayAndIsToldWhatItMissed) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kDropOldest, 2);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    (void)channel->try_send({"a", "b", "c"}, "");
    NamedChannel::Follower follower(channel, 1);
    absl::StatusOr<Delivery> seen = co_await follower.next();
    EXPECT_TRUE(seen->gap && seen->gap->to == 1);
    EXPECT_EQ(seen->messages.size(), 2u);
    EXPECT_EQ(follower.position(), 4u);
    EXPECT_EQ(channel->info().depth, 2u);
    channel->close();
    EXPECT_TRUE((co_await follower.next())->closed);
  };
  sim.run(program(channel));
}

// "a,b" of messages with these bodies, and how often that was asked for.
struct CountedEncoder {
  int calls = 0;
  EncodeMessages encode = [this](std::vector<Message> messages) {
    ++calls;
    std::string bytes;
    for (const Message& message : messages) absl::StrAppend(&bytes, message.data, ",");
    return bytes;
  };
};

TEST(NamedChannel, WhatManyFollowersGetIsEncodedOnce) {
  SimRuntime sim(1);
  auto channel = make(Overflow::kDropOldest, 3);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    CountedEncoder encoder;
    const auto next = [&](NamedChannel::Follower& follower) -> Task<std::string> {
      absl::StatusOr<Delivery> delivery = co_await follower.next_encoded(encoder.encode);
      if (delivery->run) co_return delivery->run->bytes;
      std::string plain = delivery->gap ? absl::StrCat("gap to ", delivery->gap->to, ":") : "";
      for (const Message& message : delivery->messages) plain += message.data;
      co_return plain + (delivery->closed ? "closed" : "");
    };
    NamedChannel::Follower first(channel, 1);
    (void)channel->try_send({"a", "b"}, "");
    EXPECT_EQ(co_await next(first), "ab") << "nobody else wants it";
    EXPECT_EQ(encoder.calls, 0);
    NamedChannel::Follower second(channel, 1);
    NamedChannel::Follower third(channel, 1);
    EXPECT_EQ(co_await next(second), "a,b,");
    (void)channel->try_send({"c"}, "");
    EXPECT_EQ(co_await next(third), "a,b,") << "as the second one got it, though there is more";
    EXPECT_EQ(encoder.calls, 1);
    for (NamedChannel::Follower* follower : {&first, &second, &third}) {
      EXPECT_EQ(co_await next(*follower), "c,");
      EXPECT_EQ(follower->position(), 4u);
    }
    EXPECT_EQ(encoder.calls, 2);
    NamedChannel::Follower late(channel, 1);
    (void)channel->try_send({"d", "e", "f"}, "");
    EXPECT_EQ(co_await next(late), "a,b,") << "they are gone from the queue, not from the run";
    channel->close();
    EXPECT_EQ(co_await next(first), "defclosed");
    EXPECT_EQ(co_await next(second), "defclosed");
    NamedChannel::Follower behind(channel, 2);
    EXPECT_EQ(co_await next(behind), "gap to 3:defclosed");
  };
  sim.run(program(channel));
}

TEST(NamedChannel, FollowersThatShareRunsMissNothingAndGetNothingTwiceInAnyOrder) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SimRuntime sim(seed);
    auto channel = make(Overflow::kBlock, 1000);
    CountedEncoder encoder;
    auto follow = [](std::shared_ptr<NamedChannel> channel, CountedEncoder* encoder, uint64_t from,
                     int pause) -> Task<void> {
      NamedChannel::Follower follower(channel, from);
      std::string got;
      std::string expected;
      for (uint64_t i = from; i <= 200; ++i) absl::StrAppend(&expected, i, ",");
      while (got.size() < expected.size()) {
        absl::StatusOr<Delivery> delivery = co_await follower.next_encoded(encoder->encode);
        EXPECT_TRUE(delivery.ok());
        if (delivery->run) got += delivery->run->bytes;
        for (const Message& message : delivery->messages) absl::StrAppend(&got, message.data, ",");
        for (int i = 0; i < pause; ++i) co_await yield_now();
      }
      EXPECT_EQ(got, expected);
    };
    auto program = [&]() -> Task<void> {
      std::vector<TaskHandle<void>> followers;
      for (int i = 0; i < 6; ++i) {
        followers.push_back(
            spawn(follow(channel, &encoder, 1 + static_cast<uint64_t>(i % 3) * 7, i * 3)));
      }
      for (int i = 1; i <= 200; ++i) {
        (void)channel->try_send({absl::StrCat(i)}, "");
        if (i % 3 == 0) co_await yield_now();
      }
      for (TaskHandle<void>& follower : followers) co_await follower;
    };
    sim.run(program());
  }
}

// The disk of these tests is the real one; the simulator decides the order of everything else.
class DurableChannel : public ::testing::Test {
 protected:
  DurableChannel() {
    char name[] = "/tmp/zsync-channel-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~DurableChannel() override { std::filesystem::remove_all(directory_); }

  std::shared_ptr<NamedChannel> open(uint64_t capacity = 100,
                                     Overflow overflow = Overflow::kBlock) {
    segment_log::WriterOptions options;
    options.durable = true;
    absl::StatusOr<segment_log::Writer> writer =
        segment_log::Writer::open(directory_ + "/log", options);
    EXPECT_TRUE(writer.ok()) << writer.status();
    ChannelSpec spec{"d", capacity, false, 1 << 20, overflow, ChannelClass::kDurable};
    NamedChannel::Durable durable{std::make_unique<segment_log::Writer>(std::move(*writer)),
                                  [this](uint64_t floor) { floor_ = floor; }, directory_ + "/log"};
    return std::make_shared<NamedChannel>(
        "chan_2", spec, 1, [] { return int64_t{5}; }, std::move(durable));
  }
  std::vector<std::string> on_disk() {
    std::vector<std::string> data;
    absl::StatusOr<segment_log::Reader> reader = segment_log::Reader::open(directory_ + "/log");
    absl::StatusOr<segment_log::Batch> batch = reader->read(1 << 20);
    for (const segment_log::Record& record : batch->records) {
      data.push_back(decode_message(record)->data);
    }
    return data;
  }

  std::string directory_;
  uint64_t floor_ = 0;
};

TEST_F(DurableChannel, WhatIsAcceptedIsOnDiskInTheOrderOfItsNumbers) {
  SimRuntime sim(3);
  auto channel = open();
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    co_await all(send_numbers(channel, 0, 10, 3), send_numbers(channel, 100, 10, 2),
                 send_numbers(channel, 200, 10, 1));
    channel->close();
  };
  sim.run(program(channel));
  EXPECT_EQ(on_disk().size(), 30u);
  EXPECT_EQ(sim.run(receive_all(channel, 100)), on_disk());
  EXPECT_EQ(floor_, 31u);
}

TEST_F(DurableChannel, ASenderThatIsCancelledWhileTheDiskWorksLeavesNothingHalfDone) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    std::filesystem::remove_all(directory_ + "/log");
    SimRuntime sim(seed);
    auto channel = open();
    auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
      TaskHandle<Accepted> doomed = spawn(channel->send({"x", "y"}, ""));
      co_await yield_now();
      doomed.cancel();
      co_await send_numbers(channel, 0, 3, 1);
      std::move(doomed).detach();
    };
    sim.run(program(channel));
    channel->close();
    EXPECT_EQ(sim.run(receive_all(channel, 100)), on_disk()) << "seed " << seed;
  }
}

std::vector<SendBatch> batches_of(std::vector<std::vector<std::string>> all) {
  std::vector<SendBatch> batches;
  for (std::vector<std::string>& messages : all) batches.push_back({std::move(messages), "", {}});
  return batches;
}

TEST_F(DurableChannel, WhatOneSenderSendsTogetherWaitsForRoomInItsOrder) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    std::filesystem::remove_all(directory_ + "/log");
    SimRuntime sim(seed);
    auto channel = open(3);
    auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<std::vector<std::string>> {
      TaskHandle<std::vector<std::string>> receiver = spawn(receive_all(channel, 2));
      std::vector<SendBatch> batches =
          batches_of({{"1", "2"}, {"3", "4", "5", "6", "7"}, {"8"}, {}, {"9", "10"}});
      for (size_t done = 0; done < batches.size();) {
        done += co_await channel->send_durable(std::span(batches).subspan(done));
      }
      for (const SendBatch& batch : batches) {
        EXPECT_TRUE(batch.result.status.ok()) << batch.result.status;
        EXPECT_EQ(batch.result.count, batch.messages.size());
        if (!batch.messages.empty()) {
          EXPECT_EQ(std::to_string(batch.result.last_seq), batch.messages.back());
        }
      }
      channel->close();
      co_return co_await receiver;
    };
    const std::vector<std::string> received = sim.run(program(channel));
    EXPECT_EQ(received, on_disk()) << "seed " << seed;
    EXPECT_EQ(received.size(), 10u);
  }
}

TEST_F(DurableChannel, NothingComesAfterWhatWasRefused) {
  SimRuntime sim(1);
  auto channel = open(2, Overflow::kError);
  std::vector<SendBatch> batches = batches_of({{"1"}, {"2", "3"}, {}, {"4"}});
  EXPECT_EQ(sim.run(channel->send_durable(batches)), 2u);
  EXPECT_TRUE(batches[0].result.status.ok());
  EXPECT_EQ(batches[1].result.count, 1u);
  EXPECT_TRUE(absl::IsResourceExhausted(batches[1].result.status)) << batches[1].result.status;
  EXPECT_EQ(on_disk(), (std::vector<std::string>{"1", "2"}));
}

// A message that fits must not overtake one that does not.
TEST_F(DurableChannel, ASmallMessageDoesNotOvertakeALargeOneOfTheSameSender) {
  SimRuntime sim(1);
  auto channel = open();
  const std::string large((1 << 20) - 10, 'x');
  std::vector<SendBatch> batches = batches_of({{large}, {large}, {"small"}});
  EXPECT_EQ(sim.run(channel->send_durable(batches)), 1u);
  EXPECT_EQ(on_disk().size(), 1u);
}

MessageExtraPtr identified(std::string id) {
  return std::make_shared<const MessageExtra>(MessageExtra{"", std::move(id), std::nullopt});
}

TEST(NamedChannel, AMessageWithAKnownIdIsAcceptedAsTheFirstOfItAndTakesNoRoom) {
  auto channel = make(Overflow::kError, 2);
  Accepted accepted =
      channel->try_send({"a", "again", "b"}, "", {identified("x"), identified("x"), nullptr});
  EXPECT_TRUE(accepted.status.ok()) << accepted.status;
  EXPECT_EQ(accepted.count, 3u);
  EXPECT_EQ(accepted.duplicates, 1u);
  EXPECT_EQ(channel->info().depth, 2u);
  accepted = channel->try_send({"full, but known"}, "", {identified("x")});
  EXPECT_EQ(accepted.count, 1u);
  EXPECT_EQ(accepted.last_seq, 1u);
}

TEST_F(DurableChannel, ARoundOfManySendersWithTheSameIdsWritesEachOfThemOnce) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::filesystem::remove_all(directory_ + "/log");
    SimRuntime sim(seed);
    auto channel = open();
    auto one = [](std::shared_ptr<NamedChannel> channel, std::string id) -> Task<uint64_t> {
      const Accepted accepted =
          co_await channel->send({id, "", id}, "", {identified(id), nullptr, identified(id)});
      EXPECT_TRUE(accepted.status.ok());
      EXPECT_EQ(accepted.count, 3u);
      co_return accepted.duplicates;
    };
    auto program = [&one](std::shared_ptr<NamedChannel> channel) -> Task<uint64_t> {
      auto [a, b, c, d] =
          co_await all(one(channel, "y"), one(channel, "x"), one(channel, "x"), one(channel, "x"));
      co_return a + b + c + d;
    };
    EXPECT_EQ(sim.run(program(channel)), 6u);
    EXPECT_EQ(on_disk().size(), 6u);
  }
}

TEST_F(DurableChannel, AFollowerReadsFromTheLogWhatMemoryHasNoMore) {
  SimRuntime sim(1);
  auto channel = open(/*capacity=*/4);
  auto program = [](std::shared_ptr<NamedChannel> channel) -> Task<void> {
    for (int i = 0; i < 5; ++i) {
      co_await send_numbers(channel, 4 * i, 4, 4);
      NamedChannel::Receiver receiver(channel);
      (void)co_await receiver.next(4);
      receiver.confirm(4);
    }
    channel->close();
    NamedChannel::Follower follower(channel, 3);
    std::vector<uint64_t> seen;
    while (true) {
      absl::StatusOr<Delivery> delivery = co_await follower.next();
      EXPECT_TRUE(delivery.ok()) << delivery.status();
      EXPECT_FALSE(delivery->gap);
      for (const Message& message : delivery->messages) seen.push_back(message.seq);
      if (delivery->closed) break;
    }
    EXPECT_EQ(seen.size(), 18u);
    EXPECT_EQ(seen.front(), 3u);
    EXPECT_EQ(seen.back(), 20u);
  };
  sim.run(program(channel));
}

TEST(Message, WhatItCarriesBesideItsDataComesBackFromItsRecord) {
  MessageExtra extra{"key", std::string("i\0d", 3), DeadOrigin{"c", "g", 7, -5, 3, "why"}};
  const std::string bytes = encode_message("trace", "data", &extra);
  segment_log::Record record;
  record.stream = kExtraStream;
  record.payload = bytes;
  const std::optional<Message> message = decode_message(record);
  ASSERT_TRUE(message && message->extra);
  EXPECT_EQ(*message->extra, extra);
  EXPECT_EQ(message->data, "data");
  EXPECT_EQ(message->trace, "trace");
  for (size_t size = 0; size + 4 < bytes.size(); ++size) {
    record.payload = std::string_view(bytes).substr(0, size);
    EXPECT_FALSE(decode_message(record)) << size;
  }
}

}  // namespace
}  // namespace zsync::daemon
