// Following output: by several, from anywhere, at any time, and by clients that misbehave.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Output : public DaemonTest {};

constexpr long kDaemonRssKibMax = 100 << 10;

TEST_F(Output, ThreeClientsFollowTheSameTaskAtOnce) {
  const std::string id = submit({"-c", "seq 1 200000"});
  std::vector<kit::Process> followers;
  for (int i = 0; i < 3; ++i) {
    const int fd = open(file("out" + std::to_string(i)).c_str(),
                        O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    kit::StartOptions options;
    options.out = fd;
    followers.emplace_back(daemon().ctl_argv({"logs", "-f", id}), options);
    close(fd);
  }
  const std::string expected = kit::run({"/usr/bin/seq", "1", "200000"}).out;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(followers[static_cast<size_t>(i)].wait(kit::milliseconds(30'000)), 0);
    EXPECT_TRUE(kit::read_file(file("out" + std::to_string(i))) == expected);
  }
}

TEST_F(Output, FollowsFromASeqAndFromBeyondTheEnd) {
  const std::string id = submit({"-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"});
  wait(id);
  const uint64_t records = get(id).output_records();
  ASSERT_EQ(records, 3u);
  EXPECT_EQ(ctl({"logs", "--since-seq", "3", id}).out, "3\n");
  EXPECT_EQ(ctl({"logs", "-f", "--since-seq", "2", id}).out, "2\n3\n");
  const kit::Ran beyond = ctl({"logs", "-f", "--since-seq", "1000", id});
  EXPECT_EQ(beyond.code, 0) << beyond.err;
  EXPECT_EQ(beyond.out, "");
}

TEST_F(Output, LogsOfAFinishedTaskKeepTheStreamsApart) {
  const std::string id = submit({"-c", "echo out; echo err >&2"});
  wait(id);
  const kit::Ran ran = ctl({"logs", id});
  EXPECT_EQ(ran.out, "out\n");
  EXPECT_EQ(ran.err, "err\n");
  EXPECT_EQ(ctl({"logs", "--stream", "stderr", id}).err, "err\n");
}

TEST_F(Output, OutputOfBothAttemptsOfATaskIsThere) {
  const std::string id = submit({"--retries", "1", "-c", "echo attempt $ZSYNC_ATTEMPT; exit 1"});
  wait(id);
  EXPECT_EQ(ctl({"logs", "--attempt", "1", id}).out, "attempt 1\n");
  EXPECT_EQ(ctl({"logs", id}).out, "attempt 2\n");
  EXPECT_EQ(ctl({"logs", "--attempt", "9", id}).code, 2);
}

TEST_F(Output, AClientThatNeverReadsCostsTheDaemonNoMemory) {
  const std::string id = submit({"-c", "head -c 200000000 /dev/zero"});
  kit::Process follower(daemon().ctl_argv({"logs", "-f", id}));
  follower.signal(SIGSTOP);
  const v1::Task task = wait(id);
  EXPECT_EQ(task.state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(task.output_bytes(), 200000000u);
  const std::string status = "/proc/" + std::to_string(daemon().process().pid()) + "/status";
  if (!kit::kInstrumented) EXPECT_LT(kit::proc_status_number(status, "VmHWM"), kDaemonRssKibMax);
  follower.signal(SIGCONT);
  EXPECT_EQ(follower.wait(kit::milliseconds(30'000)), 0);
  if (!kit::kInstrumented) EXPECT_LT(kit::proc_status_number(status, "VmHWM"), kDaemonRssKibMax);
}

TEST_F(Output, AClientKilledInMidStreamHarmsNobody) {
  const std::string id = submit({"-c", "while :; do echo line; done"});
  for (int i = 0; i < 5; ++i) {
    int out[2];
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    kit::StartOptions options;
    options.out = out[1];
    kit::Process follower(daemon().ctl_argv({"logs", "-f", id}), options);
    close(out[1]);
    char bytes[4096];
    ASSERT_GT(read(out[0], bytes, sizeof bytes), 0);
    follower.kill9();
    close(out[0]);
  }
  EXPECT_TRUE(kit::poll_until([this] {
    const auto stats = client().daemon().stats();
    return stats.ok() && stats->connections() == 1;
  }));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
  expect_nothing_left();
}

TEST_F(Output, AFollowedTaskGoesOnThroughARestartOfTheDaemon) {
  const std::string id =
      submit({"-c", "for i in $(seq 1 60); do echo line $i; sleep 0.02; done; exit 5"});
  kit::Process follower;
  const int fd = open(file("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  kit::StartOptions options;
  options.out = fd;
  follower = kit::Process(daemon().ctl_argv({"logs", "-f", id}), options);
  close(fd);
  // The follower itself has to follow by now: one that has not connected yet finds no daemon.
  ASSERT_TRUE(kit::poll_until([this] { return !kit::read_file(file("out")).value_or("").empty(); },
                              kit::milliseconds(10'000)));
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  EXPECT_EQ(follower.wait(kit::milliseconds(30'000)), 0);
  std::string expected;
  for (int i = 1; i <= 60; ++i) expected += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(kit::read_file(file("out")), expected);
  EXPECT_EQ(wait(id).exit_code(), 5);
}

}  // namespace
}  // namespace zsync::integration
