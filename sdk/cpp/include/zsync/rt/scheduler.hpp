// Scheduler: what runs strands. Two real ones exist: the worker pool and the simulator.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/rt/context.hpp"

namespace zsync::rt {

using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

class FdSource;
class TimerQueue;

// What a readiness source tells and is asked for.
inline constexpr uint32_t kReadable = 1;
inline constexpr uint32_t kWritable = 2;
inline constexpr uint32_t kHangup = 4;  // the peer has closed its side

// Told by a driver that a descriptor is ready. Threads: the home worker.
class FdListener {
 public:
  virtual void on_ready(uint32_t events) = 0;

 protected:
  ~FdListener() = default;
};

// The kernel side of one worker: readiness and sleeping. uv is the first; a simulator and io_uring
// stand behind the same seam. Threads: the home worker, except wake().
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

  virtual TimePoint now() = 0;
  // Timers of the running worker.
  virtual TimerQueue& timers() = 0;
  // The driver of the running worker and its index; nullptr where there is no kernel (simulator).
  virtual Driver* driver() = 0;
  virtual int current_worker() = 0;
  // Runs a function on a worker's thread. Threads: any.
  virtual void post(int worker, std::function<void()> function) = 0;
  // Runs a function on a thread where blocking is allowed. Threads: any.
  virtual void run_blocking(std::function<void()> function) = 0;
};

// The strand that this thread runs at the moment; nullptr outside the runtime.
TaskContext* current_context() noexcept;
// Swaps it; used by schedulers around each resumption.
TaskContext* exchange_current_context(TaskContext* context) noexcept;
// The scheduler of the current strand, else the global runtime's, else a failed assertion.
Scheduler& scheduler_for_spawn();
// Set by init_global_runtime.
void set_global_scheduler(Scheduler* scheduler) noexcept;

// Resumes a strand on this thread.
void run_strand(TaskContext& context);

}  // namespace zsync::rt
