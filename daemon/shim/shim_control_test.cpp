// What a shim does to a running command when it is asked: pause, resume, priorities, limits; and
// what it says of what the command used.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "daemon/shim/attempt.hpp"
#include "daemon/shim/shim_test_kit.hpp"

namespace zsync::daemon::shim {
namespace {

constexpr char kSays[] = "echo up; while read -r line; do echo \"got $line\"; done";

class ShimControl : public ShimFixture {
 protected:
  // The letter of /proc/PID/stat; '?' when there is no such process.
  static char state_of(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::stringstream text;
    text << file.rdbuf();
    const size_t close = text.str().rfind(')');
    return close == std::string::npos ? '?' : text.str()[close + 2];
  }
  // A stop takes effect when the process is next on a processor. A shell that is just starting a
  // command waits (vfork, letter D) for a child that is stopped before its exec; it stands still
  // too.
  static bool becomes(pid_t pid, bool stopped) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kBoundMs);
    const auto stands_still = [pid] { return state_of(pid) == 'T' || state_of(pid) == 'D'; };
    while (stands_still() != stopped) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      ::poll(nullptr, 0, 1);
    }
    return true;
  }
  pid_t printed_pid(Daemon& daemon, const std::string& key) {
    until_printed(daemon, key + " ");
    const std::string all = output().out[1];
    return static_cast<pid_t>(std::atoi(all.c_str() + all.find(key + " ") + key.size() + 1));
  }
  static int64_t paused_since(Daemon& daemon) {
    const std::optional<Frame> frame = daemon.until(FrameType::kPaused);
    return frame ? decode_paused(*frame).since_unix_nano : -1;
  }
  bool ends_within(int ms) {
    pollfd polled{pidfd_.get(), POLLIN, 0};
    return ::poll(&polled, 1, ms) == 1;
  }
};

TEST_F(ShimControl, PauseStopsEveryProcessOfTheTreeAndResumeLetsThemGoOn) {
  Spec spec =
      shell(std::string("sleep 1000 & echo child $!; echo self $$; ") + kSays + "; kill %1");
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  Daemon daemon = spawn();
  const pid_t child = printed_pid(daemon, "child");
  const pid_t self = printed_pid(daemon, "self");
  daemon.send(encode_frame(FrameType::kPause));
  EXPECT_GT(paused_since(daemon), 0);
  EXPECT_TRUE(becomes(self, true));
  EXPECT_TRUE(becomes(child, true));
  daemon.send(encode_frame(StdinData{0, "word\n"}));
  daemon.send(encode_frame(FrameType::kResume));
  EXPECT_EQ(paused_since(daemon), 0);
  EXPECT_TRUE(becomes(child, false));
  until_printed(daemon, "got word");
  daemon.send(encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(finish(daemon).kind, ExitKind::kExited);
}

TEST_F(ShimControl, ADaemonThatConnectsLaterIsToldOfThePause) {
  Spec spec = shell(std::string("echo self $$; ") + kSays);
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  Daemon first = spawn();
  (void)printed_pid(first, "self");
  first.send(encode_frame(FrameType::kPause));
  const int64_t since = paused_since(first);
  first = Daemon(segment_log::Fd());
  Daemon second = reconnect();
  const std::optional<Frame> hello = second.until(FrameType::kHello);
  ASSERT_TRUE(hello.has_value());
  EXPECT_EQ(decode_hello(*hello).paused_unix_nano, since);
  second.send(encode_frame(FrameType::kResume));
  EXPECT_EQ(paused_since(second), 0);
  second.send(encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(finish(second).code, 0);
}

TEST_F(ShimControl, ThePauseDoesNotCountAgainstTheTimeout) {
  Spec spec = shell(std::string("echo self $$; ") + kSays);
  spec.stdin_mode = StdinMode::kStream;
  spec.timeout_ms = 1500;
  create(spec);
  Daemon daemon = spawn();
  (void)printed_pid(daemon, "self");
  daemon.send(encode_frame(FrameType::kPause));
  EXPECT_GT(paused_since(daemon), 0);
  EXPECT_FALSE(ends_within(2000)) << "it timed out while it was paused";
  daemon.send(encode_frame(FrameType::kResume));
  EXPECT_EQ(finish(daemon).kind, ExitKind::kTimedOut);
}

TEST_F(ShimControl, ADeadlineDoesNotWaitForAPause) {
  Spec spec = shell("echo self $$; exec sleep 1000");
  spec.timeout_ms = 1000;
  spec.deadline_ms = 1500;
  create(spec);
  Daemon daemon = spawn();
  (void)printed_pid(daemon, "self");
  daemon.send(encode_frame(FrameType::kPause));
  EXPECT_GT(paused_since(daemon), 0);
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.kind, ExitKind::kTimedOut);
  EXPECT_TRUE(exit.by_deadline);
}

TEST_F(ShimControl, WhicheverOfTimeoutAndDeadlineIsFirstEndsTheRunAndIsNamed) {
  Spec spec = spec_of({"sleep", "1000"});
  spec.timeout_ms = 50;
  spec.deadline_ms = 100'000;
  EXPECT_FALSE(run(spec).by_deadline);
  dir_ = root_ + "/2";
  std::swap(spec.timeout_ms, spec.deadline_ms);
  const ExitRecord exit = run(spec);
  EXPECT_EQ(exit.kind, ExitKind::kTimedOut);
  EXPECT_TRUE(exit.by_deadline);
}

TEST_F(ShimControl, ACancelEndsAPausedTreeAndIsHeardByIt) {
  create(shell("trap 'echo bye; exit 3' TERM; echo self $$; while :; do sleep 0.01; done"));
  Daemon daemon = spawn();
  const pid_t self = printed_pid(daemon, "self");
  daemon.send(encode_frame(FrameType::kPause));
  EXPECT_GT(paused_since(daemon), 0);
  EXPECT_TRUE(becomes(self, true));
  daemon.send(encode_frame(Cancel{kBoundMs}));
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.kind, ExitKind::kCanceled);
  EXPECT_EQ(exit.code, 3);
  EXPECT_NE(output().out[1].find("bye"), std::string::npos);
}

