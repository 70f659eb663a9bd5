#include "watch/batcher.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace zsync::watching {
namespace {

using std::chrono::milliseconds;

Batcher::Time at(int ms) { return Batcher::Time{} + milliseconds(ms); }
Change made(std::string path) { return {std::move(path), ChangeKind::created, {}, false, 1, 1}; }
Change changed(std::string path) {
  return {std::move(path), ChangeKind::modified, {}, false, 2, 2};
}
Change gone(std::string path) { return {std::move(path), ChangeKind::deleted, {}, false, 1, 1}; }
Change moved(std::string from, std::string to) {
  return {std::move(to), ChangeKind::renamed, std::move(from), false, 1, 1};
}

std::string text(const std::vector<Change>& changes) {
  std::string out;
  for (const Change& change : changes) {
    if (!out.empty()) out += ' ';
    out += std::string("CMDR").substr(static_cast<size_t>(change.kind), 1) + change.path;
    if (!change.renamed_from.empty()) out += "<" + change.renamed_from;
  }
  return out;
}

std::string reduced(const std::vector<Change>& changes) {
  Batcher batcher("i");
  batcher.add(changes, 1, at(0));
  const std::optional<Batch> batch = batcher.flush();
  return batch ? text(batch->changes) : "";
}

TEST(Batcher, ABatchIsDueWhenItHasSettled) {
  Batcher batcher("i7");
  EXPECT_FALSE(batcher.deadline());
  batcher.add(std::vector{made("a")}, 3, at(0));
  EXPECT_EQ(batcher.deadline(), at(50));
  batcher.add(std::vector{made("b")}, 4, at(40));
  EXPECT_EQ(batcher.deadline(), at(90));
  EXPECT_FALSE(batcher.take(at(89)));
  const std::optional<Batch> batch = batcher.take(at(90));
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->clock, "c:i7:4");
  EXPECT_EQ(text(batch->changes), "Ca Cb");
  EXPECT_FALSE(batch->fresh);
  EXPECT_EQ(batch->gap, Gap::none);
  EXPECT_FALSE(batcher.deadline());
}

TEST(Batcher, ContinuousChangeIsReportedAfterTheMaximumWait) {
  Batcher batcher("i");
  for (int ms = 0; ms < 1000; ms += 10) {
    batcher.add(std::vector{changed("a")}, 1, at(ms));
    EXPECT_FALSE(batcher.take(at(ms)));
  }
  EXPECT_EQ(batcher.deadline(), at(1000));
  EXPECT_TRUE(batcher.take(at(1000)));
}

TEST(Batcher, ChangesOfOnePathAreReducedToTheirDifference) {
  EXPECT_EQ(reduced({made("a"), changed("a")}), "Ca");
  EXPECT_EQ(reduced({made("a"), changed("a"), gone("a")}), "");
  EXPECT_EQ(reduced({gone("a"), made("a")}), "Ma");
  EXPECT_EQ(reduced({changed("a"), changed("a")}), "Ma");
  EXPECT_EQ(reduced({changed("a"), gone("a")}), "Da");
  EXPECT_EQ(reduced({gone("a"), made("a"), gone("a")}), "Da");
}

TEST(Batcher, RenamesAreReducedToTheirDifference) {
  EXPECT_EQ(reduced({moved("a", "b")}), "Rb<a");
  EXPECT_EQ(reduced({moved("a", "b"), moved("b", "c")}), "Rc<a");
  EXPECT_EQ(reduced({moved("a", "b"), moved("b", "a")}), "");
  EXPECT_EQ(reduced({moved("a", "b"), changed("b"), moved("b", "a")}), "Ma");
  EXPECT_EQ(reduced({made("a"), moved("a", "b")}), "Cb");
  EXPECT_EQ(reduced({moved("a", "b"), gone("b")}), "Da");
  EXPECT_EQ(reduced({changed("a"), moved("a", "b")}), "Rb<a");
  EXPECT_EQ(reduced({gone("b"), moved("a", "b")}), "Rb<a");
  EXPECT_EQ(reduced({moved("a", "t"), moved("b", "a"), moved("t", "b")}), "Ra<b Rb<a");
}

TEST(Batcher, AnEditorThatSavesByRenameReportsOneModifiedFile) {
  EXPECT_EQ(reduced({made("f.tmp"), changed("f.tmp"), gone("f"), moved("f.tmp", "f")}), "Mf");
  EXPECT_EQ(reduced({moved("f", "f~"), made("f"), changed("f"), gone("f~")}), "Mf");
}

