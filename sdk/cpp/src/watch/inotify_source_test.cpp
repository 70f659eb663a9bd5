#include "watch/inotify_source.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "watch/watched_dir_test.hpp"

namespace zsync::watching {
namespace {

TEST(InotifySource, TheFirstScanIsCompleteAndReportsNothing) {
  WatchedDir dir;
  dir.write("a/b/c.txt", "123");
  dir.write("d.txt", "");
  dir.watch();
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
  EXPECT_EQ(dir.source->watches(), 3U);
  EXPECT_TRUE(dir.source->problems().empty());
}

TEST(InotifySource, EachKindOfChangeIsReportedAsSuch) {
  WatchedDir dir;
  dir.write("old.txt", "1");
  dir.write("gone.txt", "1");
  dir.write("from.txt", "1");
  dir.watch();
  dir.write("new.txt", "12345");
  dir.write("old.txt", "123");
  dir.remove("gone.txt");
  dir.rename("from.txt", "to.txt");
  std::filesystem::create_symlink("nowhere", dir / "link");
  const Batch batch = dir.batch();
  EXPECT_EQ(text_of(batch.changes), "Dgone.txt Clink Cnew.txt Mold.txt Rto.txt<from.txt");
  ASSERT_EQ(batch.changes.size(), 5U);
  EXPECT_EQ(batch.changes[2].size, 5U);
  EXPECT_GT(batch.changes[2].mtime_ns, 0);
  ASSERT_EQ(::chmod((dir / "old.txt").c_str(), 0600), 0);
  EXPECT_EQ(dir.seen(), "Mold.txt");
  Fd fd(::open((dir / "old.txt").c_str(), O_RDWR | O_CLOEXEC));
  fd.reset();
  EXPECT_EQ(dir.seen(), "") << "closing without writing is no change";
}

TEST(InotifySource, NamesAreBytes) {
  WatchedDir dir;
  dir.watch();
  dir.write("\xFF\xFE/new\nline \x80", "x");
  EXPECT_EQ(dir.seen(), "C\xFF\xFE C\xFF\xFE/new\nline \x80");
  dir.rename("\xFF\xFE", "\xC0");
  EXPECT_EQ(dir.seen(), "R\xC0<\xFF\xFE R\xC0/new\nline \x80<\xFF\xFE/new\nline \x80");
}

TEST(InotifySource, AWriteOfTheSameSizeIsAModification) {
  WatchedDir dir;
  dir.write("f", "aaa");
  dir.watch();
  for (int i = 0; i < 50; ++i) {
    Fd fd(::open((dir / "f").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(fd.get(), "bbb", 3), 3);
    fd.reset();
    ASSERT_EQ(dir.seen(), "Mf");
  }
}

TEST(InotifySource, NothingMadeInNewDirectoriesIsMissed) {
  constexpr int kRounds = 500;
  WatchedDir dir;
  dir.watch();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < kRounds; ++i) dir.write(std::to_string(i) + "/a/b/c/d/file", "x");
    done = true;
  });
  std::multiset<std::string> created;
  const auto collect = [&] {
    for (const Change& change : dir.settle()) {
      if (change.kind == ChangeKind::created) created.insert(change.path);
    }
  };
  while (!done) collect();
  writer.join();
  collect();
  for (int i = 0; i < kRounds; ++i) {
    EXPECT_EQ(created.count(std::to_string(i) + "/a/b/c/d/file"), 1U) << i;
  }
  EXPECT_EQ(created.size(), kRounds * 6U);
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
}

TEST(InotifySource, DirectoriesRenamedWhileTheyAreScannedAreNotLost) {
  WatchedDir dir;
  dir.make("in");
  dir.watch();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 300; ++i) {
      const std::string n = std::to_string(i);
      dir.write("x" + n + "/y/f", n);
      dir.rename("x" + n, "in/z" + n);
      dir.write("in/z" + n + "/y/g", n);
      dir.rename("in/z" + n + "/y", "y" + n);
      dir.write("y" + n + "/h", n);
      if (i % 3 == 0) dir.remove("y" + n);
    }
    done = true;
  });
  while (!done) (void)dir.settle();
  writer.join();
  (void)dir.settle();
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
  EXPECT_EQ(dir.source->watches(), dir.source->tree().directories());
}

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

