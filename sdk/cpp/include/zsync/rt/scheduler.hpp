// Scheduler: what runs strands. Two real ones exist: the worker pool and the simulator.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/rt/context.hpp"
#include "zsync/rt/work_deque.hpp"

namespace zsync::rt {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

class Classes;
class ClassTurns;
class FileCalls;
class SocketCalls;
class TimerQueue;

// What a readiness source tells and is asked for.
inline constexpr uint32_t kReadable = 1;
inline constexpr uint32_t kWritable = 2;
inline constexpr uint32_t kHangup = 4;  // the peer has closed its side
// Asked for: readable, by one who has just found nothing there. A driver may go on telling then,
// once for each change and unasked.
inline constexpr uint32_t kNews = 8;
inline constexpr uint32_t kUrgent = 16;  // told: there is urgent data, so a read may end before it

// Told by a driver that a descriptor is ready. Threads: the home worker.
class FdListener {
 public:
  virtual void on_ready(uint32_t events) = 0;

 protected:
  ~FdListener() = default;
};

// A descriptor that a driver watches; each has its own kind.
class FdSource {
 public:
  FdSource(const FdSource&) = delete;
  FdSource& operator=(const FdSource&) = delete;

 protected:
  FdSource() = default;
  ~FdSource() = default;
};

// Told what a call that a driver made returned: its count, or a negated errno. Threads: the home
// worker.
class Completion {
 public:
  virtual void on_complete(int result) = 0;

 protected:
  ~Completion() = default;
};

// The kernel side of one worker: readiness and sleeping. io_uring and libuv are real; a simulated
// process has one over a simulated network and disk. Threads: the home worker, except wake().
class Driver {
 public:
  virtual ~Driver() = default;
  // Takes in what is ready without waiting.
  virtual void poll() = 0;
  // Waits until wake(), readiness or the deadline.
  virtual void park(std::optional<TimePoint> deadline) = 0;
  virtual void wake() = 0;
  virtual absl::StatusOr<FdSource*> add(int fd, FdListener& listener) = 0;
  virtual void arm(FdSource& source, uint32_t events) = 0;
  // Stops listening, then runs `then` once the descriptor may be closed.
  virtual void remove(FdSource& source, std::function<void()> then) = 0;
  // Whether send() is better now than a call of one's own.
  virtual bool batches_sends() const { return false; }
  // Sends together with what else goes out in this turn, without waiting for room: the completion
  // comes in the turn that submits it (-EAGAIN: there was no room), so that there is nothing to
  // cancel. `from` and `completion` stay until then, and the socket open.
  virtual void send(int, std::span<const std::byte>, Completion&) {}
  // The thread that has driven it stops doing so; another one may go on.
  virtual void leave() {}
  // The system calls by which descriptors are read, written and made, and those of files: the
  // kernel's, or a simulation's.
  virtual SocketCalls& sockets();
  virtual FileCalls& files();
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // Makes a strand run, on its pinned or requested worker. Threads: any.
  virtual void schedule(TaskContext& context) = 0;
  virtual void yield(TaskContext& context) = 0;

  // A strand that the runtime counts begins or ends.
  virtual void strand_started(TaskContext& context) = 0;
  virtual void strand_finished(TaskContext& context) = 0;
  // Both for a new task without a class or a worker of its own: counts it and makes it run.
  virtual void start(TaskContext& context) {
    strand_started(context);
    schedule(context);
  }

  virtual TimePoint now() = 0;
  // Timers of the running worker.
  virtual TimerQueue& timers() = 0;
  // The driver of the running worker and its index; nullptr where there is no kernel (simulator).
  virtual Driver* driver() = 0;
  virtual int current_worker() = 0;
  // Runs a function on a worker's thread. Threads: any.
  virtual void post(int worker, std::function<void()> function) = 0;
  // Ready strands whose class is not normal.
  virtual Classes& classes() = 0;
  // Strands that became ready while their class was normal may have another one by now: they are
  // moved to classes() soon. Threads: any; returns at once and calls nothing of classes() itself.
  virtual void sort_ready() = 0;
  // A worker has pushed branches while others were parked.
  virtual void forks_offered() {}
  // Runs a function on a thread where blocking is allowed. Threads: any.
  virtual void run_blocking(std::function<void()> function) = 0;
  // Fails an assertion in a child process of fork(), where nothing runs strands; `call` is named.
  virtual void assert_runs(const char* /*call*/) const {}
};

class Worker;
class WorkerPool;

// What a thread is for the runtime. The last four: of a worker's thread only.
struct RunningThread {
  TaskContext* current = nullptr;  // the strand that it runs; nullptr outside the runtime
  Worker* worker = nullptr;
  WorkerPool* pool = nullptr;
  // Branches that any worker may run; nullptr while the strand has a class: its go by classes().
  WorkDeque<TaskContext>* forks = nullptr;
  const std::atomic<int>* idle = nullptr;  // workers that are parked
};
RunningThread& running_thread() noexcept;
// The strand that this thread runs at the moment; nullptr outside the runtime.
TaskContext* current_context() noexcept;
// The scheduler of the current strand, else the global runtime's, else a failed assertion.
Scheduler& scheduler_for_spawn();
// Set by init_global_runtime.
void set_global_scheduler(Scheduler* scheduler) noexcept;

// Resumes a strand on this thread, which is `thread`.
inline void run_strand(TaskContext& context, RunningThread& thread) {
  context.budget = kCooperativeBudget;
  context.leave_chain();
  context.thread = &thread;
  TaskContext* const outer = std::exchange(thread.current, &context);
  context.resume_point.resume();
  thread.current = outer;
}

}  // namespace zsync::rt
