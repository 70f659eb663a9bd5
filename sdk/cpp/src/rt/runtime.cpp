#include "zsync/runtime.hpp"

#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rt/classes.hpp"
#include "rt/process_life.hpp"
#include "rt/worker_pool.hpp"

namespace zsync {
namespace rt {

void launch(Scheduler& scheduler, TaskContext& context, const SpawnOptions& options) {
  context.scheduler = &scheduler;
  if (!options.name.empty()) context.set_name(options.name);
  context.background = options.background;
  if (options.pinned) {
    const int worker = scheduler.current_worker();
    context.pinned_worker = worker >= 0 ? worker : 0;
  }
  scheduler.strand_started(context);
  if (options.priority != Priority::normal || options.deadline) [[unlikely]] {
    const absl::Status admitted = scheduler.classes().enter(context, options);
    if (!admitted.ok()) return context.refuse(admitted);
  }
  context.schedule();
}

void launch(Scheduler& scheduler, TaskContext& context) {
  context.scheduler = &scheduler;
  scheduler.start(context);
}

absl::Status describe_error(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& exception) {
    return absl::InternalError(exception.what());
  } catch (...) {
    return absl::InternalError("task ended by an exception that is not a std::exception");
  }
}

Start BlockingOperation::start() {
  // Once published, a canceller may let the task go on and destroy this operation: what is needed
  // is taken before. Afterwards only the side that begins the job touches the operation.
  Scheduler& scheduler = *context()->scheduler;
  std::shared_ptr<BlockingJob> job = job_;
  if (!begin_wait()) return Start::kFinished;
  scheduler.run_blocking([job = std::move(job), this]() mutable {
    if (!job->begin()) return;
    job->call();
    job.reset();  // what the function holds ends with its task, not with this thread's next job
    wake();
  });
  return Start::kWaiting;
}

void assert_started(const absl::Status& status) {
  const std::string message = absl::StrCat("run(): the runtime cannot start: ", status.message());
  ZS_ASSERT(status.ok(), message.c_str());
}

}  // namespace rt

Runtime::Runtime(std::unique_ptr<rt::WorkerPool> pool) : pool_(std::move(pool)) {}

Runtime::~Runtime() {
  if (pool_->abandoned()) {
    (void)pool_.release();  // as it is until the process ends
  } else {
    stop();
  }
}

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::create(const Config& config) {
  absl::StatusOr<std::unique_ptr<rt::WorkerPool>> pool = rt::WorkerPool::create(config);
  if (!pool.ok()) return pool.status();
  return std::unique_ptr<Runtime>(new Runtime(std::move(*pool)));
}

void Runtime::drive_until(rt::WorkerPool& pool, rt::TaskContext& target) {
  pool.drive_until(target);
}
void Runtime::wait_idle() { pool_->wait_idle(); }
size_t Runtime::active_tasks() const { return pool_->active(); }
size_t Runtime::workers() const { return pool_->workers(); }
Backend Runtime::backend() const { return pool_->backing().backend; }
const std::string& Runtime::backend_reason() const { return pool_->backing().reason; }
void Runtime::stop() { pool_->stop(); }
rt::Scheduler& Runtime::scheduler() { return *pool_; }

std::unique_ptr<Runtime> create_optimal_runtime() {
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::create(Config::optimal());
  const std::string message =
      absl::StrCat("create_optimal_runtime(): ", runtime.status().message());
  ZS_ASSERT(runtime.ok(), message.c_str());
  return std::move(*runtime);
}

namespace {

std::mutex global_mutex;
std::unique_ptr<Runtime> global_runtime;

// Objects that are made later may be gone when their tasks unwind, so this does not wait for the
// destruction of `global_runtime`, which was made before everything.
void stop_at_exit() {
  [[maybe_unused]] static const int registered = std::atexit(deinit_global_runtime);
}

}  // namespace

void rt::lock_global_runtime() ABSL_NO_THREAD_SAFETY_ANALYSIS { global_mutex.lock(); }
void rt::unlock_global_runtime() ABSL_NO_THREAD_SAFETY_ANALYSIS { global_mutex.unlock(); }

absl::Status init_global_runtime(const Config& config) {
  std::lock_guard<std::mutex> guard(global_mutex);
  if (global_runtime) {
    return absl::FailedPreconditionError(
        "init_global_runtime(): there is one already; deinit_global_runtime() first");
  }
  absl::StatusOr<std::unique_ptr<Runtime>> runtime = Runtime::create(config);
  if (!runtime.ok()) return runtime.status();
  stop_at_exit();
  global_runtime = std::move(*runtime);
  rt::set_global_scheduler(&global_runtime->scheduler());
  return absl::OkStatus();
}

void deinit_global_runtime() {
  std::unique_ptr<Runtime> runtime;
  {
    std::lock_guard<std::mutex> guard(global_mutex);
    rt::set_global_scheduler(nullptr);
    runtime = std::move(global_runtime);
  }
}

Runtime* get_global_runtime() {
  std::lock_guard<std::mutex> guard(global_mutex);
  return global_runtime.get();
}

}  // namespace zsync
