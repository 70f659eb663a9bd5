#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "cli/frames.hpp"
#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ChannelsCli, CreateSaysEverything) {
  FakeServer server;
  const CliResult result =
      run(server, {"channel", "create", "jobs", "--capacity", "5", "--overflow", "drop_oldest",
                   "--durable", "--if-absent", "--bytes-max", "1MB"});
  EXPECT_EQ(result.out, "jobs\n") << result.err;
  const v1::ChannelSpec& spec = server.state.create.spec();
  EXPECT_EQ(spec.capacity(), 5u);
  EXPECT_EQ(spec.overflow(), v1::OVERFLOW_DROP_OLDEST);
  EXPECT_EQ(spec.class_(), v1::CHANNEL_CLASS_DURABLE);
  EXPECT_EQ(spec.bytes_max(), 1u << 20);
  EXPECT_TRUE(server.state.create.if_absent());
  EXPECT_FALSE(spec.has_disk_bytes_max());
  EXPECT_EQ(run(server, {"channels", "create", "x", "--unbounded", "--capacity", "5"}).code, 2);
  EXPECT_EQ(run(server, {"channels", "create", "x", "--unbounded", "--disk-max", "2MiB"}).code, 0);
  EXPECT_EQ(server.state.create.spec().disk_bytes_max(), 2u << 20);
}

TEST(ChannelsCli, SetChangesOnlyWhatIsNamed) {
  FakeServer server;
  const CliResult result =
      run(server, {"channels", "set", "jobs", "--retention-age", "2d", "--retention-bytes", "none",
                   "--retention-drops-unsettled", "yes"});
  EXPECT_EQ(result.code, 0) << result.err;
  const v1::ChannelPolicy& policy = server.state.update.policy();
  EXPECT_EQ(policy.retention_age().seconds(), 2 * 24 * 3600);
  EXPECT_TRUE(policy.has_retention_bytes());
  EXPECT_EQ(policy.retention_bytes(), 0u);
  EXPECT_TRUE(policy.retention_drops_unsettled());
  EXPECT_FALSE(policy.has_dedup_window());
  run(server,
      {"channels", "create", "jobs", "--dedup-window", "none", "--retention-bytes", "1MiB"});
  EXPECT_TRUE(server.state.create.spec().policy().has_dedup_window());
  EXPECT_EQ(server.state.create.spec().policy().dedup_window().seconds(), 0);
  EXPECT_EQ(server.state.create.spec().policy().retention_bytes(), 1u << 20);
  EXPECT_EQ(run(server, {"channels", "set", "jobs"}).code, 2);
  EXPECT_THAT(run(server, {"channels", "set", "jobs", "--retention-bytes", "x"}).err,
              HasSubstr("--retention-bytes"));
  EXPECT_EQ(run(server, {"channels", "set", "jobs", "--retention-age", "x"}).code, 2);
}

TEST(ChannelsCli, ARequestIsStdinAndItsReplyStdout) {
  FakeServer server;
  EXPECT_EQ(run(server, {"channels", "request", "ask"}, "what?\n").out, "<what?\n>");
  EXPECT_EQ(run(server, {"channels", "request", "ask", "-m", "", "--wait", "2s"}).out, "<>");
  EXPECT_THAT(server.state.calls, ElementsAre("request ask 0s", "request ask 2s"));
}

TEST(ChannelsCli, ReplyRunsTheCommandForEachRequestAndTellsHowItFailed) {
  FakeServer server;
  server.state.messages = {"one", "", "fail", std::string(200'000, 'x')};
  const CliResult result = run(server, {"channels", "reply", "ask", "--", "sh", "-c",
                                        "read -r word; [ \"$word\" != fail ] || exit 3; "
                                        "printf %s \"${#word}\""});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(server.state.sent,
              ElementsAre("3", "0", "! \"sh\" ended with exit code 3", "200000"));
  EXPECT_THAT(result.err, HasSubstr("ended with exit code 3"));
  server.state.sent.clear();
  server.state.messages = {"x"};
  run(server, {"channels", "reply", "ask", "--", "/none/such"});
  EXPECT_THAT(server.state.sent,
              ElementsAre("! cannot run \"/none/such\": No such file or directory"));
  EXPECT_EQ(run(server, {"channels", "reply", "ask"}).code, 2);
}

TEST(ChannelsCli, FollowBeginsAtTheStartAtANumberOrAtATime) {
  FakeServer server;
  const auto followed = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"channels", "follow", "jobs"});
    server.state.channel_follows.clear();
    const CliResult result = run(server, words);
    return server.state.channel_follows.empty() ? v1::FollowChannelRequest()
                                                : server.state.channel_follows.front();
  };
  EXPECT_TRUE(followed({"--from", "start"}).from_start());
  EXPECT_EQ(followed({"--from", "5"}).from_seq(), 5u);
  EXPECT_EQ(followed({"--from", "end"}).from_seq(), 7u) << "the next one, as it is now";
  EXPECT_EQ(followed({"--from-time", "2026-01-01T00:00:00Z"}).from_time_unix_nano(),
            1'767'225'600'000'000'000);
  EXPECT_GT(followed({"--from-time", "10m"}).from_time_unix_nano(), 1'700'000'000'000'000'000);
  EXPECT_EQ(run(server, {"channels", "follow", "jobs", "--from", "0"}).code, 2);
  EXPECT_EQ(run(server, {"channels", "follow", "jobs", "--from-time", "then"}).code, 2);
}

