#include "watch/inotify_source.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <set>
#include <string>

#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

TEST(InotifySource, ADirectoryOfAThousandFilesIsRenamedInsideOutAndIn) {
  WatchedDir dir;
  for (int i = 0; i < 1000; ++i) dir.write("root/d/" + std::to_string(i), "x");
  dir.make("elsewhere");
  dir.watch({}, "root");
  dir.rename("root/d", "root/e");
  Batch batch = dir.batch();
  ASSERT_EQ(batch.changes.size(), 1001U);
  for (const Change& change : batch.changes) {
    EXPECT_EQ(change.kind, ChangeKind::renamed);
    EXPECT_EQ("e" + change.renamed_from.substr(1), change.path);
  }
  dir.write("root/e/new", "x");
  EXPECT_EQ(dir.seen(), "Ce/new");
  dir.rename("root/e", "elsewhere/e");
  batch = dir.batch();
  EXPECT_EQ(batch.changes.size(), 1002U);
  for (const Change& change : batch.changes) EXPECT_EQ(change.kind, ChangeKind::deleted);
  EXPECT_EQ(dir.kernel_watches(), 1U);
  dir.write("elsewhere/e/unseen", "x");
  EXPECT_EQ(dir.seen(), "");
  dir.rename("elsewhere/e", "root/f");
  batch = dir.batch();
  EXPECT_EQ(batch.changes.size(), 1003U);
  for (const Change& change : batch.changes) EXPECT_EQ(change.kind, ChangeKind::created);
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir / "root"));
}

TEST(InotifySource, AFullQueueOfTheKernelIsClosedByARescan) {
  WatchedDir dir;
  for (int i = 0; i < 20; ++i) dir.write("d/" + std::to_string(i), "x");
  dir.write("last", "x");
  dir.write("left/l", "x");
  dir.write("right/r", "x");
  dir.write("stays/gone", "x");
  dir.watch();
  size_t queue = 16'384;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queue;
  if (queue > 200'000) GTEST_SKIP() << "max_queued_events is " << queue;
  for (size_t i = 0; i < queue / 2 + 100; ++i) {
    // Two different events in turn, so that the kernel does not merge them.
    ASSERT_EQ(::chmod((dir / "d/1").c_str(), i % 2 == 0 ? 0600 : 0644), 0);
    ASSERT_EQ(::chmod((dir / "d/2").c_str(), i % 2 == 0 ? 0600 : 0644), 0);
  }
  dir.remove("d/3");
  dir.remove("stays/gone");
  dir.write("new/deep/f", "x");
  dir.rename("d", "e");
  dir.rename("left", "aside");
  dir.rename("right", "left");
  dir.rename("aside", "right");
  dir.write("last", "longer");
  const Batch batch = dir.batch();
  EXPECT_EQ(batch.gap, Gap::overflow);
  EXPECT_FALSE(dir.source->rescanning());
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
  EXPECT_EQ(dir.source->watches(), dir.source->tree().directories());
  std::set<std::string> paths;
  for (const Change& change : batch.changes)
    EXPECT_TRUE(paths.insert(change.path).second) << change.path;
  EXPECT_TRUE(paths.contains("last"));
  EXPECT_TRUE(paths.contains("new/deep/f"));
  EXPECT_TRUE(paths.contains("d/3"));
  EXPECT_TRUE(paths.contains("stays/gone"));
  for (const char* file : {"left/new", "new/deep/g", "right/new"}) dir.write(file, "x");
  EXPECT_EQ(dir.seen(), "Cleft/new Cnew/deep/g Cright/new");
}

}  // namespace
}  // namespace zsync::watching
