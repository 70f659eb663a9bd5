// TaskQueue: what starts next, what never will, and when to look again. Pure: no clock, no files,
// no threads; whoever owns it tells it what happens and asks for the next decision.
//
//   waits for     until
//   its time      not_before
//   other tasks   each has ended as the condition says; it is skipped once one cannot any more
//   a place       its group runs fewer than its limit, and is not paused
//   its budget    what the group's running tasks have declared and what it declares fit together
//   locks         nobody holds them; all that a task needs are taken in one step when it starts,
//                 so that no two wait for each other
//
// A decision costs O(log n) for n queued tasks, a release one step for each group that waits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "daemon/tasks/ranking.hpp"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

inline constexpr uint32_t kParallelMax = 4096;  // tasks of one group at once
inline constexpr uint32_t kAnyAmount = UINT32_MAX;
inline constexpr int64_t kUndatedSlackNs =
    3600'000'000'000;  // in a group that goes by deadline, of a task that has none

// A task as the queue sees it. Times are ns since the Unix epoch; 0: none.
struct QueuedTask {
  struct Dependency {
    uint64_t order = 0;
    DependencyCondition condition = DependencyCondition::kOk;
  };

  uint64_t order = 0;  // grows with every submission; what the queue calls the task
  std::string group;
  int32_t priority = 0;
  int64_t not_before_unix_nano = 0;
  std::vector<Dependency> after;  // tasks that have not ended yet
  int64_t start_deadline_unix_nano = 0;
  int64_t deadline_unix_nano = 0;
  std::vector<std::string> locks;
  std::vector<std::pair<std::string, uint32_t>> resources;  // name, how much of it
  int64_t period_ns = 0;                                    // of a group by rate
  uint32_t memory_mib = 0;                                  // of its group's budget
  uint32_t cpu_millis = 0;                                  // the same
};

// A part of the time that a task was queued, and what it waited for meanwhile.
struct QueueWait {
  enum class Cause : uint8_t { kNothing, kTime, kTasks, kPlace, kLock, kResource, kBudget };
  Cause cause = Cause::kNothing;
  std::string name;  // of the lock, the resource or what the budget is of
  int64_t from_unix_nano = 0;
  int64_t until_unix_nano = 0;
};
inline constexpr int64_t kQueueWaitToldNs = 1'000'000;  // what was shorter is not told
inline constexpr size_t kQueueWaitsToldMax = 16;        // of one task

// "FROM UNTIL what" for each, a line each: what the event of a start says.
std::string queue_waits_text(const std::vector<QueueWait>& waits, const std::string& group);

struct Decision {
  enum class Kind {
    kStart,        // it counts as running from here on
    kSkip,         // `because` ended otherwise than it had to
    kMissedStart,  // the start deadline has passed
    kMissed,       // the deadline has passed
    kShed,         // its group has too many, and pushes it out
  };
  Kind kind = Kind::kStart;
  uint64_t order = 0;
  uint64_t because = 0;
  std::vector<QueueWait> waits = {};  // of one that starts
};

// Why a queued task does not run.
struct TaskWaiting {
  int64_t not_before_unix_nano = 0;  // 0: its time has come
  std::vector<QueuedTask::Dependency> after;
  struct Need {
    std::string name;
    bool lock = false;
    bool budget = false;  // of its group: MiB of "memory", thousandths of a "cpu"
    uint32_t amount = 1;
    uint32_t capacity = 1;
    uint64_t used = 0;
    std::vector<uint64_t> holders;
  };
  std::vector<Need> needs;  // that are not free for it now
  std::optional<uint64_t> reserved_for;
  size_t before_it = 0;  // ready tasks of the group that start first
  int32_t priority = 0;  // with what it has from those that wait for it
};

class TaskQueue {
 public:
  // `aging`: how long a task waits for one point of priority; 0: for ever.
  explicit TaskQueue(uint32_t default_parallel, int64_t aging_ns = 0)
      : default_parallel_(default_parallel), aging_(aging_ns) {}

  void set_group(const std::string& group, const GroupSettings& settings, int64_t now);
  void set_capacity(const std::string& resource, uint32_t capacity, int64_t now);
  std::optional<uint32_t> capacity(const std::string& resource) const;
  // How many queued tasks need it.
  uint32_t waiting_for(const std::string& resource) const;

  // One that is queued or running already stays as it is.
  void add(const QueuedTask& task, int64_t now);
  // A task that was running when this queue began; it has what it needs.
  void add_running(const QueuedTask& task);
  // False when it is not queued.
  bool remove(uint64_t order, int64_t now);
  // The process of a running task is gone: its place and its locks are free.
  void finished(uint64_t order, int64_t now);
  // The task is final: those that wait for it go on, or never will.
  void ended(uint64_t order, bool ok, int64_t now);

  // The next decision at this time; the task is no longer queued. nullopt: none.
  std::optional<Decision> next(int64_t now);
  // When next() may have more to say although nothing else has happened; nullopt: never.
  std::optional<int64_t> wake_at() const;

  // nullopt: it is not queued.
  std::optional<TaskWaiting> explain(uint64_t order, int64_t now) const;
  std::vector<GroupRecord> groups() const;
  GroupRecord group(const std::string& name) const;
  std::vector<ResourceRecord> resources() const;
  size_t queued() const { return queued_.size(); }
  size_t running() const { return running_.size(); }

