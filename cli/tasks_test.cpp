#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <fstream>

#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::Task task(const std::string& id, v1::TaskState state, std::vector<std::string> argv) {
  v1::Task task;
  task.set_id(id);
  task.set_state(state);
  for (const std::string& word : argv) task.mutable_spec()->add_argv(word);
  return task;
}

TEST(Submit, SendsEverythingThatTheFlagsSay) {
  FakeServer server;
  ::setenv("TRACEPARENT", "00-trace", 1);
  const CliResult result = run(server, {"tasks",
                                        "submit",
                                        "-q",
                                        "-e",
                                        "A=b",
                                        "--cwd",
                                        "/tmp",
                                        "-g",
                                        "slow",
                                        "-p",
                                        "-5",
                                        "--timeout",
                                        "1m30s",
                                        "--name",
                                        "n",
                                        "-l",
                                        "k=v",
                                        "--retries",
                                        "2",
                                        "--idempotency-key",
                                        "key",
                                        "--keep-children",
                                        "--kill-grace",
                                        "0",
                                        "--",
                                        "make",
                                        "-j",
                                        "--",
                                        "x"});
  ::unsetenv("TRACEPARENT");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "task_1\n");
  const v1::TaskSpec& spec = server.state.submits.at(0).specs(0);
  EXPECT_THAT(spec.argv(), ElementsAre("make", "-j", "--", "x"));
  EXPECT_TRUE(spec.replace_env());
  EXPECT_EQ(spec.env().at("A"), "b");
  EXPECT_TRUE(spec.env().contains("PATH"));
  EXPECT_EQ(spec.cwd(), "/tmp");
  EXPECT_EQ(spec.group(), "slow");
  EXPECT_EQ(spec.priority(), -5);
  EXPECT_EQ(spec.timeout().seconds(), 90);
  EXPECT_EQ(spec.labels().at("k"), "v");
  EXPECT_EQ(spec.retries(), 2u);
  EXPECT_EQ(spec.idempotency_key(), "key");
  EXPECT_TRUE(spec.keep_children());
  EXPECT_TRUE(spec.has_kill_grace());
  EXPECT_EQ(spec.traceparent(), "00-trace");
  EXPECT_FALSE(spec.stdin_stream());
}

TEST(Submit, TheFlagsOfRetriesBecomeAPolicy) {
  FakeServer server;
  const CliResult result = run(
      server, {"tasks", "submit", "--backoff", "250ms", "--backoff-factor", "3", "--backoff-max",
               "1m", "--no-jitter", "--retry-on", "75,timeout", "--no-retry-on", "2",
               "--no-retry-on", "signal", "--on-lost", "retry", "--", "make"});
  EXPECT_EQ(result.code, 0) << result.err;
  const v1::TaskSpec& spec = server.state.submits.at(0).specs(0);
  EXPECT_EQ(spec.retry().backoff().nanos(), 250'000'000);
  EXPECT_EQ(spec.retry().factor(), 3);
  EXPECT_EQ(spec.retry().backoff_max().seconds(), 60);
  EXPECT_EQ(spec.retry().jitter(), v1::JITTER_NONE);
  EXPECT_THAT(spec.retry().on().exit_codes(), ElementsAre(75));
  EXPECT_TRUE(spec.retry().on().timeout());
  EXPECT_THAT(spec.retry().not_on().exit_codes(), ElementsAre(2));
  EXPECT_TRUE(spec.retry().not_on().signal());
  EXPECT_EQ(spec.on_lost(), v1::ON_LOST_RETRY);
  EXPECT_THAT(run(server, {"tasks", "submit", "--retry-on", "often", "--", "x"}).err,
              HasSubstr("\"often\" is no exit code"));
}

