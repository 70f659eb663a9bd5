// Rings between real processes: shared memory that the daemon hands out and cleans up.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/integration/daemon_test.hpp"
#include "zsync/fd.hpp"

namespace zsync::integration {
namespace {

using ::testing::ElementsAre;
using ::testing::Not;

class ChannelRings : public DaemonTest {
 protected:
  void SetUp() override {
    DaemonTest::SetUp();
    const kit::Ran made =
        ctl({"channels", "create", "r", "--form", "ring", "--bytes-max", "64KiB"});
    ASSERT_EQ(made.code, 0) << made.err;
  }
  client::RingSender sender(client::CallOptions options = {}) {
    auto opened = client().channels().ring_sender("r", {}, options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  client::RingReceiver receiver(client::CallOptions options = {}) {
    auto opened = client().channels().ring_receiver("r", {}, options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }
  static std::vector<std::string> take(client::RingReceiver& from, std::uint64_t count) {
    std::vector<std::string> all;
    const absl::Status status = from.recv(count, [&](const client::RingBatch& batch) {
      all.insert(all.end(), batch.messages.begin(), batch.messages.end());
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return all;
  }
  v1::Channel channel() {
    const auto found = client().channels().get("r");
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : v1::Channel();
  }
  bool place_is_free(v1::RingEnd end) {
    return kit::poll_until([&] {
      const v1::RingFigures ring = channel().ring();
      return (end == v1::RING_END_SENDER ? ring.sender_pid() : ring.receiver_pid()) == 0;
    });
  }
};

TEST_F(ChannelRings, CommandsSendLinesThroughSharedMemory) {
  kit::Ran got;
  std::thread receiving([&] { got = ctl({"channels", "recv", "r", "--shared-memory"}); });
  std::string lines;
  for (int i = 0; i < 50'000; ++i) absl::StrAppend(&lines, "line ", i, "\n");
  const kit::Ran sent = ctl({"channels", "send", "r", "--shared-memory"}, lines);
  EXPECT_EQ(sent.code, 0) << sent.err;
  EXPECT_EQ(ctl({"channels", "close", "r"}).code, 0);
  receiving.join();
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, lines);
  EXPECT_EQ(channel().sent(), 50'000u);
  EXPECT_EQ(channel().received(), 50'000u);
}

TEST_F(ChannelRings, WhatWasSentStaysWhenItsSenderIsGoneAndShowTellsWhoIsThere) {
  EXPECT_EQ(ctl({"channels", "send", "r", "--shared-memory", "-m", "one", "-m", "two"}).code, 0);
  EXPECT_TRUE(place_is_free(v1::RING_END_SENDER));
  EXPECT_EQ(channel().depth(), 2u);
  client::RingReceiver from = receiver();
  const kit::Ran shown = ctl({"channels", "show", "r"});
  EXPECT_THAT(shown.out, HasSubstr(absl::StrCat("pid ", ::getpid())));
  EXPECT_THAT(shown.out, HasSubstr("2 messages"));
  EXPECT_THAT(take(from, 2), ElementsAre("one", "two"));
  EXPECT_EQ(channel().depth(), 0u);
}

TEST_F(ChannelRings, ASecondSenderLearnsWhoHasThePlace) {
  client::RingSender first = sender();
  const auto second = client().channels().ring_sender("r");
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_THAT(second.status().message(), HasSubstr(absl::StrCat("process ", ::getpid())));
  EXPECT_EQ(client::error_detail(second.status())->reason(), "TAKEN");
  const kit::Ran other = ctl({"channels", "send", "r", "--shared-memory", "-m", "x"});
  EXPECT_EQ(other.code, 7) << other.err;
  {
    client::RingSender gone = std::move(first);
  }
  EXPECT_TRUE(place_is_free(v1::RING_END_SENDER));
  EXPECT_EQ(ctl({"channels", "send", "r", "--shared-memory", "-m", "x"}).code, 0);
}

TEST_F(ChannelRings, AFullRingHoldsItsSenderUntilTheReceiverTakes) {
  client::RingSender to = sender();
  const std::string message(1000, 'x');
  int sent = 0;
  while (*to.try_send(message)) ++sent;
  EXPECT_GT(sent, 60);
  std::atomic<bool> over{false};
  std::thread sending([&] {
    EXPECT_TRUE(to.send(message).ok());
    over = true;
  });
  EXPECT_FALSE(kit::poll_until([&] { return over.load(); }, kit::milliseconds(50)));
  client::RingReceiver from = receiver();
  EXPECT_EQ(take(from, 1).size(), 1u);
  sending.join();
  EXPECT_EQ(to.sent(), static_cast<std::uint64_t>(sent) + 1);
}

TEST_F(ChannelRings, AReceiverThatIsKilledLosesNothingAndItsPlaceIsFreed) {
  client::RingSender to = sender();
  std::string got;
  // One that takes and never returns: what it printed was not received for good.
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  kit::Process first(daemon().ctl_argv({"channels", "recv", "r", "--shared-memory"}),
                     {.out = ends[1]});
  ASSERT_TRUE(kit::poll_until([&] { return channel().ring().receiver_pid() == first.pid(); }));
  first.signal(SIGSTOP);
  for (int i = 1; i <= 20; ++i) ASSERT_TRUE(to.send(absl::StrCat(i)).ok());
  first.kill9();
  EXPECT_TRUE(place_is_free(v1::RING_END_RECEIVER));
  client::RingReceiver from = receiver();
  const std::vector<std::string> all = take(from, 20);
  ASSERT_EQ(all.size(), 20u);
  for (int i = 1; i <= 20; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i) - 1], absl::StrCat(i));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(ChannelRings, ASenderThatIsKilledLeavesWholeMessagesOnlyAndAnotherGoesOn) {
  std::vector<std::string> all;
  std::thread receiving([&] {
    client::RingReceiver from = receiver();
    const absl::Status status = from.recv(0, [&](const client::RingBatch& batch) {
      for (std::string_view one : batch.messages) all.emplace_back(one);
      return all.back() != "end";
    });
    EXPECT_TRUE(status.ok()) << status;
  });
  for (unsigned round = 0; round < 3; ++round) {
    int input[2];
    ASSERT_EQ(::pipe2(input, O_CLOEXEC), 0);
    const UniqueFd theirs(input[0]);
    const UniqueFd ours(input[1]);
    kit::Process sending(daemon().ctl_argv({"channels", "send", "r", "--shared-memory"}),
                         {.in = theirs.get()});
    ASSERT_EQ(::write(ours.get(), "whole\nhalf a line", 17), 17);
    ASSERT_TRUE(kit::poll_until([&] { return channel().sent() == 2u * round + 1; }));
    ASSERT_TRUE(kit::poll_until([&] { return channel().ring().sender_pid() == sending.pid(); }));
    sending.kill9();
    EXPECT_TRUE(place_is_free(v1::RING_END_SENDER));
    EXPECT_EQ(ctl({"channels", "send", "r", "--shared-memory", "-m", "next"}).code, 0);
  }
  EXPECT_EQ(ctl({"channels", "send", "r", "--shared-memory", "-m", "end"}).code, 0);
  receiving.join();
  EXPECT_THAT(all, ElementsAre("whole", "next", "whole", "next", "whole", "next", "end"));
}

TEST_F(ChannelRings, ACloseLetsTheReceiverDrainAndTheSenderHearIt) {
  client::RingSender to = sender();
  ASSERT_TRUE(to.send("last").ok());
  client::RingReceiver from = receiver();
  ASSERT_EQ(ctl({"channels", "close", "r"}).code, 0);
  const absl::Status late = to.send("late");
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
  EXPECT_THAT(take(from, 0), ElementsAre("last"));
  EXPECT_THAT(take(from, 0), ElementsAre());
  EXPECT_EQ(ctl({"channels", "send", "r", "--shared-memory", "-m", "x"}).code, 7);
  EXPECT_EQ(ctl({"channels", "recv", "r", "--shared-memory"}).code, 7) << "its place is taken";
}

// The first word of a ring's memory that this process has: the tail, whose top bit is the close.
class Tail {
 public:
  Tail() {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      const std::string name = std::filesystem::read_symlink(entry, gone).string();
      if (name.find("memfd:zsync-ring") == std::string::npos) continue;
      const UniqueFd fd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
      page_ = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
      break;
    }
  }
  ~Tail() {
    if (found()) ::munmap(page_, kPage);
  }
  bool found() const { return page_ != MAP_FAILED; }
  std::atomic<std::uint64_t>& word() { return *static_cast<std::atomic<std::uint64_t>*>(page_); }

 private:
  static constexpr std::size_t kPage = 4096;
  void* page_ = MAP_FAILED;
};

// Regression: a sender that had heard of the close waited for ever, and busily.
TEST_F(ChannelRings, ASenderBelievesTheDaemonsCloseWhateverItsPeerDoesToTheMark) {
  constexpr std::uint64_t kMark = 1ull << 63;
  client::RingSender to = sender();
  Tail tail;
  ASSERT_TRUE(tail.found());
  const std::string message(1000, 'x');
  while (*to.try_send(message)) {
  }
  ASSERT_EQ(ctl({"channels", "close", "r"}).code, 0);
  ASSERT_NE(tail.word().fetch_and(~kMark) & kMark, 0u);
  const absl::Status late = to.send(message);
  EXPECT_TRUE(absl::IsFailedPrecondition(late)) << late;
}

TEST_F(ChannelRings, ARemovedRingEndsBothItsEnds) {
  client::RingSender to = sender();
  auto receiving = std::async(std::launch::async, [this] {
    client::RingReceiver from = receiver();
    return from.recv(0, [](const client::RingBatch&) { return true; });
  });
  ASSERT_TRUE(kit::poll_until([&] { return channel().ring().receiver_pid() != 0; }));
  ASSERT_EQ(ctl({"channels", "remove", "r", "-y"}).code, 0);
  EXPECT_TRUE(absl::IsNotFound(receiving.get()));
  const absl::Status late = to.send("late");
  EXPECT_TRUE(absl::IsNotFound(late)) << late;
  EXPECT_TRUE(absl::IsNotFound(client().channels().ring_sender("r").status()));
}

TEST_F(ChannelRings, AKilledDaemonIsHeardByBothAndWhatIsThereIsStillTaken) {
  client::RingSender to = sender();
  client::RingReceiver from = receiver();
  ASSERT_TRUE(to.send("there").ok());
  daemon().kill9();
  std::vector<std::string> all;
  const absl::Status status = from.recv(0, [&](const client::RingBatch& batch) {
    all.insert(all.end(), batch.messages.begin(), batch.messages.end());
    return true;
  });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(all, ElementsAre("there"));
  const absl::Status late = to.send("late");
  EXPECT_TRUE(absl::IsUnavailable(late)) << late;
}

TEST_F(ChannelRings, AnUpgradeIsNotNoticedByThoseWhoUseARing) {
  client::RingSender to = sender();
  ASSERT_TRUE(to.send("before").ok());
  std::vector<std::string> all;
  std::thread receiving([&] {
    client::RingReceiver from = receiver();
    const absl::Status status = from.recv(0, [&](const client::RingBatch& batch) {
      all.insert(all.end(), batch.messages.begin(), batch.messages.end());
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
  });
  ASSERT_TRUE(kit::poll_until([&] { return channel().received() == 1; }));
  for (int turn = 0; turn < 2; ++turn) {
    const auto upgraded = client().daemon().upgrade();
    ASSERT_TRUE(upgraded.ok()) << upgraded.status() << daemon().log();
    ASSERT_TRUE(to.send(absl::StrCat("after ", turn)).ok());
    const v1::RingFigures ring = channel().ring();
    EXPECT_EQ(ring.sender_pid(), ::getpid());
    EXPECT_EQ(ring.receiver_pid(), ::getpid());
    EXPECT_EQ(client().channels().ring_sender("r").status().code(),
              absl::StatusCode::kFailedPrecondition);
  }
  // The new program still hears an end that goes, and speaks to the one that stays.
  {
    client::RingSender gone = std::move(to);
  }
  EXPECT_TRUE(place_is_free(v1::RING_END_SENDER));
  ASSERT_EQ(ctl({"channels", "close", "r"}).code, 0);
  receiving.join();
  EXPECT_THAT(all, ElementsAre("before", "after 0", "after 1"));
}

TEST_F(ChannelRings, WaitingEndsByAStopAndByATimeout) {
  client::StopSource stop;
  client::RingReceiver from = receiver({std::nullopt, &stop});
  std::thread stopping([&] { stop.cancel(); });
  const absl::Status stopped = from.recv(0, [](const client::RingBatch&) { return true; });
  EXPECT_TRUE(absl::IsCancelled(stopped)) << stopped;
  stopping.join();
  client::RingSender to = sender({kit::milliseconds(300), nullptr});
  while (to.try_send(std::string(1000, 'x')).value_or(false)) {
  }
  const absl::Status late = to.send(std::string(1000, 'x'));
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
}

TEST_F(ChannelRings, BadInputNamesTheCure) {
  client::RingSender to = sender();
  const absl::Status large = to.send(std::string(70'000, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(large)) << large;
  EXPECT_THAT(large.message(), HasSubstr("bytes_max"));
  ASSERT_TRUE(to.send("fine").ok());
  const auto refused = [this](Words words) {
    const kit::Ran ran = ctl(std::move(words));
    EXPECT_EQ(ran.code, 2) << ran.err;
    return ran.err;
  };
  EXPECT_THAT(refused({"channels", "create", "x", "--form", "ring", "--durable"}),
              HasSubstr("memory class"));
  EXPECT_THAT(refused({"channels", "create", "x", "--form", "ring", "--unbounded"}),
              HasSubstr("bytes_max"));
  EXPECT_THAT(refused({"channels", "create", "x", "--form", "ring", "--overflow", "drop_oldest"}),
              HasSubstr("overflow"));
  EXPECT_THAT(refused({"channels", "recv", "r", "--shared-memory", "-g", "g"}),
              HasSubstr("--group"));
  const kit::Ran by_call = ctl({"channels", "recv", "r", "-n", "1"});
  EXPECT_EQ(by_call.code, 7) << by_call.err;
  EXPECT_THAT(by_call.err, HasSubstr("--shared-memory"));
  ASSERT_EQ(ctl({"channels", "create", "q"}).code, 0);
  const kit::Ran wrong = ctl({"channels", "send", "q", "--shared-memory", "-m", "x"});
  EXPECT_EQ(wrong.code, 7) << wrong.err;
  EXPECT_THAT(wrong.err, HasSubstr("of the form queue"));
}

// A client of one's own that speaks what no RingSender would say.
class RawConnection {
 public:
  explicit RawConnection(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  void say(const std::string& bytes) {
    EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void half_close() { ::shutdown(fd_.get(), SHUT_WR); }
  // Until it is closed by the daemon.
  std::string hear() {
    std::string all;
    char some[4096];
    for (ssize_t got = 0; (got = ::recv(fd_.get(), some, sizeof some, 0)) > 0;)
      all.append(some, got);
    return all;
  }

 private:
  UniqueFd fd_;
};

TEST_F(ChannelRings, NonsenseOnTheSocketIsAnsweredAndHurtsNobody) {
  const std::string size_of_4_gib = "\xff\xff\xff\xff";
  const std::string zero(4, '\0');
  for (const std::string& said :
       {std::string("ZSYNCFD1") + size_of_4_gib, std::string("ZSYNCFD1") + zero,
        std::string("ZSYNCFD1") + std::string("\x03\0\0\0abc", 7)}) {
    RawConnection raw(daemon().socket());
    raw.say(said);
    EXPECT_THAT(raw.hear(), Not(::testing::IsEmpty()));
  }
  for (const std::string& said : {std::string("ZSYNCFD1\x05"), std::string("ZSYNC"),
                                  std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1, '\0')}) {
    RawConnection raw(daemon().socket());
    raw.say(said);
    raw.half_close();
    raw.hear();
  }
  EXPECT_EQ(ctl({"status"}).code, 0);
  EXPECT_EQ(channel().ring().sender_pid(), 0);
}

}  // namespace
}  // namespace zsync::integration
