#include "cli/attach.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::HasSubstr;

struct Typed {
  std::string pass;
  bool left;
};

Typed type(const std::string& keys, const std::vector<std::string>& parts) {
  absl::StatusOr<DetachKeys> parsed = DetachKeys::parse(keys);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  Typed typed{"", false};
  for (const std::string& part : parts) typed.left = parsed->take(part, typed.pass);
  return typed;
}

TEST(DetachKeys, TheSequenceLeavesAndReachesNobody) {
  const Typed typed = type(kDetachKeysDefault, {"ls\r\x10\x11"
                                                "rest"});
  EXPECT_TRUE(typed.left);
  EXPECT_EQ(typed.pass, "ls\r");
}

TEST(DetachKeys, MayBeTypedOneByOne) {
  const Typed typed = type(kDetachKeysDefault, {"a", "\x10", "\x11"});
  EXPECT_TRUE(typed.left);
  EXPECT_EQ(typed.pass, "a");
}

TEST(DetachKeys, ABeginningThatIsNotContinuedReachesTheTask) {
  const Typed typed = type(kDetachKeysDefault, {"\x10", "x"});
  EXPECT_FALSE(typed.left);
  EXPECT_EQ(typed.pass, "\x10x");
}

TEST(DetachKeys, ABeginningMayBeginAgainWithinItself) {
  EXPECT_EQ(type("a,a,b", {"aaab"}).pass, "a");
  EXPECT_TRUE(type("a,a,b", {"aaab"}).left);
  EXPECT_EQ(type("a,b,a,c", {"abababac"}).pass, "abab");
  EXPECT_TRUE(type("a,b,a,c", {"abababac"}).left);
  EXPECT_EQ(type("a,b,a,c", {"abad"}).pass, "abad");
}

TEST(DetachKeys, NoneTurnsThemOff) {
  const Typed typed = type("none", {"\x10\x11"});
  EXPECT_FALSE(typed.left);
  EXPECT_EQ(typed.pass, "\x10\x11");
}

TEST(DetachKeys, AreControlKeysOrCharacters) {
  EXPECT_TRUE(type("CTRL-],d", {"\x1d"
                                "d"})
                  .left);
  EXPECT_TRUE(type("ctrl-@", {std::string(1, '\0')}).left);
  for (const char* wrong : {"", "ctrl-1", "ctrl-", "escape", "a,,b"}) {
    const absl::StatusOr<DetachKeys> parsed = DetachKeys::parse(wrong);
    ASSERT_FALSE(parsed.ok()) << wrong;
    EXPECT_THAT(parsed.status().message(), HasSubstr("--detach-keys")) << wrong;
  }
}

TEST(Tty, GivesTheTaskATerminalAlsoWhereNobodyIsThere) {
  FakeServer server;
  const CliResult result = run(server, {"run", "--detach", "--tty", "--", "top"});
  ASSERT_EQ(result.code, 0) << result.err;
  const v1::TaskSpec& spec = server.state.submits.at(0).specs(0);
  EXPECT_GT(spec.terminal().rows(), 0u);
  EXPECT_GT(spec.terminal().columns(), 0u);
  EXPECT_FALSE(spec.stdin_stream());
  EXPECT_EQ(spec.env().count("TERM"), 1u);
}

TEST(Tty, WithoutATerminalToTypeOnNothingIsSubmitted) {
  FakeServer server;
  const CliResult result = run(server, {"run", "--tty", "--", "top"});
  EXPECT_EQ(result.code, 125) << "as every failure of run's own";
  EXPECT_THAT(result.err, HasSubstr("stdin is no terminal"));
  EXPECT_TRUE(server.state.submits.empty());
}

}  // namespace
}  // namespace zsync::cli::testing
