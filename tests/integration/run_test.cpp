// `zsyncctl run`: the command itself, as far as its caller can tell.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <random>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Run : public DaemonTest {};

std::string random_bytes(size_t count) {
  std::mt19937_64 random(count);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

TEST_F(Run, PassesTheExitCodeOfTheCommand) {
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
  EXPECT_EQ(ctl({"run", "-c", "exit 3"}).code, 3);
  EXPECT_EQ(ctl({"run", "-c", "kill -TERM $$"}).code, 128 + SIGTERM);
}

TEST_F(Run, SaysWhyACommandCannotBeExecutedAndThatItIsNotThere) {
  kit::Ran ran = ctl({"run", "--", "/etc"});
  EXPECT_EQ(ran.code, 126);
  EXPECT_THAT(ran.err, HasSubstr("exec:"));
  ran = ctl({"run", "--", "no-such-program-anywhere"});
  EXPECT_EQ(ran.code, 127);
  EXPECT_THAT(ran.err, HasSubstr("exec:"));
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0) << "the daemon has to live on";
}

TEST_F(Run, LeavesTheBytesOfBothStreamsUnchanged) {
  const std::string bytes = random_bytes(10 << 20);
  ASSERT_TRUE(kit::write_file(file("bytes"), bytes));
  const kit::Ran ran =
      ctl({"run", "-c", "cat " + file("bytes") + "; head -c 100000 " + file("bytes") + " >&2"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(ran.out == bytes) << ran.out.size();
  EXPECT_TRUE(ran.err == bytes.substr(0, 100000)) << ran.err.size();
}

TEST_F(Run, ForwardsStdinToItsEnd) {
  const std::string bytes = random_bytes(3 << 20);
  // Several times: stdin once overtook the shim's greeting, and its beginning was dropped.
  for (int i = 0; i < 5; ++i) {
    const kit::Ran ran = ctl({"run", "--", "cat"}, bytes);
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_TRUE(ran.out == bytes) << ran.out.size();
  }
}

TEST_F(Run, InterruptCancelsTheCommandAndWaitsForIt) {
  int out[2];
  ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
  kit::StartOptions options;
  options.out = out[1];
  kit::Process run(daemon().ctl_argv({"run", "-c", "echo on; exec sleep 1000"}), options);
  close(out[1]);
  char byte = 0;
  ASSERT_EQ(read(out[0], &byte, 1), 1);
  run.signal(SIGINT);
  EXPECT_EQ(run.wait(kit::milliseconds(10'000)), 128 + SIGINT);
  close(out[0]);
  expect_nothing_left();
}

TEST_F(Run, DetachPrintsTheIdAndTheCommandGoesOn) {
  const kit::Ran ran = ctl({"run", "--detach", "-c", "exec sleep 1000"});
  EXPECT_EQ(ran.code, 0);
  ASSERT_THAT(ran.out, ::testing::MatchesRegex("task_[0-9a-z]+\n"));
  const std::string id = ran.out.substr(0, ran.out.size() - 1);
  EXPECT_FALSE(client::is_final(get(id).state()));
}

TEST_F(Run, HandsOnTheTraceAndOnlyTheListedEnvironment) {
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  kit::StartOptions options;
  options.set_env = {"TRACEPARENT=" + trace, "SECRET_OF_THE_CALLER=1", "LANG=C.UTF-8"};
  const kit::Ran ran = ctl({"run", "-e", "MINE=2", "--", "env"}, {}, options);
  // Its trace, with the span of this attempt.
  EXPECT_THAT(ran.out, HasSubstr("TRACEPARENT=" + trace.substr(0, 36)));
  EXPECT_THAT(ran.out, Not(HasSubstr("b7ad6b7169203331")));
  EXPECT_THAT(ran.out, HasSubstr("MINE=2\n"));
  EXPECT_THAT(ran.out, HasSubstr("LANG=C.UTF-8\n"));
  EXPECT_THAT(ran.out, HasSubstr("ZSYNC_TASK_ID=task_"));
  EXPECT_THAT(ran.out, Not(HasSubstr("SECRET_OF_THE_CALLER")));
}

TEST_F(Run, ACommandThatEndsWithoutReadingItsStdinIsNotHeldUp) {
  const kit::Ran ran = ctl({"run", "--", "true"}, std::string(4 << 20, 'x'));
  EXPECT_EQ(ran.code, 0) << ran.err;
}

}  // namespace
}  // namespace zsync::integration
