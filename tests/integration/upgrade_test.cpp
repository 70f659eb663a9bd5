// zsyncd while another program takes over from it: what was going on goes on, and a program that
// fails gives the process back.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/integration/daemon_test.hpp"
#include "tests/kit/small_disk.hpp"

namespace zsync::integration {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class Upgrade : public DaemonTest {
 protected:
  // Before its program goes, by whose names a sanitizer would tell what it found.
  void TearDown() override { daemon().kill9(); }
  // The same program under another path, as an installed next version would be.
  std::string other_program(const std::string& folder = "next") {
    std::filesystem::create_directory(programs_ / folder);
    const kit::Programs& programs = kit::Programs::get();
    std::filesystem::copy_file(programs.zsyncd, programs_ / (folder + "/zsyncd"));
    std::filesystem::copy_file(programs.shim, programs_ / (folder + "/zsync-shim"));
    return programs_ / (folder + "/zsyncd");
  }
  // A program that passes its check and then starts with `how`.
  std::string failing_program(const std::string& how) {
    const std::string zsyncd = kit::Programs::get().zsyncd;
    return script(
        absl::StrCat("case \"$*\" in *--check*) exec '", zsyncd, "' \"$@\";; esac\n", how, "\n"));
  }
  // The line of a shell that becomes the real program.
  static std::string started_with(const std::string& environment, const std::string& flags = "") {
    return absl::StrCat(environment, " exec '", kit::Programs::get().zsyncd, "' \"$@\" ", flags);
  }
  std::string misconfigured() {
    return failing_program("export ZSYNC_TASKS_KILL_GRACE=soon;" + started_with(""));
  }
  std::string script(const std::string& text) {
    const std::string path = programs_ / "candidate";
    EXPECT_TRUE(kit::write_file(path, "#!/bin/sh\n" + text));
    chmod(path.c_str(), 0755);
    return path;
  }
  v1::DaemonInfo info() {
    const auto now = client().daemon().info();
    EXPECT_TRUE(now.ok()) << now.status();
    return now.ok() ? *now : v1::DaemonInfo();
  }
  // Upgrades to `program` -> what is said of its failure; nothing changes but that.
  std::string failure_of(const std::string& program) {
    const v1::DaemonInfo before = info();
    const auto after = client().daemon().upgrade(program);
    EXPECT_FALSE(after.ok());
    const v1::DaemonInfo now = info();
    EXPECT_EQ(now.pid(), before.pid());
    EXPECT_EQ(now.program(), before.program());
    return std::string(after.status().message());
  }

