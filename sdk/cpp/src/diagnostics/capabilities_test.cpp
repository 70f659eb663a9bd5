// What the machine offers, seen from real processes that are limited in one way each.
#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "zsync/diagnostics.hpp"

namespace zsync {
namespace {

using ::testing::Contains;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Runs `what` in a process of its own, started anew, which prints to stderr.
#define EXPECT_IN_PROCESS(what, regex)                            \
  do {                                                            \
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";       \
    EXPECT_EXIT((what, std::_Exit(0)), ExitedWithCode(0), regex); \
  } while (false)

bool may_only_run_on_one_cpu() {
  cpu_set_t all;
  cpu_set_t one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return false;
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  }
  return sched_setaffinity(0, sizeof one, &one) == 0;
}

bool forbid(long system_call, unsigned error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(system_call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{std::size(filter), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Lets this process alone see other files where the system tells of cgroups: it is in /outer/inner.
bool see_cgroups(const std::string& file, const std::string& outer, const std::string& inner) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", "/sys/fs/cgroup", "tmpfs", 0, nullptr) != 0) {
    return false;
  }
  const std::filesystem::path root = "/sys/fs/cgroup";
  std::filesystem::create_directories(root / "outer/inner");
  std::ofstream(root / "outer" / file) << outer;
  std::ofstream(root / "outer/inner" / file) << inner;
  std::ofstream(root / "self") << "0::/outer/inner\n";
  const std::string self = absl::StrCat("/proc/", ::getpid(), "/cgroup");
  return ::mount("/sys/fs/cgroup/self", self.c_str(), nullptr, MS_BIND, nullptr) == 0;
}

// Whether a child may do that.
bool in_a_child(const std::function<bool()>& may) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(may() ? 0 : 1);
  int status = -1;
  return ::waitpid(child, &status, 0) == child && status == 0;
}

bool may_see_cgroups() {
  return in_a_child([] { return see_cgroups("cpu.max", "max 100000\n", "max 100000\n"); });
}

void print_advice() {
  const ModelAdvice advice = recommended_execution_model();
  const Config config = Config::optimal();
  std::cerr << name_of(advice.model) << ' ' << advice.workers << ": " << advice.reason
            << "; optimal " << name_of(config.model) << ' ' << config.workers << '\n';
}

void print_warnings(const Config& config) {
  for (const std::string& warning : config.warnings()) std::cerr << warning << '\n';
}

TEST(Capabilities, WithOneCpuByAffinityOneThreadIsRecommended) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "this machine has one CPU";
  EXPECT_IN_PROCESS((may_only_run_on_one_cpu(), print_advice()),
                    "one_thread 1: 1 of [0-9]+ CPUs usable .affinity.: .*; optimal one_thread 1");
}

TEST(Capabilities, AQuotaAboveTheProcessBoundsTheWorkers) {
  if (!may_see_cgroups()) GTEST_SKIP() << "this needs a mount namespace of one's own (root)";
  if (usable_cpus() < 2) GTEST_SKIP() << "this process may use one CPU only";
  // The tighter one counts, wherever it stands; half a CPU is one worker.
  EXPECT_IN_PROCESS((see_cgroups("cpu.max", "50000 100000\n", "max 100000\n"), print_advice()),
                    "one_thread 1: 1 of [0-9]+ CPUs usable .cpu.max in /sys/fs/cgroup/outer "
                    "grants 0.5.: .*; optimal one_thread 1");
  EXPECT_IN_PROCESS((see_cgroups("cpu.max", "900000 100000\n", "150000 100000\n"), print_advice()),
                    "multi_thread 2: 2 of ");
}

TEST(Capabilities, WhereNoThreadIsLeftTheCallerDoesTheWork) {
  if (!may_see_cgroups()) GTEST_SKIP() << "this needs a mount namespace of one's own (root)";
  EXPECT_IN_PROCESS((see_cgroups("pids.max", "max\n", "0\n"), print_advice()),
                    "caller 1: 0 threads are left by pids.max in /sys/fs/cgroup/outer/inner: the "
                    "calling thread does the work; optimal caller 1");
  EXPECT_IN_PROCESS((see_cgroups("pids.max", "max\n", "5\n"), print_warnings(Config::for_server())),
                    "threads may be started .* but 5 are left by pids.max in .*; lower "
                    "blocking_threads_max");
}

// A cgroup of the real system, where it lets itself be made.
TEST(Capabilities, ARealCgroupsQuotaIsRead) {
  const std::filesystem::path folder = absl::StrCat("/sys/fs/cgroup/zsync-test-", ::getpid());
  std::error_code error;
  if (!std::filesystem::exists("/sys/fs/cgroup/cgroup.controllers") ||
      !std::filesystem::create_directory(folder, error)) {
    GTEST_SKIP() << "no cgroup v2 can be made here";
  }
  struct Removed {
    std::filesystem::path folder;
    ~Removed() { ::rmdir(folder.c_str()); }
  } removed{folder};
  if (!(std::ofstream(folder / "cpu.max") << "50000 100000" << std::flush)) {
    GTEST_SKIP() << "its cpu.max cannot be written";
  }
  EXPECT_IN_PROCESS(
      ((std::ofstream(absl::StrCat("/sys/fs/cgroup/zsync-test-", ::getppid(), "/cgroup.procs"))
        << ::getpid() << std::flush),
       print_advice()),
      "one_thread 1: .*grants 0.5");
}

TEST(Capabilities, ThePrintedTextTellsOfTheSystem) {
  std::ostringstream out;
  RuntimeDiagnostics::print_capabilities(out);
  const std::string text = out.str();
  utsname system{};
  ASSERT_EQ(::uname(&system), 0);
  EXPECT_THAT(text, HasSubstr(absl::StrCat("system:          Linux ", system.release, " on ",
                                           system.machine, "\n")));
  EXPECT_THAT(text, HasSubstr("\n  epoll:         yes, through libuv\n"));
  EXPECT_THAT(text, HasSubstr("\n  kqueue:        no, of macOS and the BSDs\n"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("\n  model:         ", name_of(Config::optimal().model),
                                           ", workers ")));
  if (std::ifstream release("/etc/debian_version"); release) {
    EXPECT_THAT(text, HasSubstr("\npackage manager: /usr/bin/apt-get\n"));
    EXPECT_THAT(text, HasSubstr("\ndistribution:    Debian"));
  }
}

TEST(Capabilities, ARefusedIoUringIsNamedWithTheCure) {
  if (!in_a_child([] { return forbid(SYS_io_uring_setup, EPERM); })) {
    GTEST_SKIP() << "no filters here";
  }
  EXPECT_IN_PROCESS((forbid(SYS_io_uring_setup, ENOSYS), ::unsetenv(kBackendVariable),
                     RuntimeDiagnostics::print_capabilities(std::cerr)),
                    "io_uring:      no; io_uring: this system does not have it; use Linux 5.19 or "
                    "later outside of sandboxes.*\n.*backend:       libuv; io_uring is refused");
  Config forced;
  forced.backend = Backend::io_uring;
  EXPECT_IN_PROCESS(
      (forbid(SYS_io_uring_setup, ENOSYS), ::unsetenv(kBackendVariable), print_warnings(forced)),
      "Config::backend is io_uring, which will be refused: .*or leave backend unset");
}

TEST(ConfigWarnings, WhatIsRecommendedHasNone) {
  EXPECT_THAT(Config::optimal().warnings(), IsEmpty());
  EXPECT_THAT(Config::for_cli().warnings(), IsEmpty());
  EXPECT_THAT(Config::for_embedded().warnings(), IsEmpty());
}

TEST(ConfigWarnings, MoreWorkersThanCpusIsToldWithTheCure) {
  Config config;
  config.workers = usable_cpus() + 3;
  EXPECT_TRUE(config.validate().ok());
  EXPECT_THAT(config.warnings(), Contains(HasSubstr("workers will take turns; set workers to 0")));
}

TEST(ConfigWarnings, OneWorkerThatNobodyCanStealFromIsTold) {
  Config config;
  config.workers = 1;
  EXPECT_THAT(config.warnings(), Contains(HasSubstr("set ExecutionModel::one_thread")));
}

TEST(ConfigWarnings, BlockingThreadsThatEndAtOnceAreTold) {
  Config config = Config::for_cli();
  config.blocking_idle = std::chrono::milliseconds(0);
  EXPECT_THAT(config.warnings(), Contains(HasSubstr("Config::blocking_idle is 0")));
}

TEST(ConfigWarnings, AVariableThatDecidesOtherwiseIsTold) {
  Config config;
  config.backend = Backend::io_uring;
  EXPECT_IN_PROCESS((::setenv(kBackendVariable, "libuv", 1), print_warnings(config)),
                    "Config::backend is io_uring, but ZSYNC_BACKEND=libuv decides; unset it");
}

}  // namespace
}  // namespace zsync
