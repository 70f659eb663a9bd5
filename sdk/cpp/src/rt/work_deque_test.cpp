#include "zsync/rt/work_deque.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

namespace zsync::rt {
namespace {

std::vector<int> numbers(int count) {
  std::vector<int> all(count);
  for (int i = 0; i < count; ++i) all[i] = i;
  return all;
}

TEST(WorkDeque, TheOwnerTakesTheLatestAndAThiefTheOldest) {
  std::vector<int> entries = numbers(4);
  WorkDeque<int> deque;
  for (int& entry : entries) deque.push(&entry);
  EXPECT_EQ(deque.size(), 4u);
  EXPECT_EQ(deque.pop(), &entries[3]);
  EXPECT_EQ(deque.steal(), &entries[0]);
  EXPECT_EQ(deque.pop_oldest(), &entries[1]);
  EXPECT_EQ(deque.pop(), &entries[2]);
  EXPECT_EQ(deque.pop(), nullptr);
  EXPECT_EQ(deque.steal(), nullptr);
  EXPECT_EQ(deque.pop_oldest(), nullptr);
  EXPECT_EQ(deque.size(), 0u);
}

TEST(WorkDeque, KeepsEveryEntryInOrderWhileItGrows) {
  std::vector<int> entries = numbers(1000);
  WorkDeque<int> deque(2);
  // Taken at one end while it is filled at the other, so that it grows around its wrapped end.
  int oldest = 0;
  for (int i = 0; i < 1000; ++i) {
    deque.push(&entries[i]);
    if (i % 3 == 2) {
      ASSERT_EQ(deque.steal(), &entries[oldest++]);
    }
  }
  while (int* entry = deque.pop_oldest()) ASSERT_EQ(entry, &entries[oldest++]);
  EXPECT_EQ(oldest, 1000);
}

TEST(WorkDeque, ShowsSeveralEntriesAtOnceAndGrowsForThemBefore) {
  std::vector<int> entries = numbers(100);
  WorkDeque<int> deque(2);
  EXPECT_FALSE(WorkDeque<int>::Pushing(deque).has_room(100));
  deque.reserve(100);
  WorkDeque<int>::Pushing all(deque);
  EXPECT_TRUE(all.has_room(100));
  for (int& entry : entries) all.add(&entry);
  EXPECT_EQ(deque.size(), 0u);
  EXPECT_EQ(deque.steal(), nullptr);
  all.finish();
  EXPECT_EQ(deque.size(), 100u);
  EXPECT_EQ(deque.pop(), &entries[99]);
  EXPECT_EQ(deque.steal(), &entries[0]);
}

TEST(WorkDeque, IsEmptyAgainAfterItsLastEntryWasTakenFromEitherEnd) {
  int entry = 0;
  WorkDeque<int> deque(2);
  for (int i = 0; i < 100; ++i) {
    deque.push(&entry);
    ASSERT_EQ(i % 3 == 0 ? deque.pop() : i % 3 == 1 ? deque.steal() : deque.pop_oldest(), &entry);
    ASSERT_EQ(deque.pop(), nullptr);
    ASSERT_EQ(deque.size(), 0u);
  }
}

TEST(WorkDeque, GivesEachEntryToExactlyOneOfManyThreads) {
  constexpr int kEntries = 100'000;
  std::vector<int> entries = numbers(kEntries);
  std::vector<std::atomic<int>> taken(kEntries);
  std::atomic<int> left{kEntries};
  WorkDeque<int> deque(2);
  auto take = [&](int* entry) {
    if (!entry) return false;
    taken[*entry].fetch_add(1);
    left.fetch_sub(1);
    return true;
  };
  std::vector<std::thread> thieves;
  for (int i = 0; i < 3; ++i) {
    thieves.emplace_back([&] {
      while (left.load() > 0) {
        if (!take(deque.steal())) std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < kEntries; ++i) {
    deque.push(&entries[i]);
    if (i % 2 == 0) take(i % 4 == 0 ? deque.pop() : deque.pop_oldest());
  }
  while (take(deque.pop())) {
  }
  for (std::thread& thief : thieves) thief.join();
  for (int i = 0; i < kEntries; ++i) ASSERT_EQ(taken[i].load(), 1) << i;
}

// Of which no more than four can be had.
template <typename T>
class Scarce : public std::atomic<T> {
 public:
  static void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
    return bytes > 4 * sizeof(T) ? nullptr : ::operator new[](bytes, std::nothrow);
  }
  static void operator delete[](void* memory) { ::operator delete[](memory); }
};

// It once threw in the middle of a scope whose other branches were already on their way.
TEST(WorkDequeDeathTest, WithoutMemoryToGrowItEndsTheProgramWithTheCallAndTheCure) {
  std::vector<int> entries = numbers(5);
  WorkDeque<int, Scarce> deque(4);
  for (int i = 0; i < 4; ++i) deque.push(&entries[i]);
  EXPECT_DEATH(
      deque.push(&entries[4]),
      "spawn\\(\\) or all\\(\\): no memory to queue one more ready task; let fewer be ready");
}

}  // namespace
}  // namespace zsync::rt