TEST(Submit, TheFlagsOfOrderBecomeDependenciesTimesAndLocks) {
  FakeServer server;
  const CliResult result =
      run(server, {"tasks", "submit", "--after", "a,b:failed", "--after", "c:any", "--delay", "2s",
                   "--at", "2026-12-24T18:00:00Z", "--lock", "x", "--lock", "y", "--", "make"});
  EXPECT_EQ(result.code, 0) << result.err;
  const v1::TaskSpec& spec = server.state.submits.at(0).specs(0);
  ASSERT_EQ(spec.after_size(), 3);
  EXPECT_EQ(spec.after(0).task(), "a");
  EXPECT_EQ(spec.after(0).condition(), v1::DEPENDENCY_CONDITION_OK);
  EXPECT_EQ(spec.after(1).task(), "b");
  EXPECT_EQ(spec.after(1).condition(), v1::DEPENDENCY_CONDITION_FAILED);
  EXPECT_EQ(spec.after(2).condition(), v1::DEPENDENCY_CONDITION_ANY);
  EXPECT_EQ(spec.delay().seconds(), 2);
  EXPECT_EQ(spec.start_at_unix_nano(), 1'798'135'200'000'000'000);
  EXPECT_THAT(spec.locks(), ElementsAre("x", "y"));
  EXPECT_THAT(run(server, {"tasks", "submit", "--at", "noon", "--", "x"}).err,
              HasSubstr("\"noon\" is no time"));
}

TEST(Submit, TheFlagsOfTheMachineBecomePrioritiesAndLimits) {
  FakeServer server;
  const CliResult result = run(
      server, {"tasks", "submit", "--nice", "5", "--ionice", "best-effort:6", "--memory", "512M",
               "--cpus", "1.5", "--processes", "64", "--io-weight", "50", "--", "true"});
  ASSERT_EQ(result.code, 0) << result.err;
  const v1::TaskSpec& spec = server.state.submits.at(0).specs(0);
  EXPECT_EQ(spec.nice(), 5);
  EXPECT_EQ(spec.io_class(), v1::IO_CLASS_BEST_EFFORT);
  EXPECT_EQ(spec.io_level(), 6u);
  EXPECT_EQ(spec.limits().memory_bytes(), 512u << 20);
  EXPECT_EQ(spec.limits().cpu_millis(), 1500u);
  EXPECT_EQ(spec.limits().processes(), 64u);
  EXPECT_EQ(spec.limits().io_weight(), 50u);
  for (const char* wrong : {"fast", "idle:3", "best-effort:8", "best-effort:"}) {
    const CliResult refused = run(server, {"tasks", "submit", "--ionice", wrong, "--", "true"});
    EXPECT_EQ(refused.code, 2) << wrong;
    EXPECT_THAT(refused.err, HasSubstr("--ionice")) << wrong;
  }
  EXPECT_EQ(server.state.submits.size(), 1u);
}

TEST(Submit, ResourcesAndDeadlinesAreReadFromTheirFlags) {
  FakeServer server;
  const CliResult result =
      run(server, {"tasks", "submit", "--resource", "gpu:2", "--resource", "license",
                   "--start-deadline", "10m", "--deadline", "2026-12-24T18:00:00Z", "--", "make"});
  EXPECT_EQ(result.code, 0) << result.err;
  const v1::TaskSpec& spec = server.state.submits.at(0).specs(0);
  ASSERT_EQ(spec.resources_size(), 2);
  EXPECT_EQ(spec.resources(0).name(), "gpu");
  EXPECT_EQ(spec.resources(0).amount(), 2u);
  EXPECT_EQ(spec.resources(1).name(), "license");
  EXPECT_EQ(spec.resources(1).amount(), 1u);
  EXPECT_EQ(spec.start_deadline().seconds(), 600);
  EXPECT_EQ(spec.start_deadline_unix_nano(), 0);
  EXPECT_EQ(spec.deadline_unix_nano(), 1'798'135'200'000'000'000);
  EXPECT_FALSE(spec.has_deadline());
  EXPECT_THAT(run(server, {"tasks", "submit", "--resource", "gpu:0", "--", "x"}).err,
              HasSubstr("write NAME:AMOUNT"));
  EXPECT_THAT(run(server, {"tasks", "submit", "--deadline", "soon", "--", "x"}).err,
              HasSubstr("\"soon\" is neither a duration such as 10m nor a time"));
}

