#include "daemon/projects/project_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "daemon/projects/project_file.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSecond = 1'000'000'000;

// A project whose tasks are the test's: it says when they start, become ready and end.
class ProjectRunTest : public ::testing::Test {
 protected:
  void file(const std::string& units) {
    ParsedProject parsed = parse_project("version: 1\n" + units);
    ASSERT_EQ(parsed.index(), 0u) << problem_line("f", std::get<1>(parsed)[0]);
    run_.set_spec(std::get<0>(parsed));
  }
  void up(const std::string& units, const std::vector<std::string>& names = {}) {
    file(units);
    run_.want(names, now_);
  }
  // What step() asks for; what it starts is launched at once.
  std::vector<std::string> step() {
    std::vector<std::string> said;
    for (const ProjectAction& action : run_.step(now_)) {
      const char* verbs[] = {"start ", "stop ", "probe ", "look "};
      said.push_back(verbs[static_cast<int>(action.kind)] + action.unit);
      if (action.kind != ProjectAction::Kind::kStart) continue;
      run_.launched(action.unit, action.generation,
                    absl::StrCat(action.unit, "#", action.generation), now_);
    }
    return said;
  }
  uint64_t generation(const std::string& unit) { return run_.row_of(unit)->generation; }
  void ready(const std::string& unit) { run_.became_ready(unit, generation(unit), now_); }
  void ends(const std::string& unit, bool ok, const std::string& reason = "exit code 3") {
    run_.ended(unit, generation(unit), {ok, false, reason}, now_);
  }
  std::string state(const std::string& unit) {
    for (const UnitView& view : run_.views(now_)) {
      if (view.name != unit) continue;
      return absl::StrCat(unit_state_name(view.state), view.reason.empty() ? "" : ": ",
                          view.reason);
    }
    return "none";
  }

  ProjectRun run_;
  int64_t now_ = 1000 * kSecond;
};

constexpr char kShop[] = R"(steps:
  build: {run: [make]}
services:
  db: {run: [db]}
  api: {run: [api], after: [build, db], restart_on: build}
)";

TEST_F(ProjectRunTest, AServiceStartsOnceWhatItWaitsForIsDoneAndReady) {
  up(kShop);
  EXPECT_THAT(step(), ElementsAre("start build", "start db"));
  EXPECT_THAT(step(), ElementsAre("probe db"));
  EXPECT_EQ(state("api"), "waiting: waits for build (running), db (starting)");
  EXPECT_FALSE(run_.settled());
  ready("db");
  EXPECT_THAT(step(), IsEmpty());
  ends("build", true);
  EXPECT_EQ(state("build"), "done");
  EXPECT_THAT(step(), ElementsAre("start api"));
  EXPECT_THAT(step(), ElementsAre("probe api"));
  ready("api");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_TRUE(run_.settled());
  EXPECT_TRUE(run_.healthy());
}

TEST_F(ProjectRunTest, AStepThatFailsHoldsBackWhatWaitsForIt) {
  up(kShop);
  step();
  ready("db");
  ends("build", false);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("build"), "failed: exit code 3");
  EXPECT_EQ(state("api"), "waiting: waits for build (failed)");
  EXPECT_TRUE(run_.settled()) << "nothing more will happen by itself";
  EXPECT_FALSE(run_.healthy());
  run_.want({}, now_);
  EXPECT_THAT(step(), ElementsAre("start build")) << "another up tries again, and leaves db alone";
}

TEST_F(ProjectRunTest, UpOfOneServiceTakesWhatItWaitsForAlong) {
  up("services:\n  a: {run: [x]}\n  b: {run: [x], after: a}\n  c: {run: [x]}\n", {"b"});
  EXPECT_THAT(step(), ElementsAre("start a"));
  EXPECT_EQ(state("c"), "stopped");
}

TEST_F(ProjectRunTest, ACrashIsFollowedByLaterAndLaterStartsUntilItIsGivenUp) {
  up("services:\n  a: {run: [x], restart: {when: on-failure, max: 3}}\n");
  for (int64_t pause : {1, 2, 4}) {
    EXPECT_THAT(step(), ElementsAre("start a"));
    ends("a", false);
    EXPECT_THAT(step(), IsEmpty());
    EXPECT_EQ(state("a"), absl::StrCat("restarting: exit code 3; again in ", pause, "s"));
    ASSERT_EQ(run_.wakeup(), now_ + pause * kSecond);
    now_ += pause * kSecond - 1;
    EXPECT_THAT(step(), IsEmpty());
    now_ += 1;
  }
  EXPECT_THAT(step(), ElementsAre("start a"));
  ends("a", false);
  EXPECT_EQ(state("a"), "failed: exit code 3, after 3 restarts in a row");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(run_.wakeup(), std::nullopt);
  EXPECT_TRUE(run_.settled());
  EXPECT_FALSE(run_.active());
}

