// TasksEngine: accepts tasks, runs each under its supervisor, remembers how they ended.
//
// A task's way, and what is on disk at each step:
//   submit      record `queued` committed, then the caller gets the id
//   start       record `running, attempt N` committed, then the held shim is let go; it executes
//               only if it wins the claim file of attempt N
//   end         the shim has written `exit`; the final record is committed, then anybody is told
// A daemon that was killed finds `running` records: with a live shim it re-attaches, with an exit
// file it finishes, without a claim it takes the claim itself (`revoked`) and starts attempt N+1,
// else the task is lost. So nothing acknowledged is lost and no attempt runs twice.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "daemon/events/event_log.hpp"
#include "daemon/shim/attempt.hpp"
#include "daemon/shim/launcher.hpp"
#include "daemon/store/store.hpp"
#include "daemon/store/ulid.hpp"
#include "daemon/tasks/admission.hpp"
#include "daemon/tasks/array.hpp"
#include "daemon/tasks/cgroup.hpp"
#include "daemon/tasks/function_calls.hpp"
#include "daemon/tasks/open_ends.hpp"
#include "daemon/tasks/retention.hpp"
#include "daemon/tasks/task.hpp"
#include "daemon/tasks/task_entry.hpp"
#include "daemon/tasks/task_queue.hpp"
#include "daemon/tasks/task_store.hpp"
#include "daemon/tasks/tasks_options.hpp"
#include "zsync/executor.hpp"
#include "zsync/rt/fd.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

struct OutputChunk {
  segment_log::Batch batch;
  uint32_t attempt = 0;
  std::optional<TaskRecord> finished;
};

class TasksEngine {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch

  TasksEngine(TasksOptions options, Store& store, EventLog& events, UlidGenerator& ids,
              TaskCgroups& cgroups, Clock clock);
  ~TasksEngine();

  // Reads the store, re-attaches to running tasks, starts queued ones.
  Task<absl::Status> start();
  // Lets go of running tasks; they go on under their shims. Idempotent.
  Task<void> stop();

  // Errors: kInvalidArgument; kResourceExhausted (queued_max, full disk). All or none.
  Task<absl::StatusOr<std::vector<Submitted>>> submit(std::vector<TaskSpec> specs,
                                                      Submitter submitter);
  // By id, unique prefix of an id, or unique name.
  //
  // Errors: kNotFound with the closest ids or names; kInvalidArgument when several match.
  absl::StatusOr<TaskRecord> get(const std::string& id);
  std::vector<TaskRecord> list(const TaskFilter& filter);
  // Completes when all are final. Cancel: throws Cancelled.
  Task<absl::StatusOr<std::vector<TaskRecord>>> wait(std::vector<std::string> ids);
  Task<absl::StatusOr<TaskRecord>> cancel(std::string id, bool wait,
                                          std::optional<uint64_t> grace_ms);
  // Errors: kFailedPrecondition unless the task is final.
  Task<absl::StatusOr<TaskRecord>> retry(std::string id);
  Task<absl::Status> remove(std::string id);
  // Expands what is an array. Errors: those of expand().
  absl::StatusOr<std::vector<TaskSpec>> members_of(const TaskSpec& spec, const ArraySpec& array);
  // Calls `sink` with the output from `from_seq` on; with `follow` until the task is final and all
  // was given. `attempt` 0: the newest.
  Task<absl::Status> output(std::string id, uint64_t from_seq, uint32_t attempt, bool follow,
                            std::function<Task<absl::Status>(OutputChunk)> sink);
  // Hands bytes to a task's stdin, or types them on its terminal; waits while its window is full.
  // `eof` closes stdin, and is Ctrl-D on a terminal.
  //
  // Errors: kFailedPrecondition when the task takes no stdin stream or it was closed.
  Task<absl::Status> input(std::string id, std::string bytes, bool eof);
  // Who fed it is gone: the command must not wait for more. A terminal stays for the next one.
  Task<void> abandon_input(std::string id);
  // Errors: kFailedPrecondition when the task has no terminal.
  absl::Status resize(const std::string& id, shim::TerminalSize size);
  // Stops or continues the processes of a running task; completes when its shim has done so.
  //
  // Errors: kFailedPrecondition unless it runs.
  Task<absl::StatusOr<TaskRecord>> pause(std::string id, bool paused);
  // Sends a signal to the command's process group; kFailedPrecondition unless it runs.
  absl::StatusOr<TaskRecord> signal(const std::string& id, int32_t number);
  absl::StatusOr<std::vector<std::string>> why(const std::string& id);
  std::vector<GroupRecord> groups();
  // Errors: kInvalidArgument with the field, the limit and the cure.
  Task<absl::StatusOr<GroupRecord>> set_group(std::string name, GroupChange change, Submitter by);
  // Those with a capacity, and locks that somebody needs.
  std::vector<ResourceRecord> resources();
  Task<absl::StatusOr<ResourceRecord>> set_resource(std::string name, uint32_t capacity);
  // What ResourceRecord::holders names.
  std::string id_of(uint64_t order);
  // With the payload of its result, which may have to be read from the disk.
  absl::StatusOr<TaskRecord> with_result(TaskRecord record);

