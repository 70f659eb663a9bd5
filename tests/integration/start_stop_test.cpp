// How a daemon begins and ends: one for a socket, clear lines when it cannot, tasks that live on.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class StartStop : public DaemonTest {};

// One start that is expected to fail -> code and log.
kit::Ran refused(const Words& flags, kit::StartOptions options = {}) {
  Words argv{kit::Programs::get().zsyncd};
  argv.insert(argv.end(), flags.begin(), flags.end());
  return kit::run(argv, {}, std::move(options), kit::milliseconds(10'000));
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_F(StartStop, ASecondDaemonSaysInOneLineThatOneServesAlready) {
  kit::TempDir dir;
  const kit::Ran same_socket =
      refused({"--socket", daemon().socket(), "--state-dir", dir / "other"});
  EXPECT_EQ(same_socket.code, 1);
  EXPECT_THAT(same_socket.err, HasSubstr("already serves"));
  EXPECT_EQ(lines(same_socket.err), 1u) << same_socket.err;
  const kit::Ran same_state = refused({"--socket", dir / "s", "--state-dir", daemon().state_dir()});
  EXPECT_EQ(same_state.code, 1);
  EXPECT_EQ(lines(same_state.err), 1u) << same_state.err;
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0) << "the first one is to be left alone";
}

TEST_F(StartStop, AStaleSocketIsTakenOver) {
  daemon().kill9();
  struct stat info{};
  ASSERT_EQ(stat(daemon().socket().c_str(), &info), 0);
  ASSERT_TRUE(daemon().start()) << daemon().log();
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
}

// The descriptors of a daemon that was killed while it started a process: that one has them until
// it executes its own program. Here the test has them.
class HeldByADeadDaemon : public StartStop {
 protected:
  void SetUp() override {
    socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    const pid_t owner = fork();
    if (owner == 0) _exit(listen(socket_, 8));
    int status = -1;
    ASSERT_EQ(waitpid(owner, &status, 0), owner);
    ASSERT_EQ(status, 0);
    ASSERT_TRUE(kit::accepts(path_));
    lock_ = open((path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(flock(lock_, LOCK_EX | LOCK_NB), 0);
    ASSERT_GT(dprintf(lock_, "%d\n", owner), 0);
  }
  void TearDown() override {
    close(socket_);
    if (lock_ >= 0) close(lock_);
  }
  // The old socket accepts too, so only the log tells.
  bool comes_up() {
    return kit::poll_until([&] { return next_.log().find("is ready") != std::string::npos; });
  }
  void let_go_of_lock() {
    close(lock_);
    lock_ = -1;
  }

  kit::TempDir dir_;
  const std::string path_ = dir_ / "s";
  kit::PrivateDaemon next_{{.socket = path_}};
  int socket_ = -1;
  int lock_ = -1;
};

TEST_F(HeldByADeadDaemon, ASocketIsStaleAlthoughItAnswers) {
  let_go_of_lock();
  next_.spawn();
  ASSERT_TRUE(comes_up()) << next_.log();
  EXPECT_EQ(next_.ctl({"run", "--", "true"}).code, 0);
}

TEST_F(HeldByADeadDaemon, ALockIsWaitedFor) {
  next_.spawn();
  EXPECT_FALSE(kit::poll_until([&] { return !next_.process().running(); }, kit::milliseconds(100)))
      << next_.log();
  let_go_of_lock();
  ASSERT_TRUE(comes_up()) << next_.log();
  EXPECT_EQ(next_.ctl({"status"}).code, 0);
}

TEST_F(StartStop, ASocketPathThatIsTooLongIsNamedWithTheLimit) {
  kit::TempDir dir;
  const kit::Ran ran =
      refused({"--socket", dir / std::string(120, 's'), "--state-dir", dir / "state"});
  EXPECT_NE(ran.code, 0);
  EXPECT_THAT(ran.err, HasSubstr("107"));
  EXPECT_EQ(lines(ran.err), 1u) << ran.err;
}

TEST_F(StartStop, AStateDirectoryThatCannotBeWrittenIsNamed) {
  kit::TempDir dir;
  const kit::Ran ran = refused({"--socket", dir / "s", "--state-dir", "/proc/zsync"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("/proc/zsync"));
  EXPECT_EQ(lines(ran.err), 1u) << ran.err;
}

TEST_F(StartStop, ATruncatedStoreIsRefusedAndLeftAsItWas) {
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
  ASSERT_EQ(daemon().stop(), 0);
  const std::string path = daemon().state_dir() + "/store.db";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  const std::string before = *kit::read_file(path);
  const kit::Ran ran =
      refused({"--socket", daemon().socket(), "--state-dir", daemon().state_dir()});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("store.db"));
  EXPECT_EQ(lines(ran.err), 1u) << ran.err;
  EXPECT_EQ(kit::read_file(path), before);
}

TEST_F(StartStop, ABadConfigurationIsRefusedWithFileLineAndTheClosestKey) {
  kit::TempDir dir;
  const std::string path = dir / "z.yaml";
  kit::write_file(path, "version: 1\ntasks:\n  kil_grace: 5s\n");
  kit::Ran ran = refused({"--config", path, "--socket", dir / "s", "--state-dir", dir / "st"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr(path + ":3"));
  EXPECT_THAT(ran.err, HasSubstr("kill_grace"));
  kit::write_file(path, "version: 1\ntasks:\n\tkill_grace: 5s\n");
  ran = refused({"--config", path, "--socket", dir / "s", "--state-dir", dir / "st"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr(path + ":3"));
  EXPECT_THAT(ran.err, HasSubstr("tab"));
}

TEST_F(StartStop, ReloadWithABrokenFileKeepsTheOldConfiguration) {
  ASSERT_TRUE(kit::write_file(daemon().config_file(), "version: 1\nno_such_key: 1\n"));
  daemon().process().signal(SIGHUP);
  ASSERT_TRUE(kit::poll_until([this] {
    return daemon().log().find("configuration kept as it was") != std::string::npos;
  })) << daemon().log();
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
  ASSERT_TRUE(kit::write_file(daemon().config_file(), "version: 1\nlog: {level: debug}\n"));
  daemon().process().signal(SIGHUP);
  EXPECT_TRUE(kit::poll_until([this] {
    return daemon().log().find("configuration reloaded") != std::string::npos;
  })) << daemon().log();
}

TEST_F(StartStop, TermDrainsAndTheNextDaemonGoesOnWithTheRunningTask) {
  const std::string id =
      submit({"-c", "for i in $(seq 1 40); do echo line $i; sleep 0.02; done; exit 6"});
  wait_for_output(id);
  EXPECT_EQ(daemon().stop(), 0);
  EXPECT_THAT(daemon().log(), HasSubstr("stopped"));
  EXPECT_FALSE(kit::accepts(daemon().socket()));
  EXPECT_FALSE(daemon().shims().empty());
  ASSERT_TRUE(daemon().start()) << daemon().log();
  std::string expected;
  for (int i = 1; i <= 40; ++i) expected += "line " + std::to_string(i) + "\n";
  EXPECT_EQ(output_of(id), expected);
  const v1::Task task = wait(id);
  EXPECT_EQ(task.exit_code(), 6) << task.ShortDebugString();
  EXPECT_EQ(task.attempt(), 1u);
  expect_nothing_left();
}

TEST_F(StartStop, TermEndsCallsThatWait) {
  const std::string id = submit({"--", "sleep", "1000"});
  kit::Process waiting(daemon().ctl_argv({"tasks", "wait", id}));
  ASSERT_TRUE(kit::poll_until([this] {
    const auto stats = client().daemon().stats();
    return stats.ok() && stats->connections() == 2;
  }));
  EXPECT_EQ(daemon().stop(kit::milliseconds(8000)), 0) << daemon().log();
}

TEST_F(StartStop, TermDuringTheStartEndsTheDaemonToo) {
  ASSERT_EQ(daemon().stop(), 0);
  for (int i = 0; i < 10; ++i) {
    daemon().spawn();
    kit::poll_until([] { return false; }, kit::milliseconds(i * 5));
    const int code = daemon().stop(kit::milliseconds(8000));
    // Before main() has blocked it, the signal ends the program in the kernel's way.
    EXPECT_TRUE(code == 0 || code == 128 + SIGTERM) << code << daemon().log();
  }
  ASSERT_TRUE(daemon().start()) << daemon().log();
}

TEST_F(StartStop, ASocketOfTheServiceManagerIsServed) {
  const std::string activate = "/usr/bin/systemd-socket-activate";
  if (access(activate.c_str(), X_OK) != 0) GTEST_SKIP() << activate << " is not installed";
  kit::TempDir dir;
  kit::StartOptions options;
  options.set_env = {"ZSYNC_STATE_DIR=" + (dir / "state")};
  // It passes no other variable on, not even how a sanitizer was told to report.
  kit::Process activated(
      {activate, "--listen=" + (dir / "a"), "-E", "ZSYNC_STATE_DIR", "-E", "ASAN_OPTIONS", "-E",
       "UBSAN_OPTIONS", "-E", "TSAN_OPTIONS", kit::Programs::get().zsyncd},
      options);
  ASSERT_TRUE(kit::poll_until([&] { return kit::accepts(dir / "a"); }));
  const kit::Ran ran = kit::run({kit::Programs::get().zsyncctl, "--socket", dir / "a",
                                 "--no-autostart", "run", "--", "echo", "hello"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "hello\n");
  activated.signal(SIGTERM);
  EXPECT_EQ(activated.wait(kit::milliseconds(10'000)), 0);
}

}  // namespace
}  // namespace zsync::integration
