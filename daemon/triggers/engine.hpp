// TriggersEngine: follows the directory of each trigger and submits its task when changes ask for
// it.
//
// A run is on disk before its task is submitted: which one it is, what it knows of, and the clock
// up to which changes are decided. The task carries the run's number in its idempotency key. So a
// daemon that was killed submits what was only written down, finds what runs, and goes on from the
// clock: changes that nobody had decided about are told again, and none twice.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/events/event_log.hpp"
#include "daemon/store/store.hpp"
#include "daemon/store/ulid.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/triggers/trigger.hpp"
#include "daemon/watch/engine.hpp"
#include "zsync/executor.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// The numbers are the wire's.
enum class TriggerState : uint8_t {
  kStarting = 1,   // the tree is being read
  kIdle = 2,       // it waits for changes
  kSettling = 3,   // something has changed, and is not quiet yet
  kRunning = 4,    // a task of it has not ended
  kPaused = 5,     //
  kStopped = 6,    // taken for a loop
  kRootGone = 7,   // the directory is gone
  kUnwatched = 8,  // the directory cannot be watched
};

// As a caller sees it.
struct TriggerView {
  TriggerRecord record;  // without its memory, which may be large
  TriggerState state = TriggerState::kStarting;
  std::string reason;    // why it is not watched
  uint64_t pending = 0;  // paths that have changed and are not decided about
  std::string next;      // what comes next, in one line
  std::string cure;      // of a loop
};

// Threads: every member may be called from any thread, those that are tasks in one.
class TriggersEngine {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch

  TriggersEngine(Store& store, EventLog& events, UlidGenerator& ids, TasksEngine& tasks,
                 WatchEngine& watch, Clock clock);
  ~TriggersEngine();

  // Reads the store and goes on. After TasksEngine::start().
  Task<absl::Status> start();
  // What runs goes on. Idempotent; before TasksEngine::stop() and WatchEngine::stop().
  Task<void> stop();

  // Completes once the directory is watched and the trigger is on disk.
  //
  // Errors: those of validate() and WatchEngine::subscribe(); kAlreadyExists unless `replace`;
  //         kResourceExhausted (triggers_max).
  Task<absl::StatusOr<TriggerView>> create(TriggerSpec spec, bool replace, Submitter by,
                                           std::string project = "");
  // Errors: kNotFound with the closest name.
  absl::StatusOr<TriggerView> get(const std::string& name);
  // By name; of one project, or all.
  std::vector<TriggerView> list(const std::string& project = "");
  // What changes while it is paused makes one run when it goes on. Resuming also ends the stop of a
  // loop.
  Task<absl::StatusOr<TriggerView>> set_paused(std::string name, bool paused, Submitter by);
  // A run now; during a run, one after it.
  Task<absl::StatusOr<TriggerView>> run(std::string name);
  // Its tasks stay.
  Task<absl::Status> remove(std::string name);

  // Triggers that may fire by themselves.
  size_t active();

 private:
  // What goes on beside the record. Guarded by mutex_, but for `turn`, `news` and `taken`.
  struct Entry {
    Mutex turn;    // held over each change's commit
    Notify news;   // there is something to do
    Notify taken;  // from `told`
    TriggerRecord record;
    uint64_t revision = 0;  // of its spec
    bool removed = false;
    bool unsaved = false;  // the record's clock is newer than the one on disk
    // The feed of the moment, by number; what it has told and nobody has looked at.
    uint64_t feed = 0;
    std::shared_ptr<WatchFeed> watching;
    std::deque<absl::StatusOr<watching::Told>> told;
    bool begun = false;  // the feed has told its clock
    bool root_gone = false;
    std::string problem;  // why there is no feed
    uint64_t pending = 0;
    // How the task of a run ended; nullopt: it is not there any more.
    struct Ended {
      uint64_t number = 0;
      std::optional<TaskRecord> task;
    };
    std::optional<Ended> ended;
  };
  using EntryPtr = std::shared_ptr<Entry>;
  // What one task, which follows the entry, knows.
  struct Following;
  using Change = std::function<void(TriggerRecord&)>;

  absl::StatusOr<EntryPtr> find(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<EntryPtr> find_locked(const std::string& name);
  TriggerView view(const EntryPtr& entry);
  std::vector<std::string> gone_roots();
  absl::Status load(Database& db);
  void find_own_tasks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<EntryPtr> entry_for(const std::string& name, bool replace);
  Task<absl::StatusOr<std::string>> begin_watching(TriggerSpec& spec);
  // Writes it down and shows it. Of who has the turn.
  Task<absl::Status> save(EntryPtr entry, TriggerRecord record);
  // The same, however often the disk refuses.
  Task<void> save_surely(EntryPtr entry, TriggerRecord record);
  TriggerRecord record_of(const EntryPtr& entry);
  // Nothing begins any more once stop() was called.
  void begin(Task<void> task, std::optional<TaskHandle<void>>* handle = nullptr);

  // follow.cpp
  Task<void> follow(EntryPtr entry);
  Task<bool> attend(const EntryPtr& entry, Following& f);
  Task<void> open_feed(const EntryPtr& entry, Following& f);
  void close_feed(const EntryPtr& entry, Following& f);
  Task<void> read(EntryPtr entry, uint64_t number, std::shared_ptr<WatchFeed> feed);
  Task<void> take(const EntryPtr& entry, Following& f, absl::StatusOr<watching::Told> told);
  Task<void> take_changes(const EntryPtr& entry, Following& f, WatchBatch batch);
  // What differed as the feed began is decided about, unless it goes on changing.
  Task<void> end_quiet(const EntryPtr& entry, Following& f);
  // `first`: nothing was decided about in this feed yet.
  Task<void> decide(const EntryPtr& entry, Following& f, std::vector<std::string> paths,
                    bool first);
  Task<void> end_run(const EntryPtr& entry, Following& f, Change how);
  Task<void> act(const EntryPtr& entry, Following& f, watching::Trigger::Decision decision,
                 bool by_hand, Change change);
  Task<void> launch(const EntryPtr& entry, Following& f);
  Task<void> watch_task(EntryPtr entry, uint64_t number, std::string task);
  Task<bool> look_at_root(const EntryPtr& entry, std::string path);
  void unwatched(const EntryPtr& entry, Following& f, const absl::Status& why);
  void tell_root(const EntryPtr& entry, bool gone);
  void rebuild(const EntryPtr& entry, Following& f);

  Store& store_;
  EventLog& events_;
  UlidGenerator& ids_;
  TasksEngine& tasks_;
  WatchEngine& watch_;
  const Clock clock_;

  rt::Lock mutex_;
  std::map<std::string, EntryPtr> entries_ ABSL_GUARDED_BY(mutex_);  // by name
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Mutex creating_;
  Executor runners_;
};

}  // namespace zsync::daemon
