// Resources, deadlines, and the settings of groups.
#include <unistd.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Scheduling : public DaemonTest {
 protected:
  void restart() {
    daemon().kill9();
    ASSERT_TRUE(daemon().start());
  }
  std::string events(const std::string& type) {
    return ctl({"events", "list", "--type", type, "-o", "jsonl"}).out;
  }
};

TEST_F(Scheduling, ACountedResourceIsSharedUpToItsCapacityAlsoAfterAKill) {
  EXPECT_THAT(ctl({"tasks", "submit", "--resource", "gpu:1", "--", "true"}).err,
              HasSubstr("zsyncctl tasks resource set gpu 1"));
  EXPECT_EQ(ctl({"tasks", "resource", "set", "gpu", "2"}).code, 0);
  EXPECT_THAT(ctl({"tasks", "submit", "--resource", "gpus", "--", "true"}).err,
              HasSubstr("did you mean gpu?"));
  const std::string holder =
      submit({"--name", "trains", "--resource", "gpu:2", "-c", "echo on; sleep 1000"});
  wait_for_output(holder);
  const std::string other = submit({"--resource", "gpu:1", "-g", "else", "--", "true"});
  restart();
  EXPECT_THAT(ctl({"why", other}).out,
              HasSubstr("it needs 1 of \"gpu\", and 0 of 2 are free: used by \"trains\""));
  EXPECT_THAT(ctl({"tasks", "resource", "list"}).out, HasSubstr(holder));
  const std::string large = submit({"--resource", "gpu:3", "--", "true"});
  EXPECT_THAT(ctl({"why", large}).out, HasSubstr("`zsyncctl tasks resource set gpu 3`"));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", holder}).code, 0);
  EXPECT_EQ(wait(other).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(get(large).state(), v1::TASK_STATE_QUEUED);
  EXPECT_EQ(ctl({"tasks", "resource", "set", "gpu", "3"}).code, 0);
  EXPECT_EQ(wait(large).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Scheduling, ATaskThatCannotStartInTimeIsTimedOut) {
  ASSERT_TRUE(tasks().set_group("one", 1).ok());
  const std::string gate = submit({"-g", "one", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  const std::string late =
      submit({"--name", "late", "-g", "one", "--start-deadline", "300ms", "--", "true"});
  const std::string far = submit({"-g", "one", "--start-deadline", "10h", "--", "true"});
  EXPECT_THAT(ctl({"why", far}).out, HasSubstr("it may wait for another 9h59m"));
  EXPECT_TRUE(get(far).has_slack());
  EXPECT_THAT(ctl({"tasks", "get", far}).out, HasSubstr("start deadline"));
  const v1::Task missed = wait(late);
  EXPECT_EQ(missed.state(), v1::TASK_STATE_TIMED_OUT);
  EXPECT_EQ(missed.reason(), "deadline: it had not started in time");
  EXPECT_EQ(missed.attempt(), 0u);
  EXPECT_THAT(events("task.deadline_missed"), HasSubstr("start_deadline"));
  EXPECT_THAT(ctl({"tasks", "retry", late}).err, HasSubstr("has passed"));
}

TEST_F(Scheduling, ADeadlineEndsTheCommandAlsoWhileTheDaemonIsGone) {
  const std::string id = submit(
      {"--deadline", "700ms", "--retries", "3", "--backoff", "1ms", "-c", "echo on; sleep 1000"});
  wait_for_output(id);
  daemon().kill9();
  expect_nothing_left();
  ASSERT_TRUE(daemon().start());
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_TIMED_OUT);
  EXPECT_EQ(task.reason(), "deadline");
  EXPECT_EQ(task.attempt(), 1u) << "there is no time for another attempt";
  EXPECT_THAT(events("task.deadline_missed"), HasSubstr(id));
}

// Regression: what waited for a time went on waiting when the daemon was to stop.
TEST_F(Scheduling, ADaemonStopsWhileSomethingWaitsForItsTime) {
  start({.config = "version: 1\nidle_exit: 10h\n"});
  submit({"--delay", "10h", "--deadline", "20h", "--", "true"});
  EXPECT_EQ(ctl({"tasks", "schedule", "add", "s", "--every", "10h", "--", "true"}).code, 0);
  drop_client();
  EXPECT_EQ(daemon().stop(), 0) << daemon().log();
}

TEST_F(Scheduling, ACommandKnowsItsDeadlineAndHandsItOn) {
  const std::string none = submit({"-c", "echo \"[$ZSYNC_DEADLINE]\""});
  EXPECT_EQ(output_of(none), "[]\n");
  // Its stderr apart: under a sanitizer it may have something to say about gRPC.
  const std::string id =
      submit({"--deadline", "1h", "-c",
              "echo $ZSYNC_DEADLINE; " + kit::Programs::get().zsyncctl +
                  " run --name inner -c 'echo $ZSYNC_DEADLINE' 2>" + file("inner-stderr")});
  const std::string due = std::to_string(get(id).deadline_unix_nano());
  EXPECT_EQ(output_of(id), due + "\n" + due + "\n");
  EXPECT_EQ(get("inner").deadline_unix_nano(), get(id).deadline_unix_nano());
}

TEST_F(Scheduling, ADeadlineBeforeTheStartIsRefusedNamingBoth) {
  const kit::Ran ran = ctl({"tasks", "submit", "--delay", "10m", "--deadline", "5m", "--", "true"});
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("deadline ("));
  EXPECT_THAT(ran.err, HasSubstr("comes before delay ("));
  EXPECT_EQ(ctl({"tasks", "list", "-q"}).out, "");
}

TEST_F(Scheduling, TheEarliestDeadlineStartsFirstInAGroupThatAsksForIt) {
  EXPECT_EQ(ctl({"tasks", "group", "set", "edf", "1", "--order", "deadline"}).code, 0);
  const std::string gate = submit({"-g", "edf", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  Words ids;
  for (const char* deadline : {"5h", "3h", "4h"}) {
    ids.push_back(submit({"-g", "edf", "--deadline", deadline, "-p", ids.empty() ? "9" : "0", "-c",
                          "echo " + std::string(deadline) + " >>" + file("order")}));
  }
  restart();
  EXPECT_THAT(ctl({"why", ids[0]}).out,
              HasSubstr("2 queued tasks of that group start before it, by their deadlines"));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
  for (const std::string& id : ids) wait(id);
  EXPECT_EQ(kit::read_file(file("order")), "3h\n4h\n5h\n");
}

TEST_F(Scheduling, APausedGroupStartsNothingAndItsTasksRunOnAlsoAfterAKill) {
  const std::string runs = submit({"-g", "g", "-c", "echo on; sleep 1000"});
  wait_for_output(runs);
  EXPECT_EQ(ctl({"tasks", "group", "pause", "g"}).code, 0);
  const std::string waits = submit({"-g", "g", "--", "true"});
  restart();
  EXPECT_EQ(get(runs).state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(wait(submit({"--", "true"})).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(get(waits).state(), v1::TASK_STATE_QUEUED);
  EXPECT_THAT(ctl({"why", waits}).out, HasSubstr("`zsyncctl tasks group resume g`"));
  EXPECT_THAT(ctl({"tasks", "groups"}).out, HasSubstr("paused"));
  EXPECT_EQ(ctl({"tasks", "group", "resume", "g"}).code, 0);
  EXPECT_EQ(wait(waits).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Scheduling, ADrainedGroupTakesNothingNewAndRunsWhatItHas) {
  ASSERT_TRUE(tasks().set_group("g", 1).ok());
  const std::string gate = submit({"-g", "g", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  const std::string queued = submit({"-g", "g", "--idempotency-key", "k", "--retries", "1",
                                     "--backoff", "1ms", "-c", "test $ZSYNC_ATTEMPT = 2"});
  EXPECT_EQ(ctl({"tasks", "group", "drain", "g"}).code, 0);
  restart();
  const kit::Ran refused = ctl({"tasks", "submit", "-g", "g", "--", "true"});
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.err, HasSubstr("drained by uid " + std::to_string(getuid())));
  EXPECT_THAT(refused.err, HasSubstr("tasks group undrain g"));
  EXPECT_EQ(submit({"-g", "g", "--idempotency-key", "k", "--", "true"}), queued)
      << "it is not a new one";
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
  EXPECT_EQ(wait(queued).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_NE(ctl({"tasks", "retry", queued}).code, 0) << "as good as a new one";
  EXPECT_EQ(ctl({"tasks", "group", "undrain", "g"}).code, 0);
  EXPECT_EQ(wait(submit({"-g", "g", "--", "true"})).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Scheduling, AGroupsBudgetHoldsBackWhatDoesNotFitAndWhySaysSo) {
  const kit::Ran set = ctl({"tasks", "group", "set", "g", "9", "--memory", "1GiB", "--cpus", "2"});
  EXPECT_THAT(set.out, HasSubstr("0 of 2 CPUs")) << set.err;
  const std::string gate =
      submit({"-g", "g", "--memory", "700M", "-c", "echo on; read x || sleep 1000"});
  wait_for_output(gate);
  const std::string waits = submit({"-g", "g", "--memory", "400M", "--", "true"});
  const std::string small = submit({"-g", "g", "--memory", "300M", "--cpus", "1", "--", "true"});
  EXPECT_EQ(wait(small).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_THAT(ctl({"why", waits}).out,
              AllOf(HasSubstr("it may take 400 MiB of memory"), HasSubstr("324 MiB"),
                    HasSubstr("the rest is for"), HasSubstr(gate)));
  const kit::Ran refused = ctl({"tasks", "submit", "-g", "g", "--cpus", "3", "--", "true"});
  EXPECT_THAT(refused.err, AllOf(HasSubstr("it may take 3 CPUs"), HasSubstr("--cpus N")));
  daemon().kill9();
  ASSERT_TRUE(daemon().start()) << daemon().log();
  const kit::Ran groups = ctl({"tasks", "groups"});
  EXPECT_THAT(groups.out, HasSubstr("700")) << "a restart keeps the budget and what runs of it";
  EXPECT_EQ(ctl({"tasks", "group", "set", "g", "--memory", "1100MiB"}).code, 0);
  EXPECT_EQ(wait(waits).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
}

TEST_F(Scheduling, AnOverloadedGroupRefusesOrShedsAndTheEventLogSaysSo) {
  EXPECT_THAT(ctl({"tasks", "group", "set", "g", "1", "--overload", "reject"}).err,
              HasSubstr("queued_max"));
  EXPECT_EQ(
      ctl({"tasks", "group", "set", "g", "1", "--overload", "reject", "--queued-max", "2"}).code,
      0);
  const std::string gate = submit({"-g", "g", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  Words ids = {submit({"-g", "g", "--", "true"}), submit({"-g", "g", "-p", "1", "--", "true"})};
  restart();
  const kit::Ran refused = ctl({"tasks", "submit", "-g", "g", "--", "true"});
  EXPECT_THAT(refused.err, HasSubstr("has 2 queued tasks and refuses 1 more"));
  EXPECT_THAT(events("group.overloaded"), HasSubstr("reject"));
  EXPECT_EQ(ctl({"tasks", "group", "set", "g", "--overload", "shed"}).code, 0);
  ids.push_back(submit({"-g", "g", "-p", "1", "--", "true"}));
  const v1::Task shed = wait(ids[0]);
  EXPECT_EQ(shed.state(), v1::TASK_STATE_CANCELED);
  EXPECT_THAT(shed.reason(), HasSubstr("shed: "));
  EXPECT_THAT(ctl({"tasks", "groups"}).out, HasSubstr("shed from 2"));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
  EXPECT_EQ(wait(ids[1]).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(wait(ids[2]).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_TRUE(kit::poll_until([&] { return !events("group.recovered").empty(); }));
}

}  // namespace
}  // namespace zsync::integration