 private:
  struct Group;
  // Invariant: for each resource that has enough left, not reserved, for a waiter of a group, that
  // group has a ready task which was woken for it, so nobody sleeps beside what is free.
  struct Resource {
    std::string name;
    uint32_t capacity = 1;
    bool lock = false;
    bool configured = false;
    bool budget = false;
    uint32_t users = 0;  // queued and running tasks that need it
    uint64_t used = 0;
    absl::flat_hash_set<uint64_t> holders;
    // Found it taken; by how much they need, so that a small one is not behind a large one.
    std::map<std::pair<Group*, uint32_t>, Ranking> waiters;
    absl::flat_hash_set<uint64_t> oversized;  // need more than there is at all
  };
  struct Group {
    GroupSettings settings;
    uint32_t queued = 0;
    uint32_t running = 0;
    Ranking ready;  // their time has come, and what they need was free when it was looked for last
    // Where the group sheds: all queued ones, by priority and age.
    std::set<std::pair<int32_t, uint64_t>> sheddable;
    Resource memory{.name = "memory", .capacity = kAnyAmount, .budget = true};
    Resource cpu{.name = "cpu", .capacity = kAnyAmount, .budget = true};
    bool sheds() const { return settings.overload == OverloadPolicy::kShed; }
  };
  struct Need {
    Resource* resource;
    uint32_t amount;
  };
  using Needs = std::vector<Need>;
  enum class Place : uint8_t { kTime, kTasks, kReady, kWaiter, kOversized };
  struct Task {
    Group* group = nullptr;
    Rank rank;
    int32_t own_priority = 0;
    int32_t priority = 0;  // the highest of its own and those of all that wait for it
    Place place = Place::kTime;
    QueueWait::Cause waits = QueueWait::Cause::kNothing;  // since `waits_since`
    int64_t not_before = 0;
    int64_t expires = 0;         // start_deadline or deadline, whichever comes first
    bool expires_start = false;  // it is the start deadline
    int64_t deadline = 0;
    int64_t period = 0;
    Resource* waits_for = nullptr;
    int64_t waits_since = 0;
    std::unique_ptr<std::vector<QueueWait>> waited;  // null: nothing to tell
    std::vector<QueuedTask::Dependency> after;
    Needs needs;
  };
  struct Running {
    Group* group;
    Needs needs;
  };
  struct Dependants {
    absl::flat_hash_map<uint64_t, DependencyCondition> tasks;
    std::map<int32_t, uint32_t> priorities;  // of those, counted
  };

  Group& find_or_make(const std::string& name);
  void note(Group& group);
  bool has_place(const Group& group, uint64_t order) const;
  void settle(uint64_t order, Task& task, int64_t now);
  void make_ready(Task& task, int64_t now);
  void unplace(uint64_t order, Task& task);
  std::unique_ptr<Task> take_out(uint64_t order);
  void set_rank(Task& task);
  Ranking* ranking_of(const Task& task);
  static void begin_wait(Task& task, QueueWait::Cause cause, int64_t now);
  std::optional<Decision> next_start(int64_t now);
  Decision start(uint64_t order, int64_t now);
  std::optional<Decision> next_shed(int64_t now);
  void note_load(Group& group);

  // queue_resources.cpp
  Needs needs_of(const QueuedTask& task);
  void resize(Resource& resource, uint32_t capacity, int64_t now);
  void let_go(const Needs& needs);
  Resource* blocking(uint64_t order, const Task& task) const;
  bool reserved_against(uint64_t order, const Resource& resource) const;
  void park(uint64_t order, Task& task, Resource& resource, int64_t now);
  void wake(Resource& resource, int64_t now);
  static std::pair<Group*, uint32_t> waits_as(const Task& task);
  void wake_all(const Needs& needs, const Resource* except, int64_t now);
  static void take(uint64_t order, const Needs& needs);
  static void release(uint64_t order, const Needs& needs);
  void elect_reserver(int64_t now);
  void drop_reserver(const Needs& needs, int64_t now);

  // queue_dependencies.cpp
  void depend(uint64_t order, const Task& task);
  void undepend(uint64_t order, const Task& task);
  void inherit(uint64_t order);

  const uint32_t default_parallel_;
  const int64_t aging_;
  std::map<std::string, Group> groups_;  // addresses are kept, as those of the next two
  std::map<std::string, Resource> resources_;
  std::map<std::string, Resource> locks_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Task>> queued_;
  absl::flat_hash_map<uint64_t, Running> running_;
  absl::flat_hash_map<uint64_t, Dependants> dependants_;  // by what they wait for
  std::set<Group*> startable_;                            // with a ready task and a free place
  std::set<Group*> overfull_;                             // that shed what is over their bound
  std::set<std::pair<int64_t, uint64_t>> delayed_;        // not before, order
  std::set<std::pair<int64_t, uint64_t>> expiring_;
  std::vector<Decision> skips_;
  // Tasks that need several things and found one taken, by how long they wait. The eldest of them,
  // once it has waited for `kReserveAfterNs`, has everything that it needs kept for it.
  std::set<std::pair<int64_t, uint64_t>> patient_;
  std::optional<uint64_t> reserver_;
};

inline constexpr int64_t kReserveAfterNs = 60'000'000'000;

}  // namespace zsync::daemon