TEST(ChannelsCli, SendTakesLinesInBatches) {
  FakeServer server;
  std::string input;
  for (int i = 0; i < 3000; ++i) input += "line " + std::to_string(i) + "\n";
  const CliResult result = run(server, {"channels", "send", "jobs"}, input);
  EXPECT_EQ(result.code, 0) << result.err;
  ASSERT_EQ(server.state.sent.size(), 3000u);
  EXPECT_EQ(server.state.sent.back(), "line 2999");
  EXPECT_LE(server.state.send_batches, 4);
}

TEST(ChannelsCli, SendTakesFramesAndMessages) {
  FakeServer server;
  run(server, {"channels", "send", "jobs", "--frames"}, frame_header(3) + "a\nb" + frame_header(0));
  EXPECT_THAT(server.state.sent, ElementsAre("a\nb", ""));
  server.state.sent.clear();
  EXPECT_THAT(run(server, {"channels", "send", "jobs", "-m", "x", "-m", "y", "-o", "jsonl"}).out,
              HasSubstr("\"accepted\":\"2\""));
  EXPECT_THAT(server.state.sent, ElementsAre("x", "y"));
}

TEST(ChannelsCli, AClosedChannelIsAConflict) {
  FakeServer server;
  Failure closed = failure(grpc::StatusCode::UNAVAILABLE, "channel jobs is closed");
  closed.detail.set_reason("CLOSED");
  server.state.send_failure = closed;
  const CliResult result = run(server, {"channels", "send", "jobs", "-m", "x"});
  EXPECT_EQ(result.code, 7);
  EXPECT_EQ(result.err, "zsyncctl: channel jobs is closed\n");
}

TEST(ChannelsCli, ALineOverTheLimitFailsAfterTheOnesBeforeIt) {
  FakeServer server;
  const CliResult result =
      run(server, {"channels", "send", "jobs"}, "ok\n" + std::string(kMessageBytesMax + 1, 'x'));
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("line 2 of stdin"));
  EXPECT_THAT(server.state.sent, ElementsAre("ok"));
}

