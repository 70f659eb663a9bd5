#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "daemon/shim/attempt.hpp"
#include "daemon/shim/shim_test_kit.hpp"
#include "daemon/store/segment_log_crc.hpp"

namespace zsync::daemon::shim {
namespace {

namespace fs = std::filesystem;
using segment_log::Fd;
using Clock = std::chrono::steady_clock;

class Shim : public ShimFixture {};

TEST_F(Shim, RecordsExitCodeAndBothStreams) {
  const ExitRecord exit = run(shell("echo out; echo err >&2; exit 42"));
  EXPECT_EQ(exit.kind, ExitKind::kExited);
  EXPECT_EQ(exit.code, 42);
  EXPECT_EQ(exit.output_bytes, 8u);
  EXPECT_EQ(exit.lost_bytes, 0u);
  EXPECT_LE(exit.started_unix_nano, exit.finished_unix_nano);
  const Output got = output();
  EXPECT_EQ(got.out[1], "out\n");
  EXPECT_EQ(got.out[2], "err\n");
  EXPECT_EQ(got.last_seq, exit.last_seq);
}

TEST_F(Shim, RecordsTheSignalThatEndedTheCommand) {
  const ExitRecord exit = run(shell("kill -SEGV $$"));
  EXPECT_EQ(exit.kind, ExitKind::kSignaled);
  EXPECT_EQ(exit.signal, SIGSEGV);
}

TEST_F(Shim, SaysWhyAProgramCannotBeExecuted) {
  ExitRecord exit = run(spec_of({"no-such-program"}));
  EXPECT_EQ(exit.kind, ExitKind::kExecFailed);
  EXPECT_EQ(exit.code, 127);
  EXPECT_EQ(exit.error, ENOENT);
  EXPECT_EQ(exit.text, "exec: no-such-program: No such file or directory");
  dir_ = root_ + "/2";
  std::ofstream(root_ + "/plain") << "text";
  exit = run(spec_of({root_ + "/plain"}));
  EXPECT_EQ(exit.code, 126);
  EXPECT_EQ(exit.text, "exec: " + root_ + "/plain: Permission denied");
  dir_ = root_ + "/3";
  Spec spec = shell("true");
  spec.cwd = "/no/such/dir";
  exit = run(spec);
  EXPECT_EQ(exit.kind, ExitKind::kExecFailed);
  EXPECT_EQ(exit.text, "cwd: /no/such/dir: No such file or directory");
}

TEST_F(Shim, FindsTheProgramInTheTasksOwnPathAndAddsNothingToItsEnvironment) {
  fs::create_directory(root_ + "/bin");
  std::ofstream(root_ + "/bin/probe") << "echo found $1; /usr/bin/env\n";  // no #!: sh runs it
  fs::permissions(root_ + "/bin/probe", fs::perms::owner_all);
  Spec spec = spec_of({"probe", "arg"});
  spec.env = {"PATH=/no/such:" + root_ + "/bin", "A=1"};
  EXPECT_EQ(run(spec).code, 0);
  const std::string out = output().out[1];
  EXPECT_EQ(out.find("found arg\n"), 0u);
  EXPECT_NE(out.find("\nA=1\n"), std::string::npos);
  EXPECT_EQ(out.find("ZSYNC"), std::string::npos);
}

TEST_F(Shim, TheCommandStartsWithACleanSlate) {
  sigset_t blocked;
  sigset_t before;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &blocked, &before);
  create(
      shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l; "
            "ps -o pid=,pgid= -p $$ | awk '{print ($1==$2)}'"));
  Daemon daemon = spawn();
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(finish(daemon).code, 0);
  EXPECT_EQ(output().out[1],
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n4\n1\n");  // 0 1 2 and ls's own
}

TEST_F(Shim, KeepsTwoHundredMegabytesOfInterleavedStreamsIntact) {
  Spec spec = shell(
      "head -c 100000000 /dev/zero | tr '\\0' 'o' & "
      "head -c 100000000 /dev/zero | tr '\\0' 'e' >&2 & wait");
  const Clock::time_point from = Clock::now();
  const ExitRecord exit = run(spec);
  std::cout << "200 MB through the shim: "
            << std::chrono::duration<double>(Clock::now() - from).count() << " s\n";
  EXPECT_EQ(exit.code, 0);
  EXPECT_EQ(exit.output_bytes, 200'000'000u);
  const Output got = output();
  const std::string o(100'000'000, 'o');
  const std::string e(100'000'000, 'e');
  EXPECT_EQ(got.out[1].size(), o.size());
  EXPECT_EQ(crc32c(0, got.out[1].data(), got.out[1].size()), crc32c(0, o.data(), o.size()));
  EXPECT_EQ(crc32c(0, got.out[2].data(), got.out[2].size()), crc32c(0, e.data(), e.size()));
  EXPECT_EQ(got.last_seq, exit.last_seq);
}

TEST_F(Shim, ADaemonizedGrandchildDoesNotSurviveTheCommand) {
  Spec spec = shell(
      "mkfifo up; (setsid sh -c 'trap \"\" TERM; echo $$; echo > up; exec sleep 1000' &); "
      "read line < up; exit 3");
  spec.kill_grace_ms = 100;
  const ExitRecord exit = run(spec);
  EXPECT_EQ(exit.kind, ExitKind::kExited);
  EXPECT_EQ(exit.code, 3);
  EXPECT_FALSE(exists(static_cast<pid_t>(std::stol(output().out[1]))));
}

TEST_F(Shim, ACancelEndsTheDaemonizedGrandchildToo) {
  create(shell("(setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' &); exec sleep 1000"));
  Daemon daemon = spawn();
  const pid_t main_pid = decode_started(*daemon.until(FrameType::kStarted)).pid;
  until_printed(daemon, "\n");
  const pid_t grandchild = static_cast<pid_t>(std::stol(output().out[1]));
  daemon.send(encode_frame(Cancel{100}));
  EXPECT_EQ(finish(daemon).kind, ExitKind::kCanceled);
  EXPECT_FALSE(exists(grandchild));
  EXPECT_FALSE(exists(main_pid));
}

TEST_F(Shim, WhatTheCommandLeftBehindIsKilledAfterTheGraceAndDoesNotHoldTheEnd) {
  Spec spec =
      shell("(trap '' TERM; echo $$ > /dev/null; while :; do sleep 1000; done) & echo $!; exit 7");
  spec.kill_grace_ms = 100;
  const Clock::time_point from = Clock::now();
  const ExitRecord exit = run(spec);
  EXPECT_EQ(exit.kind, ExitKind::kExited);
  EXPECT_EQ(exit.code, 7);
  EXPECT_LT(Clock::now() - from, std::chrono::seconds(3));
  EXPECT_FALSE(exists(static_cast<pid_t>(std::stol(output().out[1]))));
}

TEST_F(Shim, KeepsTheChildrenWhenAsked) {
  Spec spec = shell("sleep 1000 & echo $!");
  spec.keep_children = true;
  EXPECT_EQ(run(spec).code, 0);
  const pid_t child = static_cast<pid_t>(std::stol(output().out[1]));
  EXPECT_TRUE(exists(child));
  ::kill(child, SIGKILL);
}

TEST_F(Shim, ACommandThatIgnoresSigtermIsKilledAfterTheGrace) {
  create(shell("trap '' TERM; echo ready; while :; do sleep 1000; done"));
  Daemon daemon = spawn();
  until_printed(daemon, "ready");
  daemon.send(encode_frame(Cancel{50}));
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.kind, ExitKind::kCanceled);
  EXPECT_EQ(exit.signal, SIGKILL);
}

