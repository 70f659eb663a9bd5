#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Run, BytesAndExitCodeAreThoseOfTheCommand) {
  FakeServer server;
  server.state.output = [&](const v1::TaskOutputRequest& request,
                            const Emit<v1::TaskOutputBatch>& emit, const Cancelled&) -> Outcome {
    v1::TaskOutputBatch batch;
    *batch.add_records() = record(1, std::string("o\0ut\xff", 5));
    *batch.add_records() = record(2, "err", v1::STREAM_STDERR);
    emit(batch);
    v1::TaskOutputBatch last;
    last.mutable_finished()->set_id(request.id());
    last.mutable_finished()->set_state(v1::TASK_STATE_FAILED);
    last.mutable_finished()->set_exit_code(42);
    emit(last);
    return std::nullopt;
  };
  const CliResult result = run(server, {"run", "--", "tool", "-x"});
  EXPECT_EQ(result.code, 42);
  EXPECT_EQ(result.out, std::string("o\0ut\xff", 5));
  EXPECT_EQ(result.err, "err");
  EXPECT_THAT(server.state.submits.at(0).specs(0).argv(), ElementsAre("tool", "-x"));
  EXPECT_TRUE(server.state.outputs.at(0).follow());
}

TEST(Run, EndsOfOtherKindsHaveTheirShellCodes) {
  FakeServer server;
  server.state.end_state = v1::TASK_STATE_SIGNALED;
  server.state.end_signal = 9;
  EXPECT_EQ(run(server, {"run", "x"}).code, 137);
  server.state.end_state = v1::TASK_STATE_FAILED;
  server.state.end_reason = "exec: x: No such file or directory";
  const CliResult missing = run(server, {"run", "x"});
  EXPECT_EQ(missing.code, 127);
  EXPECT_THAT(missing.err, HasSubstr("exec: x: No such file"));
  server.state.end_reason = "exec: x: Permission denied";
  EXPECT_EQ(run(server, {"run", "x"}).code, 126);
  server.state.end_state = v1::TASK_STATE_TIMED_OUT;
  EXPECT_EQ(run(server, {"run", "x"}).code, 124);
  server.state.end_state = v1::TASK_STATE_LOST;
  EXPECT_EQ(run(server, {"run", "x"}).code, 125);
}

TEST(Run, DetachedPrintsTheIdAndDoesNotFollow) {
  FakeServer server;
  EXPECT_EQ(run(server, {"run", "--detach", "--", "x"}, "ignored").out, "task_1\n");
  EXPECT_TRUE(server.state.outputs.empty());
  EXPECT_FALSE(server.state.submits.at(0).specs(0).stdin_stream());
}

TEST(Run, StdinIsForwardedUnlessItIsDevNull) {
  FakeServer server;
  server.state.output = [&](const v1::TaskOutputRequest& request,
                            const Emit<v1::TaskOutputBatch>& emit,
                            const Cancelled& cancelled) -> Outcome {
    eventually([&] {
      const std::lock_guard<std::mutex> lock(server.state.mutex);
      return cancelled() || !server.state.inputs.empty();
    });
    v1::TaskOutputBatch last;
    last.mutable_finished()->set_id(request.id());
    last.mutable_finished()->set_state(v1::TASK_STATE_SUCCEEDED);
    emit(last);
    return std::nullopt;
  };
  const std::string input = std::string(300'000, 'x') + "end";
  EXPECT_EQ(run(server, {"run", "cat"}, input).code, 0);
  EXPECT_EQ(server.state.inputs.at(0), input + "<eof>");
  server.state.output = nullptr;
  run(server, {"run", "cat"});
  EXPECT_FALSE(server.state.submits.at(1).specs(0).stdin_stream());
}

// The task goes on until it is canceled, kindly or not.
void run_until_cancelled(FakeServer& server, std::size_t cancels) {
  server.state.output = [&server, cancels](const v1::TaskOutputRequest& request,
                                           const Emit<v1::TaskOutputBatch>& emit,
                                           const Cancelled& cancelled) -> Outcome {
    v1::TaskOutputBatch first;
    *first.add_records() = record(1, "started\n");
    emit(first);
    eventually([&] {
      const std::lock_guard<std::mutex> lock(server.state.mutex);
      return cancelled() || server.state.cancels.size() >= cancels;
    });
    v1::TaskOutputBatch last;
    last.mutable_finished()->set_id(request.id());
    last.mutable_finished()->set_state(v1::TASK_STATE_CANCELED);
    emit(last);
    return std::nullopt;
  };
}

std::vector<std::string> against(const FakeServer& server) {
  return {"ZSYNC_SOCKET=" + server.socket(), "ZSYNC_STATE_DIR=" + server.directory()};
}

std::size_t cancels_of(FakeServer& server) {
  const std::lock_guard<std::mutex> lock(server.state.mutex);
  return server.state.cancels.size();
}

bool following(FakeServer& server) {
  return eventually([&] {
    const std::lock_guard<std::mutex> lock(server.state.mutex);
    return !server.state.outputs.empty();
  });
}

TEST(Run, TheFirstInterruptCancelsAndWaits) {
  FakeServer server;
  run_until_cancelled(server, 1);
  Process process({program(), "run", "--", "sleep", "9"}, against(server));
  ASSERT_TRUE(following(server));
  process.signal(SIGINT);
  const CliResult result = process.wait();
  EXPECT_EQ(result.code, 130);
  EXPECT_EQ(result.out, "started\n");
  EXPECT_FALSE(server.state.cancels.at(0).has_kill_grace());
}

TEST(Run, TheSecondInterruptKills) {
  FakeServer server;
  run_until_cancelled(server, 2);
  Process process({program(), "run", "--", "sleep", "9"}, against(server));
  ASSERT_TRUE(following(server));
  process.signal(SIGINT);
  ASSERT_TRUE(eventually([&] { return cancels_of(server) == 1; }));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait().code, 130);
  ASSERT_EQ(server.state.cancels.size(), 2u);
  EXPECT_TRUE(server.state.cancels[1].has_kill_grace());
  EXPECT_EQ(server.state.cancels[1].kill_grace().seconds(), 0);
}

