#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "cli/testing/cli_run.hpp"
#include "cli/watch_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::WatchBatch batch(const std::string& clock, const std::vector<std::string>& paths) {
  v1::WatchBatch batch;
  batch.set_clock(clock);
  for (const std::string& path : paths) {
    v1::FileChange* change = batch.add_changes();
    change->set_path(path);
    change->set_kind(v1::CHANGE_KIND_MODIFIED);
  }
  return batch;
}

TEST(WatchCli, PrintsChangesAndAsksForWhatTheFlagsSay) {
  FakeServer server;
  server.state.subscribe = [](const v1::SubscribeWatchRequest&, const Emit<v1::WatchBatch>& emit,
                              const Cancelled&) -> Outcome {
    emit(batch("c:1", {}));
    v1::WatchBatch next = batch("c:2", {"a.c"});
    v1::FileChange* renamed = next.add_changes();
    renamed->set_path("new");
    renamed->set_renamed_from("old");
    renamed->set_kind(v1::CHANGE_KIND_RENAMED);
    emit(next);
    return std::nullopt;
  };
  const CliResult result =
      run(server, {"watch", server.directory(), "-g", "*.c", "-g", "*.h", "--ignore", "x",
                   "--no-gitignore", "--settle", "20ms", "--since", "c:0", "--changed-content"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "modified  a.c\nrenamed   old -> new\n");
  const v1::SubscribeWatchRequest& request = server.state.subscribes.at(0);
  EXPECT_EQ(request.path(), std::filesystem::canonical(server.directory()).string());
  EXPECT_THAT(request.filter().globs(), ElementsAre("*.c", "*.h"));
  EXPECT_EQ(request.filter().settle().nanos(), 20'000'000);
  EXPECT_TRUE(request.filter().no_gitignore());
  EXPECT_TRUE(request.filter().changed_content());
  EXPECT_EQ(request.since(), "c:0");
  EXPECT_THAT(run(server, {"watch", server.directory(), "-o", "jsonl"}).out,
              HasSubstr("\"clock\":\"c:2\""));
  EXPECT_EQ(run(server, {"watch", server.directory(), "-q"}).out, "a.c\nnew\n");
}

TEST(WatchCli, SinceAsksOnceAndSyncPrintsTheClock) {
  FakeServer server;
  server.state.query = [](const v1::QueryWatchRequest& request, const Emit<v1::WatchBatch>& emit,
                          const Cancelled&) -> Outcome {
    // In two parts: the clock comes with the last one.
    if (!request.since().empty()) emit(batch("", {"a.c"}));
    emit(batch("c:x:3", request.since().empty() ? std::vector<std::string>()
                                                : std::vector<std::string>{"b.c"}));
    return std::nullopt;
  };
  const CliResult changed =
      run(server, {"watch", "since", server.directory(), "c:x:1", "-g", "*.c"});
  EXPECT_EQ(changed.code, 0) << changed.err;
  EXPECT_EQ(changed.out, "modified  a.c\nmodified  b.c\n");
  EXPECT_THAT(changed.err, HasSubstr("clock: c:x:3"));
  EXPECT_EQ(server.state.queries.at(0).since(), "c:x:1");
  EXPECT_THAT(server.state.queries.at(0).filter().globs(), ElementsAre("*.c"));
  EXPECT_EQ(run(server, {"watch", "sync", server.directory()}).out, "c:x:3\n");
  EXPECT_THAT(run(server, {"watch", "since", server.directory(), "c:x:1", "-o", "json"}).out,
              HasSubstr("c:x:3"));
  EXPECT_EQ(run(server, {"watch", "since", server.directory()}).code, 2);
  EXPECT_EQ(run(server, {"watch", "sync", "/no/such/place"}).code, 3);
  EXPECT_TRUE(server.state.subscribes.empty());
}

TEST(WatchCli, UsageSaysWhoWatchesAndWhatSharingSaves) {
  FakeServer server;
  const CliResult usage = run(server, {"watch", "usage"});
  EXPECT_EQ(usage.code, 0) << usage.err;
  EXPECT_THAT(usage.out, HasSubstr("code"));
  EXPECT_THAT(usage.out, HasSubstr("90 of 100 watches in use; this daemon holds 10, its "
                                   "subscribers by themselves would hold 40"));
  EXPECT_THAT(usage.err, HasSubstr("raise the limit: sudo sysctl -w x=1"));
  EXPECT_EQ(run(server, {"watch", "usage", "-q"}).out, "7\n");
}

TEST(WatchCli, ListIsAVerbAndAMissingDirectoryIsNotFound) {
  FakeServer server;
  EXPECT_THAT(run(server, {"watch", "list"}).out, HasSubstr("/srv/tree"));
  EXPECT_THAT(run(server, {"watches", "list", "-q"}).out, "/srv/tree\n");
  EXPECT_EQ(run(server, {"watch", "/nonexistent"}).code, 3);
  EXPECT_EQ(run(server, {"watch"}).code, 2);
  EXPECT_EQ(run(server, {"watch", "/tmp", "--writes", "x"}).code, 2);
}

TEST(WatchCli, AStateIsHeldWhileTheCommandRunsAndItsCodeIsPassedOn) {
  FakeServer server;
  const CliResult held =
      run(server, {"watch", "state", "hold", "build", server.directory(), "--", "sh", "-c",
                   "echo $ZSYNC_STATE >$0/said; exit 7", server.directory()});
  EXPECT_EQ(held.code, 7) << held.err;
  std::string said;
  std::getline(std::ifstream(server.directory() + "/said"), said);
  EXPECT_EQ(said, "build");
  EXPECT_EQ(server.state.holds.at(0).name(), "build");
  EXPECT_EQ(server.state.holds.at(0).path(),
            std::filesystem::canonical(server.directory()).string());
  EXPECT_TRUE(eventually([&] {
    const std::lock_guard<std::mutex> lock(server.state.mutex);
    return server.state.holds_ended == 1;
  }));
  const auto hold = [&](std::vector<std::string> rest) {
    rest.insert(rest.begin(), {"watch", "state", "hold"});
    return run(server, rest).code;
  };
  EXPECT_EQ(hold({"x", server.directory(), "--", "kill -9 $$"}), 127);
  EXPECT_EQ(hold({"x", server.directory(), "--", "sh", "-c", "kill -9 $$"}), 137);
  EXPECT_EQ(hold({"refused", server.directory(), "--", "touch", server.directory() + "/ran"}), 1);
  EXPECT_FALSE(std::filesystem::exists(server.directory() + "/ran")) << "only under the state";
  EXPECT_EQ(hold({"x", server.directory()}), 2);
  EXPECT_EQ(hold({"x", "/no/such/place", "--", "true"}), 3);
}

TEST(WatchCli, StatesAreListedAndSaidToBeTheReasonOfSilence) {
  FakeServer server;
  EXPECT_THAT(run(server, {"watch", "state", "list"}).out, HasSubstr("4711"));
  EXPECT_EQ(run(server, {"watch", "state", "list", "-q"}).out, "build\n");
  EXPECT_THAT(run(server, {"watch", "list"}).out, HasSubstr("state build is held: 1 subscriber"));
  server.state.subscribe = [](const v1::SubscribeWatchRequest&, const Emit<v1::WatchBatch>& emit,
                              const Cancelled&) -> Outcome {
    v1::WatchBatch entered = batch("c:1", {});
    entered.set_state_entered("build");
    emit(entered);
    v1::WatchBatch left = batch("c:2", {});
    left.set_state_left("build");
    emit(left);
    return std::nullopt;
  };
  const CliResult told = run(server, {"watch", server.directory(), "--defer", "build", "--drop",
                                      "checkout", "--drop", "rebase"});
  EXPECT_EQ(told.out, "");
  EXPECT_THAT(told.err, HasSubstr("state build was entered"));
  EXPECT_THAT(told.err, HasSubstr("state build was left"));
  EXPECT_THAT(server.state.subscribes.at(0).filter().defer(), ElementsAre("build"));
  EXPECT_THAT(server.state.subscribes.at(0).filter().drop(), ElementsAre("checkout", "rebase"));
}

TEST(WatchCli, ALoopingCommandIsStoppedAndItsPathsAreNamed) {
  FakeServer server;
  const std::string file = server.directory() + "/out.txt";
  std::atomic<int> version{0};
  const auto rewrite = [&] { std::ofstream(file) << "version " << ++version; };
  rewrite();
  server.state.subscribe = [&](const v1::SubscribeWatchRequest&, const Emit<v1::WatchBatch>& emit,
                               const Cancelled& cancelled) -> Outcome {
    emit(batch("c:0", {"out.txt"}));
    std::size_t seen = 0;
    const auto submits = [&] {
      const std::lock_guard<std::mutex> lock(server.state.mutex);
      return server.state.submits.size();
    };
    while (eventually([&] { return cancelled() || submits() > seen; }) && !cancelled()) {
      seen = submits();
      rewrite();
      emit(batch("c:" + std::to_string(seen), {"out.txt"}));
    }
    return std::nullopt;
  };
  const CliResult result = run(server, {"watch", server.directory(), "--", "make", "-s"});
  EXPECT_EQ(result.code, 7);
  EXPECT_THAT(result.err, HasSubstr("out.txt"));
  EXPECT_THAT(result.err, HasSubstr("--writes GLOB"));
  ASSERT_EQ(server.state.submits.size(), 4u);  // the first run and three following ones
  const v1::TaskSpec& spec = server.state.submits[0].specs(0);
  EXPECT_THAT(spec.argv(), ElementsAre("make", "-s"));
  EXPECT_EQ(spec.env().at("ZSYNC_CHANGED"), "out.txt");
}

TEST(WatchCli, AnInterruptWhileIdleEndsIt) {
  FakeServer server;
  server.state.subscribe = [](const v1::SubscribeWatchRequest&, const Emit<v1::WatchBatch>& emit,
                              const Cancelled& cancelled) -> Outcome {
    emit(batch("c:0", {}));
    eventually(cancelled);
    return std::nullopt;
  };
  Process process({program(), "watch", server.directory(), "--", "true"},
                  {"ZSYNC_SOCKET=" + server.socket(), "ZSYNC_STATE_DIR=" + server.directory()});
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard<std::mutex> lock(server.state.mutex);
    return !server.state.subscribes.empty();
  }));
  process.signal(SIGINT);
  EXPECT_EQ(process.wait().code, 130);
}