TEST_F(Shim, WhatWasWrittenBeforeAKillIsInTheLog) {
  for (int round = 0; round < 20; ++round) {
    dir_ = root_ + "/kill" + std::to_string(round);
    create(shell("while :; do echo line; echo line >> " + dir_ + "/written; done"));
    Daemon daemon = spawn();
    until_printed(daemon, "line");
    daemon.send(encode_frame(Cancel{0}));
    EXPECT_EQ(finish(daemon).kind, ExitKind::kCanceled);
    std::error_code none_yet;
    const uintmax_t written = fs::file_size(dir_ + "/written", none_yet);
    if (!none_yet) {
      EXPECT_GE(output().out[1].size(), written) << round;
    }
  }
}

TEST_F(Shim, ACancelIsHeardByTheCommandFirst) {
  create(shell("trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.01; done"));
  Daemon daemon = spawn();
  until_printed(daemon, "ready");
  daemon.send(encode_frame(Cancel{10'000}));
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.kind, ExitKind::kCanceled);
  EXPECT_EQ(exit.code, 9);
  EXPECT_EQ(output().out[1], "ready\nbye\n");
}

TEST_F(Shim, SigtermToTheShimIsACancelAndHangupsAreNothing) {
  create(shell("echo ready; exec sleep 1000"));
  Daemon daemon = spawn();
  until_printed(daemon, "ready");
  for (const int number : {SIGHUP, SIGINT, SIGPIPE}) ::kill(spawned_.back(), number);
  daemon.send(encode_frame(Signal{SIGCONT}));
  ::kill(spawned_.back(), SIGTERM);
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.kind, ExitKind::kCanceled);
  EXPECT_EQ(exit.signal, SIGTERM);
}

TEST_F(Shim, SendsASignalToTheCommand) {
  create(shell("trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.01; done"));
  Daemon daemon = spawn();
  until_printed(daemon, "ready");
  daemon.send(encode_frame(Signal{SIGUSR1}));
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.kind, ExitKind::kExited);
  EXPECT_NE(output().out[1].find("usr1"), std::string::npos);
}

