#include "daemon/channels/selection.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "zsync/flow.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using zsync::testing::SimRuntime;
using ChannelPtr = std::shared_ptr<NamedChannel>;

constexpr int kSchedules = 200;

ChannelPtr make(std::string name, ChannelForm form = ChannelForm::kQueue) {
  ChannelSpec spec{std::move(name), 100, false, 1 << 20, Overflow::kBlock, ChannelClass::kMemory};
  spec.form = form;
  return std::make_shared<NamedChannel>("chan_1", spec, 1, [] { return int64_t{5}; });
}

void put(const ChannelPtr& channel, std::vector<std::string> messages) {
  EXPECT_TRUE(channel->try_send(std::move(messages), "").status.ok());
}

std::string first_of(const Delivery& delivery) {
  return delivery.origin->channel + (delivery.messages.empty() ? "" : delivery.messages[0].data);
}

TEST(Selection, WhoeverHasSomethingIsTakenFromAndNothingFromTheOthers) {
  SimRuntime sim(1);
  ChannelPtr a = make("a"), b = make("b");
  auto program = [](ChannelPtr a, ChannelPtr b) -> Task<void> {
    Selection both({{a}, {b}});
    auto waits = spawn([](Selection* selection) { return selection->next(1); }, &both);
    for (int i = 0; i < 10; ++i) co_await yield_now();
    EXPECT_FALSE(waits.done());
    EXPECT_EQ(a->info().receivers_waiting, 1u);
    EXPECT_EQ(a->info(true).consumers.at(0).sources, 2u);
    put(b, {"1"});
    absl::StatusOr<Delivery> delivery = co_await waits;
    EXPECT_EQ(first_of(*delivery), "b1");
    EXPECT_EQ(delivery->origin->source, 1u);
    EXPECT_EQ(delivery->origin->left, 2u);
    EXPECT_EQ(a->info().receivers_waiting, 0u);
    put(a, {"2"});
    EXPECT_EQ(b->info().depth, 1u) << "in its hands, not confirmed";
    both.confirm(1);
    EXPECT_EQ(b->info().depth, 0u);
    EXPECT_EQ(a->info().depth, 1u);
  };
  sim.run(program(a, b));
}

TEST(Selection, ThoseThatHaveSomethingTakeTurns) {
  SimRuntime sim(1);
  ChannelPtr a = make("a"), b = make("b"), c = make("c");
  for (const ChannelPtr& one : {a, b, c}) put(one, {"1", "2"});
  auto program = [](ChannelPtr a, ChannelPtr b, ChannelPtr c) -> Task<void> {
    Selection all({{a}, {b}, {c}});
    std::vector<std::string> got;
    for (int i = 0; i < 6; ++i) got.push_back(first_of(*co_await all.next(1)));
    EXPECT_THAT(got, ElementsAre("a1", "b1", "c1", "a2", "b2", "c2"));
  };
  sim.run(program(a, b, c));
}

TEST(Selection, AClosedAndDrainedChannelIsToldAndLeaves) {
  SimRuntime sim(1);
  ChannelPtr a = make("a"), b = make("b");
  put(a, {"1"});
  a->close();
  b->close();
  auto program = [](ChannelPtr a, ChannelPtr b) -> Task<void> {
    Selection both({{a}, {b}});
    absl::StatusOr<Delivery> one = co_await both.next(9);
    EXPECT_TRUE(one->closed);
    EXPECT_EQ(first_of(*one), "a1");
    EXPECT_EQ(one->origin->left, 1u);
    absl::StatusOr<Delivery> last = co_await both.next(9);
    EXPECT_TRUE(last->closed);
    EXPECT_EQ(last->origin->channel, "b");
    EXPECT_EQ(last->origin->left, 0u);
    both.leave();
    EXPECT_EQ(a->info().depth, 1u) << "it was not confirmed, so it is there for another one";
  };
  sim.run(program(a, b));
}

