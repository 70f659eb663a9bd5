// What a trigger is: what it watches, the task of each of its runs, and how far it has come. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "daemon/tasks/engine.hpp"
#include "daemon/watch/engine.hpp"
#include "watch/trigger.hpp"

namespace zsync::daemon {

inline constexpr size_t kTriggersMax = 256;
// Paths whose content is remembered on disk; of one that knows more, none are.
inline constexpr size_t kTriggerMemoryPathsMax = 10'000;
inline constexpr size_t kTriggerLoopPathsMax = 100;  // that are told of a loop
// What marks a task as one of this trigger.
inline constexpr char kTriggerLabel[] = "trigger";

struct TriggerSpec {
  std::string name;
  WatchRequest watch;               // without a clock
  std::vector<std::string> writes;  // globs of what the command writes itself
  std::shared_ptr<const TaskSpec> task;
};

// Errors: kInvalidArgument with the field, the limit and the cure. The watch itself is checked by
//         who subscribes.
absl::Status validate(const TriggerSpec& spec);

// Whether both see the same changes, so that a clock of one means something to the other.
bool same_watch(const WatchRequest& a, const WatchRequest& b);
// Whether both do the same.
bool same(const TriggerSpec& a, const TriggerSpec& b);

// One run, from its changes to its end.
struct TriggerRun {
  uint64_t number = 0;  // 0: there was none
  int64_t fired_unix_nano = 0;
  bool by_hand = false;
  uint64_t paths = 0;                // that made it
  std::vector<std::string> changed;  // their names, as ZSYNC_CHANGED has them
  std::string task;                  // empty: it is not accepted yet, or was refused
  std::optional<TaskState> state;    // how it ended
  int32_t exit_code = 0;
  std::string reason;
  int64_t ended_unix_nano = 0;  // 0: it is under way
};

struct TriggerRecord {
  std::string id;
  uint32_t uid = 0;  // who made it
  std::string project;
  TriggerSpec spec;
  int64_t created_unix_nano = 0;
  GroupHold paused;
  std::string clock;  // up to here all is decided
  TriggerRun last;
  std::vector<std::string> loop;  // stopped: what the command keeps changing
  bool run_follows = false;       // a run was asked for and has not begun
  uint64_t refused = 0;           // runs whose task was not accepted
  std::string last_refusal;
  std::shared_ptr<const watching::Trigger::Memory> memory;  // null: nothing

  bool running() const { return last.number != 0 && last.ended_unix_nano == 0; }
  bool watches() const { return !paused.on() && loop.empty(); }
};

// The span of what made the newest run settle: its changes, until the run was decided.
std::string settle_traceparent(const TriggerRecord& record);

// The task of the newest run: the same each time that it is asked for, so that it is accepted once.
TaskSpec task_of(const TriggerRecord& record);

std::string encode_trigger(const TriggerRecord& record);  // but for the task of its spec
// False: damaged.
bool decode_trigger(std::string_view bytes, TriggerRecord& record);

}  // namespace zsync::daemon
