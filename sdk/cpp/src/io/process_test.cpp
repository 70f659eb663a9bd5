#include "zsync/process.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "io/io_test.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

#if __has_feature(undefined_behavior_sanitizer)
constexpr bool kUndefinedSanitizer = true;
#else
constexpr bool kUndefinedSanitizer = false;
#endif

class ProcessOnEveryModel : public EveryModel {
 protected:
  void SetUp() override { SKIP_WITHOUT_PIDFD(); }
};
ZS_FOR_EVERY_MODEL(ProcessOnEveryModel);
class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override { SKIP_WITHOUT_PIDFD(); }
};

ProcessOptions shell(std::string line) { return {.argv = {"sh", "-c", std::move(line)}}; }

// The children of every thread, zombies included.
std::string children() {
  std::string found;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(thread.path() / "children");
    found.append(std::istreambuf_iterator<char>(file), {});
  }
  return found;
}

// What a shell line writes to stdout.
Task<std::string> printed(ProcessOptions options) {
  options.stdout_to = Stdio::pipe();
  absl::StatusOr<ProcessOutput> output = co_await Process::output(std::move(options));
  EXPECT_TRUE(output.ok()) << output.status();
  co_return output.ok() ? output->stdout_bytes : "";
}

TEST_P(ProcessOnEveryModel, TheExitCodeAndTheSignalThatEndedItAreTold) {
  run_here([]() -> Task<void> {
    auto child = Process::spawn(shell("exit 3"));
    EXPECT_TRUE(child.ok()) << child.status();
    EXPECT_EQ(*co_await child->wait(), (ExitStatus{.code = 3, .signal = 0}));
    EXPECT_EQ((co_await child->wait())->to_string(), "exit code 3");  // asked again
    EXPECT_FALSE(process_exists(child->pid()));
    child = Process::spawn(shell("kill -TERM $$"));
    const ExitStatus ended = *co_await child->wait();
    EXPECT_EQ(ended, (ExitStatus{.code = -1, .signal = SIGTERM}));
    EXPECT_FALSE(ended.success());
    EXPECT_EQ(ended.to_string(), "signal 15 (Terminated)");
    EXPECT_TRUE((co_await Process::spawn({.argv = {"true"}})->wait())->success());
  }());
}

TEST_P(ProcessOnEveryModel, AProgramThatCannotBeExecutedIsNamedAndLeavesNothingBehind) {
  run_here([]() -> Task<void> {
    EXPECT_TRUE((co_await Process::spawn({.argv = {"true"}})->wait()).ok());
    co_await sleep(1ms);
    const int before = open_descriptors();
    for (int i = 0; i < 3; ++i) {
      const auto missing = Process::spawn({.argv = {"zsync-no-such-program"},
                                           .stdin_from = Stdio::pipe(),
                                           .stdout_to = Stdio::pipe()});
      EXPECT_EQ(missing.status(),
                absl::NotFoundError("exec zsync-no-such-program: No such file or directory"));
      EXPECT_EQ(Process::spawn({.argv = {"/etc/passwd"}}).status(),
                absl::PermissionDeniedError("exec /etc/passwd: Permission denied"));
      const auto nowhere = Process::spawn({.argv = {"true"}, .cwd = "/no/such/place"});
      EXPECT_EQ(nowhere.status(),
                absl::NotFoundError("chdir /no/such/place: No such file or directory"));
      // Closing the parent's ends takes a turn of the loop.
      co_await sleep(1ms);
    }
    while (open_descriptors() != before) co_await sleep(1ms);
  }());
}

