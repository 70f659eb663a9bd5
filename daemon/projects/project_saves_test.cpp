#include <map>

#include "daemon/projects/project_run_test_kit.hpp"

namespace zsync::daemon {
namespace {

constexpr char kSaves[] = R"(steps:
  gen: {run: [gen], in: "proto/**"}
  build: {run: [make], after: gen, in: "src/**", out: app}
  test: {run: [check], after: build, on: save}
)";

// Steps with inputs, whose looks the test answers.
class ProjectSavesTest : public ProjectRunTest {
 protected:
  void looked(const std::string& unit, const std::string& print, bool outputs_there = true) {
    run_.looked(unit, print, outputs_there, now_);
  }
  // The step is looked at, its files are these, and it is started.
  void starts_with(const std::string& unit, const std::string& print) {
    EXPECT_THAT(step(), ElementsAre("look " + unit));
    looked(unit, print);
    EXPECT_THAT(step(), ElementsAre("start " + unit));
  }
  // Looked at and run: all of kSaves is done.
  void up_and_done() {
    run_.hears_saves(true);
    up(kSaves);
    starts_with("gen", "g1");
    ends("gen", true);
    starts_with("build", "b1");
    ends("build", true);
    EXPECT_THAT(step(), ElementsAre("start test"));
    ends("test", true);
    EXPECT_THAT(step(), IsEmpty());
    EXPECT_TRUE(run_.settled() && run_.healthy());
  }
};

TEST_F(ProjectSavesTest, AStepWhoseInputsAreAsTheyWereIsDoneWithoutARun) {
  up_and_done();
  run_.unwant({}, now_);
  EXPECT_EQ(state("gen"), "stopped");
  run_.want({}, now_);
  EXPECT_THAT(step(), ElementsAre("look gen"));
  EXPECT_EQ(state("gen"), "waiting: its inputs are looked at");
  EXPECT_FALSE(run_.settled());
  looked("gen", "g1");
  EXPECT_EQ(state("gen"), "done: nothing to do: its inputs are as they were");
  starts_with("build", "b2");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("start test")) << "it names no inputs";
  EXPECT_EQ(state("build"), "done");
}

TEST_F(ProjectSavesTest, WhatItMakesIsMissingOrItsInputsCannotBeReadOrItFailedSoItRuns) {
  up_and_done();
  const auto again = [this] {
    run_.unwant({}, now_);
    run_.want({"gen"}, now_);
    EXPECT_THAT(step(), ElementsAre("look gen"));
  };
  again();
  looked("gen", "g1", false);
  EXPECT_THAT(step(), ElementsAre("start gen"));
  ends("gen", true);
  again();
  looked("gen", "");
  EXPECT_THAT(step(), ElementsAre("start gen"));
  ends("gen", true);
  again();
  looked("gen", "g1");
  EXPECT_THAT(step(), ElementsAre("start gen")) << "what it was made of the last time is not known";
  ends("gen", false);
  again();
  looked("gen", "g1");
  EXPECT_THAT(step(), ElementsAre("start gen")) << "it failed with these inputs";
}

TEST_F(ProjectSavesTest, ARestartByHandRunsItWhateverItsInputsAre) {
  up_and_done();
  run_.start_anew("gen", now_);
  starts_with("gen", "g1");
}

TEST_F(ProjectSavesTest, ASavedFileRunsTheStepsThatItTouchesAndThoseBehindThem) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  starts_with("build", "b2");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("start test"));
  ends("test", false);
  EXPECT_EQ(state("test"), "failed: exit code 3");
  run_.inputs_changed({"build"}, "save", now_);
  starts_with("build", "b3");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("start test")) << "that it failed before stops nothing";
}

TEST_F(ProjectSavesTest, AFileThatWasSavedAsItWasRunsNothing) {
  up_and_done();
  run_.inputs_changed({"gen", "build"}, "save", now_);
  EXPECT_THAT(step(), ElementsAre("look gen"));
  looked("gen", "g1");
  EXPECT_THAT(step(), ElementsAre("look build"));
  looked("build", "b1");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_TRUE(run_.settled() && run_.healthy());
}

