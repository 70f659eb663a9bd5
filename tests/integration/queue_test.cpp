// When tasks run: groups, priorities, timeouts, retries, keys.
#include <signal.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Queue : public DaemonTest {};

TEST_F(Queue, ATaskThatRunsTooLongIsTimedOut) {
  const std::string id = submit({"--timeout", "100ms", "--", "sleep", "1000"});
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_TIMED_OUT);
  EXPECT_THAT(task.reason(), HasSubstr("100 ms"));
  expect_nothing_left();
}

TEST_F(Queue, AFailedTaskIsTriedAgainAsOftenAsItWasAskedFor) {
  const std::string id = submit({"--retries", "1", "-c", "echo x >>" + file("runs") + "; exit 4"});
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_FAILED);
  EXPECT_EQ(task.exit_code(), 4);
  EXPECT_EQ(task.attempt(), 2u);
  EXPECT_EQ(kit::read_file(file("runs")), "x\nx\n");
  expect_nothing_left();
}

TEST_F(Queue, ARetryThatSucceedsEndsTheTrying) {
  const std::string id = submit({"--retries", "3", "-c",
                                 "echo $ZSYNC_ATTEMPT; test -e " + file("once") + " || { touch " +
                                     file("once") + "; exit 1; }"});
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(task.attempt(), 2u);
  EXPECT_EQ(ctl({"logs", "--attempt", "1", id}).out, "1\n");
  EXPECT_EQ(ctl({"logs", "--attempt", "2", id}).out, "2\n");
}

TEST_F(Queue, EveryAttemptIsKeptWithItsOwnResult) {
  const std::string id =
      submit({"--retries", "2", "--backoff", "1ms", "-c",
              "echo $ZSYNC_ATTEMPT; test $ZSYNC_ATTEMPT = 1 && exit 4; test $ZSYNC_ATTEMPT = 2 && "
              "kill -9 $$; true"});
  EXPECT_EQ(wait(id).state(), v1::TASK_STATE_SUCCEEDED);
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  const v1::Task task = get(id);
  ASSERT_EQ(task.attempts_size(), 3);
  EXPECT_EQ(task.attempts(0).state(), v1::TASK_STATE_FAILED);
  EXPECT_EQ(task.attempts(0).exit_code(), 4);
  EXPECT_EQ(task.attempts(1).state(), v1::TASK_STATE_SIGNALED);
  EXPECT_EQ(task.attempts(1).signal(), 9);
  EXPECT_EQ(task.attempts(2).state(), v1::TASK_STATE_SUCCEEDED);
  for (const v1::TaskAttempt& attempt : task.attempts()) {
    EXPECT_EQ(attempt.output_bytes(), 2u);
    EXPECT_GE(attempt.finished_unix_nano(), attempt.started_unix_nano());
  }
  EXPECT_THAT(ctl({"tasks", "get", id}).out, HasSubstr("signaled"));
}

TEST_F(Queue, ThePauseBeforeARetryIsExplainedAndOutlivesTheDaemon) {
  const std::string id = submit({"--retries", "3", "--backoff", "10h", "--backoff-max", "10h",
                                 "--no-jitter", "-c", "exit 3"});
  ASSERT_TRUE(kit::poll_until([&] { return get(id).not_before_unix_nano() > 0; }));
  const int64_t before = get(id).not_before_unix_nano();
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(get(id).not_before_unix_nano(), before);
  EXPECT_EQ(get(id).state(), v1::TASK_STATE_QUEUED);
  const std::string why = ctl({"why", id}).out;
  EXPECT_THAT(why, HasSubstr("attempt 2 of at most 4 comes in "));
  EXPECT_THAT(why, HasSubstr("attempt 1 failed with exit code 3"));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  EXPECT_EQ(get(id).state(), v1::TASK_STATE_CANCELED);
}

TEST_F(Queue, OnlyTheNamedEndsAreTriedAgain) {
  const std::string no = submit({"--retry-on", "75,timeout", "--backoff", "1ms", "-c", "exit 4"});
  EXPECT_EQ(wait(no).attempt(), 1u);
  const std::string yes =
      submit({"--retry-on", "75", "--retries", "1", "--backoff", "1ms", "-c", "exit 75"});
  EXPECT_EQ(wait(yes).attempt(), 2u);
  const std::string never = submit({"--no-retry-on", "9", "--backoff", "1ms", "-c", "exit 9"});
  EXPECT_EQ(wait(never).attempt(), 1u);
  EXPECT_THAT(ctl({"tasks", "submit", "--retry-on", "0", "--", "true"}).err,
              HasSubstr("name exit codes from 1 to 255"));
}

