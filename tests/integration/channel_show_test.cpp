// `channels show` between real processes: why nothing arrives.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <vector>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class ChannelShow : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }
  kit::Process start(Words words) { return kit::Process(daemon().ctl_argv(std::move(words)), {}); }
  v1::Channel get(const std::string& name) {
    const auto channel = channels().get(name);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? *channel : v1::Channel();
  }
  std::string show(const std::string& name) {
    const kit::Ran ran = ctl({"channels", "show", name});
    EXPECT_EQ(ran.code, 0) << ran.err;
    return ran.out;
  }
  // Once the only receiver, or the consumer of that id, is in that state.
  bool receiver_is(const std::string& name, v1::ConsumerState state) {
    return kit::poll_until([&] {
      const v1::Channel channel = get(name);
      return channel.consumers_size() == 1 && channel.consumers(0).state() == state;
    });
  }
  bool consumer_is(const std::string& name, uint64_t id, v1::ConsumerState state) {
    return kit::poll_until([&] {
      const v1::Channel channel = get(name);
      for (const v1::ChannelConsumer& one : channel.groups(0).attending()) {
        if (one.id() == id && one.state() == state) return true;
      }
      return false;
    });
  }
};

TEST_F(ChannelShow, AReceiverIsToldFromItsArrivalToItsEnd) {
  ASSERT_EQ(ctl({"channels", "create", "lines"}).code, 0);
  EXPECT_THAT(show("lines"), HasSubstr("everything sent was received"));
  ASSERT_EQ(ctl({"channels", "send", "lines", "-m", "x"}).code, 0);
  EXPECT_THAT(show("lines"), HasSubstr("no receiver is connected for 1 message\n"));
  kit::Process receiver = start({"channels", "recv", "lines"});
  ASSERT_TRUE(receiver_is("lines", v1::CONSUMER_STATE_EMPTY));
  const v1::ChannelConsumer told = get("lines").consumers(0);
  EXPECT_EQ(told.pid(), receiver.pid());
  EXPECT_EQ(told.command(), "zsyncctl");
  EXPECT_EQ(told.delivered(), 1u);
  EXPECT_THAT(show("lines"), HasSubstr("nothing is left to receive, for "));
  ASSERT_EQ(ctl({"channels", "close", "lines"}).code, 0);
  EXPECT_EQ(receiver.wait(kit::milliseconds(10'000)), 0);
  EXPECT_EQ(get("lines").consumers_size(), 0);
}

TEST_F(ChannelShow, AClientThatDealsWithNothingIsNamedAsTheReason) {
  ASSERT_EQ(ctl({"channels", "create", "fast", "--capacity", "10000"}).code, 0);
  std::string lines;
  for (int i = 0; i < 5000; ++i) lines += "x\n";
  ASSERT_EQ(ctl({"channels", "send", "fast"}, lines).code, 0);
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  std::future<absl::Status> slow = std::async(std::launch::async, [&] {
    return channels().recv("fast", 0, [&](const v1::RecvBatch&) {
      gone.wait();
      return false;
    });
  });
  EXPECT_TRUE(receiver_is("fast", v1::CONSUMER_STATE_NO_CREDIT));
  const v1::Channel channel = get("fast");
  EXPECT_EQ(channel.consumers(0).in_hand(), 4096u);
  EXPECT_EQ(channel.consumers(0).there(), 5000u - 4096u);
  EXPECT_THAT(channel.consumers(0).why(), HasSubstr("its client has asked for no more for "));
  go.set_value();
  EXPECT_TRUE(slow.get().ok());
  std::promise<void> end;
  std::shared_future<void> ended = end.get_future().share();
  std::future<absl::Status> last = std::async(std::launch::async, [&] {
    return channels().recv("fast", 1, [&](const v1::RecvBatch&) {
      ended.wait();
      return true;
    });
  });
  EXPECT_TRUE(receiver_is("fast", v1::CONSUMER_STATE_LAST));
  end.set_value();
  EXPECT_TRUE(last.get().ok());
}

TEST_F(ChannelShow, AConsumerThatAcknowledgesNothingAndOneBehindItsKeyAreTold) {
  ASSERT_EQ(ctl({"channels", "create", "orders", "--durable"}).code, 0);
  ASSERT_EQ(ctl({"channels", "add-group", "orders", "g", "--in-flight", "2"}).code, 0);
  for (const char* key : {"tea", "rum", "tea"}) {
    ASSERT_EQ(ctl({"channels", "send", "orders", "--key", key, "-m", key}).code, 0);
  }
  kit::Process holder = start({"channels", "recv", "orders", "-g", "g", "--no-ack"});
  ASSERT_TRUE(consumer_is("orders", 1, v1::CONSUMER_STATE_IN_FLIGHT_MAX));
  EXPECT_THAT(show("orders"), HasSubstr("it has in_flight_max = 2 unacknowledged messages; the "
                                        "oldest is 1, for "));
  kit::Process other = start({"channels", "recv", "orders", "-g", "g", "--no-ack"});
  ASSERT_TRUE(consumer_is("orders", 2, v1::CONSUMER_STATE_KEY_HELD));
  EXPECT_THAT(show("orders"), HasSubstr("message 1 of key \"tea\" is in the hands of consumer 1"));
  ASSERT_EQ(ctl({"channels", "ack", "orders", "g", "2"}).code, 0);
  ASSERT_TRUE(consumer_is("orders", 1, v1::CONSUMER_STATE_KEY_HELD));
  EXPECT_THAT(show("orders"), HasSubstr("is in its own hands"));
  holder.kill9();
  // First that it is gone: the other one was held by a key before as well.
  ASSERT_TRUE(kit::poll_until([&] { return get("orders").groups(0).attending_size() == 1; }));
  ASSERT_TRUE(consumer_is("orders", 2, v1::CONSUMER_STATE_KEY_HELD)) << "now behind its own";
}

TEST_F(ChannelShow, AFollowerIsToldItsPlaceWhatItMissedAndThatItsClientDoesNotRead) {
  ASSERT_EQ(ctl({"channels", "create", "news", "--form", "broadcast", "--capacity", "4"}).code, 0);
  EXPECT_EQ(get("news").why(), "no follower is connected");
  const std::string body(64 << 10, 'x');
  v1::SendRequest one;
  one.set_channel("news");
  one.add_messages(body);
  const auto send = [&](uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      EXPECT_TRUE(channels().try_send(one).ok());
    }
  };
  const auto first = [this] {
    const v1::Channel channel = get("news");
    return channel.followers_size() == 0 ? v1::ChannelFollower() : channel.followers(0);
  };
  send(6);
  kit::Process quick = start({"channels", "follow", "news", "--from", "1"});
  ASSERT_TRUE(kit::poll_until([&] { return first().state() == v1::FOLLOWER_STATE_UP_TO_DATE; }));
  EXPECT_EQ(first().pid(), quick.pid());
  EXPECT_EQ(first().command(), "zsyncctl");
  EXPECT_EQ(first().position(), 7u);
  EXPECT_EQ(first().delivered(), 4u);
  EXPECT_EQ(first().missed(), 2u);
  EXPECT_THAT(show("news"), HasSubstr("2 missed, next is 7: it has seen everything"));
  EXPECT_EQ(get("news").why(), "followers have seen everything: 1");
  quick.kill9();
  ASSERT_TRUE(kit::poll_until([&] { return get("news").followers_connected() == 0; }));

  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  std::future<absl::Status> slow = std::async(std::launch::async, [&] {
    return channels().follow("news", 7, [&](const v1::RecvBatch&) {
      gone.wait();
      return false;
    });
  });
  ASSERT_TRUE(kit::poll_until([&] { return first().pid() == getpid(); }));
  // Whatever the connection takes, one of these is written and not read.
  EXPECT_TRUE(kit::poll_until([&] {
    send(20);
    return first().state() == v1::FOLLOWER_STATE_NOT_READING && first().gone() > 0;
  }));
  EXPECT_GE(first().lag(), first().gone() + 4);
  EXPECT_THAT(first().why(), HasSubstr("its client has not read what was sent to it for "));
  EXPECT_THAT(get("news").why(), ::testing::EndsWith(" behind"));
  go.set_value();
  EXPECT_TRUE(slow.get().ok());
}

TEST_F(ChannelShow, MoreThanAreToldAreCounted) {
  ASSERT_EQ(ctl({"channels", "create", "logs"}).code, 0);
  std::vector<std::future<absl::Status>> all;
  constexpr int kFollowers = 103;
  for (int i = 0; i < kFollowers; ++i) {
    all.push_back(std::async(std::launch::async, [&] {
      return channels().follow("logs", 1,
                               [](const v1::RecvBatch& batch) { return !batch.closed(); });
    }));
  }
  ASSERT_TRUE(kit::poll_until([&] { return get("logs").followers_connected() == kFollowers; }));
  EXPECT_EQ(get("logs").followers_size(), 100);
  EXPECT_THAT(show("logs"), HasSubstr("and 3 more"));
  ASSERT_EQ(ctl({"channels", "close", "logs"}).code, 0);
  for (std::future<absl::Status>& one : all) EXPECT_TRUE(one.get().ok());
}

TEST_F(ChannelShow, AResponderIsToldWhatIsInItsHandsAndThatItIsIdle) {
  ASSERT_EQ(ctl({"channels", "create", "ask", "--form", "request"}).code, 0);
  EXPECT_EQ(get("ask").why(), "nobody replies: a request fails at once");
  kit::Process responder = start({"channels", "reply", "ask", "--jobs", "1", "--", "cat"});
  const auto first = [this] {
    const v1::Channel channel = get("ask");
    return channel.responders_size() == 0 ? v1::ChannelResponder() : channel.responders(0);
  };
  ASSERT_TRUE(kit::poll_until([&] { return first().state() == v1::RESPONDER_STATE_IDLE; }));
  EXPECT_EQ(first().pid(), responder.pid());
  EXPECT_EQ(first().command(), "zsyncctl");
  EXPECT_THAT(show("ask"), HasSubstr("it is idle: no request has come to it for "));
  ASSERT_EQ(ctl({"channels", "request", "ask", "-m", "x"}).code, 0);
  ASSERT_TRUE(kit::poll_until([&] { return first().answered() == 1; }));
  EXPECT_EQ(first().in_hand(), 0u);
  EXPECT_EQ(get("ask").why(), "every request was answered");
  responder.kill9();
  ASSERT_TRUE(kit::poll_until([&] { return get("ask").responders_size() == 0; }));

  // One that takes its time: two ask, it has one in hand and takes no more.
  const std::string gate = file("gate");
  ASSERT_EQ(mkfifo(gate.c_str(), 0600), 0);
  kit::Process slow = start({"channels", "reply", "ask", "--jobs", "1", "--", "sh", "-c",
                             "read n; [ $n = 2 ] || cat " + gate});
  ASSERT_TRUE(kit::poll_until([&] { return first().state() == v1::RESPONDER_STATE_IDLE; }));
  kit::Process one = start({"channels", "request", "ask", "-m", "1"});
  ASSERT_TRUE(kit::poll_until([&] { return first().state() == v1::RESPONDER_STATE_BUSY; }));
  kit::Process other = start({"channels", "request", "ask", "-m", "2"});
  ASSERT_TRUE(kit::poll_until([&] { return get("ask").requests().waiting() == 1; }));
  EXPECT_EQ(first().in_hand(), 1u);
  EXPECT_GT(first().oldest_unix_nano(), 0);
  EXPECT_THAT(show("ask"), HasSubstr("1 request is in its hands; the oldest for "));
  EXPECT_THAT(show("ask"), HasSubstr("1 request waiting: no responder takes it before it has "));
  one.kill9();
  ASSERT_TRUE(kit::poll_until([&] { return first().abandoned() == 1; }));
  EXPECT_THAT(show("ask"), HasSubstr("for 1 of them nobody waits any more"));
  std::ofstream(gate) << "go";
  EXPECT_EQ(other.wait(kit::milliseconds(10'000)), 0);
}

}  // namespace
}  // namespace zsync::integration
