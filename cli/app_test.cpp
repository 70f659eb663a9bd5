#include "cli/app.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(CommandLine, HelpNeedsNoDaemonAndGoesToStdout) {
  for (std::vector<std::string> args : {std::vector<std::string>{"--help"},
                                        {"tasks", "--help"},
                                        {"run", "--help"},
                                        {"watch", "-h"}}) {
    const CliResult result = run_alone(args);
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.out, HasSubstr("Usage: zsyncctl"));
    EXPECT_THAT(result.err, IsEmpty());
  }
}

TEST(CommandLine, VersionIsOneLine) {
  EXPECT_EQ(run_alone({"--version"}).out, "zsyncctl " ZSYNC_VERSION "\n");
}

TEST(CommandLine, AMistypedWordGetsTheClosestOne) {
  EXPECT_THAT(run_alone({"taskz"}).err, HasSubstr("did you mean \"tasks\"?"));
  EXPECT_THAT(run_alone({"task", "lst"}).err, HasSubstr("did you mean \"list\"?"));
  EXPECT_THAT(run_alone({"ps", "--quite"}).err, HasSubstr("did you mean \"--quiet\"?"));
}

TEST(CommandLine, AnUnknownWordBeforeANounIsTheOneThatIsNamed) {
  const CliResult result = run_alone({"bogus", "tasks", "list"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("unknown word \"bogus\" for zsyncctl\n"));
  EXPECT_THAT(result.err, HasSubstr("`zsyncctl --help` shows"));
}

TEST(CommandLine, AVerbMayStandBehindAWordOfItsNoun) {
  const CliResult result =
      run_alone({"--socket", "/tmp/zsync-none/s", "--no-autostart", "watch", ".", "list"});
  EXPECT_EQ(result.code, 4) << result.err;
}

TEST(CommandLine, UsageErrorsExitWithTwo) {
  for (std::vector<std::string> args : {std::vector<std::string>{},
                                        {"nonsense"},
                                        {"tasks"},
                                        {"tasks", "get"},
                                        {"ps", "--bogus"},
                                        {"ps", "-o", "xml"},
                                        {"tasks", "set-group", "g", "0"},
                                        {"ps", "extra"}}) {
    const CliResult result = run_alone(args);
    EXPECT_EQ(result.code, 2);
    EXPECT_THAT(result.out, IsEmpty());
    EXPECT_THAT(result.err, Not(IsEmpty()));
  }
}

TEST(CommandLine, AGlobalFlagsValueBeforeTheNounIsNoCommand) {
  const CliResult result = run_alone(
      {"--socket", "/tmp/zsync-none/s", "--no-autostart", "run", "--", "sh", "-c", "true"});
  EXPECT_EQ(result.code, 125);
  EXPECT_EQ(result.err.find("unknown word"), std::string::npos) << result.err;
}

TEST(CommandLine, RunsOwnFailuresAre125) {
  EXPECT_EQ(run_alone({"run"}).code, 125);
  EXPECT_EQ(run_alone({"run", "--bogus", "--", "true"}).code, 125);
  const CliResult unreachable =
      run_alone({"run", "--no-autostart", "--socket", "/tmp/zsync-none/s", "--", "true"});
  EXPECT_EQ(unreachable.code, 125);
  EXPECT_THAT(unreachable.err, HasSubstr("no zsyncd at /tmp/zsync-none/s"));
}

TEST(CommandLine, AMissingDaemonIsOneClearLineAndFour) {
  const CliResult result = run_alone({"ps", "--no-autostart", "--socket", "/tmp/zsync-none/s"});
  EXPECT_EQ(result.code, 4);
  EXPECT_EQ(result.err,
            "zsyncctl: no zsyncd at /tmp/zsync-none/s: start one with `zsyncctl daemon start`\n");
}

TEST(CommandLine, ASocketPathThatIsTooLongIsAUsageError) {
  const CliResult result = run_alone({"ps", "--socket", "/tmp/" + std::string(120, 'x')});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("at most 107"));
}

TEST(Completion, OffersWordsFlagsAndLiveIds) {
  FakeServer server;
  server.state.tasks["task_77"].set_id("task_77");
  server.state.tasks["task_77"].mutable_spec()->set_name("nightly");
  EXPECT_THAT(run(server, {"__complete", "--", "ta"}).out, "tasks\n");
  EXPECT_EQ(run(server, {"__complete", "--", "tasks", "ca"}).out, "cancel\n");
  EXPECT_EQ(run(server, {"__complete", "--", "logs", "--fo"}).out, "--follow\n");
  EXPECT_EQ(run(server, {"__complete", "--", "logs", ""}).out, "nightly\ntask_77\n");
  EXPECT_EQ(run(server, {"__complete", "--", "channel", "recv", ""}).out, "jobs\n");
  EXPECT_EQ(run(server, {"__complete", "--", "tasks", "set-group", ""}).out, "default\n");
}

TEST(Completion, WithoutADaemonIsSilent) {
  FakeServer server;
  server.stop();
  const CliResult result = run(server, {"__complete", "--", "logs", "ta"});
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.out + result.err, "");
}

TEST(Completion, ScriptsAskTheHiddenCommand) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(run_alone({"completion", shell}).out, HasSubstr("zsyncctl __complete -- "));
  }
  EXPECT_EQ(run_alone({"completion", "tcsh"}).code, 2);
}

}  // namespace
}  // namespace zsync::cli::testing