TEST_P(ProcessOnEveryModel, BadOptionsAreRefusedByName) {
  run_here([]() -> Task<void> {
    const auto refused = [](ProcessOptions options) {
      const absl::Status status = Process::spawn(options).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      return std::string(status.message());
    };
    EXPECT_EQ(refused({}), "spawn: argv is empty; its first word is the program");
    EXPECT_EQ(refused({.argv = {std::string("a\0b", 3)}}),
              "spawn: argv contains a NUL byte, which no program can be given");
    EXPECT_EQ(refused({.argv = {"true"}, .env = {{"A=B", "c"}}}),
              "spawn: \"A=B\" is no name of an environment variable; leave out the =");
    EXPECT_EQ(refused({.argv = {"true"}, .pass_fds = std::vector<int>(65, 0)}),
              "spawn: 65 descriptors in pass_fds; at most 64 can be passed");
    EXPECT_EQ(refused({.argv = {"true"}, .stdout_to = Stdio::fd(-7)}),
              "spawn: -7 is no descriptor: pass an open one to Stdio::fd()");
    const auto huge =
        Process::spawn({.argv = {"true"}, .env = {{"A", std::string(3'000'000, 'x')}}});
    EXPECT_EQ(huge.status().message(), "exec true: Argument list too long");
    co_return;
  }());
}

TEST_P(ProcessOnEveryModel, PipesCarryBytesBothWays) {
  run_here([]() -> Task<void> {
    auto cat =
        Process::spawn({.argv = {"cat"}, .stdin_from = Stdio::pipe(), .stdout_to = Stdio::pipe()});
    EXPECT_TRUE((co_await cat->stdin_pipe().write_all("hello")).ok());
    std::byte buffer[16];
    EXPECT_EQ(*co_await cat->stdout_pipe().read_some(buffer), 5u);
    cat->stdin_pipe().close();
    EXPECT_EQ(*co_await cat->stdout_pipe().read_some(buffer), 0u);
    EXPECT_TRUE((co_await cat->wait())->success());
  }());
}

TEST_P(ProcessOnEveryModel, OutputCollectsBothStreamsAndFeedsTheInput) {
  run_here([]() -> Task<void> {
    ProcessOptions options = shell("cat; echo oops >&2; exit 4");
    options.stdin_from = options.stdout_to = options.stderr_to = Stdio::pipe();
    const std::string input(1'000'000, 'i');  // more than the pipes hold in either direction
    const auto output = co_await Process::output(options, input);
    EXPECT_TRUE(output.ok()) << output.status();
    EXPECT_EQ(output->status.code, 4);
    EXPECT_TRUE(output->stdout_bytes == input);
    EXPECT_EQ(output->stderr_bytes, "oops\n");
    // One that reads nothing is no error.
    options = {.argv = {"true"}, .stdin_from = Stdio::pipe()};
    EXPECT_TRUE((co_await Process::output(options, input)).ok());
  }());
}

TEST_P(ProcessOnEveryModel, OutputBeyondTheLimitEndsTheProcess) {
  run_here([]() -> Task<void> {
    ProcessOptions options = shell("echo $$ >&2; exec yes");
    options.stdout_to = Stdio::pipe();
    options.stderr_to = Stdio::pipe();
    const auto output = co_await Process::output(options, {}, 1000);
    EXPECT_EQ(output.status(),
              absl::ResourceExhaustedError(
                  "sh: stdout: read: there are more than 1000 bytes; raise the limit"));
  }());
}

TEST_P(ProcessOnEveryModel, ACancelledOutputHasEndedItsProcessAndItsGroup) {
  run_here([]() -> Task<void> {
    int numbers[2];
    EXPECT_EQ(::pipe2(numbers, O_CLOEXEC), 0);
    auto reader = PipeReader::adopt(UniqueFd(numbers[0]));
    ProcessOptions options = shell("sleep 1000 & echo $$ >&3; wait");
    options.stdout_to = Stdio::pipe();
    options.pass_fds = {numbers[1]};
    options.group = ProcessGroup::own;
    auto running = spawn(Process::output(options));
    std::string text(16, '\0');
    text.resize(*co_await reader->read_some(std::as_writable_bytes(std::span(text))));
    const pid_t pid = std::stoi(text);
    EXPECT_TRUE(process_exists(pid));
    running.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await running).status()));
    EXPECT_FALSE(process_exists(pid));
    ::close(numbers[1]);
    EXPECT_TRUE((co_await reader->read_to_end(100)).ok());  // `sleep` held it open too
  }());
}

