// DiagnosticsEngine: reads the output of tasks that have matchers, and keeps what it tells.
//
// While an attempt runs each path that it reports gets its new set at once, in memory. When it has
// ended, one commit writes what differs and that this attempt is done with; a daemon that was
// killed before reads its output from the beginning again, so nothing is lost and nothing is there
// twice. A task that succeeded clears what its source had said and it did not say again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "daemon/diagnostics/diagnostic_sets.hpp"
#include "daemon/diagnostics/diagnostic_store.hpp"
#include "daemon/events/event_log.hpp"
#include "daemon/store/store.hpp"
#include "daemon/tasks/engine.hpp"
#include "zsync/executor.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

class OutputMatching;

class DiagnosticsEngine {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch

  // `default_cwd`: of tasks that name none.
  DiagnosticsEngine(Store& store, EventLog& events, TasksEngine& tasks, std::string default_cwd,
                    Clock clock);
  ~DiagnosticsEngine();

  // Reads the store, and the output of what was running or has ended unnoticed. After
  // TasksEngine::start().
  Task<absl::Status> start();
  // Idempotent; before TasksEngine::stop().
  Task<void> stop();

  // An attempt of this task begins. Never waits.
  void follow(const std::string& task);

  struct List {
    DiagnosticSets::Page page;
    uint64_t left_out = 0;
  };
  // Knows what every task had printed that had ended before the call. Cancel: throws Cancelled.
  Task<List> list(DiagnosticFilter filter, std::string token, size_t sets_max, size_t bytes_max);
  // See DiagnosticSets::changes.
  DiagnosticSets::Changes changes(const DiagnosticFilter& filter, DiagnosticSets::Cursor& cursor,
                                  size_t bytes_max);
  // Changes with every set.
  Notify& changed() { return changed_; }

  // Of the newest attempt; nullopt: it has no matchers or has not begun. Waits until what an ended
  // task has printed was read. Cancel: throws Cancelled.
  Task<std::optional<DiagnosticCounts>> counts_of(std::string task);

 private:
  // A task whose output is read, or whose end is being written down.
  struct Run {
    std::string task;
    std::string source;
    std::vector<MatcherKind> kinds;
    std::set<SetKey> touched;  // not on disk as they are in memory
    DiagnosticCounts counts;   // of the attempt that is being read
    uint32_t attempt = 0;      // up to here all are on disk
    bool settled = false;      // all that it printed is in the sets
  };
  using RunPtr = std::shared_ptr<Run>;

  RunPtr begin(const std::string& task);
  void begin_reading(RunPtr run);
  Task<void> read(RunPtr run);
  Task<void> read_attempts(RunPtr run);
  Task<void> catch_up(std::vector<RunPtr> ended, std::vector<RunPtr> running);
  Task<absl::Status> take(Run& run, OutputMatching& matching, OutputChunk chunk);
  void publish(Run& run, OutputMatching& matching);
  void settle(Run& run, OutputMatching& matching, bool succeeded);
  Task<void> save(RunPtr run, uint32_t attempt);
  Task<void> begin_generation();
  Task<void> wait_for_ended(std::string only);
  void announce(const Run& run);
  std::vector<std::string> forgotten();

  Store& store_;
  EventLog& events_;
  TasksEngine& tasks_;
  const std::string default_cwd_;
  const Clock clock_;

  rt::Lock lock_;
  DiagnosticSets sets_ ABSL_GUARDED_BY(lock_);
  absl::flat_hash_map<std::string, RunPtr> runs_ ABSL_GUARDED_BY(lock_);   // by task
  absl::flat_hash_map<std::string, RunRow> saved_ ABSL_GUARDED_BY(lock_);  // as on disk
  size_t sweep_at_ ABSL_GUARDED_BY(lock_) = 0;  // so many of saved_: look whose task is forgotten
  bool started_ ABSL_GUARDED_BY(lock_) = false;
  bool generation_begun_ ABSL_GUARDED_BY(lock_) = false;
  uint64_t generation_ ABSL_GUARDED_BY(lock_) = 0;
  Mutex generation_turn_;
  Notify changed_;
  Notify settled_;
  Executor readers_;
};

}  // namespace zsync::daemon