TEST(Submit, ARunIsBoundByTheDeadlineOfTheTaskAroundItAndASubmissionIsNot) {
  FakeServer server;
  ::setenv("ZSYNC_DEADLINE", "1798135200000000000", 1);
  run(server, {"run", "--", "true"});
  run(server, {"run", "--deadline", "2026-12-24T17:00:00Z", "--", "true"});
  run(server, {"tasks", "submit", "--", "true"});
  ::unsetenv("ZSYNC_DEADLINE");
  EXPECT_EQ(server.state.submits.at(0).specs(0).deadline_unix_nano(), 1'798'135'200'000'000'000);
  EXPECT_EQ(server.state.submits.at(1).specs(0).deadline_unix_nano(), 1'798'131'600'000'000'000);
  EXPECT_EQ(server.state.submits.at(2).specs(0).deadline_unix_nano(), 0);
}

TEST(TaskGroups, AreSetPausedAndDrained) {
  FakeServer server;
  EXPECT_EQ(run(server, {"tasks", "group", "set", "ci", "--order", "deadline", "--overload", "shed",
                         "--queued-max", "9"})
                .code,
            0);
  EXPECT_EQ(server.state.set_group.name(), "ci");
  EXPECT_EQ(server.state.set_group.parallel(), 0u);
  EXPECT_EQ(server.state.set_group.order(), v1::GROUP_ORDER_DEADLINE);
  EXPECT_EQ(server.state.set_group.overload(), v1::OVERLOAD_POLICY_SHED);
  EXPECT_EQ(server.state.set_group.queued_max(), 9u);
  EXPECT_FALSE(server.state.set_group.has_paused());
  EXPECT_EQ(run(server, {"tasks", "group", "pause", "ci"}).code, 0);
  EXPECT_TRUE(server.state.set_group.paused());
  EXPECT_EQ(run(server, {"tasks", "group", "undrain", "ci"}).code, 0);
  EXPECT_TRUE(server.state.set_group.has_drained());
  EXPECT_FALSE(server.state.set_group.drained());
  EXPECT_EQ(run(server, {"tasks", "group", "set", "ci", "--order", "fifo"}).code, 2);
}

TEST(TaskSchedules, AreMadeFromTheFlagsOfATaskAndTheirOwn) {
  FakeServer server;
  const CliResult result = run(server, {"tasks",        "schedule",
                                        "add",          "nightly",
                                        "--cron",       "30 2 * * mon-fri",
                                        "--tz",         "Europe/Berlin",
                                        "--missed",     "all",
                                        "--missed-max", "3",
                                        "--overlap",    "queue",
                                        "--replace",    "-g",
                                        "slow",         "--deadline",
                                        "1h",           "--",
                                        "make",         "--all"});
  EXPECT_EQ(result.code, 0) << result.err;
  const v1::CreateScheduleRequest& request = server.state.create_schedule;
  EXPECT_TRUE(request.replace());
  EXPECT_EQ(request.spec().name(), "nightly");
  EXPECT_EQ(request.spec().cron(), "30 2 * * mon-fri");
  EXPECT_EQ(request.spec().time_zone(), "Europe/Berlin");
  EXPECT_EQ(request.spec().missed(), v1::MISSED_RUNS_ALL);
  EXPECT_EQ(request.spec().missed_max(), 3u);
  EXPECT_EQ(request.spec().overlap(), v1::OVERLAP_POLICY_QUEUE);
  EXPECT_FALSE(request.spec().has_every());
  EXPECT_THAT(request.spec().task().argv(), ElementsAre("make", "--all"));
  EXPECT_EQ(request.spec().task().group(), "slow");
  EXPECT_EQ(request.spec().task().deadline().seconds(), 3600);
  EXPECT_EQ(run(server, {"task", "schedules", "add", "s", "--every", "90s", "-c", "true"}).code, 0);
  EXPECT_EQ(server.state.create_schedule.spec().every().seconds(), 90);
  EXPECT_EQ(run(server, {"tasks", "schedule", "add", "s", "--every", "90s"}).code, 2);
}

TEST(TaskSchedules, AreShownPausedAndRemoved) {
  FakeServer server;
  EXPECT_THAT(run(server, {"tasks", "schedule", "list"}).out, HasSubstr("every 1m30s"));
  EXPECT_THAT(run(server, {"tasks", "schedule", "show", "n"}).out, HasSubstr("cron @daily"));
  EXPECT_EQ(run(server, {"tasks", "schedule", "pause", "n"}).code, 0);
  EXPECT_EQ(run(server, {"tasks", "schedule", "resume", "n"}).code, 0);
  EXPECT_EQ(run(server, {"tasks", "schedule", "rm", "n"}).code, 0);
  EXPECT_THAT(server.state.calls, ElementsAre("pause n", "resume n", "remove schedule n"));
  const std::string times = run(server, {"tasks", "schedule", "next", "n", "-n", "3"}).out;
  EXPECT_EQ(std::count(times.begin(), times.end(), '\n'), 3);
}

