// `channels show` between real processes: why nothing arrives.
#include <future>

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
  ASSERT_TRUE(consumer_is("orders", 2, v1::CONSUMER_STATE_KEY_HELD)) << "now behind its own";
  EXPECT_EQ(get("orders").groups(0).attending_size(), 1);
}

}  // namespace
}  // namespace zsync::integration
