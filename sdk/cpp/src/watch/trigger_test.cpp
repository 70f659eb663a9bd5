#include "watch/trigger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::watching {
namespace {

using Action = Trigger::Decision::Action;
using ::testing::ElementsAre;

class Triggering : public ::testing::Test {
 protected:
  Trigger::Time at(int seconds) const {
    return Trigger::Time(std::chrono::seconds(1000 + seconds));
  }
  Trigger make(const std::vector<std::string>& writes = {}) {
    return Trigger(*GlobSet::compile(writes),
                   [this](const std::string& path) { return files_[path]; });
  }
  std::map<std::string, std::string> files_{{"a.c", "v1"}, {"b.c", "v1"}, {"out.o", "o1"}};
};

TEST_F(Triggering, AChangeStartsARunAndOneRunAtATime) {
  Trigger trigger = make();
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
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  files_["a.c"] = "formatted";
  trigger.changed({"a.c"}, at(1));
  ASSERT_EQ(trigger.finished(at(2)).action, Action::kRun);
  trigger.changed({"a.c"}, at(3));  // written again, the same content
  EXPECT_EQ(trigger.finished(at(4)).action, Action::kWait);
}

TEST_F(Triggering, AnEventThatArrivesAfterTheRunCountsAsOneOfIt) {
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  ASSERT_EQ(trigger.finished(at(1)).action, Action::kWait);
  files_["a.c"] = "formatted";
  ASSERT_EQ(trigger.changed({"a.c"}, at(1)).action, Action::kRun);
  ASSERT_EQ(trigger.finished(at(2)).action, Action::kWait);
  EXPECT_EQ(trigger.changed({"a.c"}, at(2)).action, Action::kWait);
}

TEST_F(Triggering, SavingAgainSoonAfterARunIsNoLoop) {
  Trigger trigger = make();
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
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  files_["a.c"] = "edited by hand";
  trigger.changed({"a.c"}, at(1));
  EXPECT_EQ(trigger.finished(at(5)).action, Action::kRun);
}

TEST_F(Triggering, ATouchWithoutNewContentTriggersNothing) {
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  trigger.finished(at(1));
  EXPECT_EQ(trigger.changed({"a.c"}, at(60)).action, Action::kWait);
  files_["a.c"] = "v2";
  EXPECT_EQ(trigger.changed({"a.c"}, at(61)).action, Action::kRun);
}

TEST_F(Triggering, ADeletionAndAReturnAreChangesOfContent) {
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  trigger.finished(at(1));
  files_["a.c"] = "";
  ASSERT_EQ(trigger.changed({"a.c"}, at(10)).action, Action::kRun);
  trigger.finished(at(11));
  files_["a.c"] = "v1";
  EXPECT_EQ(trigger.changed({"a.c"}, at(20)).action, Action::kRun);
}

TEST_F(Triggering, DeclaredOutputsNeverTrigger) {
  Trigger trigger = make({"*.o", "gen/**"});
  EXPECT_EQ(trigger.changed({"out.o", "gen/x/y.h", "sub/z.o"}, at(0)).action, Action::kWait);
  const auto decision = trigger.changed({"out.o", "a.c"}, at(1));
  EXPECT_EQ(decision.action, Action::kRun);
  EXPECT_THAT(decision.paths, ElementsAre("a.c"));
}

TEST_F(Triggering, ThreeFollowingRunsOverTheSamePathsAreALoop) {
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  for (int run = 1; run <= Trigger::kFollowingRunsMax; ++run) {
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
  Trigger trigger = make();
  for (int edit = 0; edit < 10; ++edit) {
    files_["a.c"] = "edit " + std::to_string(edit);
    ASSERT_EQ(trigger.changed({"a.c"}, at(edit * 10)).action, Action::kRun);
    ASSERT_EQ(trigger.finished(at(edit * 10 + 1)).action, Action::kWait);
  }
}

TEST_F(Triggering, AStoppedLoopGoesOnWithTheNextEditOnly) {
  Trigger trigger = make();
  ASSERT_EQ(trigger.changed({"a.c"}, at(0)).action, Action::kRun);
  for (int run = 1; run <= Trigger::kFollowingRunsMax; ++run) {
    files_["a.c"] += "+";
    trigger.changed({"a.c"}, at(run));
    ASSERT_EQ(trigger.finished(at(run)).action, Action::kRun) << run;
  }
  files_["a.c"] += "+";
  trigger.changed({"a.c"}, at(5));
  ASSERT_EQ(trigger.finished(at(5)).action, Action::kStop);
  EXPECT_EQ(trigger.changed({"a.c"}, at(60)).action, Action::kWait) << "as the last run left it";
  files_["a.c"] += "!";
  EXPECT_EQ(trigger.changed({"a.c"}, at(70)).action, Action::kRun);
}

TEST_F(Triggering, ARunThatIsAskedForTakesAlongWhatIsKept) {
  Trigger trigger = make({"*.o"});
  EXPECT_TRUE(trigger.run().paths.empty());
  EXPECT_TRUE(trigger.running());
  EXPECT_EQ(trigger.finished(at(1)).action, Action::kWait);
  trigger.keep({"a.c", "out.o"});
  EXPECT_EQ(trigger.kept(), 1u);
  EXPECT_THAT(trigger.run().paths, ElementsAre("a.c"));
  EXPECT_EQ(trigger.finished(at(3)).action, Action::kWait);
  EXPECT_EQ(trigger.changed({"a.c"}, at(60)).action, Action::kWait) << "the run knew of it";
}

TEST_F(Triggering, WhatIsKeptIsDecidedAboutWithTheNextChange) {
  Trigger trigger = make();
  trigger.keep({"a.c"});
  EXPECT_FALSE(trigger.running());
  EXPECT_THAT(trigger.changed({"b.c"}, at(1)).paths, ElementsAre("a.c", "b.c"));
  trigger.finished(at(2));
  trigger.keep({"a.c"});
  trigger.forget_kept();
  EXPECT_EQ(trigger.changed({}, at(60)).action, Action::kWait);
}

TEST_F(Triggering, AnotherOneGoesOnWhereTheFirstOneStood) {
  Trigger first = make();
  ASSERT_EQ(first.changed({"a.c"}, at(0)).action, Action::kRun);
  for (int run = 1; run <= Trigger::kFollowingRunsMax; ++run) {
    files_["a.c"] += "+";
    first.changed({"a.c"}, at(run));
    ASSERT_EQ(first.finished(at(run)).action, Action::kRun) << run;
  }
  Trigger second = make();
  second.restore(first.memory(10), true);
  EXPECT_EQ(second.changed({"a.c"}, at(5)).action, Action::kWait) << "the run goes on";
  EXPECT_EQ(second.finished(at(5)).action, Action::kWait) << "the content is known";
  second.restore(first.memory(10), true);
  files_["a.c"] += "+";
  second.changed({"a.c"}, at(6));
  EXPECT_EQ(second.finished(at(6)).action, Action::kStop) << "and how often it followed";
  EXPECT_TRUE(first.memory(1).seen.empty()) << "more than that is not kept";
}

TEST(ChangedVariable, HoldsWholeNamesWithinItsLimits) {
  EXPECT_EQ(changed_variable({}), "");
  EXPECT_EQ(changed_variable({"a", "b\nc", "d\xFF", "e f"}), "a\ne f");
  EXPECT_EQ(changed_variable({"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"}),
            "\xC3\xA9\n\xE2\x82\xAC\n\xF0\x9F\x98\x80");
  EXPECT_EQ(changed_variable({"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}), "");
  const std::vector<std::string> many(200, "x");
  EXPECT_EQ(changed_variable(many).size(), kChangedPathsMax * 2 - 1);
  const std::vector<std::string> large(100, std::string(4000, 'y'));
  EXPECT_LE(changed_variable(large).size(), kChangedBytesMax);
}

}  // namespace
}  // namespace zsync::watching
