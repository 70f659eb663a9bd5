// A command-line program: what needs no task, --help for example, pays nothing for the runtime.
//
//   command_line --help         says how it is used
//   command_line N...           waits N milliseconds each, all at once, and prints them as they end
//
// run_simple() runs a Task on the calling thread and starts none of its own; a plain function it
// only calls. tests/lifecycle runs this 1,000 times with --help.
//
// Prints:
//   usage: command_line [--help] MILLISECONDS...
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "zsync/zsync.hpp"

int usage() {
  std::puts("usage: command_line [--help] MILLISECONDS...");
  return 0;
}

zsync::Task<void> wait_and_print(int milliseconds) {
  co_await zsync::sleep(std::chrono::milliseconds(milliseconds));
  std::printf("%d\n", milliseconds);
}

zsync::Task<int> wait_for_all(std::vector<int> times) {
  std::vector<zsync::Task<void>> waits;
  for (const int time : times) waits.push_back(wait_and_print(time));
  co_await zsync::all(std::move(waits));
  co_return 0;
}

int main(int argc, char** argv) {
  std::vector<int> times;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--help") return zsync::run_simple(usage);
    times.push_back(std::atoi(argv[i]));
  }
  if (times.empty()) return zsync::run_simple(usage);
  return zsync::run_simple([&times] { return wait_for_all(times); });
}