TEST_F(ProjectSavesTest, AStepThatRunsIsLetRunToItsEndAndRunOnceMore) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  starts_with("build", "b2");
  run_.inputs_changed({"build"}, "save", now_);
  run_.inputs_changed({"build"}, "save", now_);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("build"), "running");
  ends("build", true);
  starts_with("build", "b3");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("start test"));
  EXPECT_EQ(generation("build"), 3u);
}

TEST_F(ProjectSavesTest, AChangeWhileInputsAreLookedAtIsLookedAtOnceMore) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  EXPECT_THAT(step(), ElementsAre("look build"));
  run_.inputs_changed({"build"}, "save", now_);
  looked("build", "b1");
  EXPECT_THAT(step(), ElementsAre("look build")) << "the first look may have been too early";
  looked("build", "b2");
  EXPECT_THAT(step(), ElementsAre("start build"));
}

TEST_F(ProjectSavesTest, SavesStartNothingThatIsDownOrThatDoesNotAskForThem) {
  up_and_done();
  EXPECT_TRUE(run_.starts_on_save());
  run_.unwant({}, now_);
  EXPECT_FALSE(run_.starts_on_save());
  run_.inputs_changed({"gen", "build"}, "save", now_);
  EXPECT_THAT(step(), IsEmpty());
  up("steps:\n  build: {run: [make], in: src}\n");
  EXPECT_FALSE(run_.starts_on_save());
}

TEST_F(ProjectSavesTest, OneThatWasCanceledByHandWhileFilesChangedStaysSo) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  starts_with("build", "b2");
  run_.inputs_changed({"build"}, "save", now_);
  run_.ended("build", generation("build"), {false, true, "canceled"}, now_);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("build"), "stopped: canceled");
}

TEST_F(ProjectSavesTest, AStepRunsAfterOneBeforeItAlsoIfItsOwnFilesAreAsTheyWere) {
  run_.hears_saves(true);
  up("steps:\n  build: {run: [x], in: src}\n  test: {run: [x], after: build, in: tests, on: "
     "save}\n");
  starts_with("build", "b1");
  ends("build", true);
  starts_with("test", "t1");
  ends("test", true);
  run_.inputs_changed({"build"}, "save", now_);
  starts_with("build", "b2");
  ends("build", true);
  starts_with("test", "t1");
}

TEST_F(ProjectSavesTest, StepsInBetweenAreLookedAtAndRunWhereTheyNameNoFiles) {
  up_and_done();
  run_.inputs_changed({"gen"}, "save", now_);
  starts_with("gen", "g2");
  ends("gen", true);
  EXPECT_THAT(step(), ElementsAre("look build")) << "before test, which waits for it";
  looked("build", "b2");
  EXPECT_THAT(step(), ElementsAre("start build"));
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("start test"));
}

TEST_F(ProjectSavesTest, ALookAtWhatAnEarlierFileNamedSaysNothingOfTheNewOne) {
  up_and_done();
  run_.inputs_changed({"gen"}, "save", now_);
  EXPECT_THAT(step(), ElementsAre("look gen"));
  up("steps:\n  gen: {run: [other], in: 'proto/**'}\n");
  looked("gen", "g1");
  starts_with("gen", "g of the other command");
}