TEST_F(Shim, ARunOverItsTimeIsTimedOut) {
  Spec spec = shell("exec sleep 1000");
  spec.timeout_ms = 100;
  const ExitRecord exit = run(spec);
  EXPECT_EQ(exit.kind, ExitKind::kTimedOut);
  EXPECT_EQ(exit.signal, SIGTERM);
}

TEST_F(Shim, OfTwoShimsExactlyOneExecutes) {
  for (int round = 0; round < 200; ++round) {
    dir_ = root_ + "/race" + std::to_string(round);
    create(spec_of({"/bin/sh", "-c", "echo ran >> " + dir_ + "/ran"}));
    Daemon one = spawn();
    Fd one_pidfd = std::move(pidfd_);
    Daemon two = spawn();
    const bool first = one.until(FrameType::kExited).has_value();
    const bool second = two.until(FrameType::kExited).has_value();
    EXPECT_NE(first, second);
    reap();
    pidfd_ = std::move(one_pidfd);
    reap();
    ASSERT_EQ(fs::file_size(dir_ + "/ran"), 4u) << round;
  }
}

TEST_F(Shim, ARevokedAttemptIsNeverExecuted) {
  create(shell("touch ran"));
  ASSERT_EQ(revoke_claim(dir_)->kind, ClaimKind::kRevoked);
  Daemon daemon = spawn();
  const std::optional<Frame> frame = daemon.next();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->type, FrameType::kRefused);
  EXPECT_EQ(decode_refused(*frame), "the claim is taken");
  reap();
  EXPECT_FALSE(fs::exists(root_ + "/ran"));
  EXPECT_FALSE(read_exit(dir_)->has_value());
}