TEST_F(ProjectRunTest, FailuresOfOneThatWasHealthyForAWhileCountAnew) {
  up("services:\n  a: {run: [x], restart: {when: always, max: 1}}\n");
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(step(), ElementsAre("start a"));
    EXPECT_THAT(step(), ElementsAre("probe a"));
    ready("a");
    now_ += kHealthyNs;
    ends("a", true);
    EXPECT_EQ(run_.wakeup(), now_ + kSecond);
    now_ += kSecond;
  }
}

TEST_F(ProjectRunTest, TheWordOfThePolicyIsKept) {
  up("services:\n  no: {run: [x]}\n  failing: {run: [x], restart: on-failure}\n");
  step();
  step();
  ends("no", false);
  ends("failing", true, "exit code 0");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("no"), "failed: exit code 3");
  EXPECT_EQ(state("failing"), "stopped: exit code 0");
}

TEST_F(ProjectRunTest, OneThatIsNotReadyInTimeIsStoppedAndThatIsAFailure) {
  up("services:\n  a: {run: [x], ready: {log: x}, restart: {when: on-failure, max: 1}}\n");
  step();
  EXPECT_THAT(step(), ElementsAre("probe a"));
  run_.not_ready("a", 1, "not ready within 5s", now_);
  EXPECT_THAT(step(), ElementsAre("stop a"));
  EXPECT_THAT(step(), IsEmpty());
  run_.ended("a", 1, {false, true, "canceled"}, now_);
  EXPECT_EQ(state("a"), "restarting: not ready within 5s; again in 1s");
  now_ += kSecond;
  EXPECT_THAT(step(), ElementsAre("start a"));
  EXPECT_THAT(step(), ElementsAre("probe a")) << "the new one is asked as well";
}

TEST_F(ProjectRunTest, AChangedFileRestartsWhatChangedAndNothingElse) {
  up("services:\n  a: {run: [x]}\n  b: {run: [x]}\n  c: {run: [x]}\n");
  step();
  step();
  for (const char* unit : {"a", "b", "c"}) ready(unit);
  up("services:\n  a: {run: [x]}\n  b: {run: [y]}\n  d: {run: [x]}\n");
  EXPECT_THAT(step(), ElementsAre("stop b", "stop c", "start d"));
  EXPECT_EQ(state("b"), "stopping");
  ends("b", false);
  ends("c", false);
  EXPECT_THAT(step(), ElementsAre("start b", "probe d"));
  EXPECT_EQ(state("c"), "none");
  EXPECT_EQ(run_.task_of("a"), "a#1");
  EXPECT_EQ(run_.task_of("b"), "b#2");
}

TEST_F(ProjectRunTest, AServiceGoesOnUntilTheStepBeforeItsNewVersionHasSucceeded) {
  up(kShop);
  step();
  ready("db");
  ends("build", true);
  step();
  step();
  ready("api");
  run_.start_anew("build", now_);
  EXPECT_THAT(step(), ElementsAre("start build"));
  ends("build", false);
  EXPECT_THAT(step(), IsEmpty()) << "a failed build leaves the old one alone";
  EXPECT_EQ(state("api"), "ready");
  run_.start_anew("build", now_);
  step();
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("stop api")) << "restart_on";
  ends("api", false);
  EXPECT_THAT(step(), ElementsAre("start api"));
  EXPECT_EQ(generation("db"), 1u);
}

TEST_F(ProjectRunTest, DownStopsWhatWaitsForOthersFirst) {
  up(kShop);
  step();
  ready("db");
  ends("build", true);
  step();
  run_.unwant({}, now_);
  EXPECT_THAT(step(), ElementsAre("stop api"));
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_TRUE(run_.active());
  ends("api", false);
  EXPECT_THAT(step(), ElementsAre("stop db"));
  ends("db", false);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_FALSE(run_.active());
  EXPECT_EQ(state("db"), "stopped");
  run_.want({}, now_);
  EXPECT_THAT(step(), ElementsAre("start build", "start db")) << "steps are done anew";
}

TEST_F(ProjectRunTest, DownOfOneTakesWhatWaitsForItAlong) {
  up("services:\n  a: {run: [x]}\n  b: {run: [x], after: a}\n  c: {run: [x]}\n");
  step();
  step();
  ready("a");
  ready("c");
  step();
  step();
  ready("b");
  run_.unwant({"a"}, now_);
  EXPECT_THAT(step(), ElementsAre("stop b"));
  ends("b", true);
  EXPECT_THAT(step(), ElementsAre("stop a"));
  EXPECT_EQ(state("c"), "ready");
}

TEST_F(ProjectRunTest, OneThatSomebodyCancelsStaysDownUntilTheNextUp) {
  up("services:\n  a: {run: [x], restart: always}\n");
  step();
  run_.ended("a", 1, {false, true, ""}, now_);
  EXPECT_EQ(state("a"), "stopped: its task was canceled");
  EXPECT_THAT(step(), IsEmpty());
  run_.want({}, now_);
  EXPECT_THAT(step(), ElementsAre("start a"));
}

