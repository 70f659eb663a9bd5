// Processes: starting programs, talking to them, waiting for them and ending them.
//
// A child is watched through a pidfd: no SIGCHLD handler, no zombie, no signal to the wrong
// process.
//
// Prints:
//   sort gave: apple banana cherry
//   sh ended with exit code 3 and said: no luck
//   sleep ended with signal 15 (Terminated)
//   exec no-such-program: No such file or directory
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;

// Both ends of a conversation: write, close, read to the end, wait.
zsync::Task<absl::Status> sort_fruit() {
  absl::StatusOr<zsync::Process> sort = zsync::Process::spawn(
      {.argv = {"sort"}, .stdin_from = zsync::Stdio::pipe(), .stdout_to = zsync::Stdio::pipe()});
  if (!sort.ok()) co_return sort.status();
  absl::Status written = co_await sort->stdin_pipe().write_all("cherry\napple\nbanana\n");
  if (!written.ok()) co_return written;
  sort->stdin_pipe().close();
  absl::StatusOr<std::string> sorted = co_await sort->stdout_pipe().read_to_end(4096);
  if (!sorted.ok()) co_return sorted.status();
  std::replace(sorted->begin(), sorted->end(), '\n', ' ');
  sorted->pop_back();
  std::printf("sort gave: %s\n", sorted->c_str());
  co_return (co_await sort->wait()).status();
}

zsync::Task<absl::Status> main_task() {
  absl::Status sorted = co_await sort_fruit();
  if (!sorted.ok()) co_return sorted;

  // The short form: what it wrote and how it ended.
  zsync::ProcessOptions options{.argv = {"sh", "-c", "printf 'no luck' >&2; exit 3"}};
  options.stderr_to = zsync::Stdio::pipe();
  absl::StatusOr<zsync::ProcessOutput> output = co_await zsync::Process::output(options);
  if (!output.ok()) co_return output.status();
  std::printf("sh ended with %s and said: %s\n", output->status.to_string().c_str(),
              output->stderr_bytes.c_str());

  // A wait that is cancelled, here by its time limit, leaves the process alone.
  absl::StatusOr<zsync::Process> sleeper =
      zsync::Process::spawn({.argv = {"sleep", "1000"}, .kill_on_drop = true});
  if (!sleeper.ok()) co_return sleeper.status();
  if (absl::IsDeadlineExceeded((co_await zsync::timeout(sleeper->wait(), 1ms)).status())) {
    if (absl::Status sent = sleeper->kill(SIGTERM); !sent.ok()) co_return sent;
  }
  absl::StatusOr<zsync::ExitStatus> ended = co_await sleeper->wait();
  if (!ended.ok()) co_return ended.status();
  std::printf("sleep ended with %s\n", ended->to_string().c_str());

  absl::Status missing = zsync::Process::spawn({.argv = {"no-such-program"}}).status();
  std::printf("%s\n", std::string(missing.message()).c_str());
  co_return absl::OkStatus();
}

int main() {
  const absl::Status status = zsync::run(main_task());
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
