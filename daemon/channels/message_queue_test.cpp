#include "daemon/channels/message_queue.hpp"

#include <gtest/gtest.h>

#include <random>

namespace zsync::daemon {
namespace {

Message message(const std::string& data) { return {0, 7, "", data}; }

std::vector<uint64_t> seqs(const std::vector<Message>& messages) {
  std::vector<uint64_t> list;
  for (const Message& m : messages) list.push_back(m.seq);
  return list;
}

using Seqs = std::vector<uint64_t>;

TEST(MessageQueue, MessagesGetGrowingNumbersAndComeOutInOrder) {
  MessageQueue queue(10, 1 << 20);
  EXPECT_EQ(queue.push(message("a")), 1u);
  EXPECT_EQ(queue.push(message("b")), 2u);
  EXPECT_EQ(seqs(queue.take(10, 1 << 20)), (Seqs{1, 2}));
  EXPECT_FALSE(queue.has_waiting());
}

TEST(MessageQueue, WhatIsGivenBackComesAgainBeforeNewerOnes) {
  MessageQueue queue(10, 1 << 20);
  for (const char* data : {"a", "b", "c"}) queue.push(message(data));
  queue.take(2, 1 << 20);
  queue.confirm(1);
  queue.give_back(2);
  EXPECT_EQ(seqs(queue.take(10, 1 << 20)), (Seqs{2, 3}));
}

TEST(MessageQueue, AConfirmedMessageCannotBeGivenBack) {
  MessageQueue queue(10, 1 << 20);
  queue.push(message("a"));
  queue.take(1, 1 << 20);
  queue.confirm(1);
  queue.give_back(1);
  EXPECT_FALSE(queue.has_waiting());
  EXPECT_EQ(queue.held(), 0u);
  EXPECT_EQ(queue.held_bytes(), 0u);
}

TEST(MessageQueue, CapacityCountsWhatWaitsAndTheCeilingWhatIsHeld) {
  MessageQueue queue(2, 3 * (kMessageOverheadBytes + 10));
  queue.push(message("0123456789"));
  queue.push(message("0123456789"));
  EXPECT_FALSE(queue.fits(10)) << "two of two messages wait";
  queue.take(2, 1 << 20);
  EXPECT_TRUE(queue.fits(10)) << "they are in hand";
  queue.push(message("0123456789"));
  EXPECT_FALSE(queue.fits(10)) << "the ceiling of bytes counts what is in hand";
}

TEST(MessageQueue, OneMessageFitsIntoAnEmptyChannelWhateverItsSize) {
  MessageQueue queue(1, 100);
  EXPECT_TRUE(queue.fits(1'000'000));
  queue.push(message(std::string(1'000'000, 'x')));
  EXPECT_FALSE(queue.fits(0));
}

TEST(MessageQueue, DroppingTheOldestIsToldToTheNextReceiverOnce) {
  MessageQueue queue(2, 1 << 20);
  queue.push(message("a"));
  queue.push(message("bb"));
  EXPECT_TRUE(queue.drop_oldest());
  EXPECT_TRUE(queue.drop_oldest());
  EXPECT_FALSE(queue.drop_oldest()) << "nothing is left to drop";
  const std::optional<segment_log::Gap> gap = queue.take_gap();
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->from, 1u);
  EXPECT_EQ(gap->to, 2u);
  EXPECT_EQ(gap->bytes, 3u);
  EXPECT_FALSE(queue.take_gap());
  EXPECT_EQ(queue.dropped(), 2u);
}

TEST(MessageQueue, AMessageInHandIsNeverDropped) {
  MessageQueue queue(1, 1 << 20);
  queue.push(message("a"));
  queue.take(1, 1 << 20);
  EXPECT_FALSE(queue.drop_oldest());
}

TEST(MessageQueue, FollowersSeeHistoryUntilItGoesAndThenAGap) {
  MessageQueue queue(2, 1 << 20);
  for (const char* data : {"a", "b", "c", "d"}) {
    queue.push(message(data));
    for (const Message& taken : queue.take(1, 1 << 20)) queue.confirm(taken.seq);
  }
  std::optional<segment_log::Gap> gap;
  EXPECT_EQ(seqs(queue.look(1, 10, 1 << 20, gap)), (Seqs{3, 4}));
  ASSERT_TRUE(gap);
  EXPECT_EQ(gap->from, 1u);
  EXPECT_EQ(gap->to, 2u);
  gap.reset();
  EXPECT_EQ(seqs(queue.look(4, 10, 1 << 20, gap)), (Seqs{4}));
  EXPECT_FALSE(gap);
}

TEST(MessageQueue, ABatchIsBoundedByBytesButHasAtLeastOneMessage) {
  MessageQueue queue(10, 1 << 20);
  for (int i = 0; i < 3; ++i) queue.push(message(std::string(100, 'x')));
  EXPECT_EQ(queue.take(10, 50).size(), 1u);
  EXPECT_EQ(queue.take(10, 200).size(), 2u);
}

// Against a model that only counts: whatever the order of operations, nothing is lost or doubled.
TEST(MessageQueue, RandomUseLosesAndDoublesNothing) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::mt19937_64 random(seed);
    MessageQueue queue(1 + random() % 8, 1 << 20);
    std::vector<uint64_t> in_hand;
    std::set<uint64_t> confirmed;
    std::set<uint64_t> dropped;
    uint64_t pushed = 0;
    for (int step = 0; step < 500; ++step) {
      switch (random() % 5) {
        case 0:
        case 1:
          if (queue.fits(1)) pushed = queue.push(message("m"));
          break;
        case 2:
          for (const Message& taken : queue.take(1 + random() % 4, 1 << 20)) {
            in_hand.push_back(taken.seq);
          }
          break;
        case 3:
          if (in_hand.empty()) break;
          queue.confirm(in_hand.front());
          EXPECT_TRUE(confirmed.insert(in_hand.front()).second) << "seed " << seed;
          in_hand.erase(in_hand.begin());
          break;
        case 4:
          if (in_hand.empty()) break;
          queue.give_back(in_hand.back());
          in_hand.pop_back();
          break;
      }
      EXPECT_EQ(queue.held(), pushed - confirmed.size()) << "seed " << seed;
    }
    for (uint64_t seq : in_hand) queue.give_back(seq);
    for (const Message& rest : queue.take(1'000, 1 << 20)) confirmed.insert(rest.seq);
    EXPECT_EQ(confirmed.size(), pushed) << "seed " << seed;
  }
}

}  // namespace
}  // namespace zsync::daemon