TEST_P(ProcessOnEveryModel, TheDirectoryAndTheEnvironmentAreWhatTheOptionsSay) {
  run_here([]() -> Task<void> {
    ::setenv("ZSYNC_TEST_INHERITED", "yes", 1);
    ProcessOptions options = shell("pwd; echo $ZSYNC_TEST_INHERITED,$ZSYNC_TEST_SET");
    options.cwd = "/usr";
    options.env = {{"ZSYNC_TEST_SET", "one"}, {"ZSYNC_TEST_SET", "two"}};
    EXPECT_EQ(co_await printed(options), "/usr\nyes,two\n");
    options.env.emplace_back("ZSYNC_TEST_INHERITED", std::nullopt);
    EXPECT_EQ(co_await printed(options), "/usr\n,two\n");
    EXPECT_EQ(co_await printed({.argv = {"env"}, .inherit_env = false, .env = {{"A", "b"}}}),
              "A=b\n");
    ::unsetenv("ZSYNC_TEST_INHERITED");
  }());
}

TEST_P(ProcessOnEveryModel, TheChildHasItsStreamsAndNoOtherDescriptor) {
  run_here([]() -> Task<void> {
    UniqueFd leaky(::open("/dev/null", O_RDONLY));  // as a careless library would
    auto pipe = make_pipe();
    EXPECT_EQ(co_await printed({.argv = {"ls", "/proc/self/fd"}}), "0\n1\n2\n3\n");  // 3: ls's own
    // Streams that are exchanged, and passed ones that are each other's targets.
    UniqueFd first(::open("/proc/self/status", O_RDONLY | O_CLOEXEC));
    UniqueFd second(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    ProcessOptions options = shell("readlink /proc/$$/fd/3 /proc/$$/fd/4 /proc/$$/fd/0");
    options.stdin_from = Stdio::null();
    options.pass_fds = {second.get(), first.get()};
    const std::string links = co_await printed(options);
    EXPECT_EQ(links, "/etc/passwd\n/proc/" + std::to_string(::getpid()) + "/status\n/dev/null\n");
  }());
}

TEST_P(ProcessOnEveryModel, StandardStreamsCanBeDescriptorsOfTheCaller) {
  run_here([]() -> Task<void> {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    ProcessOptions options = shell("echo out; echo err >&2");
    options.stdout_to = options.stderr_to = Stdio::fd(ends[1]);
    EXPECT_TRUE((co_await Process::spawn(options)->wait())->success());
    ::close(ends[1]);
    auto reader = PipeReader::adopt(UniqueFd(ends[0]));
    EXPECT_EQ(*co_await reader->read_to_end(100), "out\nerr\n");
  }());
}

TEST_P(ProcessOnEveryModel, SignalsReachTheProcessOrItsGroupAndNobodyOnceItHasEnded) {
  run_here([]() -> Task<void> {
    auto child = Process::spawn({.argv = {"sleep", "1000"}});
    EXPECT_EQ(child->try_wait()->has_value(), false);
    EXPECT_EQ(child->kill(1000).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(child->kill_group().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(child->kill(SIGTERM).ok());
    EXPECT_EQ((co_await child->wait())->signal, SIGTERM);
    EXPECT_EQ(child->kill().code(), absl::StatusCode::kNotFound);

    ProcessOptions options = shell("sleep 1000 & echo x; wait");
    options.group = ProcessGroup::own;
    options.stdout_to = Stdio::pipe();
    child = Process::spawn(options);
    std::byte buffer[4];
    EXPECT_EQ(*co_await child->stdout_pipe().read_some(buffer), 2u);
    EXPECT_TRUE(child->kill_group(SIGTERM).ok());
    EXPECT_EQ(*co_await child->stdout_pipe().read_some(buffer), 0u);  // the `sleep` is gone too
    EXPECT_EQ((co_await child->wait())->signal, SIGTERM);
    EXPECT_EQ(child->kill_group().code(), absl::StatusCode::kFailedPrecondition);
  }());
}

TEST_P(ProcessOnEveryModel, GroupAndSessionAreTheChildsOwnWhereAsked) {
  run_here([]() -> Task<void> {
    // Fields 5 and 6 of /proc/PID/stat: group and session.
    const std::string line = "set -- $(cat /proc/$$/stat); echo $$ $5 $6";
    const auto numbers = [line](ProcessGroup group) -> Task<std::array<long, 3>> {
      ProcessOptions options = shell(line);
      options.group = group;
      const std::string text = co_await printed(options);
      std::array<long, 3> found{};
      std::sscanf(text.c_str(), "%ld %ld %ld", &found[0], &found[1], &found[2]);
      co_return found;
    };
    const auto inherited = co_await numbers(ProcessGroup::inherit);
    EXPECT_EQ(inherited[1], ::getpgrp());
    const auto own = co_await numbers(ProcessGroup::own);
    EXPECT_EQ(own[1], own[0]);
    EXPECT_EQ(own[2], ::getsid(0));
    const auto session = co_await numbers(ProcessGroup::own_session);
    EXPECT_EQ(session[2], session[0]);
  }());
}

TEST_P(ProcessOnEveryModel, TheChildsSignalsAreNotBlockedAndPipesEndIt) {
  run_here([]() -> Task<void> {
    sigset_t block, before;
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &block, &before);
    struct sigaction ignore{}, old;
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &old);
    ProcessOptions options = {.argv = {"yes"}, .stdout_to = Stdio::pipe()};
    auto yes = Process::spawn(options);
    yes->stdout_pipe().close();
    EXPECT_EQ((co_await yes->wait())->signal, SIGPIPE);
    auto child = Process::spawn({.argv = {"sleep", "1000"}});
    EXPECT_TRUE(child->kill(SIGTERM).ok());
    EXPECT_EQ((co_await child->wait())->signal, SIGTERM);
    sigaction(SIGPIPE, &old, nullptr);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }());
}

TEST_P(ProcessOnEveryModel, ACancelledWaitLeavesTheProcessAlone) {
  run_here([]() -> Task<void> {
    auto child = Process::spawn({.argv = {"cat"}, .stdin_from = Stdio::pipe()});
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(child->wait(), 1ms)).status()));
    auto cancelled_early = spawn(child->wait());
    cancelled_early.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await cancelled_early).status()));
    EXPECT_FALSE(child->try_wait()->has_value());
    child->stdin_pipe().close();
    EXPECT_TRUE((co_await child->wait())->success());
  }());
}