TEST_F(ShimControl, ACommandThatIsKilledWhilePausedEnds) {
  create(shell("echo self $$; exec sleep 1000"));
  Daemon daemon = spawn();
  (void)printed_pid(daemon, "self");
  daemon.send(encode_frame(FrameType::kPause));
  EXPECT_GT(paused_since(daemon), 0);
  daemon.send(encode_frame(Cancel{0}));
  EXPECT_EQ(finish(daemon).signal, SIGKILL);
}

TEST_F(ShimControl, RecordsWhatTheCommandAndItsChildrenUsed) {
  // tail keeps the last 48 MiB in memory, and it is a grandchild.
  const ExitRecord exit =
      run(shell("(head -c 64M /dev/zero | tail -c 48M | wc -c); i=0; "
                "while [ $i -lt 50000 ]; do i=$((i + 1)); done"));
  EXPECT_EQ(output().out[1], "50331648\n");
  EXPECT_GE(exit.usage.memory_peak_bytes, 48ull << 20);
  EXPECT_LT(exit.usage.memory_peak_bytes, 1ull << 40);
  EXPECT_GT(exit.usage.cpu_user_us, 1000u);
  EXPECT_GT(exit.usage.cpu_system_us, 0u);
  EXPECT_FALSE(exit.usage.memory_is_tree);
}

TEST_F(ShimControl, CountsWhatWasWrittenToStorage) {
  const ExitRecord small = run(shell("true"));
  dir_ = root_ + "/2";
  const ExitRecord big =
      run(shell("dd if=/dev/zero of=" + root_ + "/file bs=1M count=8 conv=fsync 2>/dev/null"));
  ASSERT_EQ(big.code, 0);
  if (big.usage.io_written_bytes == 0) GTEST_SKIP() << "this kernel or file system counts none";
  EXPECT_GE(big.usage.io_written_bytes, 8ull << 20);
  EXPECT_LT(small.usage.io_written_bytes, 1ull << 20);
}

TEST_F(ShimControl, RunsTheCommandWithTheNicenessAndIoClassItIsGiven) {
  Spec spec = shell("nice; ionice");
  spec.nice = 7;
  spec.io_class = 2;
  spec.io_level = 6;
  EXPECT_EQ(run(spec).code, 0);
  EXPECT_EQ(output().out[1], "7\nbest-effort: prio 6\n");
  dir_ = root_ + "/2";
  spec.io_class = 3;
  spec.io_level = 0;
  EXPECT_EQ(run(spec).code, 0);
  EXPECT_EQ(output().out[1], "7\nidle\n");
}

TEST_F(ShimControl, HoldsTheCommandToItsLimits) {
  Spec spec =
      shell("grep -E 'address space|processes' /proc/self/limits | tr -s ' ' | cut -d' ' -f3-4");
  spec.memory_bytes_max = 256ull << 20;
  spec.processes_max = 50'000;
  EXPECT_EQ(run(spec).code, 0);
  EXPECT_NE(output().out[1].find("268435456"), std::string::npos) << output().out[1];
  EXPECT_NE(output().out[1].find("50000"), std::string::npos) << output().out[1];
}

TEST_F(ShimControl, TheExitRecordAndTheSpecKeepWhatTheyAreGiven) {
  ExitRecord exit;
  exit.text = std::string(kExitTextBytesMax, 'x');
  exit.usage = {1, 2, 3, 4, 5, true};
  const std::optional<ExitRecord> read = decode_exit(encode_exit(exit));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->usage.cpu_system_us, 2u);
  EXPECT_EQ(read->usage.io_written_bytes, 5u);
  EXPECT_TRUE(read->usage.memory_is_tree);
  Spec spec = shell("true");
  spec.nice = -20;
  spec.memory_bytes_max = 1ull << 40;
  const std::optional<Spec> again = decode_spec(encode_spec(spec));
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->nice, -20);
  EXPECT_EQ(again->memory_bytes_max, 1ull << 40);
}

}  // namespace
}  // namespace zsync::daemon::shim
