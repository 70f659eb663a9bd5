// Cancel: in every state, and nothing stays behind.
#include <signal.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Cancel : public DaemonTest {
 protected:
  void expect_canceled(const std::string& id, Words flags = {}) {
    Words words{"tasks", "cancel", "--wait", id};
    words.insert(words.end(), flags.begin(), flags.end());
    const kit::Ran ran = ctl(words);
    EXPECT_EQ(ran.code, 0) << ran.err;
    const v1::Task task = get(id);
    EXPECT_EQ(task.state(), v1::TASK_STATE_CANCELED) << task.ShortDebugString();
    EXPECT_TRUE(daemon().task_processes().empty());
    expect_nothing_left();
  }
};

TEST_F(Cancel, AQueuedTaskNeverRuns) {
  ASSERT_TRUE(tasks().set_group("one", 1).ok());
  const std::string first = submit({"-g", "one", "-c", "exec sleep 1000"});
  const std::string second = submit({"-g", "one", "-c", "touch " + file("ran")});
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", second}).code, 0);
  EXPECT_EQ(get(second).state(), v1::TASK_STATE_CANCELED);
  expect_canceled(first);
  EXPECT_FALSE(kit::read_file(file("ran")).has_value());
}

TEST_F(Cancel, ATaskThatIsJustBeingStarted) {
  for (int i = 0; i < 20; ++i) {
    const auto id = tasks().submit([] {
      v1::TaskSpec spec;
      spec.set_shell("exec sleep 1000");
      return spec;
    }());
    ASSERT_TRUE(id.ok());
    v1::CancelTaskRequest request;
    request.set_id(*id);
    request.set_wait(true);
    const auto task = tasks().cancel(request, {std::chrono::seconds(20), nullptr});
    ASSERT_TRUE(task.ok()) << task.status();
    EXPECT_EQ(task->state(), v1::TASK_STATE_CANCELED) << task->ShortDebugString();
  }
  expect_nothing_left();
}

TEST_F(Cancel, ARunningTask) {
  const std::string id = submit({"-c", "echo on; sleep 1000 & sleep 1000"});
  wait_for_output(id);
  expect_canceled(id);
}

TEST_F(Cancel, ATaskThatIgnoresTheFirstSignalIsKilledAfterTheGrace) {
  const std::string id =
      submit({"--kill-grace", "100ms", "-c", "trap '' TERM; echo on; while :; do sleep 1; done"});
  wait_for_output(id);
  expect_canceled(id);
}

TEST_F(Cancel, ADaemonizedChildGoesToo) {
  const std::string id =
      submit({"--kill-grace", "100ms", "-c",
              "(trap '' TERM; setsid sh -c 'trap \"\" TERM; echo on; sleep 1000' &) ; sleep 1000"});
  wait_for_output(id);
  expect_canceled(id);
}

TEST_F(Cancel, ATaskThatWaitsForItsRetryIsNotTriedAgainAndItsShimIsGone) {
  // However late the cancel comes, it meets a task that waits.
  const std::string id = submit({"--retries", "5", "--backoff", "1h", "--backoff-max", "1h",
                                 "--no-jitter", "-c", "echo x >>" + file("runs") + "; exit 1"});
  ASSERT_TRUE(kit::poll_until([&] {
    const v1::Task task = get(id);
    return task.attempt() == 1 && task.state() == v1::TASK_STATE_QUEUED;
  }));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  EXPECT_EQ(get(id).state(), v1::TASK_STATE_CANCELED);
  expect_nothing_left();
  EXPECT_EQ(kit::read_file(file("runs")), "x\n");
}

TEST_F(Cancel, AnEndedTaskStaysAsItIs) {
  const std::string id = submit({"--", "true"});
  EXPECT_EQ(wait(id).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  EXPECT_EQ(get(id).state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(Cancel, ACommandThatLeavesAChildBehindLeavesNoOrphan) {
  const std::string id = submit({"-c", "sleep 1000 & echo on"});
  EXPECT_EQ(wait(id).state(), v1::TASK_STATE_SUCCEEDED);
  expect_nothing_left();
}

TEST_F(Cancel, AKilledShimMakesItsTaskLostAndItsCommandsAreKilled) {
  const std::string id = submit({"-c", "echo on; sleep 1000 & sleep 1000"});
  wait_for_output(id);
  const std::vector<pid_t> shims = daemon().shims();
  ASSERT_EQ(shims.size(), 1u);
  kill(shims[0], SIGKILL);
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_LOST) << task.ShortDebugString();
  EXPECT_THAT(task.reason(), HasSubstr("supervisor"));
  expect_nothing_left();
}

}  // namespace
}  // namespace zsync::integration
