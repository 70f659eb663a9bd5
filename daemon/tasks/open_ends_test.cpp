#include "daemon/tasks/open_ends.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

TEST(OpenEnds, NothingIsWaitedForBeforeTheFirstEnd) {
  EXPECT_TRUE(OpenEnds().closed_to(OpenEnds().newest()));
}

TEST(OpenEnds, AnEndIsWaitedForByWhoCameBehindItAndByNobodyBefore) {
  OpenEnds ends;
  const uint64_t first = ends.open();
  const uint64_t behind_first = ends.newest();
  const uint64_t second = ends.open();
  const uint64_t behind_both = ends.newest();
  ends.close(second);
  EXPECT_FALSE(ends.closed_to(behind_first));
  EXPECT_FALSE(ends.closed_to(behind_both)) << "the first is still open";
  ends.close(first);
  EXPECT_TRUE(ends.closed_to(behind_both));
  const uint64_t third = ends.open();
  EXPECT_TRUE(ends.closed_to(behind_both));
  EXPECT_FALSE(ends.closed_to(third));
}

}  // namespace
}  // namespace zsync::daemon
