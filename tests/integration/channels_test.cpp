// Channels between real processes: who gets what, who waits, and what comes back when somebody
// dies.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <numeric>
#include <set>
#include <sstream>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

using Messages = std::vector<std::string>;

constexpr kit::milliseconds kWaiterGoneLimit{1'000};  // a dead client's waiters vanish within it

class Channels : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }

  void create(const std::string& name, Words flags = {}) {
    flags.insert(flags.begin(), {"channels", "create", name});
    const kit::Ran ran = ctl(std::move(flags));
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  v1::Channel info(const std::string& name) {
    const auto channel = channels().get(name);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? *channel : v1::Channel();
  }
  static std::string lines(int from, int to) {
    std::string text;
    for (int i = from; i <= to; ++i) text += std::to_string(i) + "\n";
    return text;
  }
  // What is left in a closed channel.
  Messages drain(const std::string& name) {
    Messages messages;
    const absl::Status status = channels().recv(name, 0, [&](const v1::RecvBatch& batch) {
      for (const v1::Record& record : batch.records()) messages.push_back(record.data());
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return messages;
  }
  kit::Process start(Words words, const std::string& out = "") {
    kit::StartOptions options;
    if (!out.empty()) {
      options.out = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    kit::Process process(daemon().ctl_argv(std::move(words)), options);
    if (options.out >= 0) close(options.out);
    return process;
  }
  bool receivers_wait(const std::string& name, uint32_t count,
                      kit::milliseconds limit = kit::milliseconds(10'000)) {
    return kit::poll_until([&] { return info(name).receivers_waiting() == count; }, limit);
  }
};

TEST_F(Channels, LinesGoThroughInOrderAndCloseEndsTheReceiver) {
  create("lines");
  kit::Process receiver = start({"channels", "recv", "lines"}, file("out"));
  const std::string text = lines(1, 50'000);
  const kit::Ran sent = ctl({"channels", "send", "lines"}, text);
  ASSERT_EQ(sent.code, 0) << sent.err;
  ASSERT_EQ(ctl({"channels", "close", "lines"}).code, 0);
  EXPECT_EQ(receiver.wait(kit::milliseconds(10'000)), 0);
  EXPECT_TRUE(kit::read_file(file("out")) == text);
}

TEST_F(Channels, FramesKeepEveryByteOfAMessage) {
  create("frames");
  const std::string message("a\nb\0c\xff", 6);
  const std::string frame = std::string("\0\0\0\x06", 4) + message;
  const std::string frames = frame + std::string(4, '\0') + frame;
  const kit::Ran sent = ctl({"channels", "send", "--frames", "frames"}, frames);
  ASSERT_EQ(sent.code, 0) << sent.err;
  EXPECT_EQ(info("frames").depth(), 3u);
  EXPECT_EQ(ctl({"channels", "recv", "frames", "-n", "3", "--frames"}).out, frames);
}

TEST_F(Channels, EachMessageGoesToOneOfTwoReceivers) {
  create("jobs");
  std::vector<kit::Process> receivers;
  for (const char* out : {"a", "b"}) {
    receivers.push_back(start({"channels", "recv", "jobs"}, file(out)));
  }
  ASSERT_EQ(ctl({"channels", "send", "jobs"}, lines(1, 20'000)).code, 0);
  ASSERT_EQ(ctl({"channels", "close", "jobs"}).code, 0);
  std::multiset<int> seen;
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(receivers[i].wait(kit::milliseconds(10'000)), 0);
    std::istringstream text(kit::read_file(file(i == 0 ? "a" : "b")).value_or(""));
    for (int number; text >> number;) seen.insert(number);
  }
  std::vector<int> expected(20'000);
  std::iota(expected.begin(), expected.end(), 1);
  EXPECT_TRUE(std::equal(seen.begin(), seen.end(), expected.begin(), expected.end()));
}

TEST_F(Channels, AFullChannelHoldsItsSenderUntilSomebodyReceives) {
  create("narrow", {"--capacity", "4"});
  std::future<kit::Ran> sender = std::async(
      std::launch::async, [&] { return ctl({"channels", "send", "narrow"}, lines(1, 100)); });
  ASSERT_TRUE(kit::poll_until([&] { return info("narrow").senders_waiting() == 1; }));
  EXPECT_EQ(info("narrow").depth(), 4u);
  EXPECT_EQ(ctl({"channels", "recv", "narrow", "-n", "100"}).out, lines(1, 100));
  EXPECT_EQ(sender.get().code, 0);
}

// What a receiver was sent and did not deal with, for each of the ways in which a call gets its
// last batch.
struct LastBatch {
  const char* name;
  bool close;      // the channel is closed and drained
  uint64_t limit;  // of the receiver
};
class LastBatchOfChannels : public Channels, public ::testing::WithParamInterface<LastBatch> {};

TEST_P(LastBatchOfChannels, GoesBackWhenItsReceiverLeavesBeforeItHasDealtWithIt) {
  create("work");
  ASSERT_EQ(ctl({"channels", "send", "work"}, lines(1, 10)).code, 0);
  if (GetParam().close) {
    ASSERT_EQ(ctl({"channels", "close", "work"}).code, 0);
  }
  client::StopSource stop;
  int batches = 0;
  const absl::Status left =
      channels().recv("work", GetParam().limit,
                      [&](const v1::RecvBatch& batch) {
                        ++batches;
                        EXPECT_EQ(batch.records_size(), 10);
                        stop.cancel();  // the call breaks while this batch is in hand
                        return true;
                      },
                      {std::chrono::seconds(10), &stop});
  EXPECT_EQ(left.code(), absl::StatusCode::kCancelled) << left;
  EXPECT_EQ(batches, 1);
  ASSERT_TRUE(kit::poll_until([&] { return info("work").depth() == 10; }));
  if (!GetParam().close) {
    ASSERT_EQ(ctl({"channels", "close", "work"}).code, 0);
  }
  EXPECT_EQ(drain("work").size(), 10u);
  EXPECT_EQ(info("work").received(), 10u);
}

INSTANTIATE_TEST_SUITE_P(Each, LastBatchOfChannels,
                         ::testing::Values(LastBatch{"closed", true, 0},
                                           LastBatch{"limit", false, 10},
                                           LastBatch{"closed_and_limit", true, 10}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_F(Channels, WhatAKilledReceiverHadInHandGoesToTheNext) {
  create("work");
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  kit::StartOptions options;
  options.out = pipe_fds[1];
  kit::Process receiver(daemon().ctl_argv({"channels", "recv", "work"}), options);
  close(pipe_fds[1]);
  // More than the pipe and the receiver's credit take: it blocks while writing a batch.
  const std::string text = lines(1, 200'000);
  std::future<kit::Ran> sender =
      std::async(std::launch::async, [&] { return ctl({"channels", "send", "work"}, text); });
  char byte;
  ASSERT_EQ(read(pipe_fds[0], &byte, 1), 1);
  receiver.kill9();
  close(pipe_fds[0]);

  kit::Process next = start({"channels", "recv", "work"}, file("rest"));
  ASSERT_EQ(sender.get().code, 0);
  ASSERT_EQ(ctl({"channels", "close", "work"}).code, 0);
  EXPECT_EQ(next.wait(kit::milliseconds(30'000)), 0);
  // What the dead one had not confirmed comes, though maybe after newer ones that were taken before
  // its death was noticed; nothing comes twice.
  std::istringstream numbers(kit::read_file(file("rest")).value_or(""));
  std::vector<int> came;
  for (int number; numbers >> number;) came.push_back(number);
  std::sort(came.begin(), came.end());
  ASSERT_FALSE(came.empty());
  EXPECT_EQ(came.back(), 200'000);
  EXPECT_EQ(came.size(), static_cast<size_t>(200'000 - came.front() + 1));
  EXPECT_EQ(std::adjacent_find(came.begin(), came.end()), came.end());
  EXPECT_EQ(info("work").depth(), 0u);
}

TEST_F(Channels, ADeadClientsWaitersVanishWithinASecond) {
  create("quiet", {"--capacity", "1"});
  kit::Process receiver = start({"channels", "recv", "quiet"});
  ASSERT_TRUE(receivers_wait("quiet", 1));
  receiver.kill9();
  EXPECT_TRUE(receivers_wait("quiet", 0, kWaiterGoneLimit));

  kit::Process sender(
      daemon().ctl_argv({"channels", "send", "quiet", "-m", "1", "-m", "2", "-m", "3"}));
  ASSERT_TRUE(kit::poll_until([&] { return info("quiet").senders_waiting() == 1; }));
  sender.kill9();
  EXPECT_TRUE(
      kit::poll_until([&] { return info("quiet").senders_waiting() == 0; }, kWaiterGoneLimit));
}

TEST_F(Channels, ADroppingChannelKeepsTheNewestAndNamesTheGap) {
  create("latest", {"--capacity", "3", "--overflow", "drop_oldest"});
  ASSERT_EQ(ctl({"channels", "send", "latest"}, lines(1, 10)).code, 0);
  const kit::Ran followed = ctl({"channels", "recv", "latest", "--follow-from", "1", "-n", "3"});
  EXPECT_EQ(followed.out, lines(8, 10));
  EXPECT_THAT(followed.err, HasSubstr("dropped_oldest"));
  const kit::Ran received = ctl({"channels", "recv", "latest", "-n", "3"});
  EXPECT_EQ(received.out, lines(8, 10));
  EXPECT_THAT(received.err, HasSubstr("dropped_oldest"));
}

TEST_F(Channels, AcceptedMessagesOfADurableChannelSurviveAKillInOrder) {
  create("ledger", {"--durable", "--capacity", "100000"});
  ASSERT_EQ(ctl({"channels", "send", "ledger"}, lines(1, 1000)).code, 0);
  EXPECT_EQ(ctl({"channels", "recv", "ledger", "-n", "400"}).out, lines(1, 400));
  daemon().kill9();
  ASSERT_TRUE(daemon().start()) << daemon().log();
  connect();
  ASSERT_EQ(ctl({"channels", "send", "ledger"}, lines(1001, 1010)).code, 0);
  ASSERT_EQ(ctl({"channels", "close", "ledger"}).code, 0);
  const Messages rest = drain("ledger");
  ASSERT_FALSE(rest.empty());
  // What was confirmed shortly before the kill may come again; nothing is missing.
  EXPECT_LE(std::stoi(rest.front()), 401);
  EXPECT_EQ(rest.back(), "1010");
  EXPECT_EQ(rest.size(), static_cast<size_t>(1010 - std::stoi(rest.front()) + 1));
}

TEST_F(Channels, RemovingOneTellsWhoeverWaits) {
  create("short");
  kit::Process receiver = start({"channels", "recv", "short"});
  ASSERT_TRUE(receivers_wait("short", 1));
  ASSERT_EQ(ctl({"channels", "remove", "-y", "short"}).code, 0);
  EXPECT_EQ(receiver.wait(kit::milliseconds(5'000)), 3);
}

TEST_F(Channels, AMistypedNameIsNotFoundAndTheClosestIsNamed) {
  create("builds");
  const kit::Ran ran = ctl({"channels", "recv", "build"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("builds"));
}

TEST_F(Channels, NamesWithSlashOrNewlineAreRefused) {
  for (const char* name : {"a/b", "a\nb", "", ".."}) {
    v1::CreateChannelRequest request;
    request.mutable_spec()->set_name(name);
    const auto created = channels().create(request);
    EXPECT_EQ(created.status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

}  // namespace
}  // namespace zsync::integration
