#include "watch/tree_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "watch/scratch_dir_test.hpp"

namespace zsync::watching {
namespace {

constexpr EntryState kDir{0, 1, 1, 1, EntryKind::directory};

EntryState file(uint64_t size) { return {size, 1, 2, size, EntryKind::file}; }

std::string text(const Tree::Changes& changes) {
  std::string out;
  for (const Change& change : changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path + "=" +
           std::to_string(change.size);
    if (!change.renamed_from.empty()) out += "<" + change.renamed_from;
  }
  return out;
}

// The two answer every question in the same way.
void expect_same(const Tree& a, const Tree& b) {
  EXPECT_EQ(a.clock(), b.clock());
  EXPECT_EQ(a.entries(), b.entries());
  EXPECT_EQ(a.directories(), b.directories());
  for (uint64_t clock = 0; clock <= a.clock() + 1; ++clock) {
    const Tree::Since from_a = a.since(clock);
    const Tree::Since from_b = b.since(clock);
    EXPECT_EQ(from_a.fresh, from_b.fresh) << clock;
    EXPECT_EQ(text(from_a.changes), text(from_b.changes)) << clock;
  }
}

// One that looks like a random part of a program's life.
void mutate(Tree& tree, std::mt19937& random) {
  std::vector<NodeId> directories{Tree::kRoot};
  std::vector<NodeId> entries;
  for (size_t i = 0; i < directories.size(); ++i) {
    for (const NodeId child : tree.children(directories[i])) {
      entries.push_back(child);
      if (tree.is_directory(child)) directories.push_back(child);
    }
  }
  const NodeId directory = directories[random() % directories.size()];
  const std::string name(1, static_cast<char>('a' + random() % 8));
  const NodeId there = tree.find(directory, name);
  const NodeId any = entries.empty() ? kNoNode : entries[random() % entries.size()];
  switch (random() % 6) {
    case 0:
    case 1:
      if (there == kNoNode)
        tree.add(directory, name, random() % 2 ? file(random() % 9) : kDir, nullptr);
      break;
    case 2:
      if (any != kNoNode && !tree.is_directory(any))
        tree.update(any, file(random() % 9), true, nullptr);
      break;
    case 3:
      if (any != kNoNode) tree.remove(any, nullptr, [](NodeId) {});
      break;
    case 4:
      if (any != kNoNode && random() % 4 == 0) tree.forget(any, [](NodeId) {});
      break;
    default:
      if (any != kNoNode && there == kNoNode && !tree.within(directory, any))
        tree.rename(any, directory, name, nullptr);
  }
}

TEST(TreeFile, WhatWasSavedAndRecordedAnswersEveryClockAsBefore) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    ScratchDir dir;
    std::mt19937 random(seed);
    Tree tree(20);
    for (int i = 0; i < 60; ++i) mutate(tree, random);
    TreeFile out(dir / "t", "key");
    EXPECT_FALSE(out.written());
    ASSERT_TRUE(out.write(tree, {{"one", 0, 4}, {"two", 5, 6}}, 70).ok());
    std::string record;
    tree.record_to(&record);
    for (int i = 0; i < 60; ++i) {
      mutate(tree, random);
      ASSERT_TRUE(out.append(std::exchange(record, {}), tree.clock(), i == 9 ? 99 : 0).ok());
    }
    const std::optional<KnownTree> known = TreeFile(dir / "t", "key").read();
    ASSERT_TRUE(known) << seed;
    EXPECT_EQ(known->verified_ns, 99);
    ASSERT_EQ(known->lives.size(), 2U);
    EXPECT_EQ(known->lives[0].last, 4U);
    EXPECT_EQ(known->lives[1].last, tree.clock()) << "the last life goes on to the end";
    EXPECT_EQ(known->tree.clock(), tree.clock());
    EXPECT_EQ(text(known->tree.everything()), text(tree.everything())) << seed;
  }
}

TEST(TreeFile, EveryClockIsAnsweredAsBefore) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    ScratchDir dir;
    std::mt19937 random(seed);
    Tree tree;
    for (int i = 0; i < 80; ++i) mutate(tree, random);
    TreeFile out(dir / "t", "key");
    ASSERT_TRUE(out.write(tree, {{"one", 0, 0}}, 1).ok());
    std::optional<KnownTree> known = TreeFile(dir / "t", "key").read();
    ASSERT_TRUE(known) << seed;
    expect_same(tree, known->tree);
    // And goes on in the same way.
    for (int i = 0; i < 5; ++i)
      known->tree.add(Tree::kRoot, "n" + std::to_string(i), kDir, nullptr);
    for (int i = 0; i < 5; ++i) tree.add(Tree::kRoot, "n" + std::to_string(i), kDir, nullptr);
    expect_same(tree, known->tree);
  }
}

TEST(TreeFile, ATornTailIsCutAndADamagedSnapshotIsNotUsed) {
  ScratchDir dir;
  Tree tree;
  tree.add(Tree::kRoot, "a", file(1), nullptr);
  TreeFile out(dir / "t", "key");
  ASSERT_TRUE(out.write(tree, {{"one", 0, 1}}, 1).ok());
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "t").c_str(), &st), 0);
  const auto snapshot = static_cast<size_t>(st.st_size);
  std::string record;
  tree.record_to(&record);
  tree.add(Tree::kRoot, "b", file(2), nullptr);
  ASSERT_TRUE(out.append(record, tree.clock(), 0).ok());
  ASSERT_EQ(::stat((dir / "t").c_str(), &st), 0);
  for (auto size = static_cast<size_t>(st.st_size) - 1; size > 0; --size) {
    ASSERT_EQ(::truncate((dir / "t").c_str(), static_cast<off_t>(size)), 0);
    const std::optional<KnownTree> known = TreeFile(dir / "t", "key").read();
    EXPECT_EQ(known.has_value(), size >= snapshot) << size;
    if (known) EXPECT_EQ(known->tree.clock(), 1U) << size;
  }
  EXPECT_FALSE(TreeFile(dir / "none", "key").read());
}

TEST(TreeFile, AFileOfAnotherKeyIsNotRead) {
  ScratchDir dir;
  TreeFile out(dir / "t", "key");
  ASSERT_TRUE(out.write(Tree(), {{"one", 0, 0}}, 1).ok());
  EXPECT_FALSE(TreeFile(dir / "t", "another").read());
  EXPECT_TRUE(TreeFile(dir / "t", "key").read());
  out.discard();
  EXPECT_FALSE(TreeFile(dir / "t", "key").read());
}

}  // namespace
}  // namespace zsync::watching