TEST_F(Queue, ALostTaskIsTriedAgainOnlyWhereThatWasAskedFor) {
  const std::string fails = submit({"-c", "echo on; sleep 1000"});
  const std::string again = submit({"--on-lost", "retry", "--backoff", "1ms", "-c",
                                    "echo on; test $ZSYNC_ATTEMPT = 2 || sleep 1000"});
  wait_for_output(fails);
  wait_for_output(again);
  for (const pid_t shim : daemon().shims()) kill(shim, SIGKILL);
  EXPECT_EQ(wait(fails).state(), v1::TASK_STATE_LOST);
  EXPECT_EQ(wait(again).state(), v1::TASK_STATE_SUCCEEDED);
  const v1::Task task = get(again);
  ASSERT_EQ(task.attempts_size(), 2);
  EXPECT_EQ(task.attempts(0).state(), v1::TASK_STATE_LOST);
  expect_nothing_left();
}

TEST_F(Queue, ATaskStartsAfterOthersAndIsSkippedOnceItCannot) {
  const std::string gate = submit({"--name", "gate", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  const std::string ok = submit({"--name", "ok", "--after", "gate", "--", "true"});
  const std::string next = submit({"--after", "ok", "--", "true"});
  const std::string failed = submit({"--after", gate + ":failed", "--", "true"});
  const std::string any = submit({"--after", gate + ":any," + failed, "--", "true"});
  EXPECT_THAT(ctl({"why", ok}).out, HasSubstr("it starts once \"gate\" (" + gate +
                                              ") has succeeded, "
                                              "which is running"));
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(get(ok).state(), v1::TASK_STATE_QUEUED);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", "gate"}).code, 0);
  EXPECT_EQ(wait(ok).state(), v1::TASK_STATE_SKIPPED);
  EXPECT_THAT(wait(ok).reason(),
              HasSubstr("is canceled, and this task starts only if it succeeds"));
  EXPECT_EQ(wait(next).state(), v1::TASK_STATE_SKIPPED);
  EXPECT_EQ(wait(failed).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(wait(any).state(), v1::TASK_STATE_SUCCEEDED);
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(get(next).state(), v1::TASK_STATE_SKIPPED);
  EXPECT_EQ(ctl({"tasks", "get", ok}).code, 0);
}

TEST_F(Queue, TasksOfOneCallMayWaitForEachOtherButNotInACircle) {
  v1::SubmitTasksRequest request;
  for (const char* name : {"c", "b", "a"}) {
    v1::TaskSpec& spec = *request.add_specs();
    spec.set_shell(std::string("echo ") + name + " >>" + file("order"));
    spec.set_name(name);
    if (name[0] != 'a') spec.add_after()->set_task(std::string(1, static_cast<char>(name[0] - 1)));
  }
  const auto accepted = tasks().submit(request);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  for (const std::string& id : accepted->ids()) wait(id);
  EXPECT_EQ(kit::read_file(file("order")), "a\nb\nc\n");

  request.mutable_specs(2)->add_after()->set_task("c");
  const auto circle = tasks().submit(request);
  EXPECT_EQ(circle.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(circle.status().message()), HasSubstr("wait for each other"));
  EXPECT_THAT(ctl({"tasks", "submit", "--after", "nobody", "--", "true"}).err,
              HasSubstr("waits for a task that is not there"));
}

TEST_F(Queue, ATaskStartsNoSoonerThanItsTimeAlsoAfterAKill) {
  const std::string far = submit({"--delay", "10h", "--", "true"});
  const std::string at = submit({"--at", "2199-01-01T00:00:00Z", "--", "true"});
  const std::string soon = submit({"--delay", "300ms", "--", "true"});
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  const v1::Task ran = wait(soon);
  EXPECT_EQ(ran.state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_GE(ran.started_unix_nano() - ran.created_unix_nano(), 300'000'000);
  EXPECT_EQ(get(far).state(), v1::TASK_STATE_QUEUED);
  EXPECT_THAT(ctl({"why", at}).out, HasSubstr("at the earliest"));
}

TEST_F(Queue, ALockIsHeldByOneTaskAndWhySaysWhich) {
  const std::string holder =
      submit({"--name", "builder", "--lock", "cargo-target", "-c", "echo on; sleep 1000"});
  wait_for_output(holder);
  const std::string other = submit({"--lock", "cargo-target", "-g", "else", "--", "true"});
  EXPECT_THAT(ctl({"why", other}).out,
              HasSubstr("lock \"cargo-target\" is held by \"builder\" (" + holder + ")"));
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  const std::string free = submit({"--", "true"});
  EXPECT_EQ(wait(free).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(get(other).state(), v1::TASK_STATE_QUEUED) << "the lock outlives the daemon";
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", holder}).code, 0);
  EXPECT_EQ(wait(other).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Queue, AnEndedTaskRunsAgainWhenItIsRetried) {
  const std::string id = submit({"-c", "echo x >>" + file("runs")});
  wait(id);
  EXPECT_EQ(ctl({"tasks", "retry", id}).code, 0);
  EXPECT_EQ(wait(id).attempt(), 2u);
  EXPECT_EQ(kit::read_file(file("runs")), "x\nx\n");
}

TEST_F(Queue, AGroupRunsAtMostSoManyAtOnce) {
  EXPECT_EQ(ctl({"tasks", "set-group", "two", "2"}).code, 0);
  Words ids;
  for (int i = 0; i < 4; ++i) ids.push_back(submit({"-g", "two", "-c", "echo on; sleep 1000"}));
  wait_for_output(ids[0]);
  wait_for_output(ids[1]);
  EXPECT_EQ(get(ids[2]).state(), v1::TASK_STATE_QUEUED);
  EXPECT_EQ(get(ids[3]).state(), v1::TASK_STATE_QUEUED);
  EXPECT_THAT(ctl({"why", ids[3]}).out, HasSubstr("2 of at most 2"));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", ids[0]}).code, 0);
  wait_for_output(ids[2]);
  EXPECT_EQ(get(ids[3]).state(), v1::TASK_STATE_QUEUED);
}

TEST_F(Queue, HigherPrioritiesStartFirstThenTheOrderOfSubmission) {
  ASSERT_TRUE(tasks().set_group("one", 1).ok());
  const std::string gate = submit({"-g", "one", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  Words ids;
  for (const char* priority : {"0", "5", "0", "-5", "5"}) {
    ids.push_back(submit({"-g", "one", "-p", priority, "-c",
                          "echo " + std::to_string(ids.size()) + " >>" + file("order")}));
  }
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
  for (const std::string& id : ids) wait(id);
  EXPECT_EQ(kit::read_file(file("order")), "1\n4\n0\n2\n3\n");
}

TEST_F(Queue, TheSameIdempotencyKeyGivesTheSameTask) {
  const std::string first = submit({"--idempotency-key", "k", "-c", "echo x >>" + file("runs")});
  wait(first);
  const std::string second = submit({"--idempotency-key", "k", "-c", "echo x >>" + file("runs")});
  EXPECT_EQ(first, second);
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(submit({"--idempotency-key", "k", "-c", "echo x >>" + file("runs")}), first);
  EXPECT_EQ(kit::read_file(file("runs")), "x\n");
}

TEST_F(Queue, QueuedTasksAndGroupLimitsSurviveAKill) {
  ASSERT_TRUE(tasks().set_group("one", 1).ok());
  const std::string gate = submit({"-g", "one", "-c", "echo on; sleep 1000"});
  wait_for_output(gate);
  const std::string queued = submit({"-g", "one", "--", "true"});
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(get(gate).state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(get(queued).state(), v1::TASK_STATE_QUEUED);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", gate}).code, 0);
  EXPECT_EQ(wait(queued).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Queue, ACanceledTaskMayBeRemovedAndIsThenUnknown) {
  const std::string id = submit({"--", "true"});
  wait(id);
  EXPECT_EQ(ctl({"tasks", "remove", "-y", id}).code, 0);
  EXPECT_EQ(ctl({"tasks", "get", id}).code, 3);
}

}  // namespace
}  // namespace zsync::integration
