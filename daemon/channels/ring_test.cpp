#include "daemon/channels/ring.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "daemon/fault/fault.hpp"
#include "ring/ends.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

class RingTest : public ::testing::Test {
 protected:
  RingTest() : ring_(*Ring::make("r", 64 << 10)), memory_(*ring::Memory::map(dup_of(0))) {}

  // A connection of an end: the daemon's side, and its own.
  struct Connection {
    UniqueFd daemon;
    UniqueFd client;
  };
  static Connection connection() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    return {UniqueFd(pair[0]), UniqueFd(pair[1])};
  }
  int dup_of(size_t descriptor) { return ::dup(ring_->descriptors()[descriptor]); }
  bool rings(size_t bell) {
    pollfd fd{ring_->descriptors()[bell], POLLIN, 0};
    uint64_t count = 0;
    return ::poll(&fd, 1, 0) == 1 && ::read(fd.fd, &count, sizeof(count)) == sizeof(count);
  }
  // What the daemon said to an end so far.
  static std::string heard(const Connection& connection) {
    char words[8];
    const ssize_t got = ::recv(connection.client.get(), words, sizeof(words), MSG_DONTWAIT);
    return got > 0 ? std::string(words, static_cast<size_t>(got)) : "";
  }

  std::shared_ptr<Ring> ring_;
  ring::Memory memory_;
  static constexpr size_t kSenderBell = 1;
  static constexpr size_t kReceiverBell = 2;
};

TEST_F(RingTest, APlaceIsTakenOnceAndFreedWhenItsEndGoes) {
  const Connection one = connection();
  ASSERT_TRUE(ring_->enter(RingEnd::kSender, 11, 100, one.daemon.get()).ok());
  ASSERT_TRUE(ring_->enter(RingEnd::kReceiver, 12, 200, one.daemon.get()).ok());
  const absl::Status taken = ring_->enter(RingEnd::kSender, 13, 300, one.daemon.get());
  EXPECT_EQ(fault_detail(taken)->reason, "TAKEN");
  EXPECT_THAT(taken.message(), HasSubstr("has a sender, process 11"));
  const RingFigures figures = ring_->figures();
  EXPECT_EQ(figures.pids, (std::array<pid_t, 2>{11, 12}));
  EXPECT_EQ(figures.since, (std::array<int64_t, 2>{100, 200}));
  ring_->leave(RingEnd::kSender);
  EXPECT_TRUE(ring_->enter(RingEnd::kSender, 13, 300, one.daemon.get()).ok());
}

// Regression: a sender that died between its message and ringing left its receiver asleep.
TEST_F(RingTest, WhoGoesWakesTheOtherEnd) {
  const Connection one = connection();
  ASSERT_TRUE(ring_->enter(RingEnd::kSender, 1, 0, one.daemon.get()).ok());
  ASSERT_TRUE(ring_->enter(RingEnd::kReceiver, 2, 0, one.daemon.get()).ok());
  memory_.header().receiver_sleeps = 1;
  ring_->leave(RingEnd::kSender);
  EXPECT_TRUE(rings(kReceiverBell));
  EXPECT_EQ(memory_.header().receiver_sleeps, 0u);
  EXPECT_FALSE(rings(kSenderBell));
  ring_->leave(RingEnd::kReceiver);
  EXPECT_TRUE(rings(kSenderBell));
}

TEST_F(RingTest, ACloseMarksTheEndWakesBothAndSaysSo) {
  const Connection sender = connection();
  const Connection receiver = connection();
  ASSERT_TRUE(ring_->enter(RingEnd::kSender, 1, 0, sender.daemon.get()).ok());
  ASSERT_TRUE(ring_->enter(RingEnd::kReceiver, 2, 0, receiver.daemon.get()).ok());
  ring_->close();
  EXPECT_EQ(memory_.header().tail, ring::kClosed);
  EXPECT_TRUE(rings(kSenderBell) && rings(kReceiverBell));
  EXPECT_EQ(heard(sender), "C");
  EXPECT_EQ(heard(receiver), "C");
  ring_->remove();
  EXPECT_EQ(heard(receiver), "R");
  ring_->leave(RingEnd::kSender);
  ring_->leave(RingEnd::kReceiver);
  EXPECT_TRUE(absl::IsNotFound(ring_->enter(RingEnd::kReceiver, 3, 0, receiver.daemon.get())));
}

TEST_F(RingTest, AReceiverThatComesAfterTheCloseHearsItAndASenderIsRefused) {
  ring_->close();
  const Connection late = connection();
  ASSERT_TRUE(ring_->enter(RingEnd::kReceiver, 1, 0, late.daemon.get()).ok());
  EXPECT_EQ(heard(late), "C");
  EXPECT_EQ(fault_detail(ring_->enter(RingEnd::kSender, 2, 0, late.daemon.get()))->reason,
            "CLOSED");
}

TEST_F(RingTest, FiguresOfIndicesThatMakeNoSenseAreBounded) {
  memory_.header().head = 8;
  EXPECT_EQ(ring_->figures().bytes, 0u);
  memory_.header().tail = UINT64_MAX >> 1;
  EXPECT_EQ(ring_->figures().bytes, ring_->bytes());
}

TEST_F(RingTest, AnotherProgramAdoptsWhatIsInIt) {
  ring::Sender to = *ring::Sender::attach(memory_);
  ASSERT_TRUE(to.put("kept"));
  ASSERT_EQ(to.publish(), ring::Sender::Result::kDone);
  const auto adopted = Ring::adopt("r", {dup_of(0), dup_of(1), dup_of(2)});
  ASSERT_TRUE(adopted.ok()) << adopted.status();
  EXPECT_EQ((*adopted)->figures().sent, 1u);
  EXPECT_EQ((*adopted)->bytes(), ring_->bytes());
  EXPECT_FALSE(Ring::adopt("r", {-1, dup_of(1), dup_of(2)}).ok());
}

}  // namespace
}  // namespace zsync::daemon
