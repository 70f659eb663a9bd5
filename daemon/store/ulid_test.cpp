#include "daemon/store/ulid.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace zsync::daemon {
namespace {

TEST(Ulid, IsWrittenAsTheSpecificationSays) {
  EXPECT_EQ(to_string({1469918176385, 0, 0}), "01aryz6s410000000000000000");
  EXPECT_EQ(to_string({(1ull << 48) - 1, 0xffff, ~0ull}), "7zzzzzzzzzzzzzzzzzzzzzzzzz");
  EXPECT_EQ(to_string({0, 0, 1}), "00000000000000000000000001");
}

TEST(Ulid, GrowsWithinOneMillisecond) {
  UlidGenerator generator([] { return 1000u; }, [] { return ~0ull; });
  std::string last = generator.next();
  for (int i = 0; i < 1000; ++i) {
    const std::string id = generator.next();
    EXPECT_LT(last, id);
    EXPECT_TRUE(is_ulid(id));
    last = id;
  }
}

TEST(Ulid, GrowsWhenTheClockStepsBack) {
  uint64_t now = 5000;
  UlidGenerator generator([&] { return now; }, [] { return 7u; });
  const std::string before = generator.next();
  now = 10;
  const std::string after = generator.next();
  EXPECT_LT(before, after);
  EXPECT_EQ(before.substr(0, 10), after.substr(0, 10));
  now = 5001;
  EXPECT_LT(after, generator.next());
}

TEST(Ulid, IsTheSameForTheSameSources) {
  const auto make = [] { return UlidGenerator([] { return 42u; }, [] { return 99u; }).next(); };
  EXPECT_EQ(make(), make());
}

TEST(Ulid, StaysUniqueOverThreads) {
  UlidGenerator generator([] { return 1u; }, [] { return 3u; });
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> threads;
  for (std::vector<std::string>& mine : made) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) mine.push_back(generator.next());
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& mine : made) all.insert(mine.begin(), mine.end());
  EXPECT_EQ(all.size(), 4000u);
}

TEST(Ulid, RefusesWhatIsNone) {
  EXPECT_TRUE(is_ulid("01arys97w10000000000000000"));
  EXPECT_FALSE(is_ulid(""));
  EXPECT_FALSE(is_ulid("01arys97w1000000000000000"));
  EXPECT_FALSE(is_ulid("01ARYS97W10000000000000000"));
  EXPECT_FALSE(is_ulid("01arys97w1000000000000000u"));
  EXPECT_FALSE(is_ulid("81arys97w10000000000000000"));
}

}  // namespace
}  // namespace zsync::daemon
