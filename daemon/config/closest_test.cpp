#include "daemon/config/closest.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace zsync::daemon {
namespace {

TEST(Closest, DistanceCountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("taks", "task"), 1u);
  EXPECT_EQ(edit_distance("same", "same"), 0u);
}

TEST(Closest, AMistypedWordFindsItsNeighbour) {
  const std::vector<std::string> verbs = {"list", "submit", "wait", "cancel", "remove"};
  EXPECT_EQ(closest_match("sumbit", verbs), "submit");
  EXPECT_EQ(closest_match("lsit", verbs), "list");
  EXPECT_EQ(closest_match("CANCEL", verbs), "cancel");
}

TEST(Closest, NothingIsOfferedWhenNothingIsNear) {
  const std::vector<std::string> words = {"list", "submit", "a"};
  EXPECT_EQ(closest_match("database", words), std::nullopt);
  EXPECT_EQ(closest_match("", words), std::nullopt);
  EXPECT_EQ(closest_match("b", words), std::nullopt);
  EXPECT_EQ(closest_match(std::string(100000, 'x'), words), std::nullopt);
  EXPECT_EQ(closest_match("list", {}), std::nullopt);
}

TEST(Closest, TheFirstOfEquallyNearWordsWins) {
  const std::vector<std::string> words = {"task1", "task2"};
  EXPECT_EQ(closest_match("task3", words), "task1");
}

}  // namespace
}  // namespace zsync::daemon
