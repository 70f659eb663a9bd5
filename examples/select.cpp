// select(): waits for several operations and commits exactly one of them.
//
// An operation that is not chosen has not happened: no message is lost, no permit is held.
//
// Prints:
//   command: reload
//   command: stop
//   silence for 5 ms
//   job 7 is still there
#include <chrono>
#include <cstdio>
#include <string>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;

zsync::Task<void> main_task() {
  zsync::Channel<std::string> commands = zsync::bounded<std::string>(8);
  zsync::Channel<int> jobs = zsync::bounded<int>(8);
  (void)commands.try_send("reload");
  (void)commands.try_send("stop");
  (void)jobs.try_send(7);

  // Where several are ready the first of the list wins, so commands come before jobs.
  for (int i = 0; i < 2; ++i) {
    auto chosen = co_await zsync::select(commands.recv(), jobs.recv(), zsync::sleep(1s));
    if (chosen.index == 0) std::printf("command: %s\n", std::get<0>(chosen.value)->c_str());
  }

  auto quiet = co_await zsync::select(commands.recv(), zsync::sleep(5ms));
  if (quiet.index == 1) std::printf("silence for 5 ms\n");

  // The select above twice looked at the jobs too, and took none.
  std::printf("job %d is still there\n", *co_await jobs.recv());
}

int main() { zsync::run(main_task()); }
