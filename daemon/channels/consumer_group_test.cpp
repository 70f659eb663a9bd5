#include "daemon/channels/consumer_group.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Verdict = ConsumerGroup::Verdict;

constexpr int64_t kWait = 1000;

GroupSpec spec(uint32_t max_deliveries = 3) { return {"g", kWait, max_deliveries, 100}; }

std::optional<std::string_view> no_key(uint64_t) { return ""; }

std::vector<uint64_t> take(ConsumerGroup& group, ConsumerGroup::ConsumerId consumer, size_t max,
                           int64_t now, uint64_t next_seq,
                           const ConsumerGroup::KeyOf& key_of = no_key) {
  std::vector<uint64_t> seqs;
  for (const auto& handed : group.take(consumer, max, now, next_seq, key_of)) {
    seqs.push_back(handed.seq);
  }
  return seqs;
}

std::vector<uint64_t> dying_seqs(const ConsumerGroup& group) {
  std::vector<uint64_t> seqs;
  for (const auto& dead : group.dying(100)) seqs.push_back(dead.seq);
  return seqs;
}

TEST(ConsumerGroup, AcknowledgedMessagesMoveTheFloorAlsoOutOfOrder) {
  ConsumerGroup group(spec(), 1);
  const auto consumer = group.join();
  EXPECT_THAT(take(group, consumer, 10, 0, 5), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(group.ack(2, 1), Verdict::kDone);
  EXPECT_EQ(group.ack(4, 1), Verdict::kDone);
  EXPECT_EQ(group.floor(), 1u);
  EXPECT_EQ(group.lag(5), 2u);
  EXPECT_EQ(group.ack(1, 1), Verdict::kDone);
  EXPECT_EQ(group.floor(), 3u);
  EXPECT_EQ(group.ack(3, 0), Verdict::kDone);
  EXPECT_EQ(group.floor(), 5u);
}

TEST(ConsumerGroup, AnAckThatDoesNotFitSaysWhyAndChangesNothing) {
  ConsumerGroup group(spec(), 1);
  const auto first = group.join();
  const auto second = group.join();
  EXPECT_THAT(take(group, first, 2, 0, 4), ElementsAre(1, 2));
  EXPECT_EQ(group.ack(3, 0), Verdict::kFuture);
  EXPECT_EQ(group.ack(900, 1), Verdict::kFuture);
  EXPECT_EQ(group.ack(1, 2), Verdict::kFuture) << "a delivery that has not been";
  EXPECT_EQ(group.ack(1, 1), Verdict::kDone);
  const std::string before = group.encode();
  EXPECT_EQ(group.ack(1, 1), Verdict::kSettled);
  EXPECT_EQ(group.extend(1, 1, 5), Verdict::kSettled);
  EXPECT_EQ(group.encode(), before);
  EXPECT_THAT(take(group, second, 1, kWait, 4), ElementsAre(2));
  EXPECT_EQ(group.ack(2, 1), Verdict::kRedelivered);
  EXPECT_EQ(group.nack(2, 1, kWait, 0, ""), Verdict::kRedelivered);
  EXPECT_EQ(group.in_hand(second), 1u);
  EXPECT_EQ(group.ack(2, 2), Verdict::kDone);
}

TEST(ConsumerGroup, WhatIsNotAcknowledgedInTimeIsHandedOutAgainAndExtendingKeepsIt) {
  ConsumerGroup group(spec(), 1);
  const auto first = group.join();
  const auto second = group.join();
  EXPECT_THAT(take(group, first, 2, 0, 3), ElementsAre(1, 2));
  EXPECT_EQ(group.extend(1, 1, 600), Verdict::kDone);
  EXPECT_EQ(*group.next_event(), kWait);
  EXPECT_THAT(take(group, second, 9, kWait - 1, 3), IsEmpty());
  EXPECT_THAT(take(group, second, 9, kWait, 3), ElementsAre(2));
  EXPECT_EQ(*group.next_event(), 600 + kWait);
  EXPECT_THAT(take(group, second, 9, 600 + kWait, 3), ElementsAre(1));
  EXPECT_EQ(group.counts().redelivered, 2u);
}

TEST(ConsumerGroup, AnAckAfterTheAckWaitCountsAsLongAsNobodyElseHasTheMessage) {
  ConsumerGroup group(spec(), 1);
  const auto consumer = group.join();
  take(group, consumer, 1, 0, 2);
  EXPECT_TRUE(group.expire(kWait));
  EXPECT_EQ(group.extend(1, 1, kWait), Verdict::kReturned);
  EXPECT_EQ(group.ack(1, 1), Verdict::kDone);
  EXPECT_THAT(take(group, consumer, 1, kWait, 2), IsEmpty());
}

TEST(ConsumerGroup, ALeavingConsumerGivesBackAtOnceAndANackAfterItsDelay) {
  ConsumerGroup group(spec(), 1);
  const auto first = group.join();
  const auto second = group.join();
  EXPECT_THAT(take(group, first, 2, 0, 3), ElementsAre(1, 2));
  EXPECT_EQ(group.nack(2, 1, 0, 500, "busy"), Verdict::kDone);
  group.leave(first);
  EXPECT_THAT(take(group, second, 9, 1, 3), ElementsAre(1));
  EXPECT_THAT(take(group, second, 9, 499, 3), IsEmpty());
  EXPECT_THAT(take(group, second, 9, 500, 3), ElementsAre(2));
  EXPECT_THAT(take(group, first, 9, 500, 9), IsEmpty()) << "it is gone";
}

TEST(ConsumerGroup, AMessageDeliveredAsOftenAsAllowedDiesWithItsLastReason) {
  ConsumerGroup group(spec(2), 1);
  const auto consumer = group.join();
  take(group, consumer, 1, 0, 2);
  group.nack(1, 1, 0, 0, "first");
  take(group, consumer, 1, 0, 2);
  group.nack(1, 2, 0, 700, "second");
  EXPECT_THAT(take(group, consumer, 1, 5000, 2), IsEmpty());
  ASSERT_EQ(group.dying(9).size(), 1u);
  EXPECT_EQ(group.dying(9)[0].deliveries, 2u);
  EXPECT_EQ(group.dying(9)[0].reason, "second");
  EXPECT_EQ(group.ack(1, 2), Verdict::kDying);
  EXPECT_EQ(group.floor(), 1u);
  group.bury(1);
  EXPECT_EQ(group.floor(), 2u);
  EXPECT_EQ(group.ack(1, 2), Verdict::kSettled);
}

TEST(ConsumerGroup, AKeyIsInOneConsumersHandsAndInOrder) {
  ConsumerGroup group(spec(), 1);
  const auto first = group.join();
  const auto second = group.join();
  // 1a 2b 3a 4a 5c
  const auto key_of = [](uint64_t seq) { return std::string_view("-abaac").substr(seq, 1); };
  EXPECT_THAT(take(group, first, 1, 0, 6, key_of), ElementsAre(1));
  EXPECT_THAT(take(group, second, 9, 0, 6, key_of), ElementsAre(2, 5));
  EXPECT_EQ(group.counts().parked, 2u);
  group.nack(1, 1, 0, 100, "");
  EXPECT_THAT(take(group, second, 9, 0, 6, key_of), IsEmpty()) << "3 waits for 1, not for a hand";
  EXPECT_THAT(take(group, second, 9, 100, 6, key_of), ElementsAre(1));
  group.ack(1, 2);
  EXPECT_THAT(take(group, first, 9, 100, 6, key_of), ElementsAre(3));
}

TEST(ConsumerGroup, AMissingBodyStopsTheTakingThere) {
  ConsumerGroup group(spec(), 1);
  const auto consumer = group.join();
  const auto key_of = [](uint64_t seq) -> std::optional<std::string_view> {
    if (seq == 3) return std::nullopt;
    return "";
  };
  EXPECT_THAT(take(group, consumer, 9, 0, 6, key_of), ElementsAre(1, 2));
  EXPECT_EQ(group.missing(), 3u);
  EXPECT_EQ(group.head(), 3u);
}

TEST(ConsumerGroup, ALostRangeIsSettledExceptWhatSomebodyHasInHand) {
  ConsumerGroup group(spec(), 1);
  const auto consumer = group.join();
  EXPECT_THAT(take(group, consumer, 2, 0, 10), ElementsAre(1, 2));
  group.nack(1, 1, 0, 0, "");
  EXPECT_EQ(group.lose(1, 6), 5u);
  EXPECT_EQ(group.floor(), 2u);
  EXPECT_EQ(group.ack(2, 1), Verdict::kDone);
  EXPECT_EQ(group.floor(), 7u);
  EXPECT_THAT(take(group, consumer, 2, 0, 10), ElementsAre(7, 8));
  EXPECT_EQ(group.lose(1, 3), 0u);
}

TEST(ConsumerGroup, AnEncodedGroupComesBackWithItsDeliveriesAndForeignBytesAreRefused) {
  ConsumerGroup group(spec(2), 4);
  const auto consumer = group.join();
  take(group, consumer, 5, 0, 9);
  group.ack(5, 1);
  group.nack(6, 1, 0, 0, "");
  take(group, consumer, 1, 0, 9);  // 6 for the second time
  const std::string bytes = group.encode();
  std::optional<ConsumerGroup> back = ConsumerGroup::decode(spec(2), bytes);
  ASSERT_TRUE(back);
  EXPECT_THAT(dying_seqs(*back), ElementsAre(6)) << "cut off in its last delivery";
  EXPECT_EQ(back->ack(7, 1), Verdict::kDone) << "by whoever had it before";
  EXPECT_EQ(back->ack(5, 1), Verdict::kSettled);
  EXPECT_EQ(back->lag(9), 3u);
  const auto next = back->join();
  const auto handed = back->take(next, 9, 0, 9, no_key);
  ASSERT_EQ(handed.size(), 2u);
  EXPECT_EQ(handed[0].seq, 4u);
  EXPECT_EQ(handed[0].delivery, 2u);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ConsumerGroup::decode(spec(), bytes.substr(0, size))) << size;
  }
  EXPECT_FALSE(ConsumerGroup::decode(spec(), bytes + "x"));
}

