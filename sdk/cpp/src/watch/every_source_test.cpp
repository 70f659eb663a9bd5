// What every source owes its owner, whatever tells it of changes.
#include "watch/every_source_test.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

namespace zsync::watching {
namespace {

using namespace std::chrono_literals;

// What polling does not see within one tick of the clock of the file system.
class ToldSource : public EverySource {};

ZS_FOR_EVERY_SOURCE(EverySource);
ZS_FOR_TOLD_SOURCE(ToldSource);

TEST_P(EverySource, TheFirstScanIsCompleteAndReportsNothing) {
  dir.write("a/b/c.txt", "123");
  dir.write("d.txt", "");
  dir.watch();
  EXPECT_EQ(dir.source->kind(), GetParam());
  EXPECT_EQ(dir.source->fallback(), "");
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
  EXPECT_EQ(dir.source->watches(), held(3));
  EXPECT_EQ(dir.source->fd() < 0, polls());
  EXPECT_EQ(dir.source->due().has_value(), polls());
  EXPECT_TRUE(dir.source->problems().empty());
}

TEST_P(EverySource, EachKindOfChangeIsReportedAsSuch) {
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
  EXPECT_EQ(text_of(batch.changes), either("Dgone.txt Clink Cnew.txt Mold.txt Rto.txt<from.txt",
                                           "Dfrom.txt Dgone.txt Clink Cnew.txt Mold.txt Cto.txt"));
  const auto made = std::find_if(batch.changes.begin(), batch.changes.end(),
                                 [](const Change& change) { return change.path == "new.txt"; });
  ASSERT_NE(made, batch.changes.end());
  EXPECT_EQ(made->size, 5U);
  EXPECT_GT(made->mtime_ns, 0);
  ASSERT_EQ(::chmod((dir / "old.txt").c_str(), 0600), 0);
  EXPECT_EQ(dir.seen(), "Mold.txt");
  Fd fd(::open((dir / "old.txt").c_str(), O_RDWR | O_CLOEXEC));
  fd.reset();
  EXPECT_EQ(dir.seen(), "") << "closing without writing is no change";
}

TEST_P(EverySource, ItsOwnerIsWokenByAChange) {
  dir.write("d/f", "1");
  dir.watch();
  EXPECT_EQ(dir.seen(), "");
  dir.write("d/f", "22");
  std::vector<Change> changes;
  while (changes.empty()) {
    ASSERT_TRUE(wait_for(*dir.source, 20s));
    work_off(*dir.source);
    changes = dir.source->take_changes();
  }
  EXPECT_EQ(changes.at(0).path, "d/f");
}

TEST_P(EverySource, ARescanAnswersForEverythingMadeBeforeIt) {
  dir.write("d/f", "1");
  dir.watch();
  dir.write("d/f", "22");
  dir.write("e/g", "1");
  dir.source->rescan();
  work_off(*dir.source);
  Batcher batcher("test");
  batcher.add(dir.source->take_changes(), dir.source->tree().clock(), {});
  EXPECT_EQ(text_of(batcher.flush().value_or(Batch{}).changes), "Md/f Ce Ce/g");
  EXPECT_EQ(dir.source->take_gap(), Gap::none);
}

TEST_P(EverySource, NamesAreBytes) {
  dir.watch();
  dir.write("\xFF\xFE/new\nline \x80", "x");
  EXPECT_EQ(dir.seen(), "C\xFF\xFE C\xFF\xFE/new\nline \x80");
  dir.rename("\xFF\xFE", "\xC0");
  EXPECT_EQ(dir.seen(), either("R\xC0<\xFF\xFE R\xC0/new\nline \x80<\xFF\xFE/new\nline \x80",
                               "C\xC0 C\xC0/new\nline \x80 D\xFF\xFE D\xFF\xFE/new\nline \x80"));
}

TEST_P(ToldSource, AWriteOfTheSameSizeIsAModification) {
  dir.write("f", "aaa");
  dir.watch();
  for (int i = 0; i < 50; ++i) {
    Fd fd(::open((dir / "f").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(fd.get(), "bbb", 3), 3);
    fd.reset();
    ASSERT_EQ(dir.seen(), "Mf");
  }
}

TEST_P(EverySource, ADirectoryIsFollowedInsideOutAndIn) {
  for (int i = 0; i < 10; ++i) dir.write("root/d/e/" + std::to_string(i), "x");
  dir.make("elsewhere");
  dir.watch({}, "root");
  dir.rename("root/d", "root/n");
  EXPECT_EQ(dir.batch().changes.size(), GetParam() == WatchSource::inotify ? 12U : 24U);
  dir.write("root/n/e/new", "x");
  EXPECT_EQ(dir.seen(), "Cn/e/new");
  dir.rename("root/n", "elsewhere/n");
  Batch batch = dir.batch();
  EXPECT_EQ(batch.changes.size(), 13U);
  for (const Change& change : batch.changes) EXPECT_EQ(change.kind, ChangeKind::deleted);
  EXPECT_EQ(dir.source->watches(), held(1));
  dir.write("elsewhere/n/unseen", "x");
  EXPECT_EQ(dir.seen(), "");
  dir.rename("elsewhere/n", "root/m");
  batch = dir.batch();
  EXPECT_EQ(batch.changes.size(), 14U);
  for (const Change& change : batch.changes) EXPECT_EQ(change.kind, ChangeKind::created);
  dir.write("root/m/e/0", "longer");
  EXPECT_EQ(dir.seen(), "Mm/e/0");
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir / "root"));
}

TEST_P(EverySource, TwoFilesAndTwoDirectoriesExchangedAreSeen) {
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

TEST_P(EverySource, ADirectoryReplacedByASymlinkIsNotFollowed) {
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

TEST_P(EverySource, ADirectoryMadeAgainWithTheSameNameIsWatchedAgain) {
  dir.write("d/f", "1");
  dir.watch();
  for (int i = 0; i < 50; ++i) {
    dir.remove("d");
    dir.make("d");
    (void)dir.settle();
    dir.write("d/f", "1");
    ASSERT_EQ(dir.seen(), "Cd/f");
  }
  EXPECT_EQ(dir.source->watches(), held(2));
}

TEST_P(EverySource, IgnoredDirectoriesAreNeitherWatchedNorReported) {
  dir.write(".gitignore", "out/\n*.log\nkept\n!kept/\n");
  dir.write("out/deep/x", "1");
  dir.write("src/a.log", "1");
  dir.write("src/a.c", "1");
  dir.watch();
  EXPECT_EQ(dir.source->watches(), held(2));
  dir.write("out/deep/y", "1");
  dir.write("src/b.log", "1");
  dir.write("src/b.c", "1");
  dir.write("src/kept", "1");
  dir.make("src/out/deeper");
  EXPECT_EQ(dir.seen(), "Csrc/b.c");
  EXPECT_EQ(dir.source->watches(), held(2));
  dir.write("kept/f", "1");
  EXPECT_EQ(dir.seen(), "Ckept Ckept/f") << "a rule may be for files only";
  dir.rename("src/b.c", "src/b.log");
  EXPECT_EQ(dir.seen(), "Dsrc/b.c");
  dir.rename("src/b.log", "src/c.c");
  EXPECT_EQ(dir.seen(), "Csrc/c.c");
  EXPECT_TRUE(dir.source->filter().filtered("src/out/x", false));
}

TEST_P(EverySource, AChangedIgnoreFileTakesEffectAtOnce) {
  dir.write(".gitignore", "out/\n");
  dir.write("out/deep/x", "1");
  dir.write("gen/y", "1");
  dir.watch();
  dir.write(".gitignore", "# no longer\ngen/\n");
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
  EXPECT_EQ(dir.seen(),
            either("Rgen2<gen Rgen2/.gitignore<gen/.gitignore Rgen2/y<gen/y Rgen2/z<gen/z",
                   "Dgen Dgen/.gitignore Dgen/y Dgen/z Cgen2 Cgen2/.gitignore Cgen2/y Cgen2/z"));
}

TEST_P(EverySource, TheLockOfGitIsSeenInTheOrderOfTheChanges) {
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

TEST_P(EverySource, TheLockOfMercurialIsSeenThoughItLeadsNowhere) {
  dir.write("hg/.hg/requires", "dotencode\n");
  dir.make("hg/sub");
  dir.watch({}, "hg/sub");
  EXPECT_FALSE(dir.source->vcs_locked());
  std::filesystem::create_symlink("host:1234", dir / "hg/.hg/wlock");
  dir.write("hg/sub/a", "1");
  EXPECT_EQ(dir.seen(), "Ca");
  EXPECT_TRUE(dir.source->vcs_locked());
  dir.remove("hg/.hg/wlock");
  EXPECT_EQ(dir.seen(), "");
  EXPECT_FALSE(dir.source->vcs_locked());
}

TEST_P(EverySource, AMercurialRepositoryThatIsMadeLaterIsFoundAndWatchedAsATreeToo) {
  dir.watch({.ignore = {"!.hg/"}});
  dir.write(".hg/requires", "dotencode\n");
  (void)dir.settle();
  std::filesystem::create_symlink("host:1234", dir / ".hg/wlock");
  EXPECT_EQ(dir.seen(), "C.hg/wlock");
  EXPECT_TRUE(dir.source->vcs_locked());
  dir.remove(".hg");
  EXPECT_EQ(dir.seen(), "D.hg D.hg/requires D.hg/wlock");
  EXPECT_FALSE(dir.source->vcs_locked());
}

TEST_P(EverySource, ARepositoryThatIsMadeLaterIsFound) {
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

TEST_P(EverySource, ARemovedRootIsReportedAndWatchedAgainWhenItIsBack) {
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

TEST_P(EverySource, ARootThatIsReplacedAtOnceIsComparedWithTheNewOne) {
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

TEST_P(EverySource, APathLongerThanTheKernelTakesAtOnceIsWatched) {
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

TEST_P(EverySource, ABadRootIsRefusedWithTheReason) {
  dir.write("file", "x");
  EXPECT_TRUE(absl::IsInvalidArgument(open("relative", {}).status()));
  EXPECT_TRUE(absl::IsNotFound(open(dir / "none", {}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(open(dir / "file", {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(open(dir.path(), {.globs = {"{"}}).status()));
}

}  // namespace
}  // namespace zsync::watching