TEST_P(ProcessOnEveryModel, ACancelThatRacesTheEndGivesOneOrTheOther) {
  run_here([]() -> Task<void> {
    for (int round = 0; round < 30; ++round) {
      auto child = Process::spawn({.argv = {"cat"}, .stdin_from = Stdio::pipe()});
      auto waiting = spawn(child->wait());
      for (int i = 0; i < round % 3; ++i) co_await yield_now();
      child->stdin_pipe().close();
      if (round % 2) co_await sleep(std::chrono::microseconds(round * 50));
      waiting.cancel();
      const absl::StatusOr<ExitStatus> ended = co_await waiting;
      EXPECT_TRUE(ended.ok() || absl::IsCancelled(ended.status())) << ended.status();
      EXPECT_TRUE((co_await child->wait())->success());
    }
  }());
}

TEST_P(ProcessOnEveryModel, ADroppedProcessLivesOnAndIsCollectedAtItsEnd) {
  run_here([]() -> Task<void> {
    std::vector<pid_t> pids;
    std::vector<PipeWriter> inputs;
    for (int i = 0; i < 5; ++i) {
      auto child = Process::spawn({.argv = {"cat"}, .stdin_from = Stdio::pipe()});
      pids.push_back(child->pid());
      inputs.push_back(std::move(child->stdin_pipe()));
    }
    for (const pid_t pid : pids) EXPECT_TRUE(process_exists(pid));
    inputs.clear();
    for (const pid_t pid : pids) co_await gone(pid);
    const pid_t ended = [] {
      auto child = Process::spawn({.argv = {"true"}, .stdout_to = Stdio::pipe()});
      return child->pid();
    }();
    co_await gone(ended);
  }());
}