TEST(ChannelsCli, RecvEndsAtTheCloseAndKeepsCreditFlowing) {
  FakeServer server;
  std::string expected;
  for (int i = 0; i < 10'000; ++i) {
    server.state.messages.push_back(std::to_string(i));
    expected += std::to_string(i) + "\n";
  }
  const CliResult result = run(server, {"channels", "recv", "jobs"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, expected);
  EXPECT_GT(server.state.recvs.size(), 1u);
}

TEST(ChannelsCli, RecvStopsAfterItsCountAndWritesFrames) {
  FakeServer server;
  server.state.messages = {"a", "b", "c"};
  EXPECT_EQ(run(server, {"channels", "recv", "jobs", "-n", "2", "--frames"}).out,
            frame_header(1) + "a" + frame_header(1) + "b");
  EXPECT_EQ(server.state.recvs.at(0).limit(), 2u);
  EXPECT_EQ(server.state.recvs.at(0).credit(), 2u);
}

TEST(ChannelsCli, FollowTakesNothingAndNamesGaps) {
  FakeServer server;
  server.state.channel_follow = [](const v1::FollowChannelRequest&, const Emit<v1::RecvBatch>& emit,
                                   const Cancelled&) -> Outcome {
    v1::RecvBatch batch;
    batch.mutable_gap()->set_from(1);
    batch.mutable_gap()->set_to(4);
    batch.mutable_gap()->set_reason("dropped_oldest");
    *batch.add_records() = record(5, "five");
    *batch.add_records() = record(6, "six");
    emit(batch);
    return std::nullopt;
  };
  CliResult result = run(server, {"channels", "recv", "jobs", "--follow-from", "1"});
  EXPECT_EQ(result.out, "five\nsix\n");
  EXPECT_THAT(result.err, HasSubstr("messages 1 to 4 are missing (dropped_oldest)"));
  EXPECT_EQ(server.state.channel_follows.at(0).from_seq(), 1u);
  result = run(server, {"channels", "follow", "jobs", "-n", "1"});
  EXPECT_EQ(result.out, "five\n");
  EXPECT_EQ(server.state.channel_follows.at(1).from_seq(), 7u);  // the next one, by number
}

TEST(ChannelsCli, ListGetCloseRemove) {
  FakeServer server;
  EXPECT_THAT(run(server, {"channels", "list"}).out, HasSubstr("jobs"));
  EXPECT_THAT(run(server, {"channels", "get", "jobs"}).out, HasSubstr("next seq      7"));
  EXPECT_EQ(run(server, {"channels", "close", "jobs", "-q"}).out, "jobs\n");
  EXPECT_EQ(run(server, {"channels", "remove", "a", "b"}).code, 0);
  EXPECT_THAT(server.state.calls, ElementsAre("close jobs", "remove a", "remove b"));
}

TEST(ChannelsCli, AGroupIsMadeWithEverythingThatWasAsked) {
  FakeServer server;
  const CliResult made =
      run(server, {"channels", "add-group", "jobs", "g", "--ack-wait", "90s", "--max-deliveries",
                   "7", "--in-flight", "20", "--from", "12"});
  EXPECT_EQ(made.out, "jobs g\n") << made.err;
  const v1::CreateGroupRequest& request = server.state.create_group;
  EXPECT_EQ(request.channel(), "jobs");
  EXPECT_EQ(request.spec().name(), "g");
  EXPECT_EQ(request.spec().ack_wait().seconds(), 90);
  EXPECT_EQ(request.spec().max_deliveries(), 7u);
  EXPECT_EQ(request.spec().in_flight_max(), 20u);
  EXPECT_EQ(request.from_seq(), 12u);
  EXPECT_EQ(run(server, {"channels", "add-group", "jobs", "g", "--from-now", "--from", "1"}).code,
            2);
  EXPECT_EQ(run(server, {"channels", "remove-group", "-y", "jobs", "g"}).code, 0);
  EXPECT_THAT(server.state.calls, ElementsAre("remove-group jobs g"));
}

TEST(ChannelsCli, ShowSaysWhatEachConsumerWaitsFor) {
  FakeServer server;
  const std::string out = run(server, {"channels", "show", "jobs"}).out;
  EXPECT_THAT(out, HasSubstr("why           no receiver is connected for 1 message\n"));
  EXPECT_THAT(out, HasSubstr("receiver 3    pid 4711, 9 given, 2 in hand: nothing is left\n"));
  EXPECT_THAT(out, HasSubstr("  consumer 1  0 given, 0 in hand: a key\\x1b is held\n"));
  EXPECT_THAT(run(server, {"channels", "show", "jobs", "-o", "json"}).out,
              HasSubstr("\"state\": \"CONSUMER_STATE_KEY_HELD\""));
}

TEST(ChannelsCli, SelectNamesItsSourcesAndPrintsThemBeforeTheirMessages) {
  FakeServer server;
  server.state.messages = {"a", "b"};
  const CliResult result =
      run(server, {"channels", "select", "jobs/g", "mail", "--follow", "news", "-n", "2"});
  EXPECT_EQ(result.out, "jobs a\njobs b\n") << result.err;
  ASSERT_EQ(server.state.recvs.at(0).sources_size(), 3);
  EXPECT_EQ(server.state.recvs[0].sources(0).group(), "g");
  EXPECT_EQ(server.state.recvs[0].sources(1).channel(), "mail");
  EXPECT_TRUE(server.state.recvs[0].sources(2).follow());
  EXPECT_EQ(server.state.recvs[0].limit(), 2u);
  EXPECT_EQ(run(server, {"channels", "select", "a/b/c"}).code, 2);
  EXPECT_EQ(run(server, {"channels", "select", "a/"}).code, 2);
}

TEST(ChannelsCli, AcksNameMessagesAndTheirDeliveries) {
  FakeServer server;
  EXPECT_EQ(run(server, {"channels", "ack", "jobs", "g", "5"}).code, 0);
  const CliResult partly = run(server, {"channels", "ack", "jobs", "g", "5:2", "6"});
  EXPECT_EQ(partly.code, 7);
  EXPECT_THAT(partly.err, HasSubstr("message refused"));
  EXPECT_EQ(run(server, {"channels", "extend", "jobs", "g", "5:1"}).code, 0);
  EXPECT_EQ(
      run(server, {"channels", "nack", "jobs", "g", "5", "--delay", "3s", "--reason", "busy"}).code,
      0);
  EXPECT_THAT(server.state.calls, ElementsAre("ack jobs g 5:0", "ack jobs g 5:2 6:0",
                                              "extend jobs g 5:1", "nack jobs g 5:0", "3s busy"));
  EXPECT_EQ(run(server, {"channels", "ack", "jobs", "g", "5:x"}).code, 2);
}

TEST(ChannelsCli, AConsumerAcknowledgesWhatItWroteUnlessItIsToldNotTo) {
  FakeServer server;
  server.state.messages = {"a", "b"};
  EXPECT_EQ(run(server, {"channels", "recv", "jobs", "-g", "g", "-n", "2"}).out, "a\nb\n");
  ASSERT_FALSE(server.state.recvs.empty());
  EXPECT_EQ(server.state.recvs[0].group(), "g");
  EXPECT_EQ(server.state.recvs[0].credit(), 2u);
  server.state.recvs.clear();
  run(server, {"channels", "recv", "jobs", "-g", "g", "--no-ack"});
  ASSERT_FALSE(server.state.recvs.empty());
  EXPECT_EQ(server.state.recvs[0].credit(), 0u);
  EXPECT_EQ(run(server, {"channels", "recv", "jobs", "--no-ack"}).code, 2);
}

}  // namespace
}  // namespace zsync::cli::testing
