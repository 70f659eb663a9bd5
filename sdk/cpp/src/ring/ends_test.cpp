#include "ring/ends.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <thread>

namespace zsync::ring {
namespace {

class RingEnds : public ::testing::Test {
 protected:
  RingEnds() : memory_(*Memory::make(kRingBytesMin)) {}

  Sender sender() { return *Sender::attach(memory_); }
  Receiver receiver() { return *Receiver::attach(memory_); }
  std::vector<std::string> take(Receiver& from, std::size_t max = 1000) {
    std::vector<std::string_view> messages;
    const auto taken = from.take(max, messages);
    EXPECT_TRUE(taken.ok()) << taken.status();
    return {messages.begin(), messages.end()};
  }
  // Fills the ring -> how many messages it took.
  static std::size_t fill(Sender& to, const std::string& message) {
    std::size_t count = 0;
    while (to.put(message)) ++count;
    EXPECT_EQ(to.publish(), Sender::Result::kDone);
    return count;
  }

  Memory memory_;
};

TEST_F(RingEnds, MessagesComeInTheirOrderAndEmptyOnesToo) {
  Sender to = sender();
  Receiver from = receiver();
  EXPECT_TRUE(take(from).empty());
  for (const char* text : {"one", "", "three"}) ASSERT_TRUE(to.put(text));
  EXPECT_TRUE(take(from).empty()) << "nothing is seen before it is published";
  EXPECT_EQ(to.publish(), Sender::Result::kDone);
  EXPECT_EQ(take(from), (std::vector<std::string>{"one", "", "three"}));
  EXPECT_EQ(from.next_seq(), 4u);
  EXPECT_EQ(to.sent(), 3u);
}

TEST_F(RingEnds, AFullRingTakesNoMoreUntilSomethingIsReleased) {
  Sender to = sender();
  Receiver from = receiver();
  const std::string message(60, 'x');
  EXPECT_EQ(fill(to, message), kRingBytesMin / 64);
  EXPECT_EQ(take(from, 2).size(), 2u);
  EXPECT_FALSE(to.has_room(60)) << "taken is not received";
  from.release();
  EXPECT_TRUE(to.put(message));
  EXPECT_TRUE(to.put(message));
  EXPECT_FALSE(to.put(message));
}

TEST_F(RingEnds, AMessageAsLargeAsTheRingGoesThroughIt) {
  Sender to = sender();
  Receiver from = receiver();
  EXPECT_FALSE(to.can_hold(kRingBytesMin));
  const std::string largest(kRingBytesMin - kLengthBytes, 'y');
  ASSERT_TRUE(to.can_hold(largest.size()));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(to.put(i == 1 ? std::string_view(largest).substr(0, 5000) : largest));
    EXPECT_EQ(to.publish(), Sender::Result::kDone);
    EXPECT_EQ(take(from).front().size(), i == 1 ? 5000u : largest.size());
    from.release();
  }
}

TEST_F(RingEnds, AMessageLargerThanOneCopyComesWholeBehindSmallOnes) {
  Memory large = *Memory::make(1 << 20);
  Sender to = *Sender::attach(large);
  Receiver from = *Receiver::attach(large);
  const std::string message(3 * kTakeBytes, 'z');
  ASSERT_TRUE(to.put("small"));
  ASSERT_TRUE(to.put(message));
  EXPECT_EQ(to.publish(), Sender::Result::kDone);
  EXPECT_EQ(take(from), std::vector<std::string>{"small"});
  EXPECT_EQ(take(from), std::vector<std::string>{message});
}

TEST_F(RingEnds, RandomMessagesOfTwoThreadsArriveAsTheyWereSent) {
  constexpr int kMessages = 200'000;
  const auto message_of = [](int i) {
    std::minstd_rand random(static_cast<unsigned>(i) + 1);
    const std::size_t size = random() % 8 == 0 ? random() % 5000 : random() % 40;
    return std::string(size, static_cast<char>('a' + i % 26));
  };
  std::thread sending([&] {
    Sender to = sender();
    for (int i = 0; i < kMessages; ++i) {
      const std::string message = message_of(i);
      while (!to.put(message)) {
        if (to.unpublished() > 0) ASSERT_EQ(to.publish(), Sender::Result::kDone);
        std::this_thread::yield();
      }
      if (i % 7 == 0) ASSERT_EQ(to.publish(), Sender::Result::kDone);
    }
    ASSERT_EQ(to.publish(), Sender::Result::kDone);
  });
  Receiver from = receiver();
  int next = 0;
  while (next < kMessages) {
    const std::vector<std::string> some = take(from, 100);
    if (some.empty()) std::this_thread::yield();
    for (const std::string& one : some) {
      if (one != message_of(next)) {
        ADD_FAILURE() << "message " << next;
        next = kMessages;
        break;
      }
      ++next;
    }
    from.release();
  }
  sending.join();
}

TEST_F(RingEnds, ANewReceiverGetsWhatTheOneBeforeDidNotRelease) {
  Sender to = sender();
  for (const char* text : {"one", "two", "three"}) ASSERT_TRUE(to.put(text));
  EXPECT_EQ(to.publish(), Sender::Result::kDone);
  {
    Receiver died = receiver();
    EXPECT_EQ(take(died, 1), std::vector<std::string>{"one"});
    died.release();
    EXPECT_EQ(take(died).size(), 2u);
  }
  Receiver from = receiver();
  EXPECT_EQ(from.next_seq(), 2u);
  EXPECT_EQ(take(from), (std::vector<std::string>{"two", "three"}));
}

TEST_F(RingEnds, WhatASenderDidNotPublishIsNeverSeen) {
  {
    Sender died = sender();
    ASSERT_TRUE(died.put("sent"));
    EXPECT_EQ(died.publish(), Sender::Result::kDone);
    ASSERT_TRUE(died.put("half"));
  }
  Sender to = sender();
  ASSERT_TRUE(to.put("next"));
  EXPECT_EQ(to.publish(), Sender::Result::kDone);
  Receiver from = receiver();
  EXPECT_EQ(take(from), (std::vector<std::string>{"sent", "next"}));
  EXPECT_EQ(to.sent(), 2u);
}

TEST_F(RingEnds, WhatComesAfterTheMarkOfTheCloseIsNotSent) {
  Sender to = sender();
  Receiver from = receiver();
  ASSERT_TRUE(to.put("before"));
  EXPECT_EQ(to.publish(), Sender::Result::kDone);
  ASSERT_TRUE(to.put("after"));
  memory_.header().tail.fetch_or(kClosed);
  EXPECT_EQ(to.publish(), Sender::Result::kClosed);
  EXPECT_FALSE(from.ended()) << "it is not drained";
  EXPECT_EQ(take(from), std::vector<std::string>{"before"});
  from.release();
  EXPECT_TRUE(from.ended());
}

// What a hostile peer may write into the indices and the lengths.

TEST_F(RingEnds, ATailThatMakesNoSenseIsRefused) {
  Receiver from = receiver();
  std::vector<std::string_view> messages;
  for (const std::uint64_t tail :
       {std::uint64_t{4}, kRingBytesMin + 8, UINT64_MAX >> 1, (UINT64_MAX >> 1) - 7}) {
    memory_.header().tail.store(tail);
    EXPECT_TRUE(absl::IsDataLoss(from.take(10, messages).status())) << tail;
    EXPECT_TRUE(messages.empty());
  }
  EXPECT_TRUE(absl::IsDataLoss(Receiver::attach(memory_).status()));
  EXPECT_TRUE(absl::IsDataLoss(Sender::attach(memory_).status()));
  memory_.header().tail.store(0);
  EXPECT_TRUE(take(from).empty());
}

TEST_F(RingEnds, ATailThatGoesBackIsRefused) {
  Sender to = sender();
  Receiver from = receiver();
  ASSERT_TRUE(to.put("x"));
  EXPECT_EQ(to.publish(), Sender::Result::kDone);
  EXPECT_EQ(take(from).size(), 1u);
  memory_.header().tail.store(0);
  std::vector<std::string_view> messages;
  EXPECT_TRUE(absl::IsDataLoss(from.take(10, messages).status()));
  EXPECT_EQ(to.publish(), Sender::Result::kDamaged);
}

TEST_F(RingEnds, AHeadThatMakesNoSenseNeverGivesRoom) {
  Sender to = sender();
  const std::size_t full = fill(to, std::string(60, 'x'));
  ASSERT_GT(full, 0u);
  for (const std::uint64_t head :
       {std::uint64_t{3}, kRingBytesMin + 8, UINT64_MAX, UINT64_MAX - 7}) {
    memory_.header().head.store(head);
    EXPECT_FALSE(to.put("y"));
    EXPECT_TRUE(to.damaged()) << head;
  }
}

TEST_F(RingEnds, ALengthThatReachesBeyondWhatWasSentIsRefused) {
  for (const std::uint32_t length : {100u, 1u << 20, UINT32_MAX, UINT32_MAX - 3}) {
    Memory memory = *Memory::make(kRingBytesMin);
    Sender to = *Sender::attach(memory);
    Receiver from = *Receiver::attach(memory);
    ASSERT_TRUE(to.put("fine"));
    ASSERT_TRUE(to.put("lies"));
    EXPECT_EQ(to.publish(), Sender::Result::kDone);
    std::memcpy(memory.data() + 8, &length, sizeof(length));
    std::vector<std::string_view> messages;
    EXPECT_TRUE(absl::IsDataLoss(from.take(10, messages).status())) << length;
  }
}

TEST_F(RingEnds, APeerThatScribblesOverAllOfItNeverMakesAnEndReadBeyondTheRing) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "it is a data race, on purpose";
#endif
#endif
  std::atomic<bool> over{false};
  std::thread scribbling([&] {
    std::minstd_rand random(7);
    while (!over) {
      const std::uint64_t word = (std::uint64_t{random()} << 32) | random();
      memory_.header().tail.store(random() % 3 == 0 ? word : word % (4 * kRingBytesMin));
      memory_.header().head.store(random() % 3 == 0 ? word : word % (4 * kRingBytesMin));
      for (int i = 0; i < 64; ++i) {
        reinterpret_cast<std::atomic<std::uint32_t>*>(
            memory_.data())[random() % (kRingBytesMin / 4)]
            .store(random() % 2 == 0 ? random() : random() % 300);
      }
    }
  });
  std::size_t ends = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string_view> messages;
  for (int i = 0; i < 200'000; ++i) {
    if (auto from = Receiver::attach(memory_); from.ok()) {
      ++ends;
      for (int turn = 0; turn < 4 && from->take(100, messages).ok(); ++turn) {
        for (std::string_view one : messages) bytes += one.empty() ? 0 : one.size() + one.back();
        from->release();
      }
    }
    if (auto to = Sender::attach(memory_); to.ok()) {
      ++ends;
      for (int turn = 0; turn < 4 && to->put("something"); ++turn) {
        if (to->publish() != Sender::Result::kDone) break;
      }
    }
  }
  over = true;
  scribbling.join();
  EXPECT_GT(ends, 0u);
  EXPECT_GT(bytes, 0u);
}

TEST(RingMemory, IsSealedAndOfAPowerOfTwo) {
  const Memory memory = *Memory::make(100'000);
  EXPECT_EQ(memory.bytes(), 131'072u);
  EXPECT_NE(::ftruncate(memory.fd(), 4096), 0);
  EXPECT_NE(::ftruncate(memory.fd(), 1 << 20), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(Memory::make(kRingBytesMax + 1).status()));
}

TEST(RingMemory, IsMappedTwiceInARow) {
  const Memory memory = *Memory::make(kRingBytesMin);
  memory.data()[5] = 42;
  EXPECT_EQ(memory.data()[kRingBytesMin + 5], 42);
  const Memory again = *Memory::map(::dup(memory.fd()));
  EXPECT_EQ(again.data()[5], 42);
}

TEST(RingMemory, TakesNoDescriptorThatMayShrink) {
  const int fd = ::memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(kHeaderBytes + kRingBytesMin)), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(Memory::map(fd).status()));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(Memory::map(ends[0]).status()));
  ::close(ends[1]);
  EXPECT_TRUE(absl::IsInvalidArgument(Memory::map(-1).status()));
}

}  // namespace
}  // namespace zsync::ring