TEST(InotifySource, TwoFilesAndTwoDirectoriesExchangedAreSeen) {
  WatchedDir dir;
  dir.write("a", "1");
  dir.write("b", "22");
  dir.write("d/x", "1");
  dir.write("e/y", "1");
  dir.watch();
  ASSERT_EQ(
      ::renameat2(AT_FDCWD, (dir / "a").c_str(), AT_FDCWD, (dir / "b").c_str(), RENAME_EXCHANGE),
      0);
  ASSERT_EQ(
      ::renameat2(AT_FDCWD, (dir / "d").c_str(), AT_FDCWD, (dir / "e").c_str(), RENAME_EXCHANGE),
      0);
  (void)dir.settle();
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
  dir.write("d/later", "1");
  dir.write("e/later", "1");
  EXPECT_EQ(dir.seen(), "Cd/later Ce/later");
}

TEST(InotifySource, ADirectoryReplacedByASymlinkIsNotFollowed) {
  WatchedDir dir;
  dir.write("root/d/f", "1");
  dir.write("outside/f", "1");
  dir.watch({}, "root");
  dir.remove("root/d");
  std::filesystem::create_symlink(dir / "outside", dir / "root/d");
  EXPECT_EQ(dir.seen(), "Md Dd/f");
  dir.write("outside/g", "1");
  EXPECT_EQ(dir.seen(), "");
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir / "root"));
}

TEST(InotifySource, ADirectoryMadeAgainWithTheSameNameIsWatchedAgain) {
  WatchedDir dir;
  dir.write("d/f", "1");
  dir.watch();
  for (int i = 0; i < 50; ++i) {
    dir.remove("d");
    dir.make("d");
    (void)dir.settle();
    dir.write("d/f", "1");
    ASSERT_EQ(dir.seen(), "Cd/f");
  }
}

TEST(InotifySource, IgnoredDirectoriesAreNeitherWatchedNorReported) {
  WatchedDir dir;
  dir.write(".gitignore", "out/\n*.log\n");
  dir.write("out/deep/x", "1");
  dir.write("src/a.log", "1");
  dir.write("src/a.c", "1");
  dir.watch();
  EXPECT_EQ(dir.source->watches(), 2U);
  dir.write("out/deep/y", "1");
  dir.write("src/b.log", "1");
  dir.write("src/b.c", "1");
  dir.make("src/out/deeper");
  EXPECT_EQ(dir.seen(), "Csrc/b.c");
  EXPECT_EQ(dir.source->watches(), 2U);
  dir.rename("src/b.c", "src/b.log");
  EXPECT_EQ(dir.seen(), "Dsrc/b.c");
  dir.rename("src/b.log", "src/c.c");
  EXPECT_EQ(dir.seen(), "Csrc/c.c");
  EXPECT_TRUE(dir.source->filter().filtered("src/out/x", false));
}

TEST(InotifySource, AChangedIgnoreFileTakesEffectAtOnce) {
  WatchedDir dir;
  dir.write(".gitignore", "out/\n");
  dir.write("out/deep/x", "1");
  dir.write("gen/y", "1");
  dir.watch();
  dir.write(".gitignore", "gen/\n");
  EXPECT_EQ(dir.seen(), "M.gitignore Cout Cout/deep Cout/deep/x");
  dir.write("gen/z", "1");
  dir.write("out/deep/z", "1");
  EXPECT_EQ(dir.seen(), "Cout/deep/z");
  dir.remove(".gitignore");
  EXPECT_EQ(dir.seen(), "D.gitignore Cgen Cgen/y Cgen/z");
  dir.write("gen/.gitignore", "*.tmp\n");
  dir.write("gen/a.tmp", "1");
  EXPECT_EQ(dir.seen(), "Cgen/.gitignore");
  dir.rename("gen", "gen2");
  dir.write("gen2/b.tmp", "1");
  EXPECT_EQ(dir.seen(), "Rgen2<gen Rgen2/.gitignore<gen/.gitignore Rgen2/y<gen/y Rgen2/z<gen/z");
}