TEST_F(ProjectSavesTest, WhereNobodyKnowsOfSavesWhatWasCanceledOrHasFailedStaysSo) {
  up_and_done();
  run_.inputs_changed({"gen", "build"}, "save", now_);
  starts_with("gen", "g2");
  run_.ended("gen", generation("gen"), {false, true, "canceled"}, now_);
  run_.inputs_unsure({"gen", "build"}, now_);
  EXPECT_EQ(state("gen"), "stopped: canceled");
  EXPECT_THAT(step(), IsEmpty());
  run_.want({}, now_);
  starts_with("gen", "g2");
  ends("gen", false);
  run_.inputs_unsure({"gen", "build"}, now_);
  EXPECT_THAT(step(), ElementsAre("look gen"));
  looked("gen", "g2");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("gen"), "failed: exit code 3") << "with the files that are there";
  run_.inputs_unsure({"gen", "build"}, now_);
  step();
  looked("gen", "g3");
  EXPECT_THAT(step(), ElementsAre("start gen")) << "they were mended while nobody looked";
}

TEST_F(ProjectSavesTest, WhoSavesAllTheTimeDoesNotHoldARunUp) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  EXPECT_THAT(step(), ElementsAre("look build"));
  run_.inputs_changed({"build"}, "save", now_);
  looked("build", "b2");
  EXPECT_THAT(step(), ElementsAre("look build"));
  run_.inputs_changed({"build"}, "save", now_);
  looked("build", "b3");
  EXPECT_THAT(step(), ElementsAre("start build"));
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("look build")) << "what was saved last is not forgotten";
  looked("build", "b3");
  EXPECT_THAT(step(), ElementsAre("start test"));
}

TEST_F(ProjectSavesTest, ThatItIsToRunOnceMoreOutlivesTheDaemon) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  starts_with("build", "b2");
  run_.inputs_changed({"build"}, "save", now_);
  const std::vector<UnitRow> rows = run_.rows();
  run_ = ProjectRun();
  file(kSaves);
  run_.hears_saves(true);
  for (const UnitRow& row : rows) run_.restore(row);
  run_.adopt("build", "its task");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("look build"));
}

TEST_F(ProjectSavesTest, WhatASaveStartsIsOfItsTrace) {
  up(std::string(kSaves) + "services:\n  app: {run: [app], restart_on: build}\n");
  run_.hears_saves(true);
  step();
  looked("gen", "g1");
  step();
  ends("gen", true);
  step();
  looked("build", "b1");
  std::map<std::string, std::string> causes;
  const auto collect = [&] {
    for (const ProjectAction& action : run_.step(now_)) {
      if (action.kind != ProjectAction::Kind::kStart) continue;
      causes[action.unit] = action.cause;
      run_.launched(action.unit, action.generation, "t", now_);
    }
  };
  collect();
  EXPECT_EQ(causes["build"], "") << "up started it";
  run_.inputs_changed({"build"}, "first", now_);
  run_.inputs_changed({"build"}, "second", now_);
  ends("build", true);
  step();
  ends("app", false);  // build has succeeded
  looked("build", "b2");
  collect();
  EXPECT_EQ(causes["build"], "second");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("stop app", "start test"));
  ends("app", false);
  collect();
  EXPECT_EQ(causes["app"], "second") << "a service that the step restarts";
}

TEST_F(ProjectSavesTest, NothingIsLookedAtBeforeSavesAreHeardOf) {
  up(kSaves);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("gen"), "waiting: the watch of its directory begins");
  EXPECT_FALSE(run_.settled());
  run_.hears_saves(true);
  run_.inputs_changed({"gen", "build"}, "save", now_);
  starts_with("gen", "g1");
}

TEST_F(ProjectSavesTest, AnotherDaemonKnowsWhatItWasMadeOf) {
  up_and_done();
  const std::vector<UnitRow> rows = run_.rows();
  run_ = ProjectRun();
  file(kSaves);
  for (const UnitRow& row : rows) run_.restore(row);
  EXPECT_THAT(step(), IsEmpty());
  run_.hears_saves(true);
  run_.inputs_changed({"gen", "build"}, "save", now_);
  EXPECT_THAT(step(), ElementsAre("look gen"));
  looked("gen", "g1");
  EXPECT_THAT(step(), ElementsAre("look build"));
  looked("build", "b1");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_TRUE(run_.healthy());
}

}  // namespace
}  // namespace zsync::daemon
