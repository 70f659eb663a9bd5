#include "daemon/tasks/retention.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kBytesMax = 100;
constexpr int64_t kAgeMax = 1000;

bool nobody(const std::string&) { return false; }

TEST(Retention, KeepsWhatIsYoungAndFits) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(1, "a", 60);
  retention.ended(2, "b", 40);
  EXPECT_THAT(retention.due(1001, nobody), IsEmpty());
}

TEST(Retention, ForgetsWhatIsOlderThanItsAge) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(5, "b", 0);
  retention.ended(1, "a", 10);
  retention.ended(9, "c", 0);
  EXPECT_THAT(retention.due(1006, nobody), ElementsAre("a", "b"));
}

TEST(Retention, OverTheBytesTheFirstToEndGoesFirstAndNoMoreThanNeeded) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(3, "third", 50);
  retention.ended(1, "first", 50);
  retention.ended(2, "second", 50);
  EXPECT_THAT(retention.due(10, nobody), ElementsAre("first"));
}

TEST(Retention, WhatHasNoOutputDoesNotGoForOthersBytes) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(1, "silent", 0);
  retention.ended(2, "loud", 101);
  EXPECT_THAT(retention.due(10, nobody), ElementsAre("loud"));
}

TEST(Retention, WhatSomebodyFollowsStaysAndTheNextGoes) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(1, "followed", 80);
  retention.ended(2, "next", 80);
  retention.ended(3, "last", 20);
  const auto pinned = [](const std::string& id) { return id == "followed"; };
  EXPECT_THAT(retention.due(10, pinned), ElementsAre("next"));
  EXPECT_THAT(retention.due(5000, pinned), ElementsAre("next", "last"));
}

TEST(Retention, BytesOfTheOldAreNotCountedTwice) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(1, "old", 90);
  retention.ended(1500, "young", 90);
  EXPECT_THAT(retention.due(2000, nobody), ElementsAre("old"));
}

TEST(Retention, ATaskThatRunsAgainCountsNoMore) {
  Retention retention(kBytesMax, kAgeMax);
  retention.ended(1, "a", 90);
  retention.ended(2, "b", 90);
  retention.forget(1, "a");
  retention.forget(1, "a");
  EXPECT_THAT(retention.due(10, nobody), IsEmpty());
  EXPECT_EQ(retention.output_bytes(), 90u);
}

}  // namespace
}  // namespace zsync::daemon
