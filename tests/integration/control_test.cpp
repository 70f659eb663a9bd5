// What is done to tasks while they run, and what is known of them afterwards.
#include <signal.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Control : public DaemonTest {
 protected:
  // A command that says `up`, then writes each line of its stdin.
  std::string submit_echo() {
    v1::TaskSpec spec;
    spec.set_shell("echo up; while read -r line; do echo \"got $line\"; done");
    spec.set_stdin_stream(true);
    const absl::StatusOr<std::string> id = tasks().submit(spec);
    EXPECT_TRUE(id.ok()) << id.status();
    wait_for_output(*id);
    return *id;
  }
  bool prints(const std::string& id, const std::string& text) {
    std::string seen;
    const absl::Status status = tasks().output(id, 1, true,
                                               [&](const v1::TaskOutputBatch& batch) {
                                                 for (const v1::Record& record : batch.records())
                                                   seen += record.data();
                                                 return seen.find(text) == std::string::npos;
                                               },
                                               {std::chrono::seconds(30), nullptr});
    EXPECT_TRUE(status.ok()) << status;
    return seen.find(text) != std::string::npos;
  }
};

TEST_F(Control, ARunningTaskTellsWhatItUsesNow) {
  const std::string id = submit(
      {"-c", "sleep 1000 & i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo on; wait"});
  wait_for_output(id);
  const v1::Task running = get(id);
  EXPECT_EQ(running.usage().processes(), 2u);
  EXPECT_GT(running.usage().memory_bytes(), 100'000u);
  EXPECT_GT(running.usage().cpu_user().nanos(), 0);
  EXPECT_THAT(ctl({"tasks", "get", id}).out, HasSubstr("now in 2 processes"));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  const v1::Task ended = get(id);
  EXPECT_EQ(ended.usage().processes(), 0u);
  EXPECT_GT(ended.usage().memory_peak_bytes(), 100'000u);
}

TEST_F(Control, APausedTaskStandsStillUntilItIsResumed) {
  const std::string id = submit_echo();
  EXPECT_EQ(ctl({"tasks", "pause", id}).out, id + " paused\n");
  EXPECT_GT(get(id).paused_unix_nano(), 0);
  EXPECT_THAT(ctl({"why", id}).out, HasSubstr("`tasks resume` lets it go on"));
  EXPECT_THAT(ctl({"ps"}).out, HasSubstr("paused"));
  EXPECT_EQ(ctl({"tasks", "input", id}, "one\n").code, 0);
  EXPECT_EQ(get(id).output_bytes(), 3u) << "a stopped command reads nothing";
  EXPECT_EQ(ctl({"tasks", "resume", id}).out, id + " running\n");
  EXPECT_TRUE(prints(id, "got one"));
  EXPECT_EQ(wait(id).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Control, APauseOutlivesTheDaemon) {
  const std::string id = submit({"--", "sh", "-c", "echo up; exec sleep 1000"});
  wait_for_output(id);
  ASSERT_TRUE(tasks().pause(id).ok());
  const int64_t since = get(id).paused_unix_nano();
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_TRUE(kit::poll_until([&] { return get(id).paused_unix_nano() == since; }));
  ASSERT_TRUE(tasks().resume(id).ok());
  EXPECT_EQ(get(id).paused_unix_nano(), 0);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  expect_nothing_left();
}

TEST_F(Control, ACancelEndsAPausedTask) {
  const std::string id = submit({"--", "sh", "-c", "echo up; exec sleep 1000"});
  wait_for_output(id);
  ASSERT_TRUE(tasks().pause(id).ok());
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  const v1::Task task = get(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_CANCELED);
  EXPECT_EQ(task.paused_unix_nano(), 0);
  expect_nothing_left();
}

TEST_F(Control, OnlyARunningTaskCanBePausedResumedOrSignaled) {
  const std::string ended = submit({"--", "true"});
  wait(ended);
  const std::string queued = submit({"--delay", "1h", "--", "true"});
  for (const char* verb : {"pause", "resume", "signal"}) {
    const kit::Ran after = ctl({"tasks", verb, ended});
    EXPECT_EQ(after.code, 7) << verb << after.err;
    EXPECT_THAT(after.err, HasSubstr("tasks retry")) << verb;
    const kit::Ran before = ctl({"tasks", verb, queued});
    EXPECT_EQ(before.code, 7) << verb;
    EXPECT_THAT(before.err, HasSubstr("it has no process yet")) << verb;
  }
  EXPECT_EQ(get(queued).state(), v1::TASK_STATE_QUEUED);
}

TEST_F(Control, APauseThatIsAskedForAtTheStartHolds) {
  // The order may reach the supervisor before the command has begun; the reply comes after both.
  const std::string id = submit({"--", "sleep", "1000"});
  ASSERT_TRUE(kit::poll_until([&] { return get(id).state() == v1::TASK_STATE_RUNNING; }));
  const absl::StatusOr<v1::Task> paused = tasks().pause(id);
  ASSERT_TRUE(paused.ok()) << paused.status();
  EXPECT_GT(paused->paused_unix_nano(), 0);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
}

TEST_F(Control, ASignalReachesTheCommand) {
  const std::string id = submit(
      {"--", "sh", "-c", "trap 'echo heard; exit 5' USR1; echo up; while :; do sleep 0.01; done"});
  wait_for_output(id);
  EXPECT_EQ(ctl({"tasks", "signal", "-s", "USR1", id}).code, 0);
  EXPECT_EQ(wait(id).exit_code(), 5);
  EXPECT_THAT(output_of(id), HasSubstr("heard\n"));
  EXPECT_EQ(tasks().signal(id, 65).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(Control, ItsEventsTellOfAPause) {
  const std::string id = submit_echo();
  ASSERT_TRUE(tasks().pause(id).ok());
  ASSERT_TRUE(tasks().resume(id).ok());
  EXPECT_EQ(ctl({"tasks", "input", id}, "").code, 0);
  wait(id);
  const std::string events = ctl({"events", "list"}).out;
  EXPECT_THAT(events, HasSubstr("task.paused"));
  EXPECT_THAT(events, HasSubstr("task.resumed"));
}

TEST_F(Control, WhatACommandUsedIsInItsRecordAlsoAfterARestart) {
  const std::string id = submit({"--retries", "1", "--backoff", "1ms", "-c",
                                 "head -c 64M /dev/zero | tail -c 32M | wc -c; exit 3"});
  wait(id);
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  const v1::Task task = get(id);
  ASSERT_TRUE(task.has_usage());
  EXPECT_GE(task.usage().memory_peak_bytes(), 32u << 20);
  EXPECT_GT(task.usage().cpu_user().nanos() + task.usage().cpu_system().nanos() +
                task.usage().cpu_user().seconds(),
            0);
  ASSERT_EQ(task.attempts_size(), 2);
  EXPECT_GE(task.attempts(0).usage().memory_peak_bytes(), 32u << 20);
  EXPECT_THAT(ctl({"tasks", "get", id}).out, HasSubstr("memory at most"));
}

TEST_F(Control, PrioritiesAndLimitsReachTheCommandAndAreShown) {
  const std::string id =
      submit({"--nice", "7", "--ionice", "idle", "--memory", "256M", "--cpus", "1.5", "--", "sh",
              "-c", "nice; ionice; grep 'address space' /proc/self/limits"});
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_SUCCEEDED) << task.reason();
  const std::string out = output_of(id);
  EXPECT_THAT(out, HasSubstr("7\nidle\n"));
  const std::string shown = ctl({"tasks", "get", id}).out;
  EXPECT_THAT(shown, HasSubstr("memory 256.0 MiB, cpus 1.5"));
  // Where the daemon has no cgroup of its own, an rlimit stands in, and the record says so.
  if (task.limits_note().empty()) return;
  EXPECT_THAT(out, HasSubstr("268435456"));
  EXPECT_THAT(task.limits_note(), HasSubstr("RLIMIT_AS"));
  EXPECT_THAT(shown, HasSubstr("cpu: not held"));
}

TEST_F(Control, WrongLimitsAreRefusedByNameAndQueueNothing) {
  v1::TaskSpec spec;
  spec.add_argv("true");
  spec.mutable_limits()->set_memory_bytes(100);
  EXPECT_EQ(tasks().submit(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec.clear_limits();
  spec.set_nice(30);
  EXPECT_EQ(tasks().submit(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec.clear_nice();
  spec.set_io_class(static_cast<v1::IoClass>(9));
  EXPECT_EQ(tasks().submit(spec).status().code(), absl::StatusCode::kInvalidArgument);
  const kit::Ran refused = ctl({"tasks", "submit", "--memory", "100", "--", "true"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("1 MiB"));
  EXPECT_EQ(ctl({"tasks", "list", "-o", "name"}).out, "");
}

}  // namespace
}  // namespace zsync::integration
