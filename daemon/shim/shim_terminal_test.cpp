// A command on a terminal of its own.
#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "daemon/shim/attempt.hpp"
#include "daemon/shim/shim_test_kit.hpp"

namespace zsync::daemon::shim {
namespace {

class ShimTerminal : public ShimFixture {
 protected:
  Spec on_terminal(const std::string& line) {
    Spec spec = shell(line);
    spec.terminal = {24, 80};
    return spec;
  }
};

TEST_F(ShimTerminal, HasTheSizeItWasGivenAndBothStreamsInOne) {
  const ExitRecord exit = run(on_terminal("tty -s && stty size; echo err >&2; exit 3"));
  EXPECT_EQ(exit.kind, ExitKind::kExited);
  EXPECT_EQ(exit.code, 3);
  const Output got = output();
  EXPECT_EQ(got.out[1], "24 80\r\nerr\r\n");
  EXPECT_EQ(got.out[2], "");
}

TEST_F(ShimTerminal, IsTheControllingTerminalOfASessionOfItsOwn) {
  run(
      on_terminal("test \"$(ps -o sid= -p $$ | tr -d ' ')\" = $$ && echo leader; "
                  "echo typed > /dev/tty"));
  EXPECT_EQ(output().out[1], "leader\r\ntyped\r\n");
}

TEST_F(ShimTerminal, EchoesWhatIsTypedAndGivesItToTheCommand) {
  create(on_terminal("echo up; read -r x; echo \"got $x\""));
  Daemon daemon = spawn();
  until_printed(daemon, "up");
  daemon.send(encode_frame(StdinData{0, "word\n"}));
  EXPECT_EQ(finish(daemon).code, 0);
  EXPECT_EQ(output().out[1], "up\r\nword\r\ngot word\r\n");
}

TEST_F(ShimTerminal, CtrlCInterruptsWhatRunsInTheForeground) {
  create(on_terminal("trap 'echo interrupted; exit 6' INT; echo up; while :; do sleep 0.01; done"));
  Daemon daemon = spawn();
  until_printed(daemon, "up");
  daemon.send(encode_frame(StdinData{0, "\x03"}));
  EXPECT_EQ(finish(daemon).code, 6);
  EXPECT_NE(output().out[1].find("interrupted\r\n"), std::string::npos);
}

TEST_F(ShimTerminal, CtrlDIsTheEndOfWhatIsTyped) {
  create(on_terminal("echo up; cat; echo end"));
  Daemon daemon = spawn();
  until_printed(daemon, "up");
  daemon.send(encode_frame(StdinData{0, "a\n\x04"}));
  EXPECT_EQ(finish(daemon).code, 0);
  EXPECT_EQ(output().out[1], "up\r\na\r\na\r\nend\r\n");
}

TEST_F(ShimTerminal, TellsTheCommandWhenItsSizeChanges) {
  create(on_terminal("trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.01; done"));
  Daemon daemon = spawn();
  until_printed(daemon, "up");
  daemon.send(encode_frame(TerminalSize{30, 100}));
  EXPECT_EQ(finish(daemon).code, 0);
  EXPECT_EQ(output().out[1], "up\r\n30 100\r\n");
}

TEST_F(ShimTerminal, ACancelEndsEverythingOnIt) {
  create(on_terminal("sleep 1000 & sleep 1001 & echo up; wait"));
  Daemon daemon = spawn();
  until_printed(daemon, "up");
  daemon.send(encode_frame(Cancel{5000}));
  EXPECT_EQ(finish(daemon).kind, ExitKind::kCanceled);
}

TEST_F(ShimTerminal, SaysWhyAProgramCannotBeExecuted) {
  Spec spec = spec_of({"no-such-program"});
  spec.terminal = {24, 80};
  const ExitRecord exit = run(spec);
  EXPECT_EQ(exit.kind, ExitKind::kExecFailed);
  EXPECT_EQ(exit.code, 127);
}

TEST_F(ShimTerminal, AllOfALargeOutputIsKept) {
  const ExitRecord exit = run(on_terminal("stty -onlcr; seq 1 100000"));
  EXPECT_EQ(exit.code, 0);
  const std::string all = output().out[1];
  EXPECT_EQ(all.size(), 588'895u);
  EXPECT_EQ(all.substr(all.size() - 7), "100000\n");
}

}  // namespace
}  // namespace zsync::daemon::shim
