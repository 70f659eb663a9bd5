#include "ring/bell.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <thread>

#include "zsync/fd.hpp"

namespace zsync::ring {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

class RingBell : public ::testing::Test {
 protected:
  RingBell() {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    control_ = UniqueFd(pair[0]);
    daemon_ = UniqueFd(pair[1]);
  }
  Bell bell(nanoseconds spin = nanoseconds(0)) {
    return Bell(own_.get(), control_.get(), sleeps_, spin);
  }
  static bool never() { return false; }

  UniqueFd own_{::eventfd(0, EFD_NONBLOCK)};
  UniqueFd control_;
  UniqueFd daemon_;
  std::atomic<std::uint32_t> sleeps_{0};
};

TEST_F(RingBell, WhoNeedNotWaitDoesNot) {
  EXPECT_EQ(bell().wait([] { return true; }, never, std::nullopt), Bell::Why::kReady);
  EXPECT_EQ(sleeps_, 0u);
}

TEST_F(RingBell, ASleeperWakesWhenItIsRung) {
  std::atomic<bool> ready{false};
  std::thread ringing([&] {
    while (sleeps_ == 0) std::this_thread::yield();
    ready = true;
    Bell::ring(own_.get(), sleeps_);
  });
  EXPECT_EQ(bell().wait([&] { return ready.load(); }, never, std::nullopt), Bell::Why::kReady);
  ringing.join();
  EXPECT_EQ(sleeps_, 0u);
}

TEST_F(RingBell, NobodyIsLostBetweenTheLookAndTheSleep) {
  // The condition comes true, and the bell is rung or not, at any moment of the waiter's.
  std::atomic<int> turn{0};
  constexpr int kTurns = 20'000;
  std::thread ringing([&] {
    for (int i = 1; i <= kTurns; ++i) {
      while (turn.load() != -i) {
      }
      turn.store(i, std::memory_order_seq_cst);
      Bell::ring(own_.get(), sleeps_);
    }
  });
  Bell waiter = bell();
  for (int i = 1; i <= kTurns; ++i) {
    turn = -i;
    ASSERT_EQ(
        waiter.wait([&] { return turn.load(std::memory_order_seq_cst) == i; }, never, std::nullopt),
        Bell::Why::kReady);
  }
  ringing.join();
}

TEST_F(RingBell, ARingWithoutAReasonIsSleptThrough) {
  int asked = 0;
  sleeps_ = 1;
  Bell::ring(own_.get(), sleeps_);
  EXPECT_EQ(bell().wait([&] { return ++asked == 3; }, never, std::nullopt), Bell::Why::kReady);
}

TEST_F(RingBell, TheDaemonsWordAndItsEndAreHeard) {
  ASSERT_EQ(::send(daemon_.get(), "C", 1, 0), 1);
  EXPECT_EQ(bell().wait(never, never, std::nullopt), Bell::Why::kControl);
  char word = 0;
  ASSERT_EQ(::recv(control_.get(), &word, 1, 0), 1);
  daemon_.reset();
  EXPECT_EQ(bell().wait(never, never, std::nullopt), Bell::Why::kControl);
}

TEST_F(RingBell, AStopAndADeadlineEndTheWait) {
  EXPECT_EQ(bell().wait(never, [] { return true; }, std::nullopt), Bell::Why::kStopped);
  EXPECT_EQ(bell().wait(never, never, Bell::Clock::now()), Bell::Why::kTimeout);
  EXPECT_EQ(bell(milliseconds(1)).wait(never, never, Bell::Clock::now() + milliseconds(2)),
            Bell::Why::kTimeout);
}

TEST_F(RingBell, WhoSpinsAsksWithoutSleeping) {
  int asked = 0;
  EXPECT_EQ(bell(std::chrono::hours(1)).wait([&] { return ++asked == 1000; }, never, std::nullopt),
            Bell::Why::kReady);
  EXPECT_EQ(sleeps_, 0u);
}

}  // namespace
}  // namespace zsync::ring