TEST(Submit, AnArrayOrAMatrixIsOneSpecification) {
  FakeServer server;
  EXPECT_EQ(run(server, {"tasks", "submit", "--array", "0-9", "--", "x", "{index}"}).code, 0);
  EXPECT_EQ(
      run(server, {"tasks", "submit", "--matrix", "os=a,b", "--matrix", "v=1", "--", "x"}).code, 0);
  EXPECT_EQ(server.state.submits.at(0).specs(0).array().indexes(), "0-9");
  const v1::ArraySpec& array = server.state.submits.at(1).specs(0).array();
  ASSERT_EQ(array.matrix_size(), 2);
  EXPECT_EQ(array.matrix(0).name(), "os");
  EXPECT_THAT(array.matrix(0).values(), ElementsAre("a", "b"));
  EXPECT_EQ(run(server, {"tasks", "submit", "--matrix", "os", "--", "x"}).code, 2);
  EXPECT_THAT(run(server, {"tasks", "cancel", "--wait", "array_1"}).out, HasSubstr("task_2"));
  EXPECT_THAT(server.state.calls, ElementsAre("cancel array_1 and wait"));
  run(server, {"tasks", "list", "--array", "array_1"});
  EXPECT_EQ(server.state.lists.back().array(), "array_1");
}

TEST(TaskResources, AreListedAndSet) {
  FakeServer server;
  EXPECT_THAT(run(server, {"tasks", "resource", "set", "gpu", "4"}).out, HasSubstr("0 of 4"));
  EXPECT_THAT(run(server, {"tasks", "resources", "list"}).out, HasSubstr("task_1"));
  EXPECT_EQ(run(server, {"tasks", "resource", "set", "gpu", "-1"}).code, 2);
}

TEST(Submit, TheCommandStartsAtItsFirstWordAlsoWithoutDashes) {
  FakeServer server;
  run(server, {"task", "submit", "--name", "x", "ls", "--name", "y"});
  EXPECT_THAT(server.state.submits.at(0).specs(0).argv(), ElementsAre("ls", "--name", "y"));
  EXPECT_EQ(server.state.submits.at(0).specs(0).name(), "x");
  EXPECT_FALSE(server.state.submits.at(0).specs(0).has_timeout());
}

TEST(Submit, AFileIsOneBatchOfItsLines) {
  FakeServer server;
  const CliResult result =
      run(server, {"tasks", "submit", "-q", "--from", "-", "-g", "g"}, "echo 'a b'\n\n# no\ntrue");
  EXPECT_EQ(result.out, "task_1\ntask_2\n") << result.err;
  ASSERT_EQ(server.state.submits.size(), 1u);
  EXPECT_THAT(server.state.submits[0].specs(0).argv(), ElementsAre("echo", "a b"));
  EXPECT_EQ(server.state.submits[0].specs(1).group(), "g");
}

