#include "watch/tree.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <map>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ZS_TEST_FOREIGN_MALLOC 1
#endif
#endif

namespace zsync::watching {
namespace {

constexpr EntryState kDir{0, 1, 1, 1, EntryKind::directory};

EntryState file(uint64_t size) { return {size, 1, 1, 1, EntryKind::file}; }
void ignore_drop(NodeId) {}

std::string text(const Tree::Changes& changes) {
  std::string out;
  for (const Change& change : changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path;
    if (!change.renamed_from.empty()) out += "<" + change.renamed_from;
  }
  return out;
}

TEST(Tree, FindsEntriesByNameAndPathAndGivesTheirPathsBack) {
  Tree tree;
  const NodeId a = tree.add(Tree::kRoot, "a", kDir, nullptr);
  const NodeId b = tree.add(a, "b", kDir, nullptr);
  const NodeId f = tree.add(b, "\xFF.txt", file(7), nullptr);
  EXPECT_EQ(tree.find_path("a/b/\xFF.txt"), f);
  EXPECT_EQ(tree.find_path(""), Tree::kRoot);
  EXPECT_EQ(tree.find_path("a/x"), kNoNode);
  EXPECT_EQ(tree.path(f), "a/b/\xFF.txt");
  EXPECT_EQ(tree.path(Tree::kRoot), "");
  EXPECT_EQ(tree.state(f).size, 7U);
  EXPECT_TRUE(tree.within(f, a));
  EXPECT_FALSE(tree.within(a, b));
  EXPECT_EQ(tree.entries(), 3U);
  EXPECT_EQ(tree.directories(), 3U);
}

TEST(Tree, SinceTellsTheDifferenceAndNotTheHistory) {
  Tree tree;
  const NodeId a = tree.add(Tree::kRoot, "a", file(1), nullptr);
  const NodeId b = tree.add(Tree::kRoot, "b", file(1), nullptr);
  tree.add(Tree::kRoot, "same", file(1), nullptr);
  const uint64_t start = tree.clock();
  EXPECT_EQ(text(tree.since(start).changes), "");
  tree.update(a, file(2), false, nullptr);
  tree.remove(b, nullptr, ignore_drop);
  const NodeId brief = tree.add(Tree::kRoot, "brief", file(1), nullptr);
  tree.add(Tree::kRoot, "new", file(1), nullptr);
  tree.remove(brief, nullptr, ignore_drop);
  EXPECT_EQ(text(tree.since(start).changes), "Ma Db Cnew");
  tree.add(Tree::kRoot, "b", file(1), nullptr);
  EXPECT_EQ(text(tree.since(start).changes), "Ma Mb Cnew");
  const uint64_t middle = tree.clock();
  tree.update(a, file(2), false, nullptr);
  EXPECT_EQ(text(tree.since(middle).changes), "");
  tree.update(a, file(2), true, nullptr);
  EXPECT_EQ(text(tree.since(middle).changes), "Ma");
}

TEST(Tree, AChainOfRenamesIsOneRenameSeenFromEachMoment) {
  Tree tree;
  const NodeId id = tree.add(Tree::kRoot, "a", file(1), nullptr);
  const uint64_t start = tree.clock();
  tree.rename(id, Tree::kRoot, "b", nullptr);
  const uint64_t middle = tree.clock();
  tree.rename(id, Tree::kRoot, "c", nullptr);
  tree.add(Tree::kRoot, "a", file(9), nullptr);
  EXPECT_EQ(text(tree.since(start).changes), "Ca Rc<a");
  EXPECT_EQ(text(tree.since(middle).changes), "Ca Rc<b");
  tree.remove(id, nullptr, ignore_drop);
  EXPECT_EQ(text(tree.since(middle).changes), "Ca Db");
}

TEST(Tree, ARenamedDirectoryReportsAllBelowIt) {
  Tree tree;
  Tree::Changes changes;
  const NodeId a = tree.add(Tree::kRoot, "a", kDir, nullptr);
  tree.add(a, "f", file(1), nullptr);
  const uint64_t start = tree.clock();
  tree.rename(a, Tree::kRoot, "z", &changes);
  EXPECT_EQ(text(changes), "Rz<a Rz/f<a/f");
  EXPECT_EQ(text(tree.since(start).changes), "Rz<a Rz/f<a/f");
  EXPECT_NE(tree.find_path("z/f"), kNoNode);
  changes.clear();
  tree.remove(a, &changes, ignore_drop);
  EXPECT_EQ(text(changes), "Dz/f Dz");
  EXPECT_EQ(text(tree.since(start).changes), "Da Da/f");
}

TEST(Tree, AClockOlderThanTheOldestTombstoneOrFromTheFutureIsFresh) {
  Tree tree(2);
  tree.add(Tree::kRoot, "kept", file(1), nullptr);
  const uint64_t start = tree.clock();
  for (int i = 0; i < 2; ++i)
    tree.remove(tree.add(Tree::kRoot, "x", file(1), nullptr), nullptr, ignore_drop);
  EXPECT_FALSE(tree.since(start).fresh);
  tree.remove(tree.add(Tree::kRoot, "x", file(1), nullptr), nullptr, ignore_drop);
  EXPECT_TRUE(tree.since(start).fresh);
  EXPECT_EQ(text(tree.since(start).changes), "Ckept");
  EXPECT_FALSE(tree.since(tree.clock()).fresh);
  EXPECT_TRUE(tree.since(tree.clock() + 1).fresh);
}

TEST(Tree, ForgottenEntriesAreNotReportedAndDroppedOnesAreTold) {
  Tree tree;
  const NodeId a = tree.add(Tree::kRoot, "a", kDir, nullptr);
  tree.add(a, "f", file(1), nullptr);
  const NodeRef ref = tree.ref(a);
  const uint64_t start = tree.clock();
  int dropped = 0;
  tree.forget(a, [&](NodeId) { ++dropped; });
  EXPECT_EQ(dropped, 2);
  EXPECT_FALSE(tree.alive(ref));
  EXPECT_EQ(text(tree.since(start).changes), "");
  const NodeId again = tree.add(Tree::kRoot, "b", file(1), nullptr);
  EXPECT_FALSE(tree.alive(ref));
  EXPECT_TRUE(tree.alive(tree.ref(again)));
}

// Replays what `since` says onto the names known at that moment.
void expect_replay(std::map<std::string, uint64_t> before,
                   const std::map<std::string, uint64_t>& after, const Tree::Changes& changes) {
  std::map<std::string, uint64_t> result = before;
  for (const Change& change : changes) {
    if (change.kind == ChangeKind::deleted) EXPECT_EQ(result.erase(change.path), 1U) << change.path;
    if (change.kind == ChangeKind::renamed)
      EXPECT_EQ(result.erase(change.renamed_from), 1U) << change.renamed_from;
  }
  for (const Change& change : changes) {
    if (change.kind == ChangeKind::created)
      EXPECT_FALSE(result.contains(change.path)) << change.path;
    if (change.kind == ChangeKind::modified)
      EXPECT_TRUE(before.contains(change.path)) << change.path;
    if (change.kind != ChangeKind::deleted) result[change.path] = change.size;
  }
  EXPECT_EQ(result, after) << text(changes);
}

TEST(Tree, SinceReplayedOnAnEarlierStateGivesTheLaterOne) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    Tree tree;
    std::map<std::string, uint64_t> model;
    std::map<std::string, uint64_t> snapshot;
    uint64_t clock = 0;
    const int snapshot_at = static_cast<int>(random() % 30);
    for (int step = 0; step < 40; ++step) {
      if (step == snapshot_at) {
        snapshot = model;
        clock = tree.clock();
      }
      const std::string name(1, static_cast<char>('a' + random() % 5));
      const std::string other(1, static_cast<char>('a' + random() % 5));
      const NodeId id = tree.find(Tree::kRoot, name);
      const uint64_t size = random() % 1000 + 1;
      if (id == kNoNode) {
        tree.add(Tree::kRoot, name, file(size), nullptr);
        model[name] = size;
      } else if (random() % 3 == 0) {
        tree.update(id, file(size), true, nullptr);
        model[name] = size;
      } else if (random() % 2 == 0) {
        tree.remove(id, nullptr, ignore_drop);
        model.erase(name);
      } else if (name != other) {
        const NodeId target = tree.find(Tree::kRoot, other);
        if (target != kNoNode) tree.remove(target, nullptr, ignore_drop);
        tree.rename(id, Tree::kRoot, other, nullptr);
        model[other] = model[name];
        model.erase(name);
      }
    }
    expect_replay(snapshot, model, tree.since(clock).changes);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(Tree, HoldsAHundredThousandFilesInTwentyMegabytes) {
#ifdef ZS_TEST_FOREIGN_MALLOC
  GTEST_SKIP() << "the sanitizer's allocator counts otherwise";
#else
  const auto in_use = [] {
    const struct mallinfo2 info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t before = in_use();
  Tree tree;
  for (int d = 0; d < 5000; ++d) {
    const NodeId directory = tree.add(Tree::kRoot, absl::StrCat("directory-", d), kDir, nullptr);
    for (int f = 0; f < 20; ++f)
      tree.add(directory, absl::StrCat("source_file_", f, ".cpp"), file(1), nullptr);
  }
  const size_t used = in_use() - before;
  RecordProperty("bytes", static_cast<int>(used));
  EXPECT_LE(used, size_t{20'000'000});
  EXPECT_EQ(tree.entries(), 105'000U);
#endif
}

}  // namespace
}  // namespace zsync::watching