TEST_F(Shim, ADaemonMayGoAndAnotherOneComeInTheMiddleOfTheOutput) {
  Spec spec = shell("echo one; read line; echo two $line; read line; exit 5");
  spec.stdin_mode = StdinMode::kStream;
  dir_ = root_ + "/" + std::string(150, 'd');  // far over sun_path
  create(spec);
  {
    Daemon first = spawn();
    until_printed(first, "one");
  }
  Daemon second = reconnect();
  const std::optional<Frame> frame = second.next();
  ASSERT_TRUE(frame.has_value());
  const Hello hello = decode_hello(*frame);
  EXPECT_EQ(hello.shim_pid, spawned_.back());
  EXPECT_NE(hello.pid, 0);
  EXPECT_EQ(hello.last_seq, 1u);
  EXPECT_FALSE(hello.exited);
  second.send(encode_frame(StdinData{0, "x\n"}));
  until_printed(second, "two x");
  absl::StatusOr<Fd> more = connect_shim(dir_);
  ASSERT_TRUE(more.ok());
  Daemon third(*std::move(more));
  EXPECT_EQ(decode_hello(*third.next()).stdin_received, 2u);
  third.send(encode_frame(StdinData{0, "x\ny\n"}));  // the part known already is skipped
  EXPECT_EQ(decode_exited(*third.until(FrameType::kExited)).code, 5);
  EXPECT_EQ(finish(second).code, 5);
  EXPECT_EQ(connect_shim(dir_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(Shim, ThatIsHeldRunsNothingBeforeItIsLetGo) {
  Spec spec = spec_of({"/bin/sh", "-c", "echo ran > " + root_ + "/ran"});
  spec.held = true;
  create(spec);
  Daemon daemon = spawn();
  while (!read_claim(dir_)->has_value()) ::sched_yield();  // it is ready
  EXPECT_FALSE(fs::exists(root_ + "/ran"));
  daemon.send(encode_frame(FrameType::kGo));
  EXPECT_EQ(finish(daemon).code, 0);
  EXPECT_TRUE(fs::exists(root_ + "/ran"));
}

TEST_F(Shim, ThatIsHeldTakesGoInAnyPiecesAndWhatComesBehindIt) {
  Spec spec = shell("cat");
  spec.held = true;
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  Daemon daemon = spawn();
  const std::string go = encode_frame(FrameType::kGo);
  daemon.send(go.substr(0, 3));
  daemon.send(go.substr(3) + encode_frame(StdinData{0, "word\n"}) +
              encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(finish(daemon).code, 0);
  EXPECT_EQ(output().out[1], "word\n");
}

// As when zsyncd dies before the start is on disk, is told to end, or sends what is no word of go.
TEST_F(Shim, ThatIsHeldAndNotLetGoLeavesWordThatNothingRan) {
  for (const std::string how : {"gone", "SIGTERM", "another word"}) {
    SCOPED_TRACE(how);
    dir_ = root_ + "/" + how.substr(0, 4);
    Spec spec = spec_of({"/bin/sh", "-c", "echo ran > " + root_ + "/ran"});
    spec.held = true;
    create(spec);
    Daemon daemon = spawn();
    while (!read_claim(dir_)->has_value()) ::sched_yield();
    if (how == "gone") daemon = Daemon(Fd());
    if (how == "SIGTERM") ::kill(spawned_.back(), SIGTERM);
    if (how == "another word") daemon.send(encode_frame(Cancel{0}));
    reap();
    EXPECT_FALSE(fs::exists(root_ + "/ran"));
    ASSERT_TRUE(read_exit(dir_)->has_value());
    EXPECT_EQ((*read_exit(dir_))->kind, ExitKind::kNotStarted);
    EXPECT_FALSE(shim_alive(dir_));
  }
}

TEST_F(Shim, ListensOnlyOnceNobodyIsConnected) {
  Spec spec = shell("echo runs; read line");
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  const auto sockets = [this] {
    size_t count = 0;
    for (const auto& item : fs::directory_iterator(dir_))
      count += item.path().filename().string().rfind(kSocketPrefix, 0) == 0;
    return count;
  };
  {
    Daemon first = spawn();
    until_printed(first, "runs");
    EXPECT_EQ(sockets(), 0u);
    EXPECT_EQ(connect_shim(dir_).status().code(), absl::StatusCode::kUnavailable);
  }
  Daemon second = reconnect();
  EXPECT_EQ(sockets(), 1u);
  second.send(encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(finish(second).code, 1);
  EXPECT_EQ(sockets(), 0u);
}

TEST_F(Shim, ASilentCommandLeavesNoLog) {
  EXPECT_EQ(run(shell("exit 3")).code, 3);
  EXPECT_FALSE(fs::exists(log_dir(dir_)));
  EXPECT_EQ(output().last_seq, 0u);
}

TEST_F(Shim, GoesByItselfOnceItHasTold) {
  create(shell("exit 4"));
  Daemon daemon = spawn();
  reap();
  EXPECT_EQ(decode_exited(*daemon.until(FrameType::kExited)).code, 4);
  EXPECT_FALSE(daemon.next().has_value());
  EXPECT_EQ((*read_exit(dir_))->code, 4);
}

TEST_F(Shim, WithNoDaemonItRecordsTheEndAndGoes) {
  create(shell("echo alone; exit 6"));
  {
    Daemon gone = spawn();
  }
  reap();
  EXPECT_EQ((*read_exit(dir_))->code, 6);
  EXPECT_EQ(output().out[1], "alone\n");
  for (const auto& item : fs::directory_iterator(dir_)) {
    EXPECT_NE(item.path().filename().string().rfind(kSocketPrefix, 0), 0u);
  }
}

TEST_F(Shim, ADaemonThatReadsNothingDoesNotHoldTheCommand) {
  Spec spec = shell("read go; i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  {
    Daemon gone = spawn();
  }
  Daemon deaf = reconnect();
  Daemon other = reconnect();
  other.send(encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(finish(other).code, 0);
  EXPECT_EQ(output().out[1].substr(0, 7), "line 0\n");
}

TEST_F(Shim, AShimKilledLeavesAReadableLogAndIsKnownDead) {
  create(shell("echo before; exec sleep 1000"));
  Daemon daemon = spawn();
  const Started started = decode_started(*daemon.until(FrameType::kStarted));
  until_printed(daemon, "before");
  EXPECT_TRUE(shim_alive(dir_));
  ::kill(spawned_.back(), SIGKILL);
  reap(true);
  EXPECT_FALSE(shim_alive(dir_));
  EXPECT_FALSE(read_exit(dir_)->has_value());
  EXPECT_EQ(output().out[1], "before\n");
  ::kill(started.pid, SIGKILL);
}

TEST_F(Shim, HandsStoredBytesToStdin) {
  Spec spec = shell("cat; echo end");
  spec.stdin_mode = StdinMode::kFile;
  EXPECT_EQ(run(spec, "stored bytes\n").code, 0);
  EXPECT_EQ(output().out[1], "stored bytes\nend\n");
}

TEST_F(Shim, NoStdinIsAnEmptyOne) {
  EXPECT_EQ(run(shell("cat; echo end")).code, 0);
  EXPECT_EQ(output().out[1], "end\n");
}

TEST_F(Shim, StreamsFiftyMegabytesOfStdinWithinTheWindow) {
  constexpr uint64_t kTotal = 50'000'000;
  Spec spec = spec_of({"sha256sum"});
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  Daemon daemon = spawn();
  const std::string zeros(kStdinFrameBytesMax, '\0');
  uint64_t sent = 0;
  uint64_t written = 0;
  while (written < kTotal) {
    while (sent < kTotal && sent - written + kStdinFrameBytesMax <= kStdinWindowBytes) {
      const size_t size = std::min<uint64_t>(kStdinFrameBytesMax, kTotal - sent);
      daemon.send(encode_frame(StdinData{sent, std::string_view(zeros).substr(0, size)}));
      sent += size;
    }
    const std::optional<Frame> ack = daemon.until(FrameType::kStdinAck);
    ASSERT_TRUE(ack.has_value());
    written = decode_stdin_ack(*ack).written;
  }
  daemon.send(encode_frame(FrameType::kStdinEof));
  EXPECT_EQ(finish(daemon).code, 0);
  const std::string expected = "head -c 50000000 /dev/zero | sha256sum";
  FILE* pipe = ::popen(expected.c_str(), "r");
  char line[128] = {};
  ASSERT_NE(::fgets(line, sizeof(line), pipe), nullptr);
  ::pclose(pipe);
  EXPECT_EQ(output().out[1], line);
}

TEST_F(Shim, SaysWhenTheCommandReadsNoMoreStdin) {
  Spec spec = shell("exec <&-; echo closed; exec sleep 1000");
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  Daemon daemon = spawn();
  until_printed(daemon, "closed");
  daemon.send(encode_frame(StdinData{0, "unread"}));
  std::optional<Frame> ack = daemon.until(FrameType::kStdinAck);
  ASSERT_TRUE(ack.has_value());
  EXPECT_TRUE(decode_stdin_ack(*ack).closed);
  daemon.send(encode_frame(Cancel{0}));
  EXPECT_EQ(finish(daemon).kind, ExitKind::kCanceled);
}

TEST_F(Shim, OverTheOutputLimitTheHeadAndARollingTailStay) {
  Spec spec = shell("echo first; head -c 8000000 /dev/zero; echo last");
  spec.output_bytes_max = 1'000'000;
  spec.output_head_bytes = 100'000;
  const ExitRecord exit = run(spec);
  const Output got = output();
  ASSERT_EQ(got.gaps.size(), 1u);
  EXPECT_EQ(got.gaps[0].reason, segment_log::GapReason::kOutputLimit);
  EXPECT_EQ(got.out[1].substr(0, 6), "first\n");
  EXPECT_EQ(got.out[1].substr(got.out[1].size() - 5), "last\n");
  EXPECT_LE(got.out[1].size(), 1'000'000u);
  EXPECT_EQ(exit.output_bytes, 8'000'011u);
  EXPECT_EQ(exit.lost_bytes, got.gaps[0].bytes);
  EXPECT_EQ(got.end_offset, 8'000'011u);
}

TEST_F(Shim, OnAFullDiskTheCommandGoesOnAndTheGapIsRecorded) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small tmpfs";
  const std::string disk = root_ + "/disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=2m") != 0) GTEST_SKIP() << "cannot mount";
  dir_ = disk + "/1";
  std::ofstream(disk + "/ballast") << std::string(1 << 20, 'b');
  Spec spec = shell("head -c 5000000 /dev/zero; echo full; read line; echo $line");
  spec.stdin_mode = StdinMode::kStream;
  create(spec);
  Daemon daemon = spawn();
  while (true) {
    const std::optional<Frame> frame = daemon.until(FrameType::kOutput);
    ASSERT_TRUE(frame.has_value());
    if (decode_output(*frame).bytes == 5'000'005) break;
  }
  fs::remove(disk + "/ballast");
  daemon.send(encode_frame(StdinData{0, "space again\n"}));
  const ExitRecord exit = finish(daemon);
  EXPECT_EQ(exit.code, 0);
  const Output got = output();
  ASSERT_GE(got.gaps.size(), 1u);
  EXPECT_EQ(got.gaps[0].reason, segment_log::GapReason::kDiskFull);
  uint64_t lost = 0;
  for (const segment_log::Gap& gap : got.gaps) lost += gap.bytes;
  EXPECT_EQ(exit.lost_bytes, lost);
  EXPECT_EQ(exit.output_bytes, 5'000'017u);
  EXPECT_EQ(got.end_offset, 5'000'017u);
}

TEST_F(Shim, StartsWithTenThousandDescriptorsOpen) {
  rlimit before = {};
  ::getrlimit(RLIMIT_NOFILE, &before);
  if (before.rlim_cur < 10'500) GTEST_SKIP() << "RLIMIT_NOFILE is " << before.rlim_cur;
  std::deque<Fd> many;
  for (int i = 0; i < 10'000; ++i) many.emplace_back(::dup(0));  // not close-on-exec
  EXPECT_EQ(run(shell("ls /proc/self/fd | wc -l; ls /proc/$PPID/fd | wc -l")).code, 0);
  const std::string out = output().out[1];
  EXPECT_EQ(out.substr(0, 2), "4\n");
  EXPECT_LT(std::stol(out.substr(2)), 16);
}

TEST_F(Shim, TheCommandHasTheLimitOfOpenFilesThatTheSpecNames) {
  Spec spec = shell("ulimit -n");
  spec.open_files_soft = 777;
  EXPECT_EQ(run(spec).code, 0);
  EXPECT_EQ(output().out[1], "777\n");
}

TEST_F(Shim, ACgroupThatCannotBeJoinedIsReportedAndNotFatal) {
  Spec spec = shell("exit 0");
  spec.cgroup = "/no/such/cgroup";
  create(spec);
  Daemon daemon = spawn();
  EXPECT_EQ(decode_started(*daemon.until(FrameType::kStarted)).cgroup_error,
            "cgroup: /no/such/cgroup: No such file or directory");
  EXPECT_EQ(finish(daemon).code, 0);
}

TEST_F(Shim, LeavesNoZombies) {
  create(shell("i=0; while [ $i -lt 20 ]; do (sh -c : &) ; i=$((i+1)); done; read line < fifo"));
  fs::create_directories(root_);
  ASSERT_EQ(::mkfifo((root_ + "/fifo").c_str(), 0600), 0);
  Daemon daemon = spawn();
  const pid_t main_pid = decode_started(*daemon.until(FrameType::kStarted)).pid;
  Fd fifo(::open((root_ + "/fifo").c_str(), O_WRONLY));  // opens once the loop is over
  const std::string children = "/proc/" + std::to_string(spawned_.back()) + "/task/" +
                               std::to_string(spawned_.back()) + "/children";
  const Clock::time_point from = Clock::now();
  std::string left;
  do {
    std::getline(std::ifstream(children), left);
  } while (left != std::to_string(main_pid) + " " &&
           Clock::now() - from < std::chrono::seconds(10));
  EXPECT_EQ(left, std::to_string(main_pid) + " ");
  fifo = Fd();
  finish(daemon);
}

TEST_F(Shim, StartsInAMillisecondOrSo) {
  std::vector<double> times;
  for (int i = 0; i < 20; ++i) {
    dir_ = root_ + "/t" + std::to_string(i);
    create(spec_of({"/bin/true"}));
    const Clock::time_point from = Clock::now();
    Daemon daemon = spawn();
    ASSERT_TRUE(daemon.until(FrameType::kStarted).has_value());
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - from).count());
    finish(daemon);
  }
  std::sort(times.begin(), times.end());
  std::cout << "spawn to started: median " << times[10] << " ms, max " << times.back() << " ms\n";
}

}  // namespace
}  // namespace zsync::daemon::shim
