// `select` over several channels, between real processes.
#include <fcntl.h>
#include <unistd.h>

#include <set>
#include <sstream>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

using ::testing::ElementsAre;

class ChannelSelect : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }
  void create(const std::string& name, Words flags = {}) {
    flags.insert(flags.begin(), {"channels", "create", name});
    const kit::Ran ran = ctl(std::move(flags));
    ASSERT_EQ(ran.code, 0) << ran.err;
  }
  void send(const std::string& name, const std::string& lines) {
    ASSERT_EQ(ctl({"channels", "send", name}, lines).code, 0);
  }
  uint64_t depth(const std::string& name) {
    const auto channel = channels().get(name);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? channel->depth() : 0;
  }
  kit::Process start(Words words, const std::string& out) {
    kit::StartOptions options;
    options.out = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    kit::Process process(daemon().ctl_argv(std::move(words)), options);
    close(options.out);
    return process;
  }
  bool waits(const std::string& name) {
    return kit::poll_until([&] {
      const auto channel = channels().get(name);
      return channel.ok() && channel->receivers_waiting() == 1;
    });
  }
};

TEST_F(ChannelSelect, TheFirstMessageOfAnyChannelIsPrintedWithItsName) {
  for (const char* name : {"a", "b", "c"}) create(name);
  kit::Process one = start({"channels", "select", "a", "b", "c", "-n", "1"}, file("out"));
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(waits(name));
  send("b", "first\nsecond\n");
  EXPECT_EQ(one.wait(kit::milliseconds(10'000)), 0);
  EXPECT_EQ(kit::read_file(file("out")), "b first\n");
  EXPECT_TRUE(kit::poll_until([&] { return depth("b") == 1; })) << "the second one is still there";
  send("a", "third\n");
  EXPECT_THAT(ctl({"channels", "select", "c", "a", "-n", "1", "-o", "jsonl"}).out,
              HasSubstr("\"channel\":\"a\""));
}

TEST_F(ChannelSelect, ItEndsWithTheLastChannelAndTellsEachEnd) {
  create("a");
  create("b");
  send("a", "1\n2\n");
  ASSERT_EQ(ctl({"channels", "close", "a"}).code, 0);
  kit::Process one = start({"channels", "select", "a", "b"}, file("out"));
  ASSERT_TRUE(waits("b"));
  send("b", "3\n");
  ASSERT_EQ(ctl({"channels", "close", "b"}).code, 0);
  EXPECT_EQ(one.wait(kit::milliseconds(10'000)), 0);
  EXPECT_EQ(kit::read_file(file("out")), "a 1\na 2\nb 3\n");
}

TEST_F(ChannelSelect, AKilledSelectionLosesNothingOfAnyChannel) {
  create("a", {"--capacity", "10000"});
  create("b", {"--capacity", "10000"});
  std::string lines;
  for (int i = 0; i < 2000; ++i) lines += std::to_string(i) + "\n";
  send("a", lines);
  send("b", lines);
  // It cannot write what it gets, so nothing of it is dealt with.
  int pipe_of[2];
  ASSERT_EQ(pipe2(pipe_of, O_CLOEXEC), 0);
  kit::StartOptions options;
  options.out = pipe_of[1];
  std::string padding(200'000, 'x');
  send("a", padding + "\n");
  kit::Process doomed(daemon().ctl_argv({"channels", "select", "a", "b"}), options);
  ASSERT_TRUE(kit::poll_until([&] {
    const auto channel = channels().get("a");
    return channel.ok() && channel->consumers_size() == 1 && channel->consumers(0).in_hand() > 0;
  }));
  doomed.kill9();
  close(pipe_of[1]);
  close(pipe_of[0]);
  std::multiset<std::string> got;
  ASSERT_EQ(ctl({"channels", "close", "a"}).code, 0);
  ASSERT_EQ(ctl({"channels", "close", "b"}).code, 0);
  const absl::Status status = channels().select({"a", "b"}, 0,
                                                [&](const v1::RecvBatch& batch) {
                                                  for (const v1::Record& one : batch.records())
                                                    got.insert(batch.channel() + one.data());
                                                  return true;
                                                },
                                                {std::chrono::seconds(30), nullptr});
  EXPECT_TRUE(status.ok()) << status;
  for (const std::string name : {"a", "b"}) {
    for (int i = 0; i < 2000; ++i) {
      // What the killed one had written may have been confirmed; it was a pipe's worth at most.
      EXPECT_LE(got.count(name + std::to_string(i)), 1u);
    }
  }
  EXPECT_EQ(got.count("a" + padding), 1u) << "it does not fit into the pipe";
}

TEST_F(ChannelSelect, AGroupAQueueAndABroadcastAreSelectedTogether) {
  create("jobs", {"--durable"});
  ASSERT_EQ(ctl({"channels", "add-group", "jobs", "g"}).code, 0);
  create("urgent");
  create("news", {"--form", "broadcast"});
  kit::Process one =
      start({"channels", "select", "jobs/g", "urgent", "--follow", "news", "-n", "3"}, file("out"));
  ASSERT_TRUE(waits("urgent"));
  send("jobs", "work\n");
  ASSERT_TRUE(kit::poll_until([&] { return kit::read_file(file("out")) == "jobs work\n"; }));
  send("news", "told\n");
  ASSERT_TRUE(
      kit::poll_until([&] { return kit::read_file(file("out")) == "jobs work\nnews told\n"; }));
  send("urgent", "now\n");
  EXPECT_EQ(one.wait(kit::milliseconds(10'000)), 0);
  EXPECT_EQ(kit::read_file(file("out")), "jobs work\nnews told\nurgent now\n");
  EXPECT_TRUE(kit::poll_until([&] { return channels().get("jobs")->groups(0).lag() == 0; }));
}

TEST_F(ChannelSelect, WhatCannotBeSelectedIsRefusedWithTheReason) {
  create("a");
  create("news", {"--form", "broadcast"});
  EXPECT_THAT(ctl({"channels", "select", "a", "a"}).err, HasSubstr("channel \"a\" twice"));
  EXPECT_THAT(ctl({"channels", "select", "a", "nope"}).err, HasSubstr("no channel"));
  EXPECT_THAT(ctl({"channels", "select", "a", "news"}).err, HasSubstr("of the form broadcast"));
  EXPECT_THAT(ctl({"channels", "select", "a/g"}).err, HasSubstr("no group \"g\""));
  EXPECT_EQ(ctl({"channels", "select"}).code, 2);
  Words many{"channels", "select"};
  for (int i = 0; i < 65; ++i) many.push_back("c" + std::to_string(i));
  EXPECT_THAT(ctl(std::move(many)).err, HasSubstr("select_sources_max = 64"));
}

}  // namespace
}  // namespace zsync::integration
