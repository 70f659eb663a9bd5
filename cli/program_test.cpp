// The program as it is installed, and the nouns that look at the daemon itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> against(const FakeServer& server) {
  return {"ZSYNC_SOCKET=" + server.socket(), "ZSYNC_STATE_DIR=" + server.directory()};
}

TEST(Program, NeedsOnlyLibcAndLibm) {
  Process ldd({"/usr/bin/ldd", program()}, {});
  const CliResult result = ldd.wait();
  EXPECT_EQ(result.code, 0) << result.err;
  for (const char* library : {"grpc", "absl", "protobuf", "stdc++", "ssl", "cares"}) {
    EXPECT_THAT(result.out, Not(HasSubstr(library)));
  }
}

TEST(Program, ACallEndsWithItsCodeAndItsOutput) {
  FakeServer server;
  Process process({program(), "tasks", "submit", "-q", "--", "true"}, against(server));
  const CliResult result = process.wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "task_1\n");
}

TEST(Program, AClosedStdoutIsAQuietEnd) {
  FakeServer server;
  for (int i = 0; i < 3000; ++i) {
    const std::string id = "task_" + std::string(100, 'x') + std::to_string(10'000 + i);
    server.state.tasks[id].set_id(id);
  }
  Process process({program(), "tasks", "list", "-o", "json", "--limit", "0"}, against(server));
  process.close_stdout();
  const CliResult result = process.wait();
  EXPECT_EQ(result.code, 141);
  EXPECT_EQ(result.err, "");
}

TEST(Program, AFollowerWhoseReaderLeftDoesNotHang) {
  FakeServer server;
  server.state.events = [](const auto&, const auto&, const Cancelled& cancelled) -> Outcome {
    eventually([&] { return cancelled(); });
    return std::nullopt;
  };
  Process process({program(), "events", "follow"}, against(server));
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard<std::mutex> lock(server.state.mutex);
    return !server.state.event_follows.empty();
  }));
  process.close_stdout();
  EXPECT_EQ(process.wait().code, 141);
}

TEST(DaemonCli, InfoStatsConfigAndStatusShowTheDaemon) {
  FakeServer server;
  EXPECT_THAT(run(server, {"daemon", "info"}).out, HasSubstr("mesh  not built yet"));
  EXPECT_THAT(run(server, {"daemon", "stats"}).out, HasSubstr("tasks        3 running"));
  EXPECT_THAT(run(server, {"daemon", "stats", "-o", "json"}).out,
              HasSubstr("\"tasksRunning\": \"3\""));
  EXPECT_THAT(run(server, {"daemon", "config", "show", "--origin"}).out,
              HasSubstr("tasks.output_bytes_max  default  4294967296"));
  EXPECT_THAT(run(server, {"status"}).out, HasSubstr("zsyncd 9.9.9 (pid 4321)"));
  EXPECT_THAT(run(server, {"top"}).out, HasSubstr("3 running"));
}

TEST(DaemonCli, StatusAndStopNeverStartADaemon) {
  FakeServer server;
  server.stop();
  EXPECT_EQ(run(server, {"status"}).code, 4);
  EXPECT_EQ(run(server, {"daemon", "stop"}).code, 4);
}

TEST(DaemonCli, StopReturnsOnceNobodyListens) {
  FakeServer server;
  std::thread stopper;
  server.state.on_shutdown = [&] { stopper = std::thread([&] { server.stop(); }); };
  EXPECT_EQ(run(server, {"daemon", "stop"}).code, 0);
  stopper.join();
}

TEST(DaemonCli, LogsShowTheEndOfTheFile) {
  FakeServer server;
  EXPECT_EQ(run(server, {"daemon", "logs"}).code, 3);
  std::ofstream(server.directory() + "/zsyncd.log") << std::string(30'000, 'x') << "\nlast line\n";
  EXPECT_EQ(run(server, {"daemon", "logs"}).out, "last line\n");
}

TEST(DoctorCli, FailsOnAnErrorAndNamesTheCure) {
  FakeServer server;
  v1::Finding* finding = server.state.doctor.add_findings();
  finding->set_level(v1::Finding::LEVEL_NOTE);
  finding->set_topic("os");
  finding->set_text("Debian 12");
  EXPECT_EQ(run(server, {"doctor"}).code, 0);
  finding = server.state.doctor.add_findings();
  finding->set_level(v1::Finding::LEVEL_ERROR);
  finding->set_topic("inotify");
  finding->set_text("8192 watches");
  finding->set_cure("sysctl fs.inotify.max_user_watches=524288");
  const CliResult result = run(server, {"doctor"});
  EXPECT_EQ(result.code, 1);
  EXPECT_THAT(result.out, HasSubstr("note    os: Debian 12\nerror   inotify: 8192 watches\n"
                                    "        cure: sysctl"));
}

TEST(EventsCli, ListStartsAtTheOldestAndEnds) {
  FakeServer server;
  server.state.events = [](const v1::FollowEventsRequest&, const Emit<v1::EventBatch>& emit,
                           const Cancelled&) -> Outcome {
    v1::EventBatch batch;
    v1::Event* event = batch.add_events();
    event->set_seq(1);
    event->set_time_unix_nano(1'700'000'000'123'000'000);
    event->set_type("task.queued");
    event->set_subject("task_1");
    (*event->mutable_attributes())["group"] = "default";
    emit(batch);
    return std::nullopt;
  };
  const CliResult result = run(server, {"events", "list", "--type", "task."});
  EXPECT_EQ(result.out, "2023-11-14T22:13:20.123Z 1 task.queued task_1 group=default\n");
  EXPECT_EQ(server.state.event_follows.at(0).from_seq(), 1u);
  EXPECT_FALSE(server.state.event_follows[0].follow());
  EXPECT_EQ(server.state.event_follows[0].types(0), "task.");
}

}  // namespace
}  // namespace zsync::cli::testing
