#include "cli/watch_trigger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::cli {
namespace {

using Action = WatchTrigger::Decision::Action;
using ::testing::ElementsAre;

class Triggering : public ::testing::Test {
 protected:
  WatchTrigger::Time at(int seconds) const {
    return WatchTrigger::Time(std::chrono::seconds(1000 + seconds));
  }
  WatchTrigger make(std::vector<std::string> writes = {}) {
    return WatchTrigger(std::move(writes),
                        [this](const std::string& path) { return files_[path]; });
  }
  std::map<std::string, std::string> files_{{"a.c", "v1"}, {"b.c", "v1"}, {"out.o", "o1"}};
};

TEST_F(Triggering, AChangeStartsARunAndOneRunAtATime) {
  WatchTrigger trigger = make();
  const auto first = trigger.changed({"a.c"}, at(0));
  EXPECT_EQ(first.action, Action::kRun);
  EXPECT_THAT(first.paths, ElementsAre("a.c"));
  files_["a.c"] = "v2";
  EXPECT_EQ(trigger.changed({"a.c"}, at(1)).action, Action::kWait);
  files_["b.c"] = "v2";
  EXPECT_EQ(trigger.changed({"b.c"}, at(2)).action, Action::kWait);
  const auto following = trigger.finished(at(3));
  EXPECT_EQ(following.action, Action::kRun);
  EXPECT_THAT(following.paths, ElementsAre("a.c", "b.c"));
  EXPECT_EQ(trigger.finished(at(4)).action, Action::kWait);
}

TEST_F(Triggering, AFormatterSettlesAfterOneExtraRun) {
  WatchTrigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  files_["a.c"] = "formatted";
  trigger.changed({"a.c"}, at(1));
  ASSERT_EQ(trigger.finished(at(2)).action, Action::kRun);
  trigger.changed({"a.c"}, at(3));  // written again, the same content
  EXPECT_EQ(trigger.finished(at(4)).action, Action::kWait);
}

TEST_F(Triggering, AnEventThatArrivesAfterTheRunCountsAsOneOfIt) {
  WatchTrigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  ASSERT_EQ(trigger.finished(at(1)).action, Action::kWait);
  files_["a.c"] = "formatted";
  ASSERT_EQ(trigger.changed({"a.c"}, at(1)).action, Action::kRun);
  ASSERT_EQ(trigger.finished(at(2)).action, Action::kWait);
  EXPECT_EQ(trigger.changed({"a.c"}, at(2)).action, Action::kWait);
}

TEST_F(Triggering, SavingAgainSoonAfterARunIsNoLoop) {
  WatchTrigger trigger = make();
  for (int save = 0; save < 10; ++save) {
    files_["a.c"] = "edited " + std::to_string(save);
    ASSERT_EQ(trigger.changed({"a.c"}, at(2 * save)).action, Action::kRun) << save;
    files_["a.c"] = "formatted " + std::to_string(save);
    trigger.changed({"a.c"}, at(2 * save));
    ASSERT_EQ(trigger.finished(at(2 * save + 1)).action, Action::kRun);
    ASSERT_EQ(trigger.finished(at(2 * save + 1)).action, Action::kWait);
  }
}

TEST_F(Triggering, AnEditDuringTheRunIsNeverLost) {
  WatchTrigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  files_["a.c"] = "edited by hand";
  trigger.changed({"a.c"}, at(1));
  EXPECT_EQ(trigger.finished(at(5)).action, Action::kRun);
}

TEST_F(Triggering, ATouchWithoutNewContentTriggersNothing) {
  WatchTrigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  trigger.finished(at(1));
  EXPECT_EQ(trigger.changed({"a.c"}, at(60)).action, Action::kWait);
  files_["a.c"] = "v2";
  EXPECT_EQ(trigger.changed({"a.c"}, at(61)).action, Action::kRun);
}

TEST_F(Triggering, ADeletionAndAReturnAreChangesOfContent) {
  WatchTrigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  trigger.finished(at(1));
  files_["a.c"] = "";
  ASSERT_EQ(trigger.changed({"a.c"}, at(10)).action, Action::kRun);
  trigger.finished(at(11));
  files_["a.c"] = "v1";
  EXPECT_EQ(trigger.changed({"a.c"}, at(20)).action, Action::kRun);
}

TEST_F(Triggering, DeclaredOutputsNeverTrigger) {
  WatchTrigger trigger = make({"*.o", "gen/**"});
  EXPECT_EQ(trigger.changed({"out.o", "gen/x/y.h", "sub/z.o"}, at(0)).action, Action::kWait);
  const auto decision = trigger.changed({"out.o", "a.c"}, at(1));
  EXPECT_EQ(decision.action, Action::kRun);
  EXPECT_THAT(decision.paths, ElementsAre("a.c"));
}

TEST_F(Triggering, ThreeFollowingRunsOverTheSamePathsAreALoop) {
  WatchTrigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  for (int run = 1; run <= WatchTrigger::kFollowingRunsMax; ++run) {
    files_["out.o"] = "build " + std::to_string(run);
    files_["tmp" + std::to_string(run)] = "x";
    trigger.changed({"out.o", "tmp" + std::to_string(run)}, at(run));
    ASSERT_EQ(trigger.finished(at(run)).action, Action::kRun) << run;
  }
  files_["out.o"] = "build 4";
  trigger.changed({"out.o"}, at(5));
  const auto decision = trigger.finished(at(5));
  EXPECT_EQ(decision.action, Action::kStop);
  EXPECT_THAT(decision.paths, ElementsAre("out.o"));
}

TEST_F(Triggering, EditsFarApartAreNoLoop) {
  WatchTrigger trigger = make();
  for (int edit = 0; edit < 10; ++edit) {
    files_["a.c"] = "edit " + std::to_string(edit);
    ASSERT_EQ(trigger.changed({"a.c"}, at(edit * 10)).action, Action::kRun);
    ASSERT_EQ(trigger.finished(at(edit * 10 + 1)).action, Action::kWait);
  }
}

TEST(Globs, MatchByNamePathAndAcrossFolders) {
  EXPECT_TRUE(glob_matches("*.o", "deep/down/x.o"));
  EXPECT_FALSE(glob_matches("*.o", "x.obj"));
  EXPECT_TRUE(glob_matches("build/*", "build/x"));
  EXPECT_FALSE(glob_matches("build/*", "build/x/y"));
  EXPECT_TRUE(glob_matches("build/**", "build/x/y"));
  EXPECT_TRUE(glob_matches("src/**/gen.h", "src/gen.h"));
  EXPECT_TRUE(glob_matches("src/**/gen.h", "src/a/b/gen.h"));
  EXPECT_TRUE(glob_matches("/top.txt", "top.txt"));
  EXPECT_FALSE(glob_matches("/top.txt", "sub/top.txt"));
  EXPECT_TRUE(glob_matches("[ab].c", "b.c"));
}

}  // namespace
}  // namespace zsync::cli
