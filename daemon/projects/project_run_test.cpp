#include "daemon/projects/project_run.hpp"

#include <map>

#include "daemon/projects/project_run_test_kit.hpp"

namespace zsync::daemon {
namespace {

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

}  // namespace
}  // namespace zsync::daemon
