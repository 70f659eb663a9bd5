// `run --tty` and `tasks attach`, typed on a real terminal.
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

constexpr int kBoundMs = 20'000;  // of any single wait

// zsyncctl on a terminal, and somebody who types and reads.
class Typist {
 public:
  Typist(const std::string& program, const std::string& socket, Words words) {
    words.insert(words.begin(), {program, "--socket", socket, "--no-autostart"});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    winsize window = {30, 100, 0, 0};
    pid_ = ::forkpty(&master_, nullptr, nullptr, &window);
    if (pid_ == 0) {
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  ~Typist() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(master_);
  }
  Typist(const Typist&) = delete;
  Typist& operator=(const Typist&) = delete;

  void type(std::string_view keys) const {
    EXPECT_EQ(::write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  void resize(unsigned short rows, unsigned short columns) const {
    winsize window = {rows, columns, 0, 0};
    EXPECT_EQ(::ioctl(master_, TIOCSWINSZ, &window), 0);
  }
  // True once `text` is on the screen, counted from after what was waited for last.
  bool sees(const std::string& text) {
    while (true) {
      if (const size_t at = screen_.find(text, seen_); at != std::string::npos) {
        seen_ = at + text.size();
        return true;
      }
      if (!read_some()) return false;
    }
  }
  int exit_code() {
    while (read_some()) {
    }
    pollfd polled = {master_, 0, 0};
    if (::poll(&polled, 1, 0) != 1) ::kill(pid_, SIGKILL);  // it neither prints nor ends
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  void hang_up() {
    ::close(master_);
    master_ = -1;
  }
  const std::string& screen() const { return screen_; }

 private:
  bool read_some() {
    pollfd polled = {master_, POLLIN, 0};
    if (::poll(&polled, 1, kBoundMs) != 1) return false;
    char buffer[4096];
    const ssize_t got = ::read(master_, buffer, sizeof buffer);
    if (got <= 0) return false;
    screen_.append(buffer, static_cast<size_t>(got));
    return true;
  }

  pid_t pid_ = -1;
  int master_ = -1;
  std::string screen_;
  size_t seen_ = 0;
};

constexpr char kEchoes[] = "echo up; while read -r x; do echo \"got $x\"; done";

class OnATerminal : public DaemonTest {
 protected:
  Typist typist(Words words) {
    return Typist(std::getenv("ZSYNCCTL"), daemon().socket(), std::move(words));
  }
  std::string submit_echo() { return submit({"--tty", "--", "sh", "-c", kEchoes}); }
  bool runs(const std::string& id) { return get(id).state() == v1::TASK_STATE_RUNNING; }
};

TEST_F(OnATerminal, RunIsTheCommandWithItsSizeItsKeysAndItsExitCode) {
  Typist run = typist({"run", "--tty", "--", "sh", "-c",
                       "stty size; tty -s && echo $TERM; read -r x; echo \"got $x\"; exit 5"});
  EXPECT_TRUE(run.sees("30 100"));
  run.type("word\r");
  EXPECT_TRUE(run.sees("got word"));
  EXPECT_EQ(run.exit_code(), 5);
  expect_nothing_left();
}

TEST_F(OnATerminal, CtrlCGoesToTheCommandAndDoesNotCancelTheTask) {
  Typist run = typist({"run", "-t", "--", "sh", "-c",
                       "trap 'echo heard; exit 6' INT; echo up; while :; do sleep 0.01; done"});
  EXPECT_TRUE(run.sees("up"));
  run.type("\x03");
  EXPECT_TRUE(run.sees("heard"));
  EXPECT_EQ(run.exit_code(), 6);
}

TEST_F(OnATerminal, TheDetachKeysLeaveTheTaskAndAttachComesBack) {
  Typist run = typist({"run", "--tty", "--name", "kept", "--", "sh", "-c", kEchoes});
  EXPECT_TRUE(run.sees("up"));
  run.type("one\r");
  EXPECT_TRUE(run.sees("got one"));
  run.type("\x10\x11");
  EXPECT_TRUE(run.sees("detached"));
  EXPECT_EQ(run.exit_code(), 0);
  ASSERT_TRUE(runs("kept"));
  Typist again = typist({"tasks", "attach", "kept"});
  EXPECT_TRUE(again.sees("got one")) << "what was printed before is shown";
  again.type("two\r");
  EXPECT_TRUE(again.sees("got two"));
  again.type("\x04");
  EXPECT_EQ(again.exit_code(), 0);
  EXPECT_EQ(get("kept").state(), v1::TASK_STATE_SUCCEEDED);
}

TEST_F(OnATerminal, OtherKeysMayDetach) {
  submit_echo();
  const std::string id = submit_echo();
  Typist attach = typist({"tasks", "attach", "--detach-keys", "ctrl-],d", id});
  EXPECT_TRUE(attach.sees("up"));
  attach.type("\x10\x11\r");
  EXPECT_TRUE(attach.sees("got")) << "the usual ones are keys like any other then";
  attach.type(
      "\x1d"
      "d");
  EXPECT_EQ(attach.exit_code(), 0);
  EXPECT_TRUE(runs(id));
}

TEST_F(OnATerminal, SeveralLookAtOneTaskAndAnyOfThemTypes) {
  const std::string id = submit_echo();
  Typist first = typist({"tasks", "attach", id});
  Typist second = typist({"tasks", "attach", id});
  Typist third = typist({"tasks", "attach", "--read-only", id});
  for (Typist* each : {&first, &second, &third}) EXPECT_TRUE(each->sees("up"));
  third.type("nothing\r");
  first.type("from one\r");
  for (Typist* each : {&first, &second, &third}) EXPECT_TRUE(each->sees("got from one"));
  second.type("from two\r");
  for (Typist* each : {&first, &second, &third}) EXPECT_TRUE(each->sees("got from two"));
  EXPECT_EQ(third.screen().find("got nothing"), std::string::npos);
}

TEST_F(OnATerminal, AWindowThatIsResizedResizesTheTasksTerminal) {
  Typist run = typist({"run", "--tty", "--", "sh", "-c",
                       "trap 'stty size; exit 0' WINCH; echo up; while :; do sleep 0.01; done"});
  EXPECT_TRUE(run.sees("up"));
  run.resize(41, 121);
  EXPECT_TRUE(run.sees("41 121"));
  EXPECT_EQ(run.exit_code(), 0);
}

TEST_F(OnATerminal, WhoIsAttachedStaysWhenTheDaemonIsKilledAndStartedAgain) {
  const std::string id = submit_echo();
  Typist attach = typist({"tasks", "attach", id});
  EXPECT_TRUE(attach.sees("up"));
  attach.type("one\r");
  EXPECT_TRUE(attach.sees("got one"));
  daemon().kill9();
  ASSERT_TRUE(daemon().start());
  // A key that is pressed while nobody listens may be lost, so it is pressed until it is answered.
  EXPECT_TRUE(kit::poll_until([&] {
    attach.type("x\r");
    return output_so_far(id).find("got x") != std::string::npos;
  }));
  EXPECT_TRUE(attach.sees("got x"));
}

TEST_F(OnATerminal, ATerminalThatGoesAwayLeavesTheTaskRunning) {
  const std::string id = submit_echo();
  {
    Typist attach = typist({"tasks", "attach", id});
    EXPECT_TRUE(attach.sees("up"));
    attach.hang_up();
  }
  EXPECT_TRUE(runs(id));
  Typist again = typist({"tasks", "attach", id});
  EXPECT_TRUE(again.sees("up"));
  again.type("still\r");
  EXPECT_TRUE(again.sees("got still"));
}

TEST_F(OnATerminal, OnlyATaskWithATerminalCanBeAttachedTo) {
  const std::string id = submit({"--", "sleep", "1000"});
  Typist attach = typist({"tasks", "attach", id});
  EXPECT_TRUE(attach.sees("logs -f"));
  EXPECT_EQ(attach.exit_code(), 7);
  const std::string with = submit_echo();
  const kit::Ran piped = ctl({"tasks", "attach", with});
  EXPECT_EQ(piped.code, 2);
  EXPECT_THAT(piped.err, HasSubstr("stdin is no terminal"));
  EXPECT_EQ(ctl({"run", "--tty", "--", "true"}).code, 125);
  EXPECT_EQ(ctl({"tasks", "attach", "--detach-keys", "ctrl-1", with}).code, 2);
}

TEST_F(OnATerminal, SizesBeyondTheLimitsAreRefused) {
  v1::TaskSpec spec;
  spec.add_argv("true");
  spec.mutable_terminal()->set_rows(24);
  EXPECT_EQ(tasks().submit(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec.mutable_terminal()->set_columns(1001);
  EXPECT_EQ(tasks().submit(spec).status().code(), absl::StatusCode::kInvalidArgument);
  spec.mutable_terminal()->set_columns(80);
  spec.set_stdin("bytes");
  EXPECT_EQ(tasks().submit(spec).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string id = submit_echo();
  client::TaskInput input = tasks().input(id);
  EXPECT_TRUE(input.resize(2000, 80));
  EXPECT_EQ(input.finish(false).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string plain = submit({"--", "sleep", "1000"});
  client::TaskInput other = tasks().input(plain);
  EXPECT_TRUE(other.resize(24, 80));
  EXPECT_EQ(other.finish(false).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(OnATerminal, ASupervisorThatStandsStillIsNotGivenOrdersWithoutEnd) {
  const std::string id = submit_echo();
  wait_for_output(id);
  ASSERT_EQ(daemon().shims().size(), 1u);
  const int shim = daemon().shims().front();
  ::kill(shim, SIGSTOP);
  {
    client::TaskInput input = tasks().input(id);
    for (unsigned i = 0; i < 1'000'000 && input.resize(24 + i % 2, 80); ++i) {
    }
    const absl::Status refused = input.finish(false).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  }
  ::kill(shim, SIGCONT);
  EXPECT_TRUE(kit::poll_until([&] { return tasks().signal(id, SIGCONT).ok(); }));
  EXPECT_EQ(ctl({"tasks", "cancel", "--wait", id}).code, 0);
}

TEST_F(OnATerminal, AStreamOfInputThatEndsLeavesStdinToTheNext) {
  v1::TaskSpec spec;
  spec.add_argv("cat");
  spec.set_stdin_stream(true);
  const absl::StatusOr<std::string> id = tasks().submit(spec);
  ASSERT_TRUE(id.ok()) << id.status();
  client::TaskInput first = tasks().input(*id);
  EXPECT_TRUE(first.write("one "));
  EXPECT_TRUE(first.finish(false).ok());
  client::TaskInput second = tasks().input(*id);
  EXPECT_TRUE(second.write("two"));
  EXPECT_TRUE(second.finish(true).ok());
  EXPECT_EQ(output_of(*id), "one two");
}

}  // namespace
}  // namespace zsync::integration
