// Unbounded channels whose memory is full, in a real daemon.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class ChannelSpill : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }
  v1::Channel get(const std::string& name) {
    const auto channel = channels().get(name);
    EXPECT_TRUE(channel.ok()) << channel.status();
    return channel.ok() ? *channel : v1::Channel();
  }
  std::string spill_dir() { return daemon().state_dir() + "/channels/spill"; }
  static std::string lines(int from, int to) {
    std::string text;
    for (int i = from; i < to; ++i) text += std::to_string(i) + std::string(90, '.') + "\n";
    return text;
  }
};

TEST_F(ChannelSpill, TwentyTimesItsMemoryGoesThroughInOrderByEveryWayOfSending) {
  ASSERT_EQ(ctl({"channels", "create", "big", "--unbounded", "--bytes-max", "64KiB"}).code, 0);
  ASSERT_EQ(ctl({"channels", "send", "big"}, lines(0, 10'000)).code, 0);
  v1::SendRequest one;
  one.set_channel("big");
  one.add_messages("the last one");
  const auto sent = channels().try_send(one);
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent->last_seq(), 10'001u);
  const v1::Channel full = get("big");
  EXPECT_EQ(full.depth(), 10'001u);
  EXPECT_LE(full.bytes(), 64u << 10);
  EXPECT_GT(full.disk_messages(), 9'000u);
  EXPECT_GT(full.disk_bytes(), 900'000u);
  EXPECT_FALSE(std::filesystem::is_empty(spill_dir()));
  EXPECT_EQ(ctl({"channels", "recv", "big", "-n", "10001"}).out,
            lines(0, 10'000) + "the last one\n");
  EXPECT_TRUE(kit::poll_until([&] { return get("big").disk_bytes() == 0; }));
  EXPECT_TRUE(std::filesystem::is_empty(spill_dir()));
  ASSERT_TRUE(channels().try_send(one).ok()) << "in memory again";
  EXPECT_EQ(get("big").disk_messages(), 0u);
}

TEST_F(ChannelSpill, ItsCeilingOnDiskIsNamedAndARemovedChannelOrAnotherDaemonLeavesNothing) {
  ASSERT_EQ(ctl({"channels", "create", "small", "--unbounded", "--bytes-max", "4KiB", "--disk-max",
                 "64KiB"})
                .code,
            0);
  const kit::Ran over = ctl({"channels", "send", "small"}, lines(0, 2'000));
  EXPECT_NE(over.code, 0);
  EXPECT_THAT(over.err, HasSubstr("full"));
  const uint64_t held = get("small").depth();
  EXPECT_GT(held, 100u);
  v1::SendRequest one;
  one.set_channel("small");
  one.add_messages(std::string(32 << 10, 'x'));
  const absl::Status refused = channels().try_send(one).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_GT(get("small").disk_bytes(), 50u << 10) << "the ceiling is used";
  EXPECT_EQ(ctl({"channels", "recv", "small", "-n", "50"}).out, lines(0, 50));
  ASSERT_EQ(ctl({"channels", "remove", "-y", "small"}).code, 0);
  EXPECT_TRUE(std::filesystem::is_empty(spill_dir()));
  EXPECT_THAT(ctl({"channels", "create", "x", "--disk-max", "1MiB"}).err, HasSubstr("unbounded"));
  EXPECT_THAT(ctl({"channels", "create", "x", "--unbounded", "--disk-max", "2GiB"}).err,
              HasSubstr("channels.disk_bytes_max"));

  ASSERT_EQ(ctl({"channels", "create", "y", "--unbounded", "--bytes-max", "4KiB"}).code, 0);
  ASSERT_EQ(ctl({"channels", "send", "y"}, lines(0, 200)).code, 0);
  drop_client();
  daemon().kill9();
  EXPECT_FALSE(std::filesystem::is_empty(spill_dir()));
  ASSERT_TRUE(daemon().start()) << daemon().log();
  EXPECT_TRUE(kit::poll_until([&] { return !std::filesystem::exists(spill_dir()); }));
}

TEST_F(ChannelSpill, WithoutDiskItIsFullAtItsMemory) {
  ASSERT_EQ(
      ctl({"channels", "create", "m", "--unbounded", "--bytes-max", "4KiB", "--disk-max", "0"})
          .code,
      0);
  EXPECT_THAT(ctl({"channels", "send", "m"}, lines(0, 100)).err, HasSubstr("full"));
  EXPECT_EQ(get("m").disk_messages(), 0u);
}

// Its state is on a disk of 4 MiB, mounted in a namespace of its own: no other process has it.
class ChannelDiskFull : public ChannelSpill {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "skipped: mounting a small disk needs root";
    kit::DaemonOptions options;
    options.program = dir_ / "zsyncd";
    options.state_dir = dir_ / "state";
    std::filesystem::create_directory(options.state_dir);
    const std::string script =
        "#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs -o size=4m tmpfs \"" + options.state_dir +
        "\" && exec \"" + kit::Programs::get().zsyncd + "\" \"$@\"' zsyncd \"$@\"\n";
    ASSERT_TRUE(kit::write_file(options.program, script));
    std::filesystem::permissions(options.program, std::filesystem::perms::owner_all);
    if (kit::run({"/usr/bin/unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", options.state_dir})
            .code != 0) {
      GTEST_SKIP() << "skipped: no tmpfs may be mounted here";
    }
    start(std::move(options));
  }
  // As the daemon sees it.
  std::string filler() {
    return "/proc/" + std::to_string(daemon().process().pid()) + "/root" + daemon().state_dir() +
           "/filler";
  }
  // All of the disk but so many bytes.
  void fill_but(uint64_t left) {
    std::ofstream file(filler(), std::ios::binary);
    const std::string block(4096, 'x');
    while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
    file.close();
    std::filesystem::resize_file(filler(), std::filesystem::file_size(filler()) - left);
  }

  const kit::TempDir dir_;
};

TEST_F(ChannelDiskFull, SendsAreRefusedWithTheCureNothingAcceptedIsLostAndRoomMendsIt) {
  ASSERT_EQ(ctl({"channels", "create", "big", "--unbounded", "--bytes-max", "16KiB"}).code, 0);
  ASSERT_EQ(ctl({"channels", "create", "other"}).code, 0);
  fill_but(300 << 10);
  const kit::Ran over = ctl({"channels", "send", "big"}, lines(0, 10'000));
  EXPECT_NE(over.code, 0);
  EXPECT_THAT(over.err, HasSubstr("channel \"big\" is full: its memory is, and so is the disk"));
  EXPECT_THAT(over.err, HasSubstr("No space left on device"));
  EXPECT_THAT(over.err, HasSubstr(daemon().state_dir() + "/channels/spill/"));
  EXPECT_THAT(over.err, HasSubstr("receive from it, or make room on the disk"));
  const v1::Channel full = get("big");
  EXPECT_GT(full.disk_messages(), 1'000u);
  EXPECT_EQ(full.depth(), full.sent()) << "what is counted as accepted is there";

  ASSERT_EQ(ctl({"channels", "send", "other", "-m", "hello"}).code, 0);
  EXPECT_EQ(ctl({"channels", "recv", "other", "-n", "1"}).out, "hello\n") << "others go on";

  std::filesystem::remove(filler());
  const int accepted = static_cast<int>(full.depth());
  ASSERT_EQ(ctl({"channels", "send", "big"}, lines(accepted, accepted + 5'000)).code, 0);
  EXPECT_EQ(ctl({"channels", "recv", "big", "-n", std::to_string(accepted + 5'000)}).out,
            lines(0, accepted + 5'000))
      << "in order, without a hole";
  EXPECT_TRUE(daemon().process().running());
}

}  // namespace
}  // namespace zsync::integration