 private:
  kit::TempDir programs_;  // outlives the daemons that a test starts
};

std::string counting(int count) {
  return absl::StrCat("i=0; while [ $i -lt ", count,
                      " ]; do echo $i; i=$((i+1)); sleep 0.002; done");
}

// The lines of a run of counting(): each number once, in order.
void expect_counted(const std::string& output, int count) {
  int expected = 0;
  for (absl::string_view line : absl::StrSplit(output, '\n', absl::SkipEmpty())) {
    int number = -1;
    ASSERT_TRUE(absl::SimpleAtoi(line, &number)) << line;
    ASSERT_EQ(number, expected++);
  }
  EXPECT_EQ(expected, count);
}

TEST_F(Upgrade, KeepsTheProcessTheSocketAndARunningTask) {
  const std::string task = submit({"--", "sh", "-c", "read line; echo got $line"});
  const v1::DaemonInfo before = info();
  const std::string next = other_program();
  const kit::Ran ran = ctl({"daemon", "upgrade", next});
  ASSERT_EQ(ran.code, 0) << ran.err << daemon().log();
  EXPECT_THAT(ran.out, HasSubstr(absl::StrCat("pid ", before.pid())));
  const v1::DaemonInfo now = info();
  EXPECT_EQ(now.pid(), before.pid());
  EXPECT_NE(now.instance(), before.instance());
  EXPECT_EQ(now.program(), next);
  EXPECT_EQ(now.takeover().from_version(), before.version());
  EXPECT_THAT(now.takeover().failure(), IsEmpty());
  EXPECT_EQ(wait(task).state(), v1::TASK_STATE_SUCCEEDED);
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
  EXPECT_EQ(daemon().stop(), 0) << "it still hears signals";
  EXPECT_NE(access(daemon().socket().c_str(), F_OK), 0) << "and removes its socket";
}

TEST_F(Upgrade, AFollowerOfOutputMissesNothingAndSeesNothingTwice) {
  constexpr int kLines = 600;
  const std::string next = other_program();
  const std::string task = submit({"--", "sh", "-c", counting(kLines)});
  std::string followed;
  std::thread follower([&] { followed = ctl({"logs", "-f", task}).out; });
  wait_for_output(task);
  for (const std::string& program : {next, kit::Programs::get().zsyncd, next}) {
    const auto upgraded = client().daemon().upgrade(program);
    ASSERT_TRUE(upgraded.ok()) << upgraded.status() << daemon().log();
  }
  follower.join();
  expect_counted(followed, kLines);
  expect_counted(output_of(task), kLines);
}

TEST_F(Upgrade, MemoryChannelsAreThereAfterwards) {
  ASSERT_EQ(ctl({"channels", "create", "jobs"}).code, 0);
  ASSERT_EQ(ctl({"channels", "send", "jobs"}, "one\ntwo\nthree\n").code, 0);
  ASSERT_EQ(ctl({"channels", "recv", "jobs", "-n", "1"}).out, "one\n");
  const auto upgraded = client().daemon().upgrade();
  ASSERT_TRUE(upgraded.ok()) << upgraded.status() << daemon().log();
  ASSERT_EQ(ctl({"channels", "send", "jobs"}, "four\n").code, 0);
  ASSERT_EQ(ctl({"channels", "close", "jobs"}).code, 0);
  EXPECT_EQ(ctl({"channels", "recv", "jobs"}).out, "two\nthree\nfour\n");
}

TEST_F(Upgrade, WithoutOneAMemoryChannelDoesNotComeBack) {
  ASSERT_EQ(ctl({"channels", "create", "jobs"}).code, 0);
  ASSERT_TRUE(client().daemon().upgrade().ok());
  ASSERT_EQ(daemon().stop(), 0);
  ASSERT_TRUE(daemon().start()) << daemon().log();
  EXPECT_NE(ctl({"channels", "show", "jobs"}).code, 0);
}

TEST_F(Upgrade, AFollowerOfAChannelGoesOnAtTheNextMessage) {
  constexpr int kMessages = 300;
  ASSERT_EQ(ctl({"channels", "create", "numbers", "--capacity", "1000"}).code, 0);
  std::vector<std::string> seen;
  std::thread follower([&] {
    const absl::Status status =
        client().channels().follow("numbers", 1, [&](const v1::RecvBatch& batch) {
          for (const v1::Record& record : batch.records()) seen.push_back(record.data());
          return seen.size() < kMessages;
        });
    EXPECT_TRUE(status.ok()) << status;
  });
  for (int i = 0; i < kMessages; ++i) {
    if (i % 100 == 50) ASSERT_TRUE(client().daemon().upgrade().ok()) << daemon().log();
    ASSERT_EQ(ctl({"channels", "send", "numbers"}, absl::StrCat(i, "\n")).code, 0);
  }
  follower.join();
  for (int i = 0; i < kMessages; ++i) ASSERT_EQ(seen[static_cast<size_t>(i)], absl::StrCat(i));
}

TEST_F(Upgrade, SubmitsMeanwhileSucceedOnceEach) {
  std::atomic<bool> done{false};
  std::atomic<int> submitted{0};
  auto submitting = [&](int client_number) {
    auto own = client::Client::connect({.socket = daemon().socket(), .resume = true});
    ASSERT_TRUE(own.ok());
    for (int i = 0; !done; ++i) {
      v1::TaskSpec spec;
      spec.add_argv("true");
      spec.set_idempotency_key(absl::StrCat(client_number, "-", i));
      const auto id = (*own)->tasks().submit(spec);
      ASSERT_TRUE(id.ok()) << id.status();
      ++submitted;
    }
  };
  std::vector<std::thread> clients;
  for (int number : {1, 2, 3}) clients.emplace_back(submitting, number);
  for (int i = 0; i < 3; ++i) {
    const auto upgraded = client().daemon().upgrade();
    EXPECT_TRUE(upgraded.ok()) << upgraded.status() << daemon().log();
  }
  done = true;
  for (std::thread& one : clients) one.join();
  const auto stats = client().daemon().stats();
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->tasks_stored(), static_cast<uint64_t>(submitted));
}

