// Every source under many changes at once, and at the limits of the system.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "watch/child_test.hpp"
#include "watch/every_source_test.hpp"
#include "watch/random_edits_test.hpp"

namespace zsync::watching {
namespace {

class EverySourceUnderStress : public EverySource {};
// Polling holds no watches, so it meets no limit of theirs.
class SourceWithWatches : public EverySource {};
ZS_FOR_EVERY_SOURCE(EverySourceUnderStress);
ZS_FOR_TOLD_SOURCE(SourceWithWatches);

TEST_P(EverySourceUnderStress, NothingMadeInNewDirectoriesIsMissed) {
  constexpr int kRounds = 500;
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

TEST_P(EverySourceUnderStress, DirectoriesRenamedWhileTheyAreScannedAreNotLost) {
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
  EXPECT_EQ(dir.source->watches(), held(dir.source->tree().directories()));
}

TEST_P(EverySourceUnderStress, ABurstOf5000FilesLosesAndDoublesNothing) {
  constexpr int kFiles = 5'000;
  dir.watch();
  std::thread writer([&] {
    for (int i = 0; i < kFiles; ++i) {
      if (i % 100 == 0) dir.make(absl::StrCat("d", i / 100));
      const std::string file = dir / absl::StrCat("d", i / 100, "/", i);
      Fd fd(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
      EXPECT_EQ(::write(fd.get(), "x", 1), 1);
    }
  });
  std::vector<Change> changes = dir.settle();
  writer.join();
  for (Change& change : dir.settle()) changes.push_back(std::move(change));
  Batcher batcher("test");
  batcher.add(changes, dir.source->tree().clock(), {});
  const std::optional<Batch> batch = batcher.flush();
  ASSERT_TRUE(batch.has_value());
  std::set<std::string> created;
  for (const Change& change : batch->changes) {
    EXPECT_EQ(change.kind, ChangeKind::created) << change.path;
    EXPECT_TRUE(created.insert(change.path).second) << change.path;
  }
  EXPECT_EQ(created.size(), static_cast<size_t>(kFiles + kFiles / 100));
  EXPECT_EQ(known_to(dir.source->tree()), walk(dir.path()));
}

TEST_P(EverySourceUnderStress, NoDescriptorStaysBehind) {
  const auto descriptors = [] {
    const auto entries = std::filesystem::directory_iterator("/proc/self/fd");
    return std::distance(begin(entries), end(entries));
  };
  dir.write("a/b/f", "1");
  dir.watch();
  dir.source.reset();
  const auto before = descriptors();
  for (int i = 0; i < 5; ++i) {
    dir.watch();
    dir.remove("a");
    if (i % 2 == 0) (void)dir.settle();
    dir.write("a/b/f", "1");
    dir.source.reset();
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_P(EverySourceUnderStress, FiveThousandRandomEditsAreFollowedExactly) {
  dir.watch();
  constexpr unsigned kSeed = 20'261;
  RandomEdits edits(dir, kSeed);
  Truth mirror;
  Truth since_mirror;
  uint64_t clock = dir.source->tree().clock();
  for (int done = 0; done < 5000;) {
    for (unsigned burst = 1 + edits.next() % 25; burst > 0; --burst, ++done) edits.edit();
    // Sometimes the reader is in the middle of its work when the next edits come.
    for (unsigned steps = edits.next() % 3; steps > 0; --steps) {
      (void)dir.source->read_events(1 + edits.next() % 5);
      edits.edit();
      (void)dir.source->scan_some(1);
      edits.edit();
      done += 2;
    }
    const Batch batch = dir.batch();
    const Tree& tree = dir.source->tree();
    const Truth truth = walk(dir.path());
    ASSERT_EQ(known_to(tree), truth) << "seed " << kSeed << " after " << done;
    follow(mirror, tree, batch.changes);
    // A directory's inode may change hands without a report: mkdir after rmdir of the same name.
    for (auto& [path, state] : mirror) {
      if (truth.contains(path) && state.starts_with("1 ")) state = truth.at(path);
    }
    ASSERT_EQ(mirror, truth) << "seed " << kSeed << " after " << done << ": "
                             << text_of(batch.changes);
    if (edits.next() % 4 == 0) {
      follow(since_mirror, tree, tree.since(clock).changes);
      for (auto& [path, state] : since_mirror) {
        if (truth.contains(path) && state.starts_with("1 ")) state = truth.at(path);
      }
      ASSERT_EQ(since_mirror, truth) << "seed " << kSeed << " after " << done;
      clock = tree.clock();
    }
    if (GetParam() == WatchSource::inotify) {
      ASSERT_EQ(dir.kernel_watches(), tree.directories()) << "after " << done;
    }
    ASSERT_EQ(dir.source->watches(), held(tree.directories()))
        << "seed " << kSeed << " after " << done;
  }
}

TEST_P(SourceWithWatches, TooManyWatchesFailThisRootWithTheCureAndSpareTheOthers) {
  dir.write("small/f", "1");
  for (int i = 0; i < 100; ++i) dir.make("large/" + std::to_string(i));
  const std::string seen = in_child([&]() -> std::string {
    if (!limit_this_process("max_inotify_watches", "50")) return kNoNamespace;
    absl::StatusOr<std::unique_ptr<Source>> small = open(dir / "small", {});
    absl::StatusOr<std::unique_ptr<Source>> large = open(dir / "large", {});
    if (!small.ok() || !large.ok()) return "not opened";
    drain(**small);
    drain(**large);
    dir.write("small/g", "1");
    return absl::StrCat((*large)->status().ToString(), "|", (*large)->fd(), "|", drain(**small));
  });
  if (seen == kNoNamespace) GTEST_SKIP() << seen;
  EXPECT_NE(seen.find("RESOURCE_EXHAUSTED"), std::string::npos) << seen;
  EXPECT_NE(seen.find("sudo sysctl -w fs.inotify.max_user_watches="), std::string::npos) << seen;
  EXPECT_NE(seen.find("/large\""), std::string::npos) << seen;
  EXPECT_NE(seen.find("|-1|Cg"), std::string::npos) << seen;
}

TEST_P(SourceWithWatches, TooManyInstancesAreRefusedWithTheCure) {
  const std::string seen = in_child([&]() -> std::string {
    if (!limit_this_process("max_inotify_instances", "1")) return kNoNamespace;
    const absl::StatusOr<std::unique_ptr<Source>> first = open(dir.path(), {});
    return first.ok() ? open(dir.path(), {}).status().ToString() : "the first was refused";
  });
  if (seen == kNoNamespace) GTEST_SKIP() << seen;
  EXPECT_NE(seen.find("RESOURCE_EXHAUSTED"), std::string::npos) << seen;
  EXPECT_NE(seen.find("sudo sysctl -w fs.inotify.max_user_instances="), std::string::npos) << seen;
}

TEST_P(EverySourceUnderStress, AnUnreadableDirectoryIsReportedAndWatchedOnceItIsReadable) {
  dir.write("root/closed/f", "1");
  dir.write("root/open/f", "1");
  std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
  const std::string seen = in_child([&]() -> std::string {
    if (::geteuid() == 0) {
      for (const char* name : {"root", "root/closed", "root/closed/f", "root/open"}) {
        if (::chown((dir / name).c_str(), 65534, 65534) != 0) return "chown";
      }
      if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0)
        return "setuid";
    }
    ::chmod((dir / "root/closed").c_str(), 0);
    absl::StatusOr<std::unique_ptr<Source>> source = open(dir / "root", {});
    if (!source.ok()) return source.status().ToString();
    drain(**source);
    std::string out;
    for (const Problem& problem : (*source)->problems())
      absl::StrAppend(&out, problem.path, ": ", problem.message, "|");
    dir.write("root/open/g", "1");
    absl::StrAppend(&out, drain(**source), "|");
    ::chmod((dir / "root/closed").c_str(), 0700);
    absl::StrAppend(&out, drain(**source));
    return out;
  });
  EXPECT_EQ(seen, "closed: not readable, not watched: Permission denied|Copen/g|Cclosed/f");
}

}  // namespace
}  // namespace zsync::watching
