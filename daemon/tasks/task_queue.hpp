// TaskQueue: which task runs next. Pure: no clock, no files, no threads.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/tasks/task.hpp"

namespace zsync::daemon {

inline constexpr uint32_t kParallelMax = 4096;  // tasks of one group at once

// Groups with a limit of tasks that run at once. Within a group: higher priority first, then the
// order of submission.
class TaskQueue {
 public:
  explicit TaskQueue(uint32_t default_parallel) : default_parallel_(default_parallel) {}

  void set_parallel(const std::string& group, uint32_t parallel);

  // `order` grows with every submission.
  void add(const std::string& group, int32_t priority, uint64_t order, const std::string& id);
  // A task that was running when this queue began.
  void add_running(const std::string& group);
  // False when it is not queued.
  bool remove(const std::string& group, int32_t priority, uint64_t order, const std::string& id);
  // The next task that may run now, counted as running from here on; nullopt: none.
  std::optional<std::string> start_next();
  void finished(const std::string& group);

  // 0 is next; nullopt when it is not queued.
  std::optional<size_t> position(const std::string& group, int32_t priority, uint64_t order,
                                 const std::string& id) const;
  std::vector<GroupRecord> groups() const;
  GroupRecord group(const std::string& name) const;
  size_t queued() const { return queued_; }
  size_t running() const { return running_; }

 private:
  struct Key {
    int32_t priority;
    uint64_t order;
    std::string id;
    bool operator<(const Key& other) const {
      return priority != other.priority ? priority > other.priority : order < other.order;
    }
  };
  struct Group {
    uint32_t parallel;
    uint32_t running = 0;
    std::set<Key> queue;
  };
  Group& find_or_make(const std::string& name);
  void note(const std::string& name, const Group& group);

  const uint32_t default_parallel_;
  std::map<std::string, Group> groups_;
  std::set<std::string> ready_;  // groups with a queued task and a free place
  size_t queued_ = 0;
  size_t running_ = 0;
};

}  // namespace zsync::daemon