TEST_F(ProjectRunTest, NewsOfAnEarlierProcessAreIgnored) {
  up("services:\n  a: {run: [x], restart: always}\n");
  step();
  ends("a", false);
  now_ += kSecond;
  step();
  run_.became_ready("a", 1, now_);
  run_.ended("a", 1, {true, false, ""}, now_);
  EXPECT_EQ(state("a"), "starting");
}

TEST_F(ProjectRunTest, TheNextDaemonGoesOnWithWhatRunsAndSubmitsWhatWasOnlyWrittenDown) {
  up(kShop);
  step();
  step();
  ready("db");
  ends("build", true);
  run_.step(now_);  // api is written down, and the daemon is killed before it is submitted
  const std::vector<UnitRow> rows = run_.rows();
  run_ = ProjectRun();
  file(kShop);
  for (const UnitRow& row : rows) run_.restore(row);
  run_.adopt("db", "db#1");
  EXPECT_EQ(state("db"), "ready") << "known without asking it again";
  EXPECT_EQ(state("build"), "done");
  EXPECT_THAT(step(), ElementsAre("start api"));
  EXPECT_EQ(generation("api"), 1u) << "the same one: it is submitted once";
  EXPECT_THAT(step(), ElementsAre("probe api"));
}

TEST_F(ProjectRunTest, AUnitThatTheFileLostWhileNoDaemonRanIsStoppedAndForgotten) {
  up("services:\n  a: {run: [x]}\n  b: {run: [x]}\n");
  step();
  const std::vector<UnitRow> rows = run_.rows();
  run_ = ProjectRun();
  file("services:\n  a: {run: [x]}\n");
  for (const UnitRow& row : rows) run_.restore(row);
  run_.adopt("a", "a#1");
  run_.adopt("b", "b#1");
  EXPECT_THAT(step(), ElementsAre("stop b", "probe a"));
  ends("b", true);
  step();
  EXPECT_EQ(state("b"), "none");
}

TEST_F(ProjectRunTest, PortsOfAllThatAUnitWaitsForAreHandedToIt) {
  up("services:\n  a: {run: [x], port: 5433}\n  b-1: {run: [x], port: auto, after: a}\n"
     "  c: {run: [x], after: b-1}\n");
  run_.set_port("b-1", 4000);
  const std::vector<std::pair<std::string, uint16_t>> found = run_.ports_for("c");
  const std::map<std::string, uint16_t> ports(found.begin(), found.end());
  EXPECT_EQ(ports, (std::map<std::string, uint16_t>{{"A_PORT", 5433}, {"B_1_PORT", 4000}}));
}

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
  // Looked at and run: all of kSaves is done.
  void up_and_done() {
    run_.hears_saves(true);
    up(kSaves);
    EXPECT_THAT(step(), ElementsAre("look gen"));
    looked("gen", "g1");
    EXPECT_THAT(step(), ElementsAre("start gen"));
    ends("gen", true);
    EXPECT_THAT(step(), ElementsAre("look build"));
    looked("build", "b1");
    EXPECT_THAT(step(), ElementsAre("start build"));
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
  EXPECT_THAT(step(), ElementsAre("look build"));
  looked("build", "b2");
  EXPECT_THAT(step(), ElementsAre("start build"));
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
  EXPECT_THAT(step(), ElementsAre("look gen"));
  looked("gen", "g1");
  EXPECT_THAT(step(), ElementsAre("start gen"));
}

TEST_F(ProjectSavesTest, ASavedFileRunsTheStepsThatItTouchesAndThoseBehindThem) {
  up_and_done();
  run_.inputs_changed({"build"}, "save", now_);
  EXPECT_THAT(step(), ElementsAre("look build"));
  looked("build", "b2");
  EXPECT_THAT(step(), ElementsAre("start build"));
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("start test"));
  ends("test", false);
  EXPECT_EQ(state("test"), "failed: exit code 3");
  run_.inputs_changed({"build"}, "save", now_);
  step();
  looked("build", "b3");
  step();
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
  step();
  looked("build", "b2");
  step();
  run_.inputs_changed({"build"}, "save", now_);
  run_.inputs_changed({"build"}, "save", now_);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("build"), "running");
  ends("build", true);
  EXPECT_THAT(step(), ElementsAre("look build"));
  looked("build", "b3");
  EXPECT_THAT(step(), ElementsAre("start build"));
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
  step();
  looked("build", "b2");
  step();
  run_.inputs_changed({"build"}, "save", now_);
  run_.ended("build", generation("build"), {false, true, "canceled"}, now_);
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_EQ(state("build"), "stopped: canceled");
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
  EXPECT_THAT(step(), ElementsAre("look gen"));
  looked("gen", "g1");
  EXPECT_THAT(step(), ElementsAre("start gen"));
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
  step();
  looked("build", "b1");
  EXPECT_THAT(step(), IsEmpty());
  EXPECT_TRUE(run_.healthy());
}

}  // namespace
}  // namespace zsync::daemon