TEST(Batcher, AGapIsReportedEvenWithoutAChange) {
  Batcher batcher("i");
  batcher.add_gap(Gap::overflow, 9, at(0));
  batcher.add_gap(Gap::rescan, 9, at(0));
  batcher.set_rescanning(true);
  EXPECT_FALSE(batcher.deadline());
  EXPECT_FALSE(batcher.take(at(5000)));
  batcher.set_rescanning(false);
  const std::optional<Batch> batch = batcher.take(at(50));
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->gap, Gap::overflow);
  EXPECT_EQ(gap_name(batch->gap), "overflow");
}

TEST(Batcher, ABatchThatCancelledOutIsDropped) {
  Batcher batcher("i");
  batcher.add(std::vector{made("a"), gone("a")}, 1, at(0));
  EXPECT_FALSE(batcher.take(at(50)));
  EXPECT_FALSE(batcher.deadline());
}

TEST(Batcher, WhileGitHoldsItsLockTheBatchIsHeldAndSettlesAfterwards) {
  Batcher batcher("i");
  batcher.set_vcs_locked(true, at(0));
  for (int ms = 0; ms <= 3000; ms += 20) {
    batcher.add(std::vector{changed("a")}, 1, at(ms));
    EXPECT_FALSE(batcher.take(at(ms)));
  }
  batcher.set_vcs_locked(false, at(3010));
  EXPECT_EQ(batcher.deadline(), at(3060));
  EXPECT_TRUE(batcher.take(at(3060)));
}

