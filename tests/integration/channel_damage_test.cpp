// Durable channels whose files a crash or a disk has damaged.
#include <dirent.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class ChannelDamage : public DaemonTest {
 protected:
  client::Channels channels() { return client().channels(); }

  void create_with(const std::string& name, int count) {
    ASSERT_EQ(ctl({"channels", "create", name, "--durable"}).code, 0);
    std::string lines;
    for (int i = 1; i <= count; ++i) lines += "message " + std::to_string(i) + "\n";
    ASSERT_EQ(ctl({"channels", "send", name}, lines).code, 0);
  }
  // The only segment of a channel.
  std::string segment_of(const std::string& name) {
    const auto channel = channels().get(name);
    EXPECT_TRUE(channel.ok()) << channel.status();
    const std::string dir = daemon().state_dir() + "/channels/" + channel->id();
    for (const auto& file : std::filesystem::directory_iterator(dir)) {
      if (file.path().extension() == ".seg") return file.path();
    }
    ADD_FAILURE() << "no segment in " << dir;
    return "";
  }
  // Kills the daemon, lets `damage` at the file, and starts it again.
  void damage(const std::string& file, const std::function<void(const std::string&)>& damage) {
    drop_client();
    daemon().kill9();
    damage(file);
    ASSERT_TRUE(daemon().start()) << daemon().log();
    connect();
  }
  static void flip_bit(const std::string& file, std::streamoff at) {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekg(at);
    const char old = static_cast<char>(bytes.get());
    bytes.seekp(at);
    bytes.put(static_cast<char>(old ^ 1));
  }
  static std::streamoff size_of(const std::string& file) {
    return static_cast<std::streamoff>(std::filesystem::file_size(file));
  }
};

TEST_F(ChannelDamage, ATornTailIsCutAndWhatIsBeforeItStays) {
  create_with("jobs", 5);
  damage(segment_of("jobs"), [](const std::string& file) {
    std::filesystem::resize_file(file, static_cast<uintmax_t>(size_of(file)) - 3);
  });
  EXPECT_EQ(channels().get("jobs")->next_seq(), 5u);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "4"}).out,
            "message 1\nmessage 2\nmessage 3\nmessage 4\n");
  EXPECT_THAT(ctl({"events", "list"}).out, HasSubstr("channel.tail_cut"));
}

TEST_F(ChannelDamage, AFlippedBitInTheTailIsCutToo) {
  create_with("jobs", 3);
  damage(segment_of("jobs"), [](const std::string& file) { flip_bit(file, size_of(file) - 2); });
  EXPECT_EQ(channels().get("jobs")->next_seq(), 3u);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "2"}).out, "message 1\nmessage 2\n");
}

TEST_F(ChannelDamage, ANumberThatAGroupHasSettledIsNotGivenAgainAfterItsMessageWasCut) {
  create_with("jobs", 5);
  ASSERT_EQ(ctl({"channels", "add-group", "jobs", "g"}).code, 0);
  ASSERT_EQ(ctl({"channels", "recv", "jobs", "-g", "g", "-n", "5"}).code, 0);
  damage(segment_of("jobs"), [](const std::string& file) {
    std::filesystem::resize_file(file, static_cast<uintmax_t>(size_of(file)) - 3);
  });
  ASSERT_EQ(ctl({"channels", "send", "jobs", "-m", "after"}).code, 0);
  EXPECT_EQ(channels().get("jobs")->next_seq(), 7u);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-g", "g", "-n", "1"}).out, "after\n");
}

TEST_F(ChannelDamage, AFlippedBitInTheMiddleRefusesThatChannelByNameAndNoOther) {
  create_with("jobs", 50);
  create_with("sound", 2);
  damage(segment_of("jobs"), [](const std::string& file) { flip_bit(file, size_of(file) / 2); });
  const kit::Ran refused = ctl({"channels", "recv", "jobs", "-n", "1"});
  EXPECT_EQ(refused.code, 1) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("channel \"jobs\" is damaged"));
  EXPECT_THAT(refused.err, HasSubstr("damaged at byte"));
  EXPECT_THAT(refused.err, HasSubstr("channels remove jobs"));
  EXPECT_EQ(ctl({"channels", "create", "jobs", "--durable"}).code, 1);
  EXPECT_EQ(ctl({"channels", "recv", "sound", "-n", "2"}).out, "message 1\nmessage 2\n");
  EXPECT_EQ(ctl({"channels", "remove", "-y", "jobs"}).code, 0);
  create_with("jobs", 1);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "1"}).out, "message 1\n");
}

}  // namespace
}  // namespace zsync::integration