TEST_P(ProcessOnEveryModel, KillOnDropEndsAndCollectsIt) {
  run_here([]() -> Task<void> {
    pid_t pid = 0;
    {
      auto child = Process::spawn({.argv = {"sleep", "1000"}, .kill_on_drop = true});
      pid = child->pid();
      EXPECT_TRUE(process_exists(pid));
      Process moved = *std::move(child);  // what was moved from drops nothing
      EXPECT_TRUE(process_exists(pid));
    }
    co_await gone(pid);
  }());
}

TEST_F(ProcessTest, OneDroppedWithItsRuntimeIsCollectedTooAfterTheRuntimeHasEnded) {
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t pid = run([](int input) -> Task<pid_t> {
    auto child = Process::spawn({.argv = {"cat"}, .stdin_from = Stdio::fd(input)});
    co_return child->pid();
  }(ends[0]));
  ::close(ends[0]);
  EXPECT_TRUE(process_exists(pid));
  ::close(ends[1]);
  while (process_exists(pid)) std::this_thread::yield();
}

TEST_F(ProcessTest, AnExitStatusThatWasTakenElsewhereIsToldSo) {
  run([]() -> Task<void> {
    auto child = Process::spawn({.argv = {"true"}});
    EXPECT_EQ(::waitpid(child->pid(), nullptr, 0), child->pid());
    const auto ended = co_await child->wait();
    EXPECT_EQ(ended.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(ended.status().message().find("ignores SIGCHLD"), absl::string_view::npos);
  }());
}

TEST_F(ProcessTest, WithoutADescriptorLeftNothingIsStartedOrItIsEnded) {
  // UBSan's check of an object's type opens a pipe, and finds every object invalid without one.
  if (kUndefinedSanitizer) GTEST_SKIP() << "the sanitizer needs descriptors";
  run([]() -> Task<void> {
    (void)co_await Process::spawn({.argv = {"true"}})->wait();
    const std::string before = children();
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const rlimit small{.rlim_cur = 64, .rlim_max = limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &small);
    std::vector<UniqueFd> held;
    while (true) {
      UniqueFd copy(::fcntl(0, F_DUPFD_CLOEXEC, 0));
      if (!copy) break;
      held.push_back(std::move(copy));
    }
    // With each descriptor more the attempt gets further.
    for (int free = 0; free < 8; ++free) {
      auto child = Process::spawn({.argv = {"true"}, .stdout_to = Stdio::pipe()});
      if (!child.ok()) {
        EXPECT_EQ(child.status().code(), absl::StatusCode::kResourceExhausted) << child.status();
      } else {
        EXPECT_TRUE((co_await child->wait())->success());
      }
      co_await sleep(1ms);
      held.pop_back();
    }
    ::setrlimit(RLIMIT_NOFILE, &limit);
    EXPECT_EQ(children(), before);  // not even a zombie
  }());
}

TEST(ProcessDeathTest, ASimulationHasNoProcesses) {
  EXPECT_DEATH(testing::SimRuntime(1).run([]() -> Task<void> {
    (void)Process::spawn({.argv = {"true"}});
    co_return;
  }()),
               "no kernel in a simulation");
}

}  // namespace
}  // namespace zsync