TEST_F(Upgrade, ACheckChangesNothing) {
  const v1::DaemonInfo before = info();
  const kit::Ran ran = ctl({"daemon", "upgrade", "--check", other_program()});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("can take over"));
  EXPECT_EQ(info().instance(), before.instance());
  EXPECT_FALSE(std::filesystem::exists(daemon().state_dir() + "/upgrade/check"));
}

TEST_F(Upgrade, WhatIsNoZsyncdIsRefusedWithItsOwnWords) {
  const v1::DaemonInfo before = info();
  const kit::Ran missing = ctl({"daemon", "upgrade", "/no/such/zsyncd"});
  EXPECT_NE(missing.code, 0);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("/no/such/zsyncd"), HasSubstr("install it first")));
  const kit::Ran folder = ctl({"daemon", "upgrade", "/tmp"});
  EXPECT_THAT(folder.err, HasSubstr("cannot be executed"));
  const kit::Ran other = ctl({"daemon", "upgrade", "/bin/true"});
  EXPECT_THAT(other.err, AllOf(HasSubstr("did not pass its check"), HasSubstr("said nothing")));
  const kit::Ran broken =
      ctl({"daemon", "upgrade", script("echo my library is missing >&2; exit 1")});
  EXPECT_THAT(broken.err, HasSubstr("my library is missing"));
  EXPECT_EQ(info().instance(), before.instance()) << "nothing was stopped";
}

TEST_F(Upgrade, AStopDuringACheckEndsTheCheckAndTheDaemon) {
  const std::string pids = file("pids");
  const std::string slow = script("sleep 1000 & echo $$ $! > '" + pids + "'; wait");
  std::thread asking([&] { EXPECT_FALSE(client().daemon().upgrade(slow).ok()); });
  pid_t shell = 0;
  pid_t child = 0;
  EXPECT_TRUE(kit::poll_until([&] { return bool(std::ifstream(pids) >> shell >> child); }));
  EXPECT_EQ(daemon().stop(), 0) << daemon().log();
  EXPECT_TRUE(kit::poll_until([&] { return kill(shell, 0) != 0 && kill(child, 0) != 0; }));
  asking.join();
  EXPECT_THAT(daemon().log(), Not(HasSubstr("takes over")));
}

TEST_F(Upgrade, WhatDoesNotFitOnTheDiskIsRefusedBeforeAnythingStops) {
  kit::TempDir dir;
  kit::SmallDisk disk(dir / "disk");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a tmpfs here";
  start({.state_dir = dir / "disk/state"});
  ASSERT_EQ(ctl({"channels", "create", "large"}).code, 0);
  std::string lines;
  for (int i = 0; i < 140; ++i) lines += std::string(100'000, 'x') + "\n";
  ASSERT_EQ(ctl({"channels", "send", "large"}, lines).code, 0);
  ASSERT_TRUE(kit::write_file(dir / "disk/filler", std::string(12 << 20, 'x')));
  const std::string instance = info().instance();
  const kit::Ran refused = ctl({"daemon", "upgrade"});
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("memory channels need"), HasSubstr("make room")));
  EXPECT_EQ(info().instance(), instance);
  std::filesystem::remove(dir / "disk/filler");
  const kit::Ran upgraded = ctl({"daemon", "upgrade"});
  EXPECT_EQ(upgraded.code, 0) << upgraded.err << daemon().log();
  ASSERT_EQ(ctl({"channels", "close", "large"}).code, 0);
  EXPECT_EQ(ctl({"channels", "recv", "large"}).out, lines);
  daemon().kill9();
}

