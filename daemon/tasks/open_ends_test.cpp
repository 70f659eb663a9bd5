#include "daemon/tasks/open_ends.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

std::vector<uint64_t> sharing(const OpenEnds& ends, const OpenEnds::Place& place) {
  std::vector<uint64_t> found;
  ends.add_sharing(place, found);
  return found;
}

TEST(OpenEnds, AnEndIsWaitedForByWhoCameBehindItAndByNobodyBefore) {
  OpenEnds ends;
  const std::vector<uint64_t> before = sharing(ends, {"g", {}});
  const uint64_t first = ends.open({"g", {}});
  const std::vector<uint64_t> behind_first = sharing(ends, {"g", {}});
  const uint64_t second = ends.open({"g", {}});
  const std::vector<uint64_t> behind_both = sharing(ends, {"g", {}});
  EXPECT_FALSE(ends.any_open(before));
  ends.close(second);
  EXPECT_TRUE(ends.any_open(behind_first));
  EXPECT_TRUE(ends.any_open(behind_both)) << "the first is still open";
  ends.close(first);
  EXPECT_FALSE(ends.any_open(behind_both));
}

TEST(OpenEnds, OnlyWhatSharesAGroupALockOrAResourceWaits) {
  OpenEnds ends;
  const uint64_t end = ends.open({"builds", {"lock cargo", "gpu"}});
  EXPECT_EQ(sharing(ends, {"builds", {}}), std::vector<uint64_t>{end});
  EXPECT_EQ(sharing(ends, {"tests", {"gpu"}}), std::vector<uint64_t>{end});
  EXPECT_EQ(sharing(ends, {"tests", {"net", "lock cargo"}}), std::vector<uint64_t>{end});
  EXPECT_TRUE(sharing(ends, {"tests", {"cargo"}}).empty()) << "a resource of a lock's name";
  EXPECT_TRUE(sharing(ends, {"tests", {}}).empty());
}

TEST(OpenEnds, APlaceIsTheGroupTheLocksAndTheResourcesOfATask) {
  TaskSpec spec;
  EXPECT_EQ(OpenEnds::Place::of(spec).group, group_of(spec));
  spec.group = "g";
  spec.locks = {"l"};
  spec.resources = {{"r", 2}};
  const OpenEnds::Place place = OpenEnds::Place::of(spec);
  EXPECT_EQ(place.group, "g");
  EXPECT_EQ(place.needs, (std::vector<std::string>{"lock l", "r"}));
}

}  // namespace
}  // namespace zsync::daemon