TEST(WatchCli, ABatchInSeveralMessagesIsOneRun) {
  FakeServer server;
  server.state.subscribe = [&](const v1::SubscribeWatchRequest&, const Emit<v1::WatchBatch>& emit,
                               const Cancelled&) -> Outcome {
    emit(batch("c:0", {}));
    emit(batch("", {"a"}));
    emit(batch("", {"b"}));
    emit(batch("c:1", {}));
    eventually([&] {
      const std::lock_guard<std::mutex> lock(server.state.mutex);
      return !server.state.submits.empty();
    });
    return std::nullopt;
  };
  for (const char* name : {"a", "b"}) std::ofstream(server.directory() + "/" + name) << "1";
  (void)run(server, {"watch", server.directory(), "--", "make"});
  ASSERT_EQ(server.state.submits.size(), 1u);
  const v1::TaskSpec& spec = server.state.submits[0].specs(0);
  EXPECT_EQ(spec.env().at("ZSYNC_CHANGED"), "a\nb");
  EXPECT_EQ(spec.labels().at("watch").find('/'), std::string::npos) << "zsyncd refuses a slash";
}

TEST(WatchCli, NamesThatAreNotTextAreGivenAsTheyAre) {
  FakeServer server;
  server.state.subscribe = [](const v1::SubscribeWatchRequest&, const Emit<v1::WatchBatch>& emit,
                              const Cancelled&) -> Outcome {
    v1::WatchBatch odd = batch("c:1", {"a\uFFFD"});
    odd.mutable_changes(0)->set_path_bytes("a\xFF");
    emit(odd);
    return std::nullopt;
  };
  EXPECT_EQ(run(server, {"watch", server.directory(), "-q"}).out, "a\xFF\n");
}

TEST(ContentHash, FollowsTheContentAndNotTheTime) {
  FakeServer server;
  const std::string file = server.directory() + "/f";
  EXPECT_EQ(content_hash(file), "");
  std::ofstream(file) << "one";
  const std::string one = content_hash(file);
  std::ofstream(file) << "two";
  EXPECT_NE(content_hash(file), one);
  std::ofstream(file) << "one";
  EXPECT_EQ(content_hash(file), one);
}

}  // namespace
}  // namespace zsync::cli::testing