TEST(Submit, AFileBeyondOneRequestIsCutByCountAndBySize) {
  FakeServer server;
  std::string lines;
  for (int i = 0; i < 10'001; ++i) lines += "true\n";
  EXPECT_EQ(run(server, {"tasks", "submit", "-q", "--clear-env", "--from", "-"}, lines).code, 0);
  ASSERT_EQ(server.state.submits.size(), 2u);
  EXPECT_EQ(server.state.submits[0].specs_size(), 10'000);
  server.state.submits.clear();
  lines.clear();
  for (int i = 0; i < 50; ++i) lines += "echo " + std::string(100'000, 'x') + "\n";
  EXPECT_EQ(run(server, {"tasks", "submit", "-q", "--clear-env", "--from", "-"}, lines).code, 0);
  EXPECT_EQ(server.state.submits.size(), 2u);
}

TEST(Submit, AWrongLineSubmitsNothingAndIsNamed) {
  FakeServer server;
  const CliResult result = run(server, {"tasks", "submit", "--from", "-"}, "true\necho 'x\n");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("-:2: no closing single quote"));
  EXPECT_TRUE(server.state.submits.empty());
  EXPECT_EQ(run(server, {"tasks", "submit", "--from", "/nonexistent"}).code, 3);
  EXPECT_EQ(run(server, {"tasks", "submit", "--from", "-"}, "").code, 2);
}

TEST(Submit, ARefusalShowsTheServersHintAndLimit) {
  FakeServer server;
  server.state.submit_check = [](const v1::SubmitTasksRequest&) -> Outcome {
    Failure refused = failure(grpc::StatusCode::INVALID_ARGUMENT, "environment is too large");
    refused.detail.set_limit("environment_bytes_max = 1048576");
    refused.detail.set_hint("pass a file instead");
    return refused;
  };
  const CliResult result = run(server, {"tasks", "submit", "true"});
  EXPECT_EQ(result.code, 2);
  EXPECT_EQ(result.err,
            "zsyncctl: environment is too large\n  limit: environment_bytes_max = 1048576\n"
            "  hint: pass a file instead\n");
}

TEST(Submit, BadFlagsAreNamedAndNothingIsSent) {
  FakeServer server;
  EXPECT_THAT(run(server, {"tasks", "submit", "--timeout", "5x", "true"}).err,
              HasSubstr("--timeout"));
  EXPECT_THAT(run(server, {"tasks", "submit", "-l", "x", "true"}).err, HasSubstr("--label"));
  EXPECT_THAT(run(server, {"tasks", "submit", "-c", "x", "true"}).err, HasSubstr("not both"));
  EXPECT_THAT(run(server, {"tasks", "submit", "a\xff"}).err, HasSubstr("UTF-8"));
  EXPECT_TRUE(server.state.submits.empty());
}

TEST(List, IsATableWithStatesAndCommands) {
  FakeServer server;
  server.state.tasks["t1"] = task("t1", v1::TASK_STATE_RUNNING, {"make", "all"});
  const CliResult result = run(server, {"ps"});
  EXPECT_THAT(result.out, HasSubstr("ID  STATE    AGE"));
  EXPECT_THAT(result.out, HasSubstr("t1  running"));
  EXPECT_THAT(result.out, HasSubstr("make all\n"));
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(server.state.lists[0].states(),
              ElementsAre(v1::TASK_STATE_RUNNING, v1::TASK_STATE_QUEUED));
}

TEST(List, OfNothingSaysSoOnStderr) {
  FakeServer server;
  const CliResult result = run(server, {"tasks", "list"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "no tasks\n");
  EXPECT_EQ(run(server, {"tasks", "list", "-o", "json"}).out, "[]\n");
}

TEST(List, HasEveryFormat) {
  FakeServer server;
  server.state.tasks["t1"] = task("t1", v1::TASK_STATE_SUCCEEDED, {"true"});
  server.state.tasks["t2"] = task("t2", v1::TASK_STATE_FAILED, {"false"});
  EXPECT_EQ(run(server, {"tasks", "list", "-q"}).out, "t1\nt2\n");
  EXPECT_EQ(run(server, {"-o", "name", "tasks", "list"}).out, "t1\nt2\n");
  const std::string json = run(server, {"tasks", "list", "-o", "json"}).out;
  EXPECT_EQ(json.substr(0, 12), "[{\"id\":\"t1\",");
  EXPECT_EQ(json.substr(json.size() - 3), "}]\n");
  EXPECT_THAT(json, HasSubstr("\"state\":\"TASK_STATE_FAILED\""));
  EXPECT_THAT(json, HasSubstr("\"exitCode\":0"));
  EXPECT_THAT(run(server, {"tasks", "list", "-o", "jsonl"}).out, HasSubstr("}\n{\"id\":\"t2\""));
}

TEST(List, FollowsPagesUpToItsLimitAndSaysThatThereIsMore) {
  FakeServer server;
  for (int i = 100; i < 110; ++i) {
    const std::string id = "t" + std::to_string(i);
    server.state.tasks[id] = task(id, v1::TASK_STATE_QUEUED, {"x"});
  }
  CliResult result = run(server, {"tasks", "list", "--limit", "3", "-o", "name"});
  EXPECT_EQ(result.out, "t100\nt101\nt102\n");
  EXPECT_THAT(result.err, HasSubstr("there are more"));
  result = run(server, {"tasks", "list", "--limit", "0", "-s", "queued,running", "-l", "a=b", "-g",
                        "g", "-q"});
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(server.state.lists.back().labels().at("a"), "b");
  EXPECT_EQ(server.state.lists.back().states_size(), 2);
  EXPECT_THAT(run(server, {"tasks", "list", "-s", "runing"}).err,
              HasSubstr("did you mean \"running\"?"));
}

TEST(Get, ShowsOneObjectOrTheClosestIds) {
  FakeServer server;
  server.state.tasks["t1"] = task("t1", v1::TASK_STATE_RUNNING, {"sleep", "9"});
  EXPECT_THAT(run(server, {"tasks", "get", "t1"}).out, HasSubstr("command    sleep 9\n"));
  EXPECT_THAT(run(server, {"tasks", "get", "t1", "-o", "json"}).out, HasSubstr("\"id\": \"t1\""));
  const CliResult missing = run(server, {"tasks", "get", "nope"});
  EXPECT_EQ(missing.code, 3);
  EXPECT_EQ(missing.err,
            "zsyncctl: no task \"nope\"\n  hint: list them with `zsyncctl tasks list`\n"
            "  closest: task_1\n");
}

TEST(Wait, ExitsWithOneUnlessAllSucceeded) {
  FakeServer server;
  server.state.tasks["t1"] = task("t1", v1::TASK_STATE_RUNNING, {"true"});
  EXPECT_EQ(run(server, {"tasks", "wait", "t1"}).code, 0);
  server.state.end_state = v1::TASK_STATE_FAILED;
  EXPECT_EQ(run(server, {"tasks", "wait", "t1", "-q"}).code, 1);
}

TEST(Wait, EndsAtItsDeadlineWithSix) {
  FakeServer server;
  const CliResult result = run(server, {"tasks", "wait", "never", "--timeout", "50ms"});
  EXPECT_EQ(result.code, 6);
}

TEST(Verbs, ReachTheirCalls) {
  FakeServer server;
  server.state.tasks["t1"] = task("t1", v1::TASK_STATE_RUNNING, {"true"});
  EXPECT_EQ(run(server, {"tasks", "cancel", "t1", "--wait", "--kill-grace", "2s"}).code, 0);
  EXPECT_TRUE(server.state.cancels.at(0).wait());
  EXPECT_EQ(server.state.cancels[0].kill_grace().seconds(), 2);
  EXPECT_EQ(run(server, {"tasks", "retry", "t1"}).code, 0);
  EXPECT_EQ(run(server, {"tasks", "remove", "t1"}).code, 0);
  EXPECT_EQ(run(server, {"tasks", "input", "t1"}, "hello").code, 0);
  EXPECT_THAT(server.state.calls, ElementsAre("retry t1", "remove t1", "input t1"));
  EXPECT_THAT(server.state.inputs, ElementsAre("hello<eof>"));
  EXPECT_THAT(run(server, {"tasks", "groups"}).out, HasSubstr("default  2"));
  EXPECT_EQ(run(server, {"tasks", "set-group", "g", "7"}).out, "g: open, 7 at once, by priority\n");
  EXPECT_EQ(server.state.set_group.parallel(), 7u);
  EXPECT_EQ(run(server, {"why", "t1"}).out, "t1 running\n  group default runs 2 of 2\n");
  EXPECT_EQ(run(server, {"tasks", "why", "t1"}).out, run(server, {"why", "t1"}).out);
}

class Logs : public ::testing::Test {
 protected:
  Logs() {
    server_.state.output = [](const v1::TaskOutputRequest&, const Emit<v1::TaskOutputBatch>& emit,
                              const Cancelled&) -> Outcome {
      v1::TaskOutputBatch batch;
      *batch.add_records() = record(1, "a\nb");
      *batch.add_records() = record(2, "oops\n", v1::STREAM_STDERR);
      *batch.add_records() = record(3, "c\n");
      emit(batch);
      v1::TaskOutputBatch gap;
      gap.mutable_gap()->set_from(4);
      gap.mutable_gap()->set_to(9);
      gap.mutable_gap()->set_reason("disk_full");
      emit(gap);
      return std::nullopt;
    };
  }
  FakeServer server_;
};

TEST_F(Logs, BytesComeUnchangedOnTheirStreams) {
  const CliResult result = run(server_, {"logs", "t1"});
  EXPECT_EQ(result.out, "a\nbc\n");
  EXPECT_EQ(result.err, "oops\nzsyncctl: records 4 to 9 are missing (disk_full)\n");
}

TEST_F(Logs, OneStreamAndTimesOnRequest) {
  EXPECT_EQ(run(server_, {"tasks", "output", "t1", "--stream", "stderr", "-q"}).out, "");
  EXPECT_EQ(run(server_, {"logs", "t1", "-t", "--stream", "stdout"}).out,
            "2023-11-14T22:13:20.123Z a\n2023-11-14T22:13:20.123Z bc\n");
}

TEST_F(Logs, TheCursorAndAttemptAreAskedFor) {
  run(server_, {"logs", "-f", "--since-seq", "5", "--attempt", "2", "t1"});
  const v1::TaskOutputRequest& request = server_.state.outputs.at(0);
  EXPECT_EQ(request.from_seq(), 5u);
  EXPECT_EQ(request.attempt(), 2u);
  EXPECT_TRUE(request.follow());
}

TEST_F(Logs, JsonLinesHoldTheRecord) {
  EXPECT_THAT(run(server_, {"logs", "t1", "-o", "jsonl"}).out, HasSubstr("\"seq\":\"1\""));
}

TEST(Verbs, PauseAndResumeShowWhatBecameOfTheTask) {
  FakeServer server;
  v1::Task task;
  task.set_id("t1");
  task.set_state(v1::TASK_STATE_RUNNING);
  server.state.tasks["t1"] = task;
  EXPECT_EQ(run(server, {"tasks", "pause", "t1"}).out, "t1 paused\n");
  EXPECT_THAT(run(server, {"tasks", "list"}).out, HasSubstr("paused"));
  EXPECT_EQ(run(server, {"tasks", "resume", "t1"}).out, "t1 running\n");
  EXPECT_EQ(run(server, {"tasks", "pause", "nobody"}).code, 3);
}

TEST(Verbs, SignalTakesNamesAndNumbers) {
  FakeServer server;
  server.state.tasks["t1"].set_id("t1");
  for (const char* name : {"HUP", "sighup", "1"}) {
    EXPECT_EQ(run(server, {"tasks", "signal", "-s", name, "t1"}).code, 0) << name;
  }
  EXPECT_EQ(run(server, {"tasks", "signal", "t1"}).code, 0);
  EXPECT_THAT(server.state.calls,
              ElementsAre("signal 1 t1", "signal 1 t1", "signal 1 t1", "signal 15 t1"));
  const CliResult wrong = run(server, {"tasks", "signal", "-s", "HUPP", "t1"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("HUPP"));
}

TEST(Get, ShowsWhatATaskUsedAndHowItsLimitsAreHeld) {
  FakeServer server;
  v1::Task& task = server.state.tasks["t1"];
  task.set_id("t1");
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  task.mutable_spec()->mutable_limits()->set_memory_bytes(512 << 20);
  task.mutable_spec()->mutable_limits()->set_cpu_millis(1500);
  task.set_limits_note("cpu: not held; because of this");
  task.mutable_usage()->mutable_cpu_user()->set_seconds(2);
  task.mutable_usage()->set_memory_peak_bytes(3 << 20);
  task.mutable_usage()->set_io_written_bytes(4096);
  const std::string out = run(server, {"tasks", "get", "t1"}).out;
  EXPECT_THAT(out, HasSubstr("memory 512.0 MiB, cpus 1.5"));
  EXPECT_THAT(out, HasSubstr("cpu: not held; because of this"));
  EXPECT_THAT(out, HasSubstr("cpu 2.0s user"));
  EXPECT_THAT(out, HasSubstr("memory at most 3.0 MiB in one process"));
  EXPECT_THAT(out, HasSubstr("wrote 4.0 KiB"));
}

}  // namespace
}  // namespace zsync::cli::testing
