// Broadcast, latest and request between real processes.
#include <signal.h>

#include <fstream>
#include <future>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

using ::testing::ElementsAre;

class ChannelForms : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }
  void create(const std::string& name, const std::string& form, Words more = {}) {
    Words words{"channels", "create", name, "--form", form};
    words.insert(words.end(), more.begin(), more.end());
    const kit::Ran made = ctl(std::move(words));
    ASSERT_EQ(made.code, 0) << made.err;
  }
  v1::Channel channel(const std::string& name) {
    const auto found = channels().get(name);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : v1::Channel();
  }
};

TEST_F(ChannelForms, ABroadcastReachesEveryFollowerAndASlowOneIsToldWhatItMissed) {
  create("news", "broadcast", {"--capacity", "10"});
  std::vector<std::future<kit::Ran>> followers;
  for (int i = 0; i < 3; ++i) {
    followers.push_back(std::async(std::launch::async, [&] {
      return ctl({"channels", "follow", "news", "--from", "start", "-n", "5"});
    }));
  }
  ASSERT_EQ(ctl({"channels", "send", "news"}, "1\n2\n3\n4\n5\n").code, 0);
  for (auto& one : followers) EXPECT_EQ(one.get().out, "1\n2\n3\n4\n5\n");
  std::string lines;
  for (int i = 6; i <= 500; ++i) lines += absl::StrCat(i, "\n");
  EXPECT_EQ(ctl({"channels", "send", "news"}, lines).code, 0) << "nobody holds it back";
  const kit::Ran late = ctl({"channels", "follow", "news", "--from", "3", "-n", "1"});
  EXPECT_EQ(late.out, "491\n");
  EXPECT_THAT(late.err, HasSubstr("messages 3 to 490 are missing (lagged)"));
  const kit::Ran taken = ctl({"channels", "recv", "news", "-n", "1"});
  EXPECT_EQ(taken.code, 7) << taken.err;
  EXPECT_THAT(taken.err, HasSubstr("of the form broadcast"));
}