TEST(Run, AThirdInterruptStopsWaiting) {
  FakeServer server;
  run_until_cancelled(server, 99);
  Process process({program(), "run", "--", "sleep", "9"}, against(server));
  ASSERT_TRUE(following(server));
  for (std::size_t i = 1; i <= 2; ++i) {
    process.signal(SIGINT);
    ASSERT_TRUE(eventually([&] { return cancels_of(server) == i; }));
  }
  process.signal(SIGINT);
  const CliResult result = process.wait();
  EXPECT_EQ(result.code, 130);
  EXPECT_THAT(result.err, HasSubstr("no longer waiting for task task_1"));
}

TEST(Run, AReaderThatGoesAwayEndsTheCommandEvenWhileItIsSilent) {
  FakeServer server;
  run_until_cancelled(server, 1);
  Process process({program(), "run", "--", "yes"}, against(server));
  ASSERT_TRUE(following(server));
  process.close_stdout();
  const CliResult result = process.wait();
  EXPECT_EQ(result.code, 141);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(cancels_of(server), 1u);
}

TEST(Run, SurvivesARestartOfTheDaemonWithoutHoleOrDuplicate) {
  FakeServer server;
  std::atomic<int> streams{0};
  server.state.output = [&](const v1::TaskOutputRequest& request,
                            const Emit<v1::TaskOutputBatch>& emit,
                            const Cancelled& cancelled) -> Outcome {
    const std::uint64_t from = std::max<std::uint64_t>(1, request.from_seq());
    const bool first = ++streams == 1;
    v1::TaskOutputBatch batch;
    batch.set_attempt(1);
    for (std::uint64_t seq = from; seq <= (first ? 3u : 6u); ++seq) {
      *batch.add_records() = record(seq, std::to_string(seq) + "\n");
    }
    emit(batch);
    if (first) eventually(cancelled);
    if (first) return failure(14, "going down");
    v1::TaskOutputBatch last;
    last.mutable_finished()->set_id(request.id());
    last.mutable_finished()->set_attempt(1);
    last.mutable_finished()->set_state(v1::TASK_STATE_SUCCEEDED);
    server.state.tasks[request.id()] = last.finished();
    emit(last);
    return std::nullopt;
  };
  Process process({program(), "run", "--no-autostart", "--", "x"}, against(server));
  ASSERT_TRUE(process.prints("3\n"));  // a stopping server may drop what it has not delivered
  server.stop();
  server.start();
  const CliResult result = process.wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "1\n2\n3\n4\n5\n6\n");
  EXPECT_EQ(server.state.outputs.back().from_seq(), 4u);
  EXPECT_EQ(server.state.outputs.back().attempt(), 1u);
}

}  // namespace
}  // namespace zsync::cli::testing