TEST(Selection, WhatIsConfirmedIsCountedInTheOrderInWhichItWasGiven) {
  SimRuntime sim(1);
  ChannelPtr a = make("a"), b = make("b");
  put(a, {"1", "2"});
  put(b, {"1", "2", "3"});
  auto program = [](ChannelPtr a, ChannelPtr b) -> Task<void> {
    Selection both({{a}, {b}});
    (void)co_await both.next(2);  // a1 a2
    (void)co_await both.next(2);  // b1 b2
    (void)co_await both.next(2);  // b3
    both.confirm(3);
    EXPECT_EQ(a->info().depth, 0u);
    EXPECT_EQ(b->info().depth, 2u);
    both.confirm(100);
    EXPECT_EQ(b->info().depth, 0u);
  };
  sim.run(program(a, b));
}

TEST(Selection, AnObservedChannelKeepsItsMessagesAndObeysTheCredit) {
  SimRuntime sim(1);
  ChannelPtr a = make("a"), b = make("b", ChannelForm::kBroadcast);
  put(b, {"1", "2", "3"});
  auto program = [](ChannelPtr a, ChannelPtr b) -> Task<void> {
    Selection both({{a}, {b, "", true, 1}});
    EXPECT_EQ((co_await both.next(2))->messages.size(), 2u);
    put(a, {"x"});
    EXPECT_EQ(first_of(*co_await both.next(2)), "ax");
    EXPECT_EQ(first_of(*co_await both.next(2)), "b3");
    both.confirm(3);
    EXPECT_EQ(a->info().depth, 0u) << "the two that were observed count, too";
    b->remove();
    EXPECT_TRUE(absl::IsNotFound((co_await both.next(1)).status()));
  };
  sim.run(program(a, b));
}

// Selections that are cancelled at any moment, together with receivers, over several channels: each
// message is confirmed by exactly one.
Task<void> select_somehow(std::vector<ChannelPtr> channels, uint64_t seed,
                          std::map<std::string, int>& got) {
  std::mt19937_64 random(seed);
  while (true) {
    std::vector<Selection::Source> sources;
    for (const ChannelPtr& channel : channels) sources.push_back({channel});
    Selection selection(std::move(sources));
    for (uint64_t left = 1 + random() % 4; left > 0; --left) {
      auto next = spawn([](Selection* one, size_t max) { return one->next(max); }, &selection,
                        1 + random() % 3);
      for (uint64_t i = random() % 6; i > 0; --i) co_await yield_now();
      if (random() % 3 == 0) next.cancel();
      absl::StatusOr<Delivery> delivery = co_await next;
      if (!delivery.ok()) break;
      for (const Message& message : delivery->messages) {
        ++got[delivery->origin->channel + message.data];
      }
      selection.confirm(delivery->messages.size());
      if (delivery->closed && delivery->origin->left == 0) co_return;
    }
  }
}

TEST(Selection, ACancelledOneLosesNothingInWhateverOrderThingsHappen) {
  int seed = 0;
  zsync::testing::explore(kSchedules, [&seed](SimRuntime& sim) {
    const std::vector<ChannelPtr> channels{make("a"), make("b"), make("c")};
    std::map<std::string, int> got;
    auto program = [](std::vector<ChannelPtr> channels, uint64_t seed,
                      std::map<std::string, int>& got) -> Task<void> {
      auto one = spawn(select_somehow(channels, seed, got));
      auto other = spawn(select_somehow({channels[1], channels[2]}, seed + 1, got));
      for (int i = 0; i < 10; ++i) {
        for (const ChannelPtr& channel : channels) put(channel, {std::to_string(i)});
        co_await yield_now();
      }
      for (const ChannelPtr& channel : channels) channel->close();
      co_await std::move(one);
      co_await std::move(other);
    };
    sim.run(program(channels, static_cast<uint64_t>(seed += 2), got));
    EXPECT_EQ(got.size(), 30u);
    for (const auto& [message, count] : got) EXPECT_EQ(count, 1) << message;
    for (const ChannelPtr& channel : channels) EXPECT_EQ(channel->info().depth, 0u);
  });
}

}  // namespace
}  // namespace zsync::daemon
