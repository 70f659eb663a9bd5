// TaskQueue: which task runs next. Pure: no clock, no files, no threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

inline constexpr uint32_t kParallelMax = 4096;  // tasks of one group at once

// A task as the queue sees it.
struct QueuedTask {
  uint64_t order = 0;  // grows with every submission; what the queue calls the task
  std::string group;
  int32_t priority = 0;
  int64_t not_before_unix_nano = 0;  // 0: at once
};

// Groups with a limit of tasks that run at once. Within a group: higher priority first, then the
// order of submission. A task whose time has not come yet stands in nobody's way.
class TaskQueue {
 public:
  explicit TaskQueue(uint32_t default_parallel) : default_parallel_(default_parallel) {}

  void set_parallel(const std::string& group, uint32_t parallel);

  // One that is queued or running already stays as it is.
  void add(const QueuedTask& task);
  // A task that was running when this queue began.
  void add_running(uint64_t order, const std::string& group);
  // False when it is not queued.
  bool remove(uint64_t order);
  // The next task that may run at this time, counted as running from here on; nullopt: none.
  std::optional<uint64_t> start_next(int64_t now_unix_nano);
  // The process of a running task is gone.
  void finished(uint64_t order);

  // When start_next() may have more to say although nothing else has happened; nullopt: never.
  std::optional<int64_t> wake_at() const;

  // 0 is next; nullopt when it is not queued, or waits for its time.
  std::optional<size_t> position(uint64_t order) const;
  std::vector<GroupRecord> groups() const;
  GroupRecord group(const std::string& name) const;
  size_t queued() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }

 private:
  struct Key {
    int32_t priority;
    uint64_t order;
    bool operator<(const Key& other) const {
      return priority != other.priority ? priority > other.priority : order < other.order;
    }
  };
  struct Group {
    uint32_t parallel;
    uint32_t queued = 0;  // with those whose time has not come
    uint32_t running = 0;
    std::set<Key> ready;
  };
  struct Waiting {
    Group* group;
    int32_t priority;
    int64_t not_before;
    bool ready = false;  // in its group's `ready`, else in `delayed_`
  };
  Group& find_or_make(const std::string& name);
  void note(Group& group);
  void make_ready(uint64_t order, Waiting& task);
  void take_delayed(int64_t now_unix_nano);

  const uint32_t default_parallel_;
  std::map<std::string, Group> groups_;  // addresses are kept
  absl::flat_hash_map<uint64_t, Waiting> waiting_;
  absl::flat_hash_map<uint64_t, Group*> running_;
  std::set<Group*> startable_;                      // with a ready task and a free place
  std::set<std::pair<int64_t, uint64_t>> delayed_;  // not before, order
};

}  // namespace zsync::daemon
