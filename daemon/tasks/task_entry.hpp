// What TasksEngine keeps of a task beside its record, and of the talk with a shim.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/hash/hash.h"
#include "daemon/shim/shim_protocol.hpp"
#include "daemon/tasks/admission.hpp"
#include "daemon/tasks/task_store.hpp"
#include "zsync/channel.hpp"
#include "zsync/notify.hpp"
#include "zsync/sync.hpp"

namespace zsync::daemon {

inline constexpr size_t kShimOrdersMax = 4096;  // that wait for a shim

// What goes to a running task's shim.
struct ShimOrder {
  enum class Kind { kFrame, kStdin, kStdinEof };
  Kind kind;
  std::string bytes;
};

inline std::unique_ptr<Channel<ShimOrder>> to_shim(Channel<ShimOrder> channel) {
  return std::make_unique<Channel<ShimOrder>>(std::move(channel));
}

// A task in the engine's memory. Guarded by the engine's mutex but for what guards itself.
struct TaskEntry {
  explicit TaskEntry(StoredTask stored) : task(std::move(stored)) {}
  // Held from reading the record to the end of its commit, so that what two callers write reaches
  // the disk in the order in which they decided.
  Mutex turn;
  StoredTask task;
  bool canceling = false;  // taken out of the queue, and the disk is being asked
  bool removed = false;
  std::optional<uint64_t> cancel_grace_ms;  // asked for by a cancel
  // Of the start of the moment, as its event tells them; null: none.
  std::unique_ptr<const std::string> waits;
  int followers = 0;  // of the output
  int skipping = 0;   // because of this one: it stays until the disk has it
  Notify changed;     // record or output
  // While it runs or waits to: orders for the shim, and stdin on its way.
  std::unique_ptr<Channel<ShimOrder>> orders;
  std::unique_ptr<Channel<ShimOrder>> input;
  bool input_closed = false;
  uint32_t shim_version = 0;  // 0: no shim has spoken yet
  uint64_t call = 0;          // of a function, in a worker's hands; 0: it is in nobody's

  // For the event of the start, once; "": nothing to tell.
  std::string take_waits() {
    const std::unique_ptr<const std::string> told = std::move(waits);
    return told ? *told : "";
  }
};

// The order of ids, which is that of creation. Looked up by the id itself.
struct TaskById {
  using is_transparent = void;
  using EntryPtr = std::shared_ptr<TaskEntry>;
  static std::string_view id(const EntryPtr& entry) { return entry->task.record.id; }
  bool operator()(const EntryPtr& a, const EntryPtr& b) const { return id(a) < id(b); }
  bool operator()(const EntryPtr& a, std::string_view b) const { return id(a) < b; }
  bool operator()(std::string_view a, const EntryPtr& b) const { return a < id(b); }
};

// By number of submission. Looked up by the number itself.
struct TaskByOrder {
  using is_transparent = void;
  using EntryPtr = std::shared_ptr<TaskEntry>;
  static uint64_t order(const EntryPtr& entry) { return entry->task.order; }
  static uint64_t order(uint64_t of) { return of; }
  template <typename T>
  size_t operator()(const T& of) const {
    return absl::Hash<uint64_t>()(order(of));
  }
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return order(a) == order(b);
  }
};

// The tasks of one call on their way into the engine. What several calls have made durable waits
// until the first of them goes on, and is adopted together.
struct TaskArrival {
  TaskArrival(std::vector<StoredTask> made, Admission::Wanted wants)
      : tasks(std::move(made)), wanted(std::move(wants)) {}
  std::vector<StoredTask> tasks;
  Admission::Wanted wanted;
};

// What the frames of one attempt have told so far.
struct AttemptTalk {
  AttemptTalk(std::shared_ptr<TaskEntry> of, std::string where, Channel<ShimOrder> to_shim)
      : entry(std::move(of)), dir(std::move(where)), orders(std::move(to_shim)) {}
  const std::shared_ptr<TaskEntry> entry;
  const std::string dir;
  Channel<ShimOrder> orders;
  // Of the task that reads the frames.
  std::optional<shim::ExitRecord> exit;
  bool refused = false;
  bool claimed = false;  // a shim has spoken, so the attempt has begun
  bool cancel_sent = false;
  // Of the tasks that write to it as well.
  std::atomic<bool> greeted{false};  // the shim's Hello has come on this connection
  std::atomic<uint64_t> stdin_sent{0};
  std::atomic<uint64_t> stdin_written{0};
  std::atomic<bool> stdin_closed{false};
  Notify stdin_moved;
};

}  // namespace zsync::daemon
