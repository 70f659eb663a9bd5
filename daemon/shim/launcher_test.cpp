#include "daemon/shim/launcher.hpp"

#include <sys/stat.h>

#include <sstream>

#include "daemon/shim/fork_server.hpp"
#include "daemon/shim/shim_test_kit.hpp"

namespace zsync::daemon::shim {
namespace {

namespace fs = std::filesystem;
using segment_log::Fd;

constexpr int kLaunchesMax = 2000;  // until a server must be ready

std::string file_of(pid_t pid, const std::string& name) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/" + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

pid_t parent_of(pid_t pid) {
  const std::string stat = file_of(pid, "stat");
  const size_t close = stat.rfind(')');
  return close == std::string::npos ? 0 : std::atoi(stat.c_str() + close + 4);
}

// A shim that waits for its command, which waits for its stdin.
struct Running {
  Daemon daemon;
  std::string dir;
  pid_t shim = 0;
  pid_t parent = 0;
};

class Launching : public ShimFixture {
 protected:
  void SetUp() override {
    ShimFixture::SetUp();
    launcher_ = std::make_unique<Launcher>(program_);
  }
  void TearDown() override {
    launcher_.reset();
    while (::waitpid(-1, nullptr, 0) > 0) {  // what was executed, and the servers
    }
    ShimFixture::TearDown();
  }

  Running launch() {
    dir_ = root_ + "/" + std::to_string(++attempts_);
    Spec spec = shell("read line; exit 7");
    spec.stdin_mode = StdinMode::kStream;
    create(spec);
    absl::StatusOr<Fd> connection = launcher_->launch(dir_);
    EXPECT_TRUE(connection.ok()) << connection.status();
    Running running{Daemon(*std::move(connection)), dir_};
    const std::optional<Frame> hello = running.daemon.until(FrameType::kHello);
    EXPECT_TRUE(hello.has_value());
    if (!hello) return running;
    running.shim = decode_hello(*hello).shim_pid;
    running.parent = parent_of(running.shim);
    return running;
  }
  int end(Running& running) {
    running.daemon.send(encode_frame(FrameType::kStdinEof));
    const std::optional<Frame> exited = running.daemon.until(FrameType::kExited);
    return exited ? decode_exited(*exited).code : -1;
  }
  // Launches until one was forked.
  Running launch_forked() {
    for (int i = 0; i < kLaunchesMax; ++i) {
      Running running = launch();
      if (running.parent != ::getpid()) return running;
      EXPECT_EQ(end(running), 7);
    }
    ADD_FAILURE() << "no server came up";
    return launch();
  }

