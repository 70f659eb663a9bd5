#include "zsync/client.hpp"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "cli/testing/cli_run.hpp"

namespace zsync::cli::testing {
namespace {

using ::testing::ElementsAre;

std::unique_ptr<client::Client> connect(const FakeServer& server, bool resume) {
  client::Options options;
  options.socket = server.socket();
  options.resume = resume;
  options.resume_timeout = std::chrono::seconds(10);
  auto client = client::Client::connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

// A source of `last` numbered records that breaks after every second one.
Script<v1::FollowChannelRequest, v1::RecvBatch> breaking(std::uint64_t last) {
  return [last](const v1::FollowChannelRequest& request, const Emit<v1::RecvBatch>& emit,
                const Cancelled&) -> Outcome {
    std::uint64_t seq = request.from_seq();
    for (int i = 0; i < 2 && seq <= last; ++i, ++seq) {
      v1::RecvBatch batch;
      *batch.add_records() = record(seq, std::to_string(seq));
      batch.set_closed(seq == last);
      emit(batch);
    }
    if (seq <= last) return failure(grpc::StatusCode::UNAVAILABLE, "broken");
    return std::nullopt;
  };
}

TEST(Client, FollowsResumeAtTheNextRecord) {
  FakeServer server;
  server.state.channel_follow = breaking(5);
  auto client = connect(server, true);
  std::vector<std::uint64_t> seen;
  const absl::Status status = client->channels().follow("c", 1, [&](const v1::RecvBatch& batch) {
    for (const v1::Record& one : batch.records()) seen.push_back(one.seq());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre(1, 2, 3, 4, 5));
}

TEST(Client, WithoutResumeABreakIsTheEnd) {
  FakeServer server;
  server.state.channel_follow = breaking(5);
  auto client = connect(server, false);
  EXPECT_TRUE(absl::IsUnavailable(
      client->channels().follow("c", 1, [](const v1::RecvBatch&) { return true; })));
}

TEST(Client, AnErrorThatTheDaemonMeansIsNotTriedAgain) {
  FakeServer server;
  server.state.channel_follow = [](const auto&, const auto&, const auto&) -> Outcome {
    Failure closed = failure(grpc::StatusCode::UNAVAILABLE, "closed");
    closed.detail.set_reason("CLOSED");
    return closed;
  };
  auto client = connect(server, true);
  const absl::Status status =
      client->channels().follow("c", 1, [](const v1::RecvBatch&) { return true; });
  ASSERT_TRUE(client::error_detail(status).has_value());
  EXPECT_EQ(client::error_detail(status)->reason(), "CLOSED");
  EXPECT_EQ(server.state.channel_follows.size(), 1u);
}

TEST(Client, EventsFromNowOnAreFollowedByNumber) {
  FakeServer server;
  server.state.events = [](const v1::FollowEventsRequest& request, const Emit<v1::EventBatch>& emit,
                           const Cancelled&) -> Outcome {
    v1::EventBatch batch;
    batch.add_events()->set_seq(request.from_seq());
    emit(batch);
    if (request.from_seq() < 44) return failure(grpc::StatusCode::UNAVAILABLE, "broken");
    return std::nullopt;
  };
  auto client = connect(server, true);
  std::vector<std::uint64_t> seen;
  v1::FollowEventsRequest request;
  request.set_follow(true);
  EXPECT_TRUE(client->events()
                  .follow(request,
                          [&](const v1::EventBatch& batch) {
                            seen.push_back(batch.events(0).seq());
                            return true;
                          })
                  .ok());
  EXPECT_THAT(seen, ElementsAre(42, 43, 44));
}

TEST(Client, AWatchResumesFromItsClock) {
  FakeServer server;
  server.state.subscribe = [](const v1::SubscribeWatchRequest& request,
                              const Emit<v1::WatchBatch>& emit, const Cancelled&) -> Outcome {
    v1::WatchBatch batch;
    batch.set_clock(request.since() + "x");
    emit(batch);
    if (request.since().size() < 2) return failure(grpc::StatusCode::UNAVAILABLE, "broken");
    return std::nullopt;
  };
  auto client = connect(server, true);
  std::vector<std::string> clocks;
  EXPECT_TRUE(client->watch()
                  .subscribe({},
                             [&](const v1::WatchBatch& batch) {
                               clocks.push_back(batch.clock());
                               return true;
                             })
                  .ok());
  EXPECT_THAT(clocks, ElementsAre("x", "xx", "xxx"));
}

TEST(Client, OutputGoesOnThroughLaterAttemptsAfterABreak) {
  FakeServer server;
  v1::Task& task = server.state.tasks["t"];
  task.set_id("t");
  task.set_attempt(2);
  task.set_state(v1::TASK_STATE_SUCCEEDED);
  std::atomic<int> calls{0};
  server.state.output = [&](const v1::TaskOutputRequest& request,
                            const Emit<v1::TaskOutputBatch>& emit, const Cancelled&) -> Outcome {
    const int call = ++calls;
    v1::TaskOutputBatch batch;
    batch.set_attempt(request.attempt() == 0 ? 1 : request.attempt());
    for (std::uint64_t seq = std::max<std::uint64_t>(1, request.from_seq());
         seq <= (call == 1 ? 2u : 3u); ++seq) {
      *batch.add_records() =
          record(seq, std::to_string(batch.attempt()) + "/" + std::to_string(seq));
    }
    emit(batch);
    if (call == 1) return failure(grpc::StatusCode::UNAVAILABLE, "broken");
    return std::nullopt;
  };
  auto client = connect(server, true);
  std::vector<std::string> seen;
  const absl::Status status =
      client->tasks().output("t", 1, true, [&](const v1::TaskOutputBatch& batch) {
        for (const v1::Record& one : batch.records()) seen.push_back(one.data());
        return true;
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre("1/1", "1/2", "1/3", "2/1", "2/2", "2/3"));
}

TEST(Client, AStopSourceEndsABlockingCallFromAnotherThread) {
  FakeServer server;
  auto client = connect(server, true);
  client::StopSource stop;
  client::CallOptions call;
  call.stop = &stop;
  std::thread other([&] {
    eventually([&] { return client->daemon().info().ok(); });
    stop.cancel();
  });
  const auto reply = client->tasks().wait({"never"}, call);
  other.join();
  EXPECT_TRUE(absl::IsCancelled(reply.status())) << reply.status();
  EXPECT_TRUE(absl::IsCancelled(client->tasks().get("t", call).status()));
}

TEST(Client, AStopSourceEndsAReconnectToo) {
  FakeServer server;
  auto client = connect(server, true);
  server.stop();
  client::StopSource stop;
  client::CallOptions call;
  call.stop = &stop;
  std::thread other([&] { stop.cancel(); });
  const absl::Status status = client->daemon().info(call).status();
  other.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

TEST(Client, ADeadlineBoundsReconnecting) {
  FakeServer server;
  auto client = connect(server, true);
  server.stop();
  client::CallOptions call;
  call.timeout = std::chrono::milliseconds(100);
  EXPECT_TRUE(absl::IsDeadlineExceeded(client->daemon().info(call).status()));
}

TEST(Client, AnOversizedRequestIsRefusedHere) {
  FakeServer server;
  auto client = connect(server, true);
  v1::TaskSpec spec;
  spec.add_argv(std::string(5 << 20, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(client->tasks().submit(spec).status()));
}

TEST(Client, TrySendAndFlushReportWhatWasAccepted) {
  FakeServer server;
  auto client = connect(server, false);
  v1::SendRequest request;
  request.set_channel("c");
  request.add_messages("x");
  EXPECT_EQ(client->channels().try_send(request)->accepted(), 1u);
  client::ChannelSender sender = client->channels().send("c");
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(sender.send({"a", "b"}));
  EXPECT_TRUE(sender.flush());
  const auto total = sender.finish();
  ASSERT_TRUE(total.ok()) << total.status();
  EXPECT_EQ(total->accepted(), 200u);
  EXPECT_EQ(total->last_seq(), 200u);
}

}  // namespace
}  // namespace zsync::cli::testing
