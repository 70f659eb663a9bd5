// Bad use of the runtime ends with a message that names the call and the cure. What belongs to one
// class stands in that class's tests; what the compiler refuses, in tests/misuse.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "rt/forbid_test.hpp"
#include "rt/models_test.hpp"
#include "zsync/fd.hpp"

namespace zsync {
namespace {

#if __has_feature(undefined_behavior_sanitizer)
constexpr bool kUndefinedSanitizer = true;
#else
constexpr bool kUndefinedSanitizer = false;
#endif

Config of_workers(size_t workers, std::optional<Backend> backend = std::nullopt) {
  Config config;
  config.workers = workers;
  config.backend = backend;
  return config;
}

// Each statement runs in a process of its own, since it changes what the process may do.
class MisuseDeathTest : public ::testing::Test {
 protected:
  MisuseDeathTest() {
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
    ::unsetenv(kBackendVariable);
  }
};

// Says why a runtime cannot be had, and exits.
[[noreturn]] void tell(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::_Exit(7);
}
#define EXPECT_TELLS(statement, matcher) \
  EXPECT_EXIT(statement, ::testing::ExitedWithCode(7), matcher)

TEST(Misuse, NoWorkersMeansAsManyAsTheProcessMayUse) {
  auto runtime = std::move(Runtime::create(of_workers(0))).value();
  EXPECT_EQ(runtime->workers(), usable_cpus());
}

TEST_F(MisuseDeathTest, TenThousandWorkersAreRefusedWithTheLimitAndTheCure) {
  const char* const told =
      "Config::workers is 10000, the limit is 1024 threads; 0 takes what the "
      "machine has";
  EXPECT_EQ(Runtime::builder().workers(10'000).build().status().message(), told);
  EXPECT_EQ(init_global_runtime(of_workers(10'000)).message(), told);
  EXPECT_DEATH(run([]() -> Task<void> { co_return; }(), of_workers(10'000)),
               "run\\(\\): the runtime cannot start: Config::workers is 10000, the limit is 1024");
}

TEST_F(MisuseDeathTest, TooFewDescriptorsAreToldWithTheLimitToRaise) {
  // UBSan's check of an object's type opens a pipe, and finds every object invalid without one.
  if (kUndefinedSanitizer) GTEST_SKIP() << "the sanitizer needs descriptors";
  for (const Backend backend : {Backend::io_uring, Backend::libuv}) {
    if (backend == Backend::io_uring && !probe_backends().io_uring) continue;
    EXPECT_TELLS(
        {
          rlimit few{};
          few.rlim_cur = few.rlim_max = 16;
          ::setrlimit(RLIMIT_NOFILE, &few);
          tell(Runtime::create(of_workers(64, backend)).status());
        },
        "RESOURCE_EXHAUSTED: .*too many open files.*ulimit -n");
  }
}

TEST_F(MisuseDeathTest, TooLittleLockedMemoryIsToldWithTheLimitToRaise) {
  // What a kernel before 5.12 answers to a ring above RLIMIT_MEMLOCK.
  EXPECT_TELLS(
      {
        if (!forbid(SYS_io_uring_setup, ENOMEM)) tell(absl::OkStatus());
        tell(Runtime::create(of_workers(1, Backend::io_uring)).status());
      },
      "no memory for a ring; raise the limit of locked memory \\(ulimit -l\\).*ZSYNC_BACKEND|^OK");
}

TEST_F(MisuseDeathTest, ThreadsThatCannotBeHadAreToldWithTheCure) {
  EXPECT_TELLS(
      {
        if (!forbid(SYS_clone3, EAGAIN)) tell(absl::OkStatus());
        tell(Runtime::create(of_workers(3)).status());
      },
      "RESOURCE_EXHAUSTED: starting 3 worker threads: .*; lower Config::workers|^OK");
  EXPECT_DEATH(
      {
        if (!forbid(SYS_clone3, EAGAIN)) std::fputs("starting: without filters", stderr);
        (void)create_optimal_runtime();
      },
      "create_optimal_runtime\\(\\): starting|starting: without filters");
}

// In a mount namespace of its own, where the setting can be another one. False where that is not
// allowed.
bool disable_rings_by_sysctl() {
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  const char* const settings = "/proc/sys/kernel";
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  if (::mount("none", settings, "tmpfs", 0, nullptr) != 0) return false;
  std::ofstream file(std::string(settings) + "/io_uring_disabled");
  file << "2\n";
  file.close();
  return file && forbid(SYS_io_uring_setup, EPERM);
}

TEST_F(MisuseDeathTest, RingsThatASysctlForbidsAreToldWithTheSysctl) {
  EXPECT_TELLS(
      {
        if (!disable_rings_by_sysctl()) tell(absl::UnknownError("no namespaces here"));
        auto runtime = Runtime::create(of_workers(1));
        std::fprintf(stderr, "by itself: %s\n", (*runtime)->backend_reason().c_str());
        tell(Runtime::create(of_workers(1, Backend::io_uring)).status());
      },
      "by itself: io_uring: the system forbids it; sysctl kernel.io_uring_disabled is 2, set it to "
      "0(.|\n)*PERMISSION_DENIED: .*set it to 0; or let ZSYNC_BACKEND be libuv|no namespaces");
}

TEST_F(MisuseDeathTest, ADescriptorOutsideATaskIsRefusedWithTheCure) {
  EXPECT_DEATH((void)rt::Fd::adopt(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))),
               "Fd::adopt\\(\\) outside a task: a descriptor needs a worker that watches it");
}

TEST_F(MisuseDeathTest, ATimedWaitOutsideATaskIsRefusedWithTheCure) {
  EXPECT_DEATH(
      {
        auto runtime = std::move(Runtime::create(of_workers(1))).value();
        (void)runtime->scheduler().timers();
      },
      "a timed wait outside its runtime: await it in a task");
}

TEST_F(MisuseDeathTest, DeinitializingTheGlobalRuntimeInATaskOfItIsRefusedWithTheCure) {
  EXPECT_DEATH(
      {
        (void)init_global_runtime(of_workers(1));
        spawn([] { deinit_global_runtime(); }).join();
      },
      "on a worker waits for itself: call it where run\\(\\) was called");
}

TEST_F(MisuseDeathTest, AFutureIsCancelledForGoodAndSaysSoWithoutWaiting) {
  run([]() -> Task<void> {
    Promise<int> promise;
    Future<int> future = promise.future();
    future.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await future).status()));
    EXPECT_TRUE(absl::IsCancelled((co_await future).status()));
    EXPECT_FALSE(promise.set_value(1));  // nobody wants it
    Future<int> next = std::move(future).then([](int n) { return n; });
    EXPECT_TRUE(absl::IsCancelled((co_await next).status()));
  }());
  EXPECT_DEATH(
      {
        Promise<int> promise;
        Future<int> future = promise.future();
        future.detach();
        (void)future.await();
      },
      "this Future was moved, detached or continued before: it has one consumer");
}

}  // namespace
}  // namespace zsync