TEST_F(ChannelForms, LatestGivesTheValuesOfNowAndThenTheChanges) {
  create("state", "latest");
  ASSERT_EQ(ctl({"channels", "send", "state", "--key", "a", "-m", "a1", "-m", "a2"}).code, 0);
  ASSERT_EQ(ctl({"channels", "send", "state", "--key", "b", "-m", "b1"}).code, 0);
  EXPECT_EQ(ctl({"channels", "follow", "state", "-n", "2"}).out, "a2\nb1\n");
  std::vector<std::string> seen;
  const absl::Status status = channels().follow("state", 0, [&](const v1::RecvBatch& batch) {
    for (const v1::Record& record : batch.records()) seen.push_back(record.data());
    if (seen.size() == 2) {
      EXPECT_EQ(ctl({"channels", "send", "state", "--key", "a", "-m", "a3"}).code, 0);
    }
    return seen.size() < 3;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre("a2", "b1", "a3"));
  EXPECT_EQ(channel("state").depth(), 2u);
  const kit::Ran durable = ctl({"channels", "create", "x", "--form", "latest", "--durable"});
  EXPECT_EQ(durable.code, 2) << durable.err;
}

TEST_F(ChannelForms, ARequestIsAnsweredByACommandOrFailsAtOnceWithoutOne) {
  create("upper", "request");
  const kit::Ran nobody = ctl({"channels", "request", "upper", "-m", "x"});
  EXPECT_EQ(nobody.code, 7) << nobody.err;
  EXPECT_THAT(nobody.err, HasSubstr("nobody replies to requests of channel \"upper\""));
  EXPECT_THAT(nobody.err, HasSubstr("zsyncctl channels reply upper -- COMMAND"));
  kit::Process responder(
      daemon().ctl_argv(
          {"channels", "reply", "upper", "-j", "2", "--", "sh", "-c",
           "read -r w; case $w in fail) exit 4;; hang) while sleep 0.1; do echo .; done;; esac; "
           "echo \"<$w>\""}),  // one that hangs ends when nobody reads what it says
      {});
  ASSERT_TRUE(kit::poll_until([&] { return channel("upper").requests().responders() == 2; }));
  EXPECT_EQ(ctl({"channels", "request", "upper"}, "one\n").out, "<one>\n");
  std::vector<std::future<absl::StatusOr<std::string>>> many;
  for (int i = 0; i < 8; ++i) {
    many.push_back(std::async(std::launch::async, [this, i] {
      return channels().request("upper", absl::StrCat(i, "\n"));
    }));
  }
  for (int i = 0; i < 8; ++i) EXPECT_EQ(*many[i].get(), absl::StrCat("<", i, ">\n"));
  const auto failed = channels().request("upper", "fail\n");
  EXPECT_TRUE(absl::IsAborted(failed.status())) << failed.status();
  EXPECT_THAT(failed.status().message(), HasSubstr("exit code 4"));
  client::CallOptions brief;
  brief.timeout = std::chrono::seconds(1);
  const auto slow = channels().request("upper", "hang\n", brief);
  EXPECT_TRUE(absl::IsDeadlineExceeded(slow.status())) << slow.status();
  // Its responder is free again soon after: the command is ended with its request.
  ASSERT_TRUE(kit::poll_until([&] { return channel("upper").requests().late() == 1; }));
  EXPECT_EQ(channel("upper").requests().answered(), 10u);
  auto cut_off =
      std::async(std::launch::async, [this] { return channels().request("upper", "hang\n"); });
  ASSERT_TRUE(kit::poll_until([&] { return channel("upper").requests().in_hand() == 1; }));
  responder.kill9();
  const auto left = cut_off.get();
  EXPECT_TRUE(absl::IsUnavailable(left.status())) << left.status();
  EXPECT_THAT(left.status().message(), HasSubstr("went away before it replied"));
  // Each of the two is a call of its own, and they end one after the other.
  ASSERT_TRUE(kit::poll_until([&] { return channel("upper").requests().responders() == 0; }));
  EXPECT_TRUE(absl::IsFailedPrecondition(channels().request("upper", "x").status()));
}

TEST_F(ChannelForms, ARequestThatWaitsNoLongerSaysSo) {
  create("slow", "request");
  kit::Process responder(daemon().ctl_argv({"channels", "reply", "slow", "--", "sh", "-c",
                                            "while sleep 0.1; do echo .; done"}),
                         {});
  ASSERT_TRUE(kit::poll_until([&] { return channel("slow").requests().responders() == 1; }));
  const kit::Ran slow = ctl({"channels", "request", "slow", "-m", "x", "--wait", "100ms"});
  EXPECT_EQ(slow.code, 6) << slow.err;
}

TEST_F(ChannelForms, AResponderThatIsEndedTakesItsCommandAlong) {
  create("hang", "request");
  const std::string pid_file = daemon().dir() / "pid";
  kit::Process responder(daemon().ctl_argv({"channels", "reply", "hang", "--", "sh", "-c",
                                            absl::StrCat("echo $$ > ", pid_file, "; sleep 600")}),
                         {});
  ASSERT_TRUE(kit::poll_until([&] { return channel("hang").requests().responders() == 1; }));
  auto asked = std::async(std::launch::async, [this] { return channels().request("hang", ""); });
  pid_t pid = 0;
  ASSERT_TRUE(kit::poll_until([&] { return (std::ifstream(pid_file) >> pid) && pid > 0; }));
  ::kill(responder.pid(), SIGTERM);
  EXPECT_TRUE(absl::IsUnavailable(asked.get().status()));
  EXPECT_TRUE(kit::poll_until([&] { return ::kill(pid, 0) != 0; }));
}

TEST_F(ChannelForms, ClosingAChannelEndsItsRespondersOnceEverythingIsAnswered) {
  create("ask", "request");
  auto responder = std::async(std::launch::async, [this] {
    return channels().reply("ask", [](const v1::Inquiry& one) { return one.body() + "!"; });
  });
  ASSERT_TRUE(kit::poll_until([&] { return channel("ask").requests().responders() == 1; }));
  EXPECT_EQ(*channels().request("ask", "x"), "x!");
  ASSERT_EQ(ctl({"channels", "close", "ask"}).code, 0);
  EXPECT_TRUE(responder.get().ok());
  const auto late = channels().request("ask", "x");
  EXPECT_TRUE(absl::IsFailedPrecondition(late.status())) << late.status();
  EXPECT_THAT(late.status().message(), HasSubstr("is closed"));
  create("q", "queue");
  EXPECT_TRUE(absl::IsFailedPrecondition(channels().request("q", "x").status()));
  EXPECT_EQ(ctl({"channels", "send", "ask", "-m", "x"}).code, 7);
}

}  // namespace
}  // namespace zsync::integration