  std::unique_ptr<Launcher> launcher_;
  int attempts_ = 0;
};

TEST_F(Launching, AMissingProgramIsSaidSo) {
  EXPECT_EQ(spawn_shim("/no/such/zsync-shim", dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Launcher("/no/such/zsync-shim").launch(dir_).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(Launching, TheFirstShimIsExecutedAndLaterOnesAreForkedFromOneServer) {
  Running first = launch();
  EXPECT_EQ(first.parent, ::getpid());
  Running second = launch_forked();
  Running third = launch();
  EXPECT_EQ(second.parent, third.parent);
  EXPECT_NE(second.parent, ::getpid());
  for (Running* running : {&first, &second, &third}) EXPECT_EQ(end(*running), 7);
}

TEST_F(Launching, AForkedShimShowsItsDirectoryAndLeadsASession) {
  Running forked = launch_forked();
  const std::string line = file_of(forked.shim, "cmdline");
  const std::string wanted = std::string("zsync-shim") + '\0' + forked.dir + '\0';
  EXPECT_EQ(line.substr(0, wanted.size()), wanted);
  EXPECT_EQ(line.find_first_not_of('\0', wanted.size()), std::string::npos);
  EXPECT_EQ(::getsid(forked.shim), forked.shim);
  EXPECT_EQ(end(forked), 7);
}

TEST_F(Launching, AForkedShimOutlivesTheLauncherAndItsServer) {
  Running forked = launch_forked();
  launcher_.reset();
  ASSERT_EQ(::waitpid(forked.parent, nullptr, 0), forked.parent) << "the server did not end";
  forked.daemon = Daemon(Fd());
  Daemon next = reconnect();
  next.send(encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(decode_exited(*next.until(FrameType::kExited)).code, 7);
  EXPECT_EQ((*read_exit(dir_))->code, 7);
}

TEST_F(Launching, AServerThatWasKilledIsReplaced) {
  Running before = launch_forked();
  ::kill(before.parent, SIGKILL);
  ASSERT_EQ(::waitpid(before.parent, nullptr, 0), before.parent);
  Running meanwhile = launch();  // a shim of the dead server lives, and holds nothing of it
  EXPECT_EQ(meanwhile.parent, ::getpid());
  Running after = launch_forked();
  EXPECT_NE(after.parent, before.parent);
  for (Running* running : {&before, &meanwhile, &after}) EXPECT_EQ(end(*running), 7);
}

// What it was asked goes on when it does; nobody else waits for it.
TEST_F(Launching, AServerThatStandsStillIsReplaced) {
  auto now = std::chrono::steady_clock::time_point();
  launcher_ = std::make_unique<Launcher>(program_, [&now] { return now; });
  Running before = launch_forked();
  ::kill(before.parent, SIGSTOP);
  // The signal is taken on the way out of the kernel: a server that has yet to go there could
  // still read one attempt.
  ASSERT_EQ(::waitpid(before.parent, nullptr, WUNTRACED), before.parent);
  dir_ = root_ + "/waits";
  create(shell("exit 7"));
  absl::StatusOr<Fd> connection = launcher_->launch(dir_);
  ASSERT_TRUE(connection.ok());
  Daemon waits(*std::move(connection));
  now += Launcher::kServerSilenceMax + std::chrono::milliseconds(1);
  Running meanwhile = launch();
  EXPECT_EQ(meanwhile.parent, ::getpid());
  Running after = launch_forked();
  EXPECT_NE(after.parent, before.parent);
  ::kill(before.parent, SIGCONT);
  EXPECT_EQ(decode_exited(*waits.until(FrameType::kExited)).code, 7);
  for (Running* running : {&before, &meanwhile, &after}) EXPECT_EQ(end(*running), 7);
}

TEST_F(Launching, AProgramThatKnowsNoServersIsAskedOnce) {
  const std::string old = root_ + "/old-shim";
  std::ofstream(old) << "#!/bin/sh\n[ \"$1\" = --fork-server ] && { echo asked >> " << root_
                     << "/asked; exit 2; }\nexec " << program_ << " \"$@\"\n";
  ASSERT_EQ(::chmod(old.c_str(), 0700), 0);
  launcher_ = std::make_unique<Launcher>(old);
  for (int i = 0; i < 50; ++i) {
    Running running = launch();
    EXPECT_EQ(running.parent, ::getpid());
    ASSERT_EQ(end(running), 7);
  }
  EXPECT_EQ(fs::file_size(root_ + "/asked"), 6u);
}

TEST_F(Launching, ADirectoryThatDoesNotFitTheServersRoomIsExecuted) {
  Running forked = launch_forked();
  root_ += "/" + std::string(100, 'd');
  fs::create_directory(root_);
  Running deep = launch();
  EXPECT_EQ(deep.parent, ::getpid());
  root_ = fs::path(root_).parent_path();
  for (Running* running : {&forked, &deep}) EXPECT_EQ(end(*running), 7);
}

TEST_F(Launching, TheServerPassesOverWhatIsNoAttempt) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
  Fd mine(pair[0]);
  const pid_t server = ::vfork();
  if (server == 0) {
    ::dup2(pair[1], kForkServerFd);
    if (pair[1] == kForkServerFd) ::fcntl(kForkServerFd, F_SETFD, 0);
    ::execl(program_.c_str(), "zsync-shim", kForkServerFlag, nullptr);
    ::_exit(127);
  }
  ASSERT_GT(server, 0);
  (void)::close(pair[1]);
  char word[16] = {};
  ASSERT_GT(::recv(mine.get(), word, sizeof word - 1, 0), 0);
  EXPECT_STREQ(word, kForkServerReady);
  const std::string without = "/no/descriptor/with/it";
  EXPECT_EQ(::send(mine.get(), without.data(), without.size(), 0),
            static_cast<ssize_t>(without.size()));
  mine = Fd();  // it reads on, and ends when nothing comes any more
  int status = 0;
  ASSERT_EQ(::waitpid(server, &status, 0), server);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace zsync::daemon::shim
