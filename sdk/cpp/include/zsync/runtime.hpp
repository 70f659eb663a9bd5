// Runtime: worker threads that run tasks, and the ways to enter it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/backend.hpp"
#include "zsync/config.hpp"
#include "zsync/spawn.hpp"
#include "zsync/stop_token.hpp"
#include "zsync/task.hpp"

namespace zsync {

namespace rt {
class WorkerPool;
// Fails an assertion with what kept run() from starting a runtime.
void assert_started(const absl::Status& status);
}  // namespace rt

class RuntimeBuilder;

// Lifetime: destruction cancels what is left, waits until it has unwound, and joins every worker.
//           exit() in a task or in spawn_blocking() ends the process although that thread will
//           never return: the runtimes of that thread are left as they are, also static ones; their
//           tasks do not unwind. Others are destroyed as usual.
// Threads:  block_on() and spawn() may be called from any thread that is not a worker.
// Fork:     fork before the runtime is created. A child of fork() has none of its threads: there,
//           destruction does nothing, and any other use ends the child with a message. It may exec,
//           exit, or create a runtime of its own.
class Runtime {
 public:
  // Runtime::builder().workers(2).build()
  static RuntimeBuilder builder();
  // Errors: kInvalidArgument from Config::validate() and for a word that is no backend in
  // ZSYNC_BACKEND; kResourceExhausted when threads or descriptors cannot be had; what refuses
  // io_uring where that is forced.
  static absl::StatusOr<std::unique_ptr<Runtime>> create(const Config& config);

  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Runs a task to its end and waits for it on this plain thread. Rethrows what it threw.
  template <typename T>
  T block_on(Task<T> task) {
    rt::assert_may_block(
        "Runtime::block_on() on a worker blocks every task of it: co_await the task");
    SpawnOptions main;
    main.name = "main";
    rt::WorkerPool& pool = *pool_;  // stays, where the task calls exit() and a static Runtime ends
    TaskHandle<T> handle = rt::spawn_on(scheduler(), std::move(main), std::move(task));
    drive_until(pool, handle.strand());
    return handle.take();
  }

  // The same for all(...).
  template <rt::Group Group>
  auto block_on(Group group) {
    return block_on(rt::as_task(std::move(group)));
  }

  // Starts a task from any thread.
  template <typename T>
  [[nodiscard]] TaskHandle<T> spawn(Task<T> task) {
    return rt::spawn_on(scheduler(), std::move(task));
  }
  // The same with a name, or pinned, or in the background.
  template <typename T>
  [[nodiscard]] TaskHandle<T> spawn(SpawnOptions options, Task<T> task) {
    return rt::spawn_on(scheduler(), std::move(options), std::move(task));
  }
  // The same for all(...).
  template <rt::Group Group>
  [[nodiscard]] auto spawn(Group group) {
    return spawn(rt::as_task(std::move(group)));
  }

  // Waits until every task that is not marked `background` has ended.
  void wait_idle();
  // Tasks that have not ended.
  size_t active_tasks() const;
  // Threads that run tasks; with ExecutionModel::caller 1, and no thread of the runtime's own.
  size_t workers() const;
  // How the workers wait for descriptors.
  Backend backend() const;
  // Why it is not io_uring, in one line with the cure; empty when it is, or when libuv was asked
  // for.
  const std::string& backend_reason() const;

  // Cancels every task, waits until all have unwound, joins the workers. Idempotent; called by the
  // destructor.
  void stop();

  // What runs the tasks, for combinators and tests.
  rt::Scheduler& scheduler();

 private:
  explicit Runtime(std::unique_ptr<rt::WorkerPool> pool);
  static void drive_until(rt::WorkerPool& pool, rt::TaskContext& target);

  std::unique_ptr<rt::WorkerPool> pool_;
};

// Config::optimal() with what the caller wants otherwise: each member sets a value, build() starts.
class RuntimeBuilder {
 public:
  // Replaces every value.
  RuntimeBuilder& config(const Config& config) { return config_ = config, *this; }
  // Config::model.
  RuntimeBuilder& model(ExecutionModel model) { return config_.model = model, *this; }
  // Config::workers; 0: as many as this process may use.
  RuntimeBuilder& workers(size_t count) { return config_.workers = count, *this; }
  // Config::blocking_threads_max.
  RuntimeBuilder& blocking_threads_max(size_t count) {
    return config_.blocking_threads_max = count, *this;
  }
  // Config::backend; nullopt: the best that works.
  RuntimeBuilder& backend(std::optional<Backend> backend) {
    return config_.backend = backend, *this;
  }
  // Config::idle_timeout.
  RuntimeBuilder& idle_timeout(std::optional<std::chrono::milliseconds> timeout) {
    return config_.idle_timeout = timeout, *this;
  }
  // Config::on_deadline_miss.
  RuntimeBuilder& on_deadline_miss(DeadlineMissCallback callback) {
    return config_.on_deadline_miss = std::move(callback), *this;
  }
  // Config::overload_policy.
  RuntimeBuilder& overload_policy(OverloadPolicy policy) {
    return config_.overload_policy = policy, *this;
  }
  // Errors: as Runtime::create().
  absl::StatusOr<std::unique_ptr<Runtime>> build() { return Runtime::create(config_); }

