#include "rt/driver.hpp"

#include <errno.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>

#include "rt/forbid_test.hpp"
#include "zsync/pipe.hpp"
#include "zsync/zsync.hpp"

namespace zsync {
namespace {

// Sets the variable, or unsets it, until it goes out of scope.
class Variable {
 public:
  explicit Variable(const char* value) {
    if (const char* before = ::getenv(kBackendVariable)) before_ = before;
    set(value);
  }
  ~Variable() { set(before_ ? before_->c_str() : nullptr); }

 private:
  static void set(const char* value) {
    value ? ::setenv(kBackendVariable, value, 1) : ::unsetenv(kBackendVariable);
  }
  std::optional<std::string> before_;
};

Config one_thread(std::optional<Backend> backend = std::nullopt) {
  Config config;
  config.model = ExecutionModel::one_thread;
  config.backend = backend;
  return config;
}

absl::StatusOr<Backend> started(const Config& config) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::create(config);
  if (!runtime.ok()) return runtime.status();
  return (*runtime)->backend();
}

// Runs a check in a child, whose filters end with it. -> what it did not find right
std::string in_a_child(std::string (*check)()) {
  std::fflush(nullptr);
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string wrong = check();
    (void)!::write(ends[1], wrong.data(), wrong.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string wrong;
  char buffer[512];
  for (ssize_t count; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    wrong.append(buffer, static_cast<size_t>(count));
  }
  ::close(ends[0]);
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  return wrong;
}

std::string falls_back(absl::string_view reason) {
  const Variable unset(nullptr);
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::create(one_thread());
  if (!runtime.ok()) return runtime.status().ToString();
  if ((*runtime)->backend() != Backend::libuv) return "it does not run on libuv";
  const std::string& told = (*runtime)->backend_reason();
  if (told.find(std::string(reason)) == std::string::npos) return "reason: " + told;
  const absl::Status forced = started(one_thread(Backend::io_uring)).status();
  if (forced.ok()) return "it could be forced";
  if (forced.message().find("ZSYNC_BACKEND") == absl::string_view::npos) return forced.ToString();
  const bool read = (*runtime)->block_on([]() -> Task<bool> {
    auto pipe = make_pipe();
    if (!(co_await pipe->second.write_all("x")).ok()) co_return false;
    std::byte byte;
    co_return (co_await pipe->first.read_some(std::span(&byte, 1))).ok();
  }());
  return read ? "" : "it does not work";
}

TEST(Backend, IsIoUringWhereNothingForbidsIt) {
  if (!probe_backends().io_uring) GTEST_SKIP() << probe_backends().reason;
  const Variable unset(nullptr);
  EXPECT_EQ(*started(one_thread()), Backend::io_uring);
  EXPECT_EQ(*started(one_thread(Backend::libuv)), Backend::libuv);
  auto runtime = std::move(Runtime::builder().backend(Backend::io_uring).build()).value();
  EXPECT_EQ(runtime->backend(), Backend::io_uring);
  EXPECT_EQ(runtime->backend_reason(), "");
}

TEST(Backend, TheVariableDecidesBeforeTheConfiguration) {
  const Variable libuv("libuv");
  EXPECT_EQ(*started(one_thread(Backend::io_uring)), Backend::libuv);
}

TEST(Backend, AnUnknownWordInTheVariableIsRefusedWithTheWordsThatAreKnown) {
  const Variable unknown("epoll");
  const absl::Status refused = started(one_thread()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused.message(),
            "ZSYNC_BACKEND is \"epoll\": set it to io_uring or libuv, or unset it");
}

TEST(Backend, RunEndsTheProgramWithTheCureWhenTheBackendCannotBeHad) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const Variable unknown("epoll");
  EXPECT_DEATH(run([]() -> Task<void> { co_return; }(), one_thread()),
               "set it to io_uring or libuv");
}

TEST(Backend, AFilterThatForbidsRingsMakesItLibuvAndIsNamed) {
  EXPECT_EQ(in_a_child([]() -> std::string {
              // Where there are no filters (valgrind) there is nothing to see.
              if (!forbid(SYS_io_uring_setup, EPERM)) return "";
              return falls_back("seccomp");
            }),
            "");
}

TEST(Backend, ASystemWithoutRingsMakesItLibuvAndIsNamed) {
  EXPECT_EQ(in_a_child([]() -> std::string {
              if (!forbid(SYS_io_uring_setup, ENOSYS)) return "";
              return falls_back("does not have it");
            }),
            "");
}

TEST(Backend, AFilterThatForbidsEnteringARingIsSeenBeforeOneIsUsed) {
  EXPECT_EQ(in_a_child([]() -> std::string {
              if (!forbid(SYS_io_uring_enter, EPERM)) return "";
              return falls_back("seccomp");
            }),
            "");
}

}  // namespace
}  // namespace zsync
