#include "watch/uv_source.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <string>

#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

using namespace std::chrono_literals;

Opener uv_source(std::chrono::nanoseconds rescan_every) {
  return [rescan_every](std::string_view root, FilterOptions options) {
    return UvSource::open(root, std::move(options), rescan_every);
  };
}

TEST(UvSource, MoreEventsThanAreTrustedAreTakenForALossAndClosedByARescan) {
  WatchedDir dir(uv_source(0ns));
  for (const char* file : {"d/1", "d/2", "d/3", "last", "left/l"}) dir.write(file, "x");
  dir.watch();
  // Two different events in turn, so that the kernel does not merge them.
  for (size_t i = 0; i <= kUvEventsTrusted; ++i) {
    for (const char* file : {"d/1", "d/2"})
      ASSERT_EQ(::chmod((dir / file).c_str(), i % 2 == 0 ? 0600 : 0644), 0);
  }
  dir.remove("d/3");
  dir.write("new/deep/f", "x");
  dir.rename("left", "right");
  dir.write("last", "longer");
  const Batch batch = dir.batch();
  EXPECT_EQ(batch.gap, Gap::overflow);
  EXPECT_EQ(text_of(batch.changes),
            "Md/1 Md/2 Dd/3 Mlast Dleft Dleft/l Cnew Cnew/deep Cnew/deep/f Cright Cright/l");
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
  dir.write("new/deep/g", "x");
  dir.write("right/r", "x");
  EXPECT_EQ(dir.seen(), "Cnew/deep/g Cright/r");
}

TEST(UvSource, ARescanFindsWhatNoEventTold) {
  WatchedDir dir(uv_source(5ms));
  dir.write(".git/HEAD", "ref: refs/heads/main\n");
  dir.write(".git/info/exclude", "");
  dir.write("a.log", "1");
  dir.watch();
  dir.write(".git/info/exclude", "*.log\n");
  while (!dir.source->filter().filtered("b.log", false)) {
    ASSERT_TRUE(wait_for(*dir.source, 20s));
    EXPECT_EQ(dir.seen(), "");
  }
  EXPECT_EQ(dir.source->tree().find_path("a.log"), kNoNode);
}

}  // namespace
}  // namespace zsync::watching
