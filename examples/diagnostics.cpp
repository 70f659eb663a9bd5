// Diagnostics: what a runtime does, what its tasks wait for, and what the machine recommends.
//
// dump_tasks() shows every task with the chain of coroutines that wait for each other. The names
// come from the program itself; built with -g1 or more, each has the line of its co_await behind
// it. See also RuntimeDiagnostics::dump_on_signal(), which does it when the process gets a signal.
//
// Prints:
//   3 tasks
//   "main": runs on worker 0
//   "reader": waits for channel recv
//     read_one(zsync::Channel<int>)
//     read_all(zsync::Channel<int>)
//   "both": waits for all branches
//     branch 0: waits for channel recv
//     branch 1: waits for sleep
//   reader got 1 message
//   3 active tasks on 1 worker
//   a warning: workers will take turns
#include "zsync/diagnostics.hpp"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "zsync/zsync.hpp"

using namespace std::chrono_literals;

zsync::Task<bool> read_one(zsync::Channel<int> channel) {
  co_return (co_await channel.recv()).has_value();
}

zsync::Task<int> read_all(zsync::Channel<int> channel) {
  int count = 0;
  while (co_await read_one(channel)) ++count;
  co_return count;
}

zsync::Task<void> pause(std::chrono::seconds length) { co_await zsync::sleep(length); }

zsync::Task<void> both(zsync::Channel<int> channel) {
  co_await zsync::all(read_one(channel), pause(3600s));
}

void print(const zsync::StrandTrace& strand, const std::string& indent, bool with_frames) {
  using State = zsync::StrandTrace::State;
  if (strand.state == State::running) std::printf("runs on worker %d\n", strand.worker);
  if (strand.state == State::waiting) {
    std::printf("waits for %s\n", strand.waits_for.substr(0, strand.waits_for.find(',')).c_str());
  }
  for (const zsync::FrameTrace& frame : strand.frames) {
    if (with_frames) std::printf("%s%s\n", indent.c_str(), frame.function.c_str());
  }
  for (size_t i = 0; i < strand.branches.size(); ++i) {
    std::printf("%sbranch %zu: ", indent.c_str(), i);
    print(strand.branches[i], indent + "  ", with_frames);
  }
}

// dump_tasks() prints such a text itself, with ids, files and lines.
void print_tasks(const zsync::RuntimeDiagnostics& diagnostics) {
  const std::vector<zsync::TaskTrace> tasks = diagnostics.trace_tasks();
  std::printf("%zu tasks\n", tasks.size());
  for (const zsync::TaskTrace& task : tasks) {
    std::printf("\"%s\": ", task.name.c_str());
    print(task.strand, "  ", task.name == "reader");
  }
}

zsync::Task<void> main_task(zsync::RuntimeDiagnostics diagnostics) {
  zsync::Channel<int> channel = zsync::bounded<int>(1);
  auto reader = zsync::spawn({.name = "reader"}, read_all(channel));
  auto branches = zsync::spawn({.name = "both"}, both(zsync::bounded<int>(1)));
  for (int i = 0; i < 3; ++i) co_await zsync::yield_now();
  print_tasks(diagnostics);

  (void)co_await channel.send(1);
  const zsync::RuntimeStats stats = diagnostics.get_stats();
  channel.close();
  std::printf("reader got %d message\n", co_await reader);
  std::printf("%zu active tasks on %zu worker\n", stats.active_tasks, stats.workers.size());
  branches.cancel();
}

int main() {
  auto runtime = zsync::Runtime::builder().model(zsync::ExecutionModel::caller).workers(1).build();
  if (!runtime.ok()) return 1;
  (*runtime)->block_on(main_task(zsync::RuntimeDiagnostics(**runtime)));

  zsync::Config crowded;
  crowded.workers = zsync::usable_cpus() + 1;
  for (const std::string& warning : crowded.warnings()) {
    if (warning.find("workers will take turns") != std::string::npos) {
      std::printf("a warning: workers will take turns\n");
    }
  }
}
