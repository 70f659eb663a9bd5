// RuntimeDiagnostics: what a runtime does at the moment, what its tasks wait for, and what the
// machine offers.
//
//   zsync::RuntimeDiagnostics diagnostics(*runtime);
//   diagnostics.dump_tasks();        // to stdout
//
//   task 3 "reader": waits for channel recv
//     read_one(zsync::Channel<int>) at reader.cpp:12
//     read_all(zsync::Channel<int>) at reader.cpp:20
//
// Every task that spawn() or run() has started is shown, the coroutine that waits first, below it
// the one that awaits it, and so on to the task's outermost; branches of all, race, any, timeout
// and shield stand below the task that waits for them. Nothing is recorded while tasks run: a dump
// holds one waiting task at a time, reads its frames, and lets it go.
//
// Where a coroutine waits is read from the program itself:
//   with line tables (-g1 or more)   file and line of the co_await; where the compiler has
//                                    merged the code of two, of the coroutine's beginning
//                                    ("begins at")
//   without, but not stripped        the function's name
//   stripped                         the address in the file
// Debug information in files of its own is not looked for. Under sanitizers the line may be the
// coroutine's beginning.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "zsync/backend.hpp"
#include "zsync/config.hpp"
#include "zsync/runtime.hpp"
#include "zsync/task.hpp"

namespace zsync {

// One worker. Queue lengths are of the moment and guesses, the rest counts from its start.
struct WorkerStats {
  // Tasks and branches that have run before, or were woken; thieves may take them.
  size_t ready = 0;
  size_t branches = 0;   // forked by all() and the like, not started
  size_t here_only = 0;  // pinned to this worker, or on their way to it
  uint64_t steals = 0;   // thefts from other workers that found something
  uint64_t parks = 0;    // times it had nothing to do and went to sleep
  bool parked = false;   // sleeps, or is about to
};

// What RuntimeDiagnostics::get_stats() gives.
struct RuntimeStats {
  static constexpr size_t kWakeBuckets = 21;  // of wake_latency

  size_t active_tasks = 0;   // have not ended
  size_t ready_outside = 0;  // tasks made ready by other threads, which no worker has taken yet
  std::vector<WorkerStats> workers;  // by their number
  // How long a sleeping worker took from being woken by another thread to being awake: entry 0
  // counts those below 1 us, entry i those below 2^i us, the last one all others too.
  std::array<uint64_t, kWakeBuckets> wake_latency{};
  std::chrono::nanoseconds uptime{0};  // since the runtime was made
  Backend backend = Backend::libuv;    // what the workers wait with
};

// A coroutine in a chain of awaiters.
struct FrameTrace {
  std::string function;  // demangled, or "program+0x1234" when nothing is known
  std::string file;      // empty: no line table
  int line = 0;          // of the co_await, or of the coroutine's beginning
  bool exact = false;    // it is the line of the co_await
};

// A task's own strand, or a branch of all, race, any, timeout or shield.
struct StrandTrace {
  // What it does.
  enum class State : uint8_t {
    waiting,  // suspended
    running,  // a worker runs it or one of its branches; `worker` says which
    ready,    // waits for its turn, or changes its state at this moment
    ended,    // a branch that has ended while its scope waits for others
  };
  State state = State::ready;         // when it was looked at
  int worker = -1;                    // that runs it
  std::string waits_for;              // "channel recv", "sleep, 1.250 s left", "end of task 4"
  std::vector<FrameTrace> frames;     // the one that waits first; empty unless it waits
  std::vector<StrandTrace> branches;  // in the order in which they were given
  size_t branches_left_out = 0;       // beyond TraceLimits::branches
};

// A task that spawn() or run() has started.
struct TaskTrace {
  uint64_t id = 0;                // TaskHandle::id()
  std::string name;               // SpawnOptions::name
  bool background = false;        // SpawnOptions::background
  int pinned_worker = -1;         // -1: any worker may run it
  bool cancel_requested = false;  // it unwinds, or goes on inside shield()
  StrandTrace strand;             // its own; branches are below
};

// How much of a dump is given.
struct TraceLimits {
  size_t tasks = 10'000;    // the oldest first
  size_t branches = 1'000;  // of a task, all levels together
  size_t frames = 100;      // of a strand
};

// Where text goes, in one piece.
using TextSink = std::function<void(const std::string& text)>;

// Lifetime: the runtime outlives it.
// Threads:  any, also a task of the runtime, while the runtime runs at full speed. A dump takes the
//           time that reading the program's symbols takes, some hundredths of a second, mostly
//           before and after it looks at tasks: call it in spawn_blocking() where that matters.
// Errors:   none; what cannot be found out is said so in the text.
class RuntimeDiagnostics {
 public:
  // Looks at `runtime`.
  explicit RuntimeDiagnostics(Runtime& runtime) : runtime_(&runtime) {}

  // Counts and queue lengths. Cost: a few loads for each worker; the counts are kept anyway.
  RuntimeStats get_stats() const;
  // get_stats() as lines, to stdout.
  void print_stats() const;
  // The same to a stream.
  void print_stats(std::ostream& out) const;

  // What every task waits for, in the order of their ids.
  std::vector<TaskTrace> trace_tasks(TraceLimits limits = {}) const;
  // trace_tasks() as lines, to stdout.
  void dump_tasks() const;
  // The same to a stream.
  void dump_tasks(std::ostream& out) const;

  // A task that gives a dump to `sink` whenever the process gets `signal`; a dump is taken in a
  // blocking thread. Spawn it in the background:
  //
  //   runtime->spawn({.name = "dumps", .background = true}, diagnostics.dump_on_signal(SIGUSR1))
  //       .detach();
  //
  // Completes only when the signal cannot be watched. `ready` is called once it is.
  //
  // Errors: as Signals::open(). Cancel: ends it (throws Cancelled).
  // Lifetime: the runtime is the one that runs it; this object may be gone.
  Task<absl::Status> dump_on_signal(int signal, TextSink sink,
                                    std::function<void()> ready = nullptr) const;
  // The same to stderr.
  Task<absl::Status> dump_on_signal(int signal) const;

  // What the machine offers to any runtime: the system, CPUs that may be used, backends, package
  // manager, and what Config::optimal() makes of it with the reasons; to stdout.
  static void print_capabilities();
  // The same to a stream.
  static void print_capabilities(std::ostream& out);

 private:
  Runtime* runtime_;
};

}  // namespace zsync