 private:
  Config config_ = Config::optimal();
};

inline RuntimeBuilder Runtime::builder() { return {}; }

// A runtime with Config::optimal().
std::unique_ptr<Runtime> create_optimal_runtime();

// The runtime that spawn() on a plain thread uses. With Config::idle_timeout it has threads only
// while there are tasks: Runtime* stays valid, and spawn() starts them again, or ends the program
// with the cause when the system gives none.
//
// Lifetime: until deinit_global_runtime(); else exit() and the end of main() stop it, before what
//           was constructed before the first init_global_runtime() is destroyed.
// Errors: kFailedPrecondition when there is one already; else as Runtime::create().
absl::Status init_global_runtime(const Config& config = Config::optimal());
// Stops and forgets it; without one this does nothing.
void deinit_global_runtime();
// nullptr when there is none.
Runtime* get_global_runtime();

// Runs `main` on a runtime of its own; returns when it and every task not marked `background` has
// ended; background tasks are then cancelled and unwound. Rethrows what `main` threw.
template <typename T>
T run(Task<T> main, const Config& config = Config::optimal()) {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::create(config);
  rt::assert_started(runtime.status());
  struct Ending {
    Runtime& runtime;
    ~Ending() { runtime.wait_idle(); }
  } ending{**runtime};
  return (*runtime)->block_on(std::move(main));
}
// The same for all(...).
template <rt::Group Group>
auto run(Group main, const Config& config = Config::optimal()) {
  return run(rt::as_task(std::move(main)), config);
}

// For command-line programs: calls `function` on this thread. When it returns a Task that task is
// run here too, with whatever it spawns; no thread is started.
template <typename Function>
auto run_simple(Function&& function) {
  using Result = std::invoke_result_t<Function&>;
  if constexpr (rt::TaskOrGroup<Result>) {
    return run(std::invoke(function), Config::for_cli());
  } else {
    return std::invoke(function);
  }
}

namespace rt {

// A function on its way through the blocking threads, shared by the waiting task and the thread.
class BlockingJob {
 public:
  virtual ~BlockingJob() = default;
  virtual void call() noexcept = 0;
  // Destroys the function of a job that was withdrawn; its place in the queue may remain.
  virtual void abandon() noexcept = 0;
  // The task was cancelled while the function runs: asks it to return soon. From any thread.
  virtual void interrupt() noexcept {}
  // False when the other side was first: a job is either begun or withdrawn.
  bool begin() { return !taken_.exchange(true, std::memory_order_acq_rel); }

 private:
  std::atomic<bool> taken_{false};
};

class BlockingOperation : public LeafOperation {
 public:
  explicit BlockingOperation(std::shared_ptr<BlockingJob> job) : job_(std::move(job)) {}
  Start start() final;
  bool withdraw() noexcept final {
    if (job_->begin()) return true;
    job_->interrupt();
    return false;
  }
  const char* wait_kind() const noexcept final { return "a blocking call"; }
  void await_resume() const {
    if (!cancelled()) return;
    job_->abandon();
    throw Cancelled();
  }

 private:
  std::shared_ptr<BlockingJob> job_;
};

struct NoInterrupt {
  void operator()() const noexcept {}
};

template <typename Function, typename Interrupt = NoInterrupt>
class BlockingCall final : public BlockingJob {
 public:
  using Result = std::invoke_result_t<Function&>;
  explicit BlockingCall(Function function, Interrupt interrupt = {})
      : function_(std::move(function)), interrupt_(std::move(interrupt)) {}

  void call() noexcept final {
    try {
      if constexpr (std::is_void_v<Result>) {
        (*function_)();
      } else {
        result_.emplace((*function_)());
      }
    } catch (...) {
      error_ = std::current_exception();
    }
  }
  void abandon() noexcept final { function_.reset(); }
  void interrupt() noexcept final { interrupt_(); }
  Result take() {
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<Result>) return std::move(*result_);
  }

 private:
  std::optional<Function> function_;
  Interrupt interrupt_;
  std::optional<std::conditional_t<std::is_void_v<Result>, std::monostate, Result>> result_;
  std::exception_ptr error_;
};

// The awaited form of spawn_blocking(). `interrupt` is called when the task is cancelled while the
// function runs; it may only ask the function to return.
template <typename Function, typename Interrupt = NoInterrupt>
Task<std::invoke_result_t<std::decay_t<Function>&>> call_blocking(Function function,
                                                                  Interrupt interrupt = {}) {
  auto call = std::make_shared<BlockingCall<std::decay_t<Function>, Interrupt>>(
      std::move(function), std::move(interrupt));
  BlockingOperation operation(call);
  co_await operation;
  co_return call->take();
}

}  // namespace rt

// Runs a function that blocks on a thread where that is allowed.
//
// Errors: what it threw surfaces at the await of the handle.
// Cancel: before the function has begun it is not run; afterwards it cannot be interrupted and its
//         result counts.
template <typename Function>
[[nodiscard]] auto spawn_blocking(Function&& function) {
  return spawn(rt::call_blocking<std::decay_t<Function>>(std::forward<Function>(function)));
}

}  // namespace zsync