TEST(ConsumerGroup, ADelayIsKeptAcrossDaemonsAndWhatIsBehindItsKeyStaysThere) {
  ConsumerGroup group(spec(), 1);
  const auto consumer = group.join();
  const auto key_of = [](uint64_t seq) -> std::optional<std::string_view> {
    return seq == 3 ? "other" : "key";
  };
  EXPECT_EQ(group.take(consumer, 9, 1000, 4, key_of).size(), 2u) << "1 and 3: 2 waits for 1";
  EXPECT_EQ(group.nack(1, 1, 1000, 500, "later"), Verdict::kDone);
  const std::string bytes = group.encode({.now = 1100, .wall = 70'000});
  // Another clock; 150 of the 500 had passed when the daemon was there again.
  std::optional<ConsumerGroup> back =
      ConsumerGroup::decode(spec(), bytes, {.now = 5, .wall = 70'050});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->counts().delayed, 1u);
  const auto next = back->join();
  EXPECT_EQ(back->take(next, 9, 5, 4, key_of).size(), 1u) << "3; 2 stays behind 1";
  EXPECT_EQ(back->next_event(), 5 + 350);
  const auto handed = back->take(next, 9, 355, 4, key_of);
  ASSERT_EQ(handed.size(), 1u);
  EXPECT_EQ(handed[0].seq, 1u);
  EXPECT_EQ(handed[0].delivery, 2u);
  // A clock that was set back does not hold it for longer than a delay may be.
  back = ConsumerGroup::decode(spec(), bytes, {.now = 5, .wall = -kNackDelayNsMax});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->next_event(), 5 + kNackDelayNsMax);
}

// The same, as plainly as it can be said: every message on its own, everything looked for.
class Model {
 public:
  struct Entry {
    std::string key;
    enum { kWaiting, kInHand, kDying, kAcked, kDead } at = kWaiting;
    uint32_t deliveries = 0;
    uint64_t consumer = 0;
    int64_t until = 0;  // in hand: its deadline; waiting: not before
    bool settled() const { return at == kAcked || at == kDead; }
  };

  explicit Model(uint32_t max_deliveries) : max_deliveries_(max_deliveries) {}

  void send(std::string key) { entries.push_back({std::move(key)}); }
  Entry& at(uint64_t seq) { return entries[seq - 1]; }
  void fail(Entry& entry, int64_t not_before) {
    entry.at = entry.deliveries >= max_deliveries_ ? Entry::kDying : Entry::kWaiting;
    entry.until = not_before;
  }
  void expire(int64_t now) {
    for (Entry& entry : entries) {
      if (entry.at == Entry::kInHand && entry.until <= now) fail(entry, 0);
    }
  }
  bool deliverable(uint64_t seq, int64_t now) {
    const Entry& entry = at(seq);
    if (entry.at != Entry::kWaiting || entry.until > now) return false;
    for (uint64_t older = 1; older < seq && !entry.key.empty(); ++older) {
      if (at(older).key == entry.key && !at(older).settled()) return false;
    }
    return true;
  }
  Verdict check(uint64_t seq, uint32_t delivery) {
    if (seq > entries.size()) return Verdict::kFuture;
    const Entry& entry = at(seq);
    if (entry.settled()) return Verdict::kSettled;
    if (entry.deliveries == 0 || delivery > entry.deliveries) return Verdict::kFuture;
    if (entry.at == Entry::kDying) return Verdict::kDying;
    if (delivery != entry.deliveries) return Verdict::kRedelivered;
    return Verdict::kDone;
  }
  void check_take(const std::vector<ConsumerGroup::Handed>& handed, size_t max, uint64_t consumer,
                  int64_t now) {
    for (const auto& [seq, delivery] : handed) {
      ASSERT_TRUE(deliverable(seq, now)) << "message " << seq;
      Entry& entry = at(seq);
      ASSERT_EQ(delivery, ++entry.deliveries);
      entry.at = Entry::kInHand;
      entry.consumer = consumer;
      entry.until = now + kWait;
    }
    if (handed.size() == max) return;
    for (uint64_t seq = 1; seq <= entries.size(); ++seq) {
      ASSERT_FALSE(deliverable(seq, now)) << "message " << seq << " was held back";
    }
  }

  std::vector<Entry> entries;

 private:
  const uint32_t max_deliveries_;
};

class RandomGroup {
 public:
  explicit RandomGroup(uint64_t seed) : random_(seed), group_(spec(max_), 1), model_(max_) {}

  void run(int operations) {
    for (int i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
      now_ += pick(kWait / 5);
      group_.expire(now_);
      model_.expire(now_);
      step();
      check_counts();
    }
    drain();
  }

 private:
  uint64_t pick(uint64_t below) { return random_() % below; }
  ConsumerGroup::KeyOf key_of() {
    return [this](uint64_t seq) { return std::optional<std::string_view>(model_.at(seq).key); };
  }
  void take(size_t max) {
    if (consumers_.empty()) consumers_.push_back(group_.join());
    const uint64_t consumer = consumers_[pick(consumers_.size())];
    const auto handed = group_.take(consumer, max, now_, model_.entries.size() + 1, key_of());
    model_.check_take(handed, max, consumer, now_);
  }
  void settle_some() {
    const uint64_t seq = 1 + pick(model_.entries.size() + 2);
    const uint32_t delivery = static_cast<uint32_t>(1 + pick(max_));
    const Verdict expected = model_.check(seq, delivery);
    const uint64_t kind = pick(4);
    if (kind < 2) {
      ASSERT_EQ(group_.ack(seq, delivery), expected) << seq;
      if (expected == Verdict::kDone) model_.at(seq).at = Model::Entry::kAcked;
      return;
    }
    const bool held = expected == Verdict::kDone && model_.at(seq).at == Model::Entry::kInHand;
    const Verdict in_hand = expected == Verdict::kDone && !held ? Verdict::kReturned : expected;
    if (kind == 2) {
      const int64_t delay = static_cast<int64_t>(pick(3) * kWait / 2);
      ASSERT_EQ(group_.nack(seq, delivery, now_, delay, "why"), in_hand) << seq;
      if (held) model_.fail(model_.at(seq), now_ + delay);
    } else {
      ASSERT_EQ(group_.extend(seq, delivery, now_), in_hand) << seq;
      if (held) model_.at(seq).until = now_ + kWait;
    }
  }
  void leave() {
    if (consumers_.empty()) return;
    const size_t index = pick(consumers_.size());
    group_.leave(consumers_[index]);
    for (Model::Entry& entry : model_.entries) {
      if (entry.at == Model::Entry::kInHand && entry.consumer == consumers_[index]) {
        model_.fail(entry, 0);
      }
    }
    consumers_.erase(consumers_.begin() + static_cast<ptrdiff_t>(index));
  }
  void bury() {
    for (const auto& dead : group_.dying(1 + pick(4))) {
      ASSERT_EQ(model_.at(dead.seq).at, Model::Entry::kDying) << dead.seq;
      ASSERT_EQ(model_.at(dead.seq).deliveries, dead.deliveries);
      group_.bury(dead.seq);
      model_.at(dead.seq).at = Model::Entry::kDead;
    }
  }
  // The daemon is killed: consumers are gone; everything durable is what it was, delays too.
  void restart() {
    std::optional<ConsumerGroup> back = ConsumerGroup::decode(
        spec(max_), group_.encode({.now = now_, .wall = 5000}), {.now = now_, .wall = 5000});
    ASSERT_TRUE(back);
    group_ = std::move(*back);
    consumers_.clear();
    for (Model::Entry& entry : model_.entries) {
      if (entry.at == Model::Entry::kInHand) model_.fail(entry, 0);
    }
    // What dies is buried first: its key does not hold others back once it is known as dead.
    while (!group_.dying(1).empty()) bury();
  }
  void step() {
    switch (pick(12)) {
      case 0:
        if (consumers_.size() < 4) consumers_.push_back(group_.join());
        return;
      case 1:
        return leave();
      case 2:
      case 3:
        for (uint64_t left = pick(6); left > 0; --left) {
          model_.send(std::vector<std::string>{"", "", "a", "b"}[pick(4)]);
        }
        return;
      case 4:
        return bury();
      case 5:
        if (pick(10) == 0) restart();
        return;
      case 6:
      case 7:
      case 8:
        return take(1 + pick(5));
      default:
        return settle_some();
    }
  }
  void check_counts() {
    uint64_t unsettled = 0;
    uint64_t floor = model_.entries.size() + 1;
    for (uint64_t seq = model_.entries.size(); seq >= 1; --seq) {
      if (model_.at(seq).settled()) continue;
      ++unsettled;
      floor = seq;
    }
    ASSERT_EQ(group_.lag(model_.entries.size() + 1), unsettled);
    if (unsettled > 0) {
      ASSERT_EQ(group_.floor(), floor);
    }
  }
  // Nothing is lost: with a consumer that acknowledges, everything ends acknowledged or dead.
  void drain() {
    for (size_t round = 0; round < 3 * model_.entries.size() + 3; ++round) {
      now_ += 2 * kWait;
      group_.expire(now_);
      model_.expire(now_);
      bury();
      take(1);
      for (uint64_t seq = 1; seq <= model_.entries.size(); ++seq) {
        Model::Entry& entry = model_.at(seq);
        if (entry.at != Model::Entry::kInHand) continue;
        ASSERT_EQ(group_.ack(seq, entry.deliveries), Verdict::kDone);
        entry.at = Model::Entry::kAcked;
      }
    }
    for (uint64_t seq = 1; seq <= model_.entries.size(); ++seq) {
      ASSERT_TRUE(model_.at(seq).settled()) << "message " << seq << " is lost";
    }
    EXPECT_EQ(group_.floor(), model_.entries.size() + 1);
  }

  std::mt19937_64 random_;
  const uint32_t max_ = 3;
  ConsumerGroup group_;
  Model model_;
  std::vector<ConsumerGroup::ConsumerId> consumers_;
  int64_t now_ = 1;
};

TEST(ConsumerGroup, DoesWhatTheModelDoesInRandomOrders) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    RandomGroup(seed).run(400);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace zsync::daemon
