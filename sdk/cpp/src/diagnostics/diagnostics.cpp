#include "zsync/diagnostics.hpp"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <ostream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "diagnostics/picture.hpp"
#include "diagnostics/symbols.hpp"
#include "rt/worker_pool.hpp"
#include "zsync/signal.hpp"

namespace zsync {
namespace {

static_assert(RuntimeStats::kWakeBuckets == rt::WorkerCounters::kWakeBuckets);

// Code that turns up only when its task is looked at again; a task that is always elsewhere is
// shown without lines.
constexpr int kPicturesMax = 8;

rt::WorkerPool& pool_of(Runtime& runtime) {
  return static_cast<rt::WorkerPool&>(runtime.scheduler());
}

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? name.get() : type.name();
}

std::string select_text(const rt::WaitInfo& wait) {
  std::string text = "select of ";
  const size_t named = std::min(wait.parts_count, rt::WaitInfo::kPartsMax);
  for (size_t i = 0; i < named; ++i) {
    absl::StrAppend(&text, i ? ", " : "", wait.parts[i] ? wait.parts[i] : "another wait");
  }
  if (named < wait.parts_count) absl::StrAppend(&text, " and ", wait.parts_count - named, " more");
  return text;
}

std::string wait_text(const StrandPicture& picture, rt::TimePoint now) {
  const rt::WaitInfo& wait = picture.wait;
  if (wait.parts_count > 0) return select_text(wait);
  std::string text = wait.kind ? wait.kind : type_name(*picture.operation);
  if (wait.descriptor >= 0) absl::StrAppend(&text, " ", wait.descriptor);
  if (wait.task != 0) absl::StrAppend(&text, " ", wait.task);
  if (wait.count > 1) absl::StrAppend(&text, ", ", wait.count, " permits");
  if (wait.until >= 0) {
    const double left = static_cast<double>(wait.until - now.time_since_epoch().count()) * 1e-9;
    absl::StrAppendFormat(&text, ", %.3f s left", std::max(left, 0.0));
  }
  return text;
}

FrameTrace describe(const FramePicture& frame, Symbols& symbols) {
  const CoroutineCode& code = symbols.of(frame.resume);
  FrameTrace trace{code.function, code.file, code.begins, false};
  const auto line = code.lines.find(static_cast<uint8_t>(frame.suspend_point));
  if (frame.suspend_point > 0 && line != code.lines.end()) {
    trace.line = line->second;
    trace.exact = true;
  }
  return trace;
}

StrandTrace describe(const StrandPicture& picture, Symbols& symbols, rt::TimePoint now) {
  StrandTrace trace;
  if (picture.ended) trace.state = StrandTrace::State::ended;
  if (!picture.waits) return trace;
  trace.state = StrandTrace::State::waiting;
  trace.waits_for = wait_text(picture, now);
  for (const FramePicture& frame : picture.frames) trace.frames.push_back(describe(frame, symbols));
  for (const StrandPicture& branch : picture.branches) {
    trace.branches.push_back(describe(branch, symbols, now));
  }
  trace.branches_left_out = picture.branches_left_out;
  return trace;
}

bool some_branch_is_ready(const StrandTrace& strand) {
  return std::any_of(strand.branches.begin(), strand.branches.end(), [](const StrandTrace& branch) {
    return branch.state == StrandTrace::State::ready || some_branch_is_ready(branch);
  });
}

// Which worker has resumed the task, or one of its branches, last and has not gone on; -1: none.
int worker_of(const rt::WorkerPool& pool, const rt::TaskContext& task) {
  for (size_t i = 0; i < pool.workers(); ++i) {
    if (pool.worker(i).counters().running.load(std::memory_order_relaxed) == &task) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

TaskTrace trace(rt::WorkerPool& pool, rt::TaskContext& task, TraceLimits limits, Symbols& symbols) {
  TaskTrace told;
  told.id = task.id;
  told.name = task.name();
  told.background = task.background;
  told.pinned_worker = task.pinned_worker;
  told.cancel_requested = task.cancel_requested();
  StrandPicture picture;
  std::vector<const void*> unknown;
  for (int i = 0; i < kPicturesMax; ++i) {
    unknown.clear();
    picture = take_picture(task, limits, symbols, unknown);
    for (const void* resume : unknown) (void)symbols.of(resume);
    if (unknown.empty()) break;
  }
  told.strand = describe(picture, symbols, pool.now());
  // A worker may not have gone on from a task that has just begun to wait.
  if (picture.waits && !some_branch_is_ready(told.strand)) return told;
  told.strand.worker = worker_of(pool, task);
  if (!picture.waits && told.strand.worker >= 0) told.strand.state = StrandTrace::State::running;
  return told;
}

std::string state_text(const StrandTrace& strand) {
  std::string text;
  switch (strand.state) {
    case StrandTrace::State::waiting:
      text = absl::StrCat("waits for ", strand.waits_for);
      if (strand.worker >= 0) absl::StrAppend(&text, "; a branch runs on worker ", strand.worker);
      return text;
    case StrandTrace::State::running:
      return absl::StrCat("runs on worker ", strand.worker);
    case StrandTrace::State::ready:
      return "ready";
    case StrandTrace::State::ended:
      return "has ended";
  }
  return text;
}

void print_strand(const StrandTrace& strand, const std::string& indent, std::ostream& out) {
  for (const FrameTrace& frame : strand.frames) {
    out << indent << frame.function;
    if (!frame.file.empty()) {
      out << (frame.exact ? " at " : ", begins at ") << frame.file << ':' << frame.line;
    }
    out << '\n';
  }
  for (size_t i = 0; i < strand.branches.size(); ++i) {
    const StrandTrace& branch = strand.branches[i];
    out << indent << "branch " << i << ": " << state_text(branch) << '\n';
    print_strand(branch, indent + "  ", out);
  }
  if (strand.branches_left_out > 0) {
    out << indent << "and " << strand.branches_left_out << " branches more\n";
  }
}

void print_task(const TaskTrace& task, std::ostream& out) {
  out << "task " << task.id;
  if (!task.name.empty()) out << " \"" << task.name << '"';
  if (task.background) out << " (background)";
  if (task.pinned_worker >= 0) out << " (pinned to worker " << task.pinned_worker << ')';
  out << ": " << state_text(task.strand) << (task.cancel_requested ? "; cancelled" : "") << '\n';
  print_strand(task.strand, "  ", out);
}

struct TakeDump {
  Runtime& runtime;
  std::string operator()() const {
    std::ostringstream text;
    RuntimeDiagnostics(runtime).dump_tasks(text);
    return text.str();
  }
};

void write_to_stderr(const std::string& text) {
  for (absl::string_view rest = text; !rest.empty();) {
    const ssize_t count = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (count < 0 && errno != EINTR) return;
    if (count > 0) rest.remove_prefix(static_cast<size_t>(count));
  }
}

// By value: the object that made it may be gone.
Task<absl::Status> watch_signal(Runtime& runtime, int signal, TextSink sink,
                                std::function<void()> ready) {
  absl::StatusOr<Signals> signals = Signals::open({signal});
  if (!signals.ok()) co_return signals.status();
  if (ready) ready();
  while (true) {
    (void)co_await signals->next();
    sink(co_await rt::call_blocking(TakeDump{runtime}));
  }
}

}  // namespace

RuntimeStats RuntimeDiagnostics::get_stats() const {
  rt::WorkerPool& pool = pool_of(*runtime_);
  RuntimeStats stats;
  stats.active_tasks = pool.active();
  stats.ready_outside = pool.ready_outside();
  stats.uptime = pool.now() - pool.started_at();
  stats.backend = pool.backing().backend;
  for (size_t i = 0; i < pool.workers(); ++i) {
    const rt::Worker& worker = pool.worker(i);
    const rt::WorkerCounters& counters = worker.counters();
    stats.workers.push_back({worker.ready(), worker.branches(), worker.ready_here_only(),
                             counters.steals.get(), counters.parks.get(), worker.parked()});
    for (size_t bucket = 0; bucket < counters.wakes.size(); ++bucket) {
      stats.wake_latency[bucket] += counters.wakes[bucket].get();
    }
  }
  return stats;
}

void RuntimeDiagnostics::print_stats(std::ostream& out) const {
  const RuntimeStats stats = get_stats();
  out << absl::StrFormat("up %.3f s on %s, %d tasks, %d ready outside\n",
                         std::chrono::duration<double>(stats.uptime).count(),
                         name_of(stats.backend), stats.active_tasks, stats.ready_outside);
  for (size_t i = 0; i < stats.workers.size(); ++i) {
    const WorkerStats& worker = stats.workers[i];
    out << absl::StrFormat(
        "worker %d: %d ready, %d branches, %d for it alone; stole %d times, slept %d times%s\n", i,
        worker.ready, worker.branches, worker.here_only, worker.steals, worker.parks,
        worker.parked ? ", sleeps" : "");
  }
  out << "from wake to awake:";
  uint64_t sum = 0;
  for (size_t i = 0; i < stats.wake_latency.size(); ++i) {
    if (stats.wake_latency[i] == 0) continue;
    const bool last = i + 1 == stats.wake_latency.size();
    out << absl::StrFormat(" %d %s %d us;", stats.wake_latency[i], last ? "from" : "below",
                           uint64_t{1} << (last ? i - 1 : i));
    sum += stats.wake_latency[i];
  }
  out << ' ' << sum << " in all\n";
}

std::vector<TaskTrace> RuntimeDiagnostics::trace_tasks(TraceLimits limits) const {
  rt::WorkerPool& pool = pool_of(*runtime_);
  Symbols symbols;
  std::vector<TaskTrace> tasks;
  pool.visit_live(limits.tasks, [&](rt::TaskContext& task) {
    tasks.push_back(trace(pool, task, limits, symbols));
  });
  return tasks;
}

void RuntimeDiagnostics::dump_tasks(std::ostream& out) const {
  const std::vector<TaskTrace> tasks = trace_tasks();
  const size_t active = runtime_->active_tasks();
  out << tasks.size() << (tasks.size() == 1 ? " task\n" : " tasks\n");
  for (const TaskTrace& task : tasks) print_task(task, out);
  if (tasks.size() >= TraceLimits{}.tasks) out << "of " << active << " tasks in all\n";
}

void RuntimeDiagnostics::print_stats() const { print_stats(std::cout); }
void RuntimeDiagnostics::dump_tasks() const { dump_tasks(std::cout); }
void RuntimeDiagnostics::print_capabilities() { print_capabilities(std::cout); }

Task<absl::Status> RuntimeDiagnostics::dump_on_signal(int signal, TextSink sink,
                                                      std::function<void()> ready) const {
  return watch_signal(*runtime_, signal, std::move(sink), std::move(ready));
}

Task<absl::Status> RuntimeDiagnostics::dump_on_signal(int signal) const {
  return dump_on_signal(signal, write_to_stderr);
}

}  // namespace zsync
