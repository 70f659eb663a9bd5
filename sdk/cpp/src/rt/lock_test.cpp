#include "zsync/rt/lock.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace zsync::rt {
namespace {

// 'S': it waits in the kernel.
char state_of_thread(pid_t thread) {
  std::ifstream in("/proc/self/task/" + std::to_string(thread) + "/stat");
  const std::string line((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const size_t close = line.rfind(')');
  return close == std::string::npos ? '?' : line[close + 2];
}

TEST(Lock, FitsIntoFourBytes) { EXPECT_EQ(sizeof(Lock), 4u); }

TEST(Lock, OneAtATimeIsInside) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 50'000;
  struct Counted {
    Lock lock;
    int64_t count ABSL_GUARDED_BY(lock) = 0;
  } counted;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < kRounds; ++round) {
        LockGuard guard(counted.lock);
        ++counted.count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  LockGuard guard(counted.lock);
  EXPECT_EQ(counted.count, int64_t{kThreads} * kRounds);
}

TEST(Lock, WhoWaitsForLongSleepsAndEachIsWoken) {
  Lock lock;
  std::array<std::atomic<pid_t>, 3> waiting = {};
  std::vector<std::thread> threads;
  {
    LockGuard guard(lock);
    for (std::atomic<pid_t>& thread : waiting) {
      threads.emplace_back([&lock, &thread] {
        thread = ::gettid();
        LockGuard inside(lock);
      });
    }
    for (const std::atomic<pid_t>& thread : waiting) {
      while (thread == 0 || state_of_thread(thread) != 'S') std::this_thread::yield();
    }
  }
  for (std::thread& thread : threads) thread.join();
}

void hand_over_and_let_destroy(bool yields) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  auto lock = std::make_unique<Lock>();
  lock->lock();
  std::thread other([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    lock->lock();
    lock->unlock();
    lock.reset();
  });
  if (yields) std::this_thread::yield();
  Lock* const held = lock.get();
  held->unlock();
  other.join();
}

// Whoever was let in last may destroy the lock while the one before still leaves unlock().
TEST(Lock, MayBeDestroyedByWhoWasLetInLast) {
  for (int round = 0; round < 2'000; ++round) hand_over_and_let_destroy(round % 2 == 0);
}

}  // namespace
}  // namespace zsync::rt