  // Makes the caller a worker. Errors: kInvalidArgument; kResourceExhausted; kUnavailable.
  Task<absl::StatusOr<WorkerLinkPtr>> join_worker(WorkerHello hello);
  // `tell` is called, in any thread, whenever there is news from now on, and once for what there
  // is.
  void tell_worker(const WorkerLinkPtr& link, std::function<void()> tell);
  // False: nothing to tell it.
  bool take_news(const WorkerLinkPtr& link, WorkerNews& news);
  // Completes when it counts as gone, with why; empty: it has left by itself.
  Task<std::string> worker_gone(WorkerLinkPtr link);
  // It has said something, maybe answers; those that come too late are refused.
  void hear_worker(const WorkerLinkPtr& link, std::vector<AnsweredCall> answers);
  // No more calls for it.
  void drain_worker(const WorkerLinkPtr& link);
  // It is gone: what it had goes to others. Idempotent.
  void leave_worker(const WorkerLinkPtr& link);
  // From now on workers leave since the daemon stops, and are not to blame for it.
  void close_functions();
  // A call that no disk ever sees. `settled` is called once, in any thread, with what the worker
  // says, also that it failed; kDeadlineExceeded; kAborted when workers go away with it.
  //
  // Errors: kInvalidArgument; kNotFound; kResourceExhausted; then it is not called.
  absl::StatusOr<DirectPtr> call_function(
      FunctionCall call, std::string traceparent, int64_t timeout_ns,
      std::function<void(absl::StatusOr<FunctionResult>)> settled);
  // Nobody wants the answer any more: the worker is told.
  void withdraw_call(const DirectPtr& direct);
  std::vector<FunctionRecord> functions();

  size_t stored();
  size_t queued();
  size_t running();

 private:
  static constexpr size_t kInputQueued = 16;  // parts of stdin between a client and the shim

  using Entry = TaskEntry;
  using EntryPtr = std::shared_ptr<Entry>;
  using Attempt = AttemptTalk;
  using AttemptPtr = std::shared_ptr<Attempt>;

  // Where an attempt stands after a step.
  struct Outcome {
    bool ended = false;  // false: its shim goes on
    bool again = false;  // another attempt is due, at the record's time
  };