TEST(Batcher, ALeftOverLockHoldsNothingAfterItsLimit) {
  Batcher batcher("i");
  batcher.set_vcs_locked(true, at(0));
  batcher.add(std::vector{changed("a")}, 1, at(100));
  EXPECT_EQ(batcher.deadline(), at(10'000));
  EXPECT_TRUE(batcher.take(at(10'000)));
  batcher.add(std::vector{changed("a")}, 2, at(20'000));
  EXPECT_EQ(batcher.deadline(), at(20'050));
}

TEST(Batcher, ATooLargeBatchGoesOutAtOnce) {
  Batcher batcher("i", {.paths_max = 2});
  batcher.add(std::vector{made("a"), made("b")}, 1, at(7));
  EXPECT_TRUE(batcher.take(at(7)));
}

TEST(Batcher, TheReducedBatchLeadsFromTheStateBeforeToTheStateAfter) {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    std::map<std::string, int> before;
    for (int i = 0; i < 3; ++i)
      before[std::string(1, static_cast<char>('a' + random() % 5))] = i + 1;
    std::map<std::string, int> state = before;
    std::vector<Change> steps;
    for (unsigned n = 1 + random() % 12; n > 0; --n) {
      const std::string x(1, static_cast<char>('a' + random() % 5));
      const std::string y(1, static_cast<char>('a' + random() % 5));
      if (!state.contains(x)) {
        steps.push_back(made(x));
        state[x] = static_cast<int>(random());
      } else if (random() % 2 == 0) {
        steps.push_back(gone(x));
        state.erase(x);
      } else if (x != y) {
        if (state.contains(y)) steps.push_back(gone(y));
        steps.push_back(moved(x, y));
        state[y] = state[x];
        state.erase(x);
      }
    }
    Batcher batcher("i");
    batcher.add(steps, 1, at(0));
    const std::vector<Change> changes = batcher.flush().value_or(Batch{}).changes;
    std::map<std::string, int> result = before;
    for (const Change& change : changes) {
      if (change.kind == ChangeKind::deleted) EXPECT_EQ(result.erase(change.path), 1U);
      if (change.kind == ChangeKind::renamed) EXPECT_EQ(result.erase(change.renamed_from), 1U);
    }
    for (const Change& change : changes) {
      if (change.kind == ChangeKind::created) EXPECT_FALSE(result.contains(change.path));
      if (change.kind == ChangeKind::modified) EXPECT_TRUE(before.contains(change.path));
      if (change.kind == ChangeKind::renamed)
        EXPECT_EQ(before[change.renamed_from], state[change.path]);
      if (change.kind != ChangeKind::deleted) result[change.path] = state[change.path];
    }
    ASSERT_EQ(result, state) << text(steps) << " became " << text(changes);
  }
}

TEST(Narrow, ARenameAcrossTheSelectionIsACreationOrADeletion) {
  const std::vector<std::string> patterns = {"*.c"};
  const GlobSet globs = *GlobSet::compile(patterns);
  Batch batch;
  batch.changes = {changed("a.c"), moved("x.c", "b.h"), moved("y.h", "c.c"), changed("d.h"),
                   moved("p.c", "q.c")};
  EXPECT_EQ(text(narrow(batch, globs).changes), "Ma.c Cc.c Rq.c<p.c Dx.c");
  EXPECT_EQ(text(narrow(batch, GlobSet()).changes), text(batch.changes));
  Batch backup;
  backup.changes = {changed("f.c"), moved("f.c", "f.c~")};
  EXPECT_EQ(text(narrow(backup, globs).changes), "Mf.c");
}

TEST(Clock, IsWrittenAndReadBack) {
  EXPECT_EQ(format_clock("01J-x_y", 42), "c:01J-x_y:42");
  const std::optional<Clock> clock = parse_clock("c:01J-x_y:42");
  ASSERT_TRUE(clock);
  EXPECT_EQ(clock->instance, "01J-x_y");
  EXPECT_EQ(clock->counter, 42U);
  for (const char* bad : {"", "c:", "c::1", "c:a", "c:a:", "c:a:-1", "c:a: 1", "c:a:1x", "c:a/b:1",
                          "d:a:1", "c:a:99999999999999999999"}) {
    EXPECT_FALSE(parse_clock(bad)) << bad;
  }
}

TEST(AnswerSince, AClockOfAnotherInstanceIsAnsweredFresh) {
  Tree tree;
  tree.add(Tree::kRoot, "a", {}, nullptr);
  EXPECT_EQ(answer_since(tree, "now", "")->clock, "c:now:1");
  EXPECT_TRUE(answer_since(tree, "now", "")->changes.empty());
  EXPECT_FALSE(answer_since(tree, "now", "c:now:1")->fresh);
  EXPECT_EQ(text(answer_since(tree, "now", "c:now:0")->changes), "Ca");
  EXPECT_TRUE(answer_since(tree, "now", "c:before:1")->fresh);
  EXPECT_EQ(text(answer_since(tree, "now", "c:before:1")->changes), "Ca");
  EXPECT_TRUE(answer_since(tree, "now", "c:now:2")->fresh);
  EXPECT_EQ(answer_since(tree, "now", "yesterday").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Batcher, ChangesBesideTheSelectionNeitherAppearNorDelay) {
  Batcher batcher("i", {}, *GlobSet::compile(std::vector<std::string>{"*.c"}));
  batcher.add(std::vector{made("a.o"), changed("b.log")}, 2, at(0));
  EXPECT_FALSE(batcher.deadline());
  batcher.add(std::vector{made("a.c")}, 3, at(10));
  batcher.add(std::vector{changed("b.log")}, 4, at(50));
  EXPECT_EQ(batcher.deadline(), at(60));
  const std::optional<Batch> batch = batcher.take(at(60));
  ASSERT_TRUE(batch);
  EXPECT_EQ(text(batch->changes), "Ca.c");
  EXPECT_EQ(batch->clock, "c:i:4");
}

TEST(Batcher, ASelectedFileIsFollowedWhereverItIsRenamedTo) {
  const GlobSet sources = *GlobSet::compile(std::vector<std::string>{"*.c"});
  Batcher back("i", {}, sources);
  back.add(std::vector{moved("a.c", "a.tmp"), changed("a.tmp"), moved("a.tmp", "a.c")}, 3, at(0));
  EXPECT_EQ(text(back.flush()->changes), "Ma.c");
  Batcher away("i", {}, sources);
  away.add(std::vector{moved("a.c", "a.tmp"), gone("a.tmp")}, 3, at(0));
  EXPECT_EQ(text(away.flush()->changes), "Da.c");
  Batcher saved("i", {}, sources);
  saved.add(std::vector{made("a.tmp"), changed("a.tmp"), moved("a.tmp", "a.c")}, 3, at(0));
  EXPECT_EQ(text(saved.flush()->changes), "Ca.c");
}

TEST(Batcher, ForgottenChangesLeaveTheGap) {
  Batcher batcher("i");
  batcher.add(std::vector{made("a")}, 1, at(0));
  batcher.forget_changes();
  EXPECT_EQ(batcher.paths(), 0U);
  EXPECT_FALSE(batcher.flush());
  batcher.add(std::vector{made("a")}, 2, at(0));
  batcher.add_gap(Gap::overflow, 3, at(0));
  batcher.forget_changes();
  const std::optional<Batch> batch = batcher.flush();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->gap, Gap::overflow);
  EXPECT_TRUE(batch->changes.empty());
}

}  // namespace
}  // namespace zsync::watching
