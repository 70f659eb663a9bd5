#include "daemon/channels/dedup_window.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

TEST(DedupWindow, AnIdIsKnownForTheWindowAfterItsFirstMessageAndNoLonger) {
  DedupWindow window(100, 10);
  window.add("a", 1, 10);
  window.add("b", 2, 50);
  EXPECT_EQ(window.find("a", 109), 1u);
  EXPECT_EQ(window.find("a", 110), std::nullopt);
  EXPECT_EQ(window.find("b", 149), 2u);
  window.add("a", 3, 120);
  EXPECT_EQ(window.find("a", 219), 3u);
  EXPECT_EQ(window.find("c", 130), std::nullopt);
}

TEST(DedupWindow, AKnownIdKeepsItsFirstMessageAndTime) {
  DedupWindow window(100, 10);
  window.add("a", 1, 10);
  window.add("a", 2, 90);
  EXPECT_EQ(window.find("a", 100), 1u);
  EXPECT_EQ(window.find("a", 111), std::nullopt);
  EXPECT_EQ(window.size(), 0u);
}

TEST(DedupWindow, ItSaysWhenItIsFullAndHasRoomAgainLater) {
  DedupWindow window(100, 10);
  for (size_t i = 0; i < 10; ++i) window.add(std::to_string(i), i + 1, 0);
  EXPECT_TRUE(window.full(99));
  EXPECT_FALSE(window.full(100));
}

}  // namespace
}  // namespace zsync::daemon