  // engine.cpp
  absl::StatusOr<EntryPtr> find(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A task that the queue names is there.
  const EntryPtr& at_order(uint64_t order) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status not_found(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `known`: tasks that the same call named and that exist, by name.
  Task<absl::StatusOr<std::vector<Submitted>>> submit_unkeyed(
      std::vector<TaskSpec> specs, Submitter submitter, std::map<std::string, std::string> known);
  void adopt_arrived();
  void enqueue(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void dispatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void begin_attempt(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Task<void> keep_time();
  int64_t next_look() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void rearm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  QueuedTask queued_task(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void retain(const TaskRecord& ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string attempt_dir(const std::string& id, uint32_t attempt) const;
  void announce(const std::string& type, const TaskRecord& record, std::string waits = "");
  TaskRecord with_slack(TaskRecord record) const;
  StoredTask snapshot(const EntryPtr& entry);
  absl::StatusOr<TaskRecord> current(const EntryPtr& entry);

  // control.cpp
  absl::StatusOr<EntryPtr> find_running(const std::string& id, const char* verb)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status order(const EntryPtr& entry, std::string frame)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void note_paused(const EntryPtr& entry, int64_t since) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // calls.cpp
  void take_from_queue(const EntryPtr& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void put_back(const EntryPtr& entry);
  void apply_cancel(const EntryPtr& entry, const TaskRecord& canceled,
                    std::optional<uint64_t> grace_ms);
  void explain_waiting(const StoredTask& task, std::vector<std::string>& reasons)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status check_finished(const EntryPtr& entry, const char* hint);

  // groups.cpp
  absl::Status check_needs(const std::vector<TaskSpec>& specs, int64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status check_retry(const TaskRecord& record);
  void tell_overload() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status load_settings(Database& db) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void explain_group(const TaskWaiting& waiting, const std::string& name,
                     std::vector<std::string>& reasons) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // prerequisites.cpp
  absl::Status expand_arrays(std::vector<TaskDependency>& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status resolve_after(std::vector<TaskSpec>& specs, const std::vector<std::string>& ids,
                             const std::map<std::string, std::string>& known)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `because`: the task that makes this one skipped.
  Task<void> end_unstarted(EntryPtr entry, TaskState state, std::string reason,
                           EntryPtr because = nullptr);
  void let_go(const EntryPtr& because);
  std::string title_of(uint64_t order) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string skip_reason(const EntryPtr& entry, uint64_t because)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void explain_needs(const TaskWaiting& of, const std::string& group, std::vector<std::string>& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // attempt_runner.cpp
  Task<void> run(EntryPtr entry, std::string waits, std::vector<uint64_t> behind);
  Task<void> resume(EntryPtr entry);
  // `behind`: the ends that were open in its place when it was given it.
  Task<Outcome> run_attempt(EntryPtr entry, std::string waits, std::vector<uint64_t> behind);
  uint64_t give_place_away(const EntryPtr& entry);
  Task<void> until_told(std::vector<uint64_t> ends);
  absl::StatusOr<segment_log::Fd> start_shim(const TaskRecord& record, const std::string& dir);
  Task<void> go_on(EntryPtr entry, Outcome outcome);
  Outcome back_to_queue(const EntryPtr& entry, std::chrono::milliseconds pause);
  bool decide_retry(StoredTask& task, TaskState state, bool missed);
  bool cancel_requested(const EntryPtr& entry);
  Task<Outcome> finish(EntryPtr entry, TaskState state, shim::ExitRecord exit, std::string reason);
  absl::StatusOr<shim::Spec> shim_spec(const TaskRecord& record);

  // shim_talk.cpp
  Task<Outcome> supervise(AttemptPtr attempt, segment_log::Fd connection);
  Task<Outcome> talk(AttemptPtr attempt, segment_log::Fd connection);
  Task<Outcome> finish_by_files(AttemptPtr attempt);
  Task<absl::Status> read_frames(AttemptPtr attempt, rt::Fd& socket);
  Task<void> wait_for_hello(AttemptPtr attempt);
  Task<void> write_orders(AttemptPtr attempt, rt::Fd& socket);
  Task<void> write_input(AttemptPtr attempt, Channel<ShimOrder> input);
  void take_frame(Attempt& attempt, const shim::Frame& frame);
  void order_cancel(const EntryPtr& entry, Channel<ShimOrder>& orders)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // output.cpp
  Task<void> keep_retention();

  // function_calls.cpp
  Task<std::vector<Permit>> lock_turns(std::vector<EntryPtr> entries);
  Task<void> launch_calls(std::vector<EntryPtr> entries, std::vector<uint64_t> behind);
  void hand_over(const EntryPtr& entry, Tidings& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void wait_anew(const EntryPtr& entry, int64_t not_before) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool decide_end(StoredTask& task, const CallEnding& ending);
  Task<void> end_calls(std::vector<CallEnding> endings);
  void end_soon(std::vector<CallEnding> endings) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void apply_end(const EntryPtr& entry, StoredTask task, bool again, CallEnding::How how)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void cancel_call(const EntryPtr& entry, Tidings& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void take_away(const std::string& function, uint64_t call, Tidings& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void look_at_calls(Tidings& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void resume_calls(std::vector<EntryPtr> entries) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // function_workers.cpp
  static std::pair<std::string, uint32_t> place_needed(const TaskSpec& spec);
  void know_function(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void share_places(const std::string& function) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status check_function(const FunctionCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void lose_worker(const WorkerLinkPtr& link, const std::string& reason, Tidings& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // direct_calls.cpp
  void hand_directs(const std::string& function, Tidings& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool forget_direct(const DirectCall& direct) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void settle_direct(const DirectPtr& direct, absl::StatusOr<FunctionResult> answer, Tidings& out)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void end_late_directs(int64_t now, Tidings& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void lose_direct(uint64_t id, Tidings& out) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void explain_places(const std::string& need, std::vector<std::string>& reasons)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status load_known_functions(Database& db) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TasksOptions options_;
  shim::Launcher launcher_;
  Store& store_;
  EventLog& events_;
  UlidGenerator& ids_;
  TaskCgroups& cgroups_;
  const Clock clock_;
  Mutex keyed_submits_;  // one at a time, so that a key is looked up and taken in one step
  Mutex settings_turn_;  // of groups and resources: held over a change's commit

  rt::Lock mutex_;
  absl::btree_set<EntryPtr, TaskById> tasks_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<EntryPtr, TaskByOrder, TaskByOrder> by_order_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::string> by_key_ ABSL_GUARDED_BY(mutex_);
  TaskQueue queue_ ABSL_GUARDED_BY(mutex_);
  OpenEnds open_ends_ ABSL_GUARDED_BY(mutex_);
  Notify end_told_;
  FunctionState functions_ ABSL_GUARDED_BY(mutex_);
  Admission admission_ ABSL_GUARDED_BY(mutex_);
  EnvironmentPool environments_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_order_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Retention retention_ ABSL_GUARDED_BY(mutex_);
  bool retaining_ ABSL_GUARDED_BY(mutex_) = false;
  rt::Lock arrived_lock_;  // taken last
  std::vector<std::shared_ptr<TaskArrival>> arrived_ ABSL_GUARDED_BY(arrived_lock_);
  int64_t armed_for_ ABSL_GUARDED_BY(mutex_) = INT64_MAX;  // when keep_time() looks again
  Notify rearm_;                                           // an earlier time has come up
  Executor runners_;
};

}  // namespace zsync::daemon
