// What a daemon costs and withstands: idleness, crowds, other users, full disks.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/integration/daemon_test.hpp"
#include "tests/kit/small_disk.hpp"

namespace zsync::integration {
namespace {

constexpr uid_t kNobody = 65534;
constexpr long kIdleRssKibMax = 30 << 10;
constexpr int kClients = 300;

class Limits : public DaemonTest {};

long voluntary_switches(pid_t pid) {
  long sum = 0;
  std::error_code error;
  for (const auto& thread :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task", error)) {
    sum += kit::proc_status_number(thread.path().string() + "/status", "voluntary_ctxt_switches");
  }
  return sum;
}

TEST_F(Limits, AnIdleDaemonSleepsAndIsSmall) {
  if (kit::kThreadsWatched) GTEST_SKIP() << "ThreadSanitizer has a thread that wakes up";
  start({.config = "version: 1\ngrpc_linger: 100ms\n"});
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
  connect();  // the one before was the first daemon's
  ASSERT_TRUE(client().daemon().info().ok());
  const pid_t pid = daemon().process().pid();
  drop_client();
  long before = -1;
  // Quiet for 2 s within 10 s: what is left of the server goes first.
  const bool quiet = kit::poll_until(
      [&] {
        before = voluntary_switches(pid);
        kit::poll_until([] { return false; }, kit::milliseconds(2000));
        return voluntary_switches(pid) == before;
      },
      kit::milliseconds(10'000));
  EXPECT_TRUE(quiet) << "it woke up " << voluntary_switches(pid) - before << " times in 2 s";
  const long rss = kit::proc_status_number("/proc/" + std::to_string(pid) + "/status", "VmRSS");
  if (!kit::kInstrumented) EXPECT_LT(rss, kIdleRssKibMax);
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0) << "the server comes back";
}

TEST_F(Limits, ThreeHundredClientsAtOnceAreServed) {
  start({.config = "version: 1\nconnections_per_uid_max: 400\n"});
  const std::string gate = submit({"-c", "until test -e " + file("go") + "; do sleep 0.05; done"});
  std::vector<std::unique_ptr<client::Client>> clients;
  std::vector<std::thread> waiters;
  std::atomic<int> served{0};
  for (int i = 0; i < kClients; ++i) {
    auto connected = client::Client::connect({.socket = daemon().socket(), .resume = true});
    ASSERT_TRUE(connected.ok()) << connected.status();
    clients.push_back(*std::move(connected));
    waiters.emplace_back([&served, &gate, client = clients.back().get()] {
      const auto reply = client->tasks().wait({gate}, {std::chrono::seconds(40), nullptr});
      if (reply.ok()) ++served;
    });
  }
  kit::write_file(file("go"), "");
  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(served, kClients);
}

TEST_F(Limits, AnotherUserIsDeniedAndToldWhoTheyAreAndWhatWouldAllowThem) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to become another user";
  chmod(daemon().dir().path().c_str(), 0755);
  chmod(daemon().socket().c_str(), 0666);
  // The checkout may be closed to others, so the program goes to where they may read it.
  const std::string program = file("zsyncctl");
  std::filesystem::copy_file(kit::Programs::get().zsyncctl, program);
  chmod(program.c_str(), 0755);
  kit::StartOptions options;
  options.uid = kNobody;
  options.cwd = "/";
  const kit::Ran ran = kit::run(
      {program, "--socket", daemon().socket(), "--no-autostart", "run", "--", "true"}, {}, options);
  EXPECT_EQ(ran.code, 125) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("uid 65534"));
  EXPECT_THAT(ran.err, HasSubstr("serves uid 0"));
  EXPECT_THAT(ran.err, HasSubstr("start a zsyncd of your own"));
  const kit::Ran list =
      kit::run({program, "--socket", daemon().socket(), "--no-autostart", "ps"}, {}, options);
  EXPECT_EQ(list.code, 5);
  // The owner is served beside them.
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
}

TEST_F(Limits, OnAFullDiskSubmitIsRefusedRunningTasksLiveOnAndAllWorksWhenSpaceReturns) {
  kit::TempDir dir;
  kit::SmallDisk disk(dir / "disk");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a tmpfs here";
  start({.state_dir = dir / "disk/state"});
  const std::string running =
      submit({"-c", "echo on; until test -e " + file("go") + "; do sleep 0.05; done; exit 3"});
  wait_for_output(running);
  const std::string filler = dir / "disk/filler";
  const kit::Ran filled = kit::run({"/bin/sh", "-c", "head -c 100m /dev/zero >" + filler});
  ASSERT_NE(filled.code, 0);
  kit::Ran refusal;
  EXPECT_TRUE(kit::poll_until([&] {
    refusal = ctl({"tasks", "submit", "--", "true"});
    return refusal.code != 0;
  }));
  EXPECT_THAT(refusal.err, HasSubstr("full"));
  EXPECT_EQ(ctl({"tasks", "get", running}).code, 0) << "the daemon has to live on";
  kit::write_file(file("go"), "");
  EXPECT_TRUE(kit::poll_until([this] { return daemon().task_processes().empty(); }));
  ASSERT_EQ(unlink(filler.c_str()), 0);
  const v1::Task task = wait(running);
  EXPECT_EQ(task.exit_code(), 3) << task.ShortDebugString();
  EXPECT_EQ(ctl({"run", "--", "true"}).code, 0);
  daemon().kill9();
}

}  // namespace
}  // namespace zsync::integration