TEST_F(Upgrade, ACheckByHandWantsTheCopyOfAStore) {
  const kit::Ran ran = kit::run({kit::Programs::get().zsyncd, "--check", daemon().dir() / "none"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("wants the directory of a copy of the store"));
}

TEST_F(Upgrade, AProgramThatCannotStartGivesTheProcessBack) {
  ASSERT_EQ(ctl({"channels", "create", "jobs"}).code, 0);
  ASSERT_EQ(ctl({"channels", "send", "jobs"}, "kept\n").code, 0);
  const std::string task = submit({"--", "sh", "-c", counting(200)});
  EXPECT_THAT(failure_of(misconfigured()),
              AllOf(HasSubstr("did not take over"), HasSubstr("ZSYNC_TASKS_KILL_GRACE")));
  EXPECT_THAT(failure_of(failing_program(started_with("", "--no-such-flag"))),
              HasSubstr("does not know the options"));
  EXPECT_THAT(ctl({"events", "list", "--type", "daemon.upgrade_failed"}).out,
              HasSubstr("ZSYNC_TASKS_KILL_GRACE"));
  EXPECT_EQ(wait(task).state(), v1::TASK_STATE_SUCCEEDED);
  expect_counted(output_of(task), 200);
  EXPECT_EQ(ctl({"channels", "recv", "jobs", "-n", "1"}).out, "kept\n");
  EXPECT_TRUE(client().daemon().upgrade().ok()) << "and another one may take over later";
}

// The environment a process was executed with, but for what one daemon tells the next.
std::vector<std::string> executed_with(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/environ"));
  std::vector<std::string> variables;
  for (std::string one; std::getline(file, one, '\0');) {
    if (!absl::StartsWith(one, "ZSYNC_TAKEOVER=")) variables.push_back(one);
  }
  return variables;
}

// The library stands in for what tells the service manager that it serves, and raises a signal.
TEST_F(Upgrade, AProgramThatCrashesBeforeItServesGivesTheProcessBack) {
  const char* library = std::getenv("ZSYNC_CRASH_AT_READY");
  if (!library) GTEST_SKIP() << "ZSYNC_CRASH_AT_READY names no library";
  start({.set_env = {"MALLOC_PERTURB_=165"}});  // what is freed is overwritten
  const std::vector<std::string> environment = executed_with(info().pid());
  const std::string task = submit({"--", "sh", "-c", counting(200)});
  auto crashing = [&](int number) {
    return failing_program(absl::StrCat("export CRASH_WITH=", number, " LD_PRELOAD='", library,
                                        "';", started_with("")));
  };
  EXPECT_THAT(failure_of(crashing(SIGSEGV)), HasSubstr("SIGSEGV"));
  EXPECT_EQ(executed_with(info().pid()), environment);
  EXPECT_THAT(failure_of(crashing(SIGABRT)), HasSubstr("SIGABRT"));
  EXPECT_THAT(failure_of(crashing(SIGALRM)), HasSubstr("did not serve within"));
  EXPECT_EQ(wait(task).state(), v1::TASK_STATE_SUCCEEDED);
  expect_counted(output_of(task), 200);
}

TEST_F(Upgrade, AFileThatWasReplacedIsTakenAsItIsNow) {
  const std::string program = other_program("installed");
  start({.program = program});
  std::filesystem::remove(program);
  std::filesystem::copy_file(kit::Programs::get().zsyncd, program);
  const auto upgraded = client().daemon().upgrade();
  ASSERT_TRUE(upgraded.ok()) << upgraded.status() << daemon().log();
  EXPECT_EQ(upgraded->program(), program);
}

TEST_F(Upgrade, TheProgramBeforeIsExecutedAgainAlsoWhenItsFileIsGone) {
  if (kit::kThreadsWatched) GTEST_SKIP() << "without its file no suppression of gRPC would match";
  const std::string program = other_program("installed");
  start({.program = program});
  std::filesystem::remove(program);
  EXPECT_THAT(failure_of(misconfigured()), HasSubstr("ZSYNC_TASKS_KILL_GRACE"));
}

TEST_F(Upgrade, CommandsDoNotSeeThatItHappened) {
  const std::string before =
      ctl({"run", "--", "sh", "-c", "ulimit -n; env | sort; ls /proc/self/fd"}).out;
  ASSERT_TRUE(client().daemon().upgrade().ok());
  std::string after = ctl({"run", "--", "sh", "-c", "ulimit -n; env | sort; ls /proc/self/fd"}).out;
  auto without_ids = [](const std::string& text) {
    std::vector<std::string> lines;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      if (line.find("ZSYNC_TASK_ID") == line.npos && line.find("TRACEPARENT") == line.npos) {
        lines.emplace_back(line);
      }
    }
    return lines;
  };
  EXPECT_EQ(without_ids(after), without_ids(before));
}

}  // namespace
}  // namespace zsync::integration