TEST(InotifySource, TheLockOfGitIsSeenInTheOrderOfTheChanges) {
  WatchedDir dir;
  dir.write(".git/HEAD", "ref: refs/heads/main\n");
  dir.watch();
  EXPECT_FALSE(dir.source->vcs_locked());
  dir.write(".git/index.lock", "");
  dir.write("a", "1");
  EXPECT_EQ(dir.seen(), "Ca");
  EXPECT_TRUE(dir.source->vcs_locked());
  dir.rename(".git/index.lock", ".git/index");
  EXPECT_EQ(dir.seen(), "");
  EXPECT_FALSE(dir.source->vcs_locked());
}

TEST(InotifySource, ARepositoryThatIsMadeLaterIsFound) {
  WatchedDir dir;
  dir.watch();
  dir.make(".git");
  (void)dir.settle();
  dir.write(".git/HEAD", "ref: refs/heads/main\n");
  dir.write(".git/index.lock", "");
  (void)dir.settle();
  EXPECT_TRUE(dir.source->vcs_locked());
  dir.remove(".git");
  (void)dir.settle();
  EXPECT_FALSE(dir.source->vcs_locked());
}

TEST(InotifySource, ARemovedRootIsReportedAndWatchedAgainWhenItIsBack) {
  WatchedDir dir;
  dir.write("up/root/d/f", "1");
  dir.watch({}, "up/root");
  dir.remove("up");
  EXPECT_EQ(dir.seen(), "Dd Dd/f");
  EXPECT_TRUE(dir.source->root_missing());
  EXPECT_EQ(dir.source->watches(), 0U);
  dir.make("up");
  EXPECT_EQ(dir.seen(), "");
  dir.write("up/root/e/g", "1");
  const Batch batch = dir.batch();
  EXPECT_EQ(text_of(batch.changes), "Ce Ce/g");
  EXPECT_EQ(batch.gap, Gap::rescan);
  EXPECT_FALSE(dir.source->root_missing());
  dir.write("up/root/e/h", "1");
  EXPECT_EQ(dir.seen(), "Ce/h");
  dir.rename("up/root", "up/away");
  EXPECT_EQ(dir.seen(), "De De/g De/h");
  dir.rename("up/away", "up/root");
  EXPECT_EQ(dir.seen(), "Ce Ce/g Ce/h");
}

TEST(InotifySource, ARootThatIsReplacedAtOnceIsComparedWithTheNewOne) {
  WatchedDir dir;
  dir.write("root/same", "1");
  dir.write("root/old", "1");
  dir.write("next/same", "22");
  dir.write("next/new", "1");
  dir.watch({}, "root");
  dir.rename("root", "before");
  dir.rename("next", "root");
  EXPECT_EQ(dir.seen(), "Cnew Dold Msame");
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

TEST(InotifySource, APathLongerThanTheKernelTakesAtOnceIsWatched) {
  WatchedDir dir;
  dir.watch();
  Fd at(::open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const std::string name(200, 'n');
  std::string path;
  for (int depth = 0; depth < 30; ++depth) {
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0);
    at = Fd(::openat(at.get(), name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    path += name + "/";
  }
  (void)dir.settle();
  Fd file(::openat(at.get(), "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  EXPECT_EQ(dir.seen(), "C" + path + "f");
}

TEST(InotifySource, ABadRootIsRefusedWithTheReason) {
  WatchedDir dir;
  dir.write("file", "x");
  EXPECT_EQ(InotifySource::open("relative").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(InotifySource::open(dir / "none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(InotifySource::open(dir / "file").status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(InotifySource::open(dir.path(), {.globs = {"{"}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace zsync::watching
