#include "zsync/tty.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include <string>
#include <vector>

#include "io/io_test.hpp"
#include "zsync/process.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class TtyOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(TtyOnEveryModel);

// A program's descriptor of the terminal.
UniqueFd program_side(const Pty& pty) {
  UniqueFd descriptor(::open(pty.path().c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  EXPECT_TRUE(descriptor);
  return descriptor;
}

tcflag_t local_modes(int terminal) {
  termios attributes{};
  EXPECT_EQ(::tcgetattr(terminal, &attributes), 0);
  return attributes.c_lflag;
}

// Reads from the pty until `wanted` has come. -> everything.
Task<std::string> shown(Pty& pty, std::string wanted) {
  std::string text;
  std::vector<std::byte> buffer(4096);
  while (text.find(wanted) == std::string::npos) {
    const absl::StatusOr<size_t> count = co_await pty.read_some(buffer);
    EXPECT_TRUE(count.ok() && *count > 0) << count.status() << " after: " << text;
    if (!count.ok() || *count == 0) break;
    text.append(reinterpret_cast<const char*>(buffer.data()), *count);
  }
  co_return text;
}

Task<std::string> shown_to_the_end(Pty& pty) {
  std::string text;
  std::byte buffer[64];
  while (true) {
    const absl::StatusOr<size_t> count = co_await pty.read_some(buffer);
    EXPECT_TRUE(count.ok()) << count.status() << " after: " << text;
    if (count.value_or(0) == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer), *count);
  }
}

Task<std::string> typed(Tty& tty) {
  std::vector<std::byte> buffer(4096);
  const absl::StatusOr<size_t> count = co_await tty.read_some(buffer);
  EXPECT_TRUE(count.ok()) << count.status();
  co_return std::string(reinterpret_cast<const char*>(buffer.data()), count.value_or(0));
}

TEST_P(TtyOnEveryModel, WhatIsTypedIsReadAndWhatIsWrittenIsShown) {
  run_here([]() -> Task<void> {
    auto pty = Pty::open();
    EXPECT_TRUE(pty.ok()) << pty.status();
    const UniqueFd given = program_side(*pty);
    EXPECT_TRUE(is_a_tty(given.get()));
    auto tty = Tty::open(given.get());
    EXPECT_TRUE(tty.ok()) << tty.status();
    EXPECT_TRUE((co_await pty->write_all("a line\n")).ok());
    EXPECT_EQ(co_await typed(*tty), "a line\n");
    EXPECT_EQ(co_await shown(*pty, "\n"), "a line\r\n");  // the echo
    EXPECT_TRUE((co_await tty->write_all("text\n")).ok());
    EXPECT_EQ(co_await shown(*pty, "\n"), "text\r\n");
    EXPECT_TRUE((co_await pty->write_all("\x04")).ok());
    EXPECT_EQ(co_await typed(*tty), "");
  }());
}

TEST_P(TtyOnEveryModel, TheDescriptorThatWasGivenStaysBlocking) {
  run_here([]() -> Task<void> {
    auto pty = Pty::open();
    const UniqueFd given = program_side(*pty);
    auto tty = Tty::open(given.get());
    EXPECT_NE(tty->get(), given.get());
    EXPECT_EQ(::fcntl(given.get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_NE(::fcntl(tty->get(), F_GETFL) & O_NONBLOCK, 0);
    tty->close();
    EXPECT_TRUE(is_a_tty(given.get()));
    co_return;
  }());
}

TEST_P(TtyOnEveryModel, RawModeEndsWithItsScopeHoweverThatIsLeft) {
  run_here([]() -> Task<void> {
    auto pty = Pty::open();
    const UniqueFd given = program_side(*pty);
    auto tty = Tty::open(given.get());
    const tcflag_t before = local_modes(given.get());
    EXPECT_NE(before & (ICANON | ECHO | ISIG), 0u);
    {
      auto raw = tty->raw_mode();
      EXPECT_TRUE(raw.ok()) << raw.status();
      EXPECT_EQ(local_modes(given.get()) & (ICANON | ECHO | ISIG), 0u);
      EXPECT_TRUE((co_await pty->write_all("k\x03")).ok());
      EXPECT_EQ(co_await typed(*tty), "k\x03");
      auto moved = *std::move(raw);
      {
        auto inner = tty->raw_mode({.signals = true});
        EXPECT_NE(local_modes(given.get()) & ISIG, 0u);
      }
      EXPECT_EQ(local_modes(given.get()) & ISIG, 0u);
    }
    EXPECT_EQ(local_modes(given.get()), before);
    auto raw = tty->raw_mode();
    EXPECT_TRUE(raw->restore().ok());
    EXPECT_TRUE(raw->restore().ok());
    EXPECT_EQ(local_modes(given.get()), before);

    auto cancelled = spawn(
        [](Tty& terminal) -> Task<void> {
          auto mode = terminal.raw_mode();
          co_await sleep(1h);
        },
        std::ref(*tty));
    while (local_modes(given.get()) == before) co_await sleep(1ms);
    cancelled.cancel();
    EXPECT_THROW(co_await cancelled, Cancelled);
    EXPECT_EQ(local_modes(given.get()), before);

    auto outliving = tty->raw_mode();
    tty->close();
    EXPECT_TRUE(outliving->restore().ok());
    EXPECT_EQ(local_modes(given.get()), before);
  }());
}

TEST(Tty, RawModeEndsWithExit) {
  const UniqueFd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_EQ(::unlockpt(master.get()), 0);
  const UniqueFd given(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  const tcflag_t before = local_modes(given.get());
  EXPECT_EXIT(run([](int terminal) -> Task<void> {
                auto tty = Tty::open(terminal);
                auto raw = tty->raw_mode();
                if (local_modes(terminal) & ICANON) ::_exit(1);
                std::exit(7);  // unwinds nothing
                co_return;
              }(given.get())),
              ::testing::ExitedWithCode(7), "");
  EXPECT_EQ(local_modes(given.get()), before);
}

TEST_P(TtyOnEveryModel, ANewSizeIsToldOnceAndNotMissedBefore) {
  run_here([]() -> Task<void> {
    auto pty = Pty::open({.rows = 30, .columns = 100});
    const UniqueFd given = program_side(*pty);
    auto tty = Tty::open(given.get());
    EXPECT_EQ(*tty->size(), (WindowSize{30, 100}));
    EXPECT_TRUE(pty->set_size({40, 120, 800, 600}).ok());
    EXPECT_EQ(*pty->size(), (WindowSize{40, 120, 800, 600}));
    EXPECT_EQ(*co_await tty->resized(), (WindowSize{40, 120, 800, 600}));
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(tty->resized(), 1ms)).status()));
    auto waiting = spawn(tty->resized());
    co_await yield_now();
    ::raise(SIGWINCH);  // without a change
    EXPECT_TRUE(pty->set_size({41, 120}).ok());
    ::raise(SIGWINCH);  // as the kernel does for programs in the foreground
    EXPECT_EQ(*co_await waiting, (WindowSize{41, 120}));
    auto cancelled = spawn(tty->resized());
    co_await yield_now();
    cancelled.cancel();
    EXPECT_TRUE(absl::IsCancelled((co_await cancelled).status()));
  }());
}

TEST_P(TtyOnEveryModel, ACommandRunsOnATerminalOfItsOwn) {
  SKIP_WITHOUT_PIDFD();
  run_here([]() -> Task<void> {
    auto pty = Pty::open({.rows = 33, .columns = 99});
    auto child = Process::spawn(
        {.argv = {"sh", "-c",
                  "test -t 0 && test -t 1 && test -t 2 && stty size; echo by name > /dev/tty; "
                  "trap 'stty size; exit 5' WINCH; echo ready; read line; read line"},
         .terminal = pty->path()});
    EXPECT_TRUE(child.ok()) << child.status();
    if (!child.ok()) co_return;
    EXPECT_EQ(co_await shown(*pty, "ready\r\n"), "33 99\r\nby name\r\nready\r\n");
    EXPECT_EQ(::getsid(child->pid()), child->pid());
    EXPECT_TRUE(pty->set_size({20, 50}).ok());
    EXPECT_TRUE((co_await pty->write_all("\n")).ok());  // dash looks at its traps after a read
    std::string end = co_await shown(*pty, "20 50\r\n");
    EXPECT_EQ((co_await child->wait())->code, 5);
    // Nobody has it open any more; the kernel shows the line that was typed when it gets to it.
    end += co_await shown_to_the_end(*pty);
    EXPECT_EQ(end.size(), std::string_view("\r\n20 50\r\n").size()) << end;
  }());
}

// What nohup ignores in this process stays ignored in a command that it starts.
class HangUpsEnd {
 public:
  HangUpsEnd() : before_(signal(SIGHUP, SIG_DFL)) {}
  ~HangUpsEnd() { signal(SIGHUP, before_); }

 private:
  const sighandler_t before_;
};

TEST_P(TtyOnEveryModel, ControlCAndHangUpReachTheCommand) {
  SKIP_WITHOUT_PIDFD();
  const HangUpsEnd hang_ups_end;
  run_here([]() -> Task<void> {
    auto pty = Pty::open();
    auto interrupted =
        Process::spawn({.argv = {"sh", "-c", "echo ready; exec cat"}, .terminal = pty->path()});
    (void)co_await shown(*pty, "ready\r\n");
    EXPECT_TRUE((co_await pty->write_all("\x03")).ok());
    EXPECT_EQ((co_await interrupted->wait())->signal, SIGINT);

    auto other = Pty::open();
    auto hung_up = Process::spawn({.argv = {"sh", "-c", "echo ready; exec cat"},
                                   .stderr_to = Stdio::null(),
                                   .terminal = other->path()});
    (void)co_await shown(*other, "ready\r\n");
    other->close();
    EXPECT_EQ((co_await hung_up->wait())->signal, SIGHUP);
  }());
}

TEST_P(TtyOnEveryModel, WhatIsNoTerminalIsRefusedWithTheReason) {
  SKIP_WITHOUT_PIDFD();
  run_here([]() -> Task<void> {
    auto pipe = make_pipe();
    EXPECT_FALSE(is_a_tty(pipe->first.get()));
    EXPECT_FALSE(is_a_tty(-1));
    const std::string number = std::to_string(pipe->first.get());
    EXPECT_EQ(Tty::open(pipe->first.get()).status(),
              absl::InvalidArgumentError("opening a terminal: descriptor " + number +
                                         " is none (a pipe, a file?); ask is_a_tty() before"));
    auto pty = Pty::open();
    EXPECT_EQ(Tty::open(pty->get()).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Process::spawn({.argv = {"true"}, .terminal = "/dev/pts/none"}).status(),
              absl::NotFoundError("opening the terminal /dev/pts/none: No such file or directory"));
    EXPECT_FALSE(Process::spawn({.argv = {"true"}, .terminal = "/dev/null"}).ok());
    co_return;
  }());
}

TEST_P(TtyOnEveryModel, CancelsOfReadsAndWritesLoseNothing) {
  run_here([]() -> Task<void> {
    auto pty = Pty::open();
    const UniqueFd given = program_side(*pty);
    auto tty = Tty::open(given.get());
    auto raw = tty->raw_mode();
    std::byte byte[16];
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(tty->read_some(byte), 1ms)).status()));
    EXPECT_TRUE(absl::IsDeadlineExceeded((co_await timeout(pty->read_some(byte), 1ms)).status()));
    const std::string large(1 << 20, 'x');  // more than a terminal holds
    EXPECT_TRUE(
        absl::IsDeadlineExceeded(co_await timeout(pty->write_all(std::string_view(large)), 1ms)));
    auto early = spawn(
        [](Tty& terminal) -> Task<void> {
          try {
            co_await sleep(1h);
          } catch (const Cancelled&) {
          }
          std::byte one[1];
          EXPECT_TRUE(absl::IsCancelled((co_await terminal.read_some(one)).status()));
          EXPECT_TRUE(absl::IsCancelled((co_await terminal.resized()).status()));
        },
        std::ref(*tty));
    co_await yield_now();
    early.cancel();
    try {
      co_await early;
    } catch (const Cancelled&) {
    }
    EXPECT_EQ((co_await typed(*tty)).substr(0, 3), "xxx");
  }());
}

TEST(TtyDeathTest, ATerminalNeedsAKernel) {
  EXPECT_DEATH((void)testing::SimRuntime(1).run([]() -> Task<void> {
    (void)Pty::open();
    co_return;
  }()),
               "a simulation has no kernel");
}

}  // namespace
}  // namespace zsync
