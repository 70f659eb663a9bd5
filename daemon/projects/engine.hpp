// ProjectsEngine: brings projects up and keeps their services running, each as a task.
//
// What is wanted and which process of which unit was asked for is on disk before it is started; the
// task carries that in its idempotency key. So a daemon that was killed finds what runs, submits
// what was only written down, and starts nothing twice.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "daemon/channels/engine.hpp"
#include "daemon/events/event_log.hpp"
#include "daemon/projects/project_file.hpp"
#include "daemon/projects/project_run.hpp"
#include "daemon/projects/project_store.hpp"
#include "daemon/projects/readiness.hpp"
#include "daemon/store/store.hpp"
#include "daemon/store/ulid.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/triggers/engine.hpp"
#include "daemon/watch/engine.hpp"
#include "zsync/executor.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr size_t kProjectsMax = 256;
inline constexpr size_t kLooksMax = 2;  // at inputs of steps, at a time
inline constexpr char kProjectLabel[] = "project";
inline constexpr char kUnitLabel[] = "unit";
inline constexpr char kProbeLabel[] = "project-probe";  // of tries of ReadyKind::kExec
inline constexpr char kServicesGroup[] = "services";  // their tasks never end: a group of their own

// What the caller gives to up().
struct ProjectWanted {
  std::string root;
  std::string file = "zsync.yaml";
  std::string text;
  std::string name;  // empty: as the file has it, else the directory's
  std::vector<std::string> units;
  std::map<std::string, std::string> env;
};

// As a caller sees it.
struct ProjectView {
  ProjectRecord record;  // without the file's text and the variables, which may be large
  std::vector<UnitView> units;
  std::vector<std::string> channels;
  bool settled = false;
  bool healthy = false;
};

class ProjectsEngine {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch
  using Sink = std::function<Task<absl::Status>(ProjectView)>;

  ProjectsEngine(Store& store, EventLog& events, UlidGenerator& ids, TasksEngine& tasks,
                 TriggersEngine& triggers, ChannelsEngine& channels, WatchEngine& watch,
                 Clock clock);
  ~ProjectsEngine();

  // Reads the store and goes on with what runs. After TasksEngine::start().
  Task<absl::Status> start();
  // What runs goes on. Idempotent; before TasksEngine::stop().
  Task<void> stop();

  // Errors: kInvalidArgument, with the first problem of the file, its line and column;
  //         kAlreadyExists when a project of another directory has the name, or a channel of the
  //         file is there with other settings; kNotFound for a unit.
  Task<absl::StatusOr<ProjectView>> up(ProjectWanted wanted, Submitter by);
  // `wait`: completes once the processes are gone.
  Task<absl::StatusOr<ProjectView>> down(std::string project, std::vector<std::string> units,
                                         bool wait);
  Task<absl::StatusOr<ProjectView>> restart(std::string project, std::string unit);
  // By name, or by the absolute path of its directory.
  //
  // Errors: kNotFound with the closest name.
  absl::StatusOr<ProjectView> get(const std::string& project);
  std::vector<ProjectView> list();
  // Calls `sink` with the project as it is, and after each change, until it is removed.
  Task<absl::Status> follow(std::string project, Sink sink);
  // Errors: kFailedPrecondition unless it is down.
  Task<absl::Status> remove(std::string project);

  // Projects where something runs, or is to run by itself.
  size_t active();

 private:
  using News = std::function<void(ProjectRun&, int64_t now)>;
  struct Entry {
    Mutex turn;                         // held over each change's commit
    Notify news;                        // there is something to do
    Notify changed;                     // there is something to show
    ProjectRecord record;               // of who has the turn, and of readers under mutex_
    ProjectRun run;                     // likewise
    std::vector<std::string> channels;  // that the file names
    std::deque<News> pending;
    std::map<std::string, UnitRow> stored;  // of who has the turn
    std::map<std::string, UnitState> told;  // likewise: in the event log
    std::string unwatched;                  // of watch_saves(): why not, as it was told last
    bool heard = false;                     // likewise: a watch has told something
    bool removed = false;
  };
  using EntryPtr = std::shared_ptr<Entry>;

  absl::StatusOr<EntryPtr> find(const std::string& project) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<EntryPtr> find_locked(const std::string& project);
  ProjectView view(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ProjectView view_locked(const Entry& entry);
  absl::Status load(Database& db);
  void find_own_tasks(const EntryPtr& entry);
  std::vector<std::string> tries();
  Task<void> forget(std::vector<std::string> tries);
  absl::StatusOr<EntryPtr> entry_for(const ProjectWanted& wanted, const std::string& name);
  // triggers.cpp
  Task<absl::Status> set_triggers(const ProjectRecord& record, const ProjectSpec& spec,
                                  Submitter by);
  Task<absl::Status> remove_triggers(std::string project, std::set<std::string> kept);
  // channels.cpp
  Task<absl::Status> make_channels(const std::string& file, const ProjectSpec& spec);
  Task<void> make_channels_again(EntryPtr entry);
  // saves.cpp
  Task<void> look_at_files(EntryPtr entry, std::string unit);
  Task<void> watch_saves(EntryPtr entry);
  Task<void> until_unwatched(EntryPtr entry);
  Task<void> take_saves(EntryPtr entry);
  Task<std::set<std::string>> touched_steps(EntryPtr entry, const std::vector<FileChange>& changes,
                                            bool all);
  static absl::Status check_units(const ProjectRun& run, const std::vector<std::string>& units);

  // Nothing begins any more once stop() was called: it would not be cancelled, and what waits for
  // the end of a service waits long.
  void begin(Task<void> task);
  Task<void> drive(EntryPtr entry);
  Task<void> advance(EntryPtr entry);
  Task<absl::Status> save(EntryPtr entry, const ProjectRun* run, const ProjectRecord* record);
  void publish(const EntryPtr& entry, ProjectRun run);
  void allot_port(ProjectRun& run, const std::string& unit);
  std::set<uint16_t> ports_taken();
  void post(const EntryPtr& entry, News news);
  Task<void> start_unit(EntryPtr entry, ProjectAction action);
  Task<void> stop_unit(EntryPtr entry, ProjectAction action);
  Task<void> watch_task(EntryPtr entry, ProjectAction action, std::string task);
  Task<void> watch_readiness(EntryPtr entry, ProjectAction action, ReadinessProbe probe);
  static TaskSpec task_of(const ProjectRecord& record, const ProjectRun& run,
                          const std::string& unit, const ProjectCommand& command);
  static UnitEnd end_of(const TaskRecord& task);

  Store& store_;
  EventLog& events_;
  UlidGenerator& ids_;
  TasksEngine& tasks_;
  TriggersEngine& triggers_;
  ChannelsEngine& channels_;
  WatchEngine& watch_;
  const Clock clock_;

  rt::Lock mutex_;
  std::map<std::string, EntryPtr> entries_ ABSL_GUARDED_BY(mutex_);  // by name
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Mutex creating_;
  Semaphore looks_{kLooksMax};
  Executor runners_;
};

}  // namespace zsync::daemon
