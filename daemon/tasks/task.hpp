// What a task is: its specification as submitted and its record as it goes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "daemon/shim/shim_protocol.hpp"
#include "daemon/store/rare.hpp"
#include "daemon/tasks/environment.hpp"
#include "daemon/tasks/function_call.hpp"
#include "daemon/tasks/task_limits.hpp"
#include "daemon/tasks/task_retry.hpp"

namespace zsync::daemon {

// Limits of one specification.
inline constexpr size_t kEnvironmentBytesMax = 1 << 20;          // names and values together
inline constexpr size_t kEnvironmentStringBytesMax = 128 << 10;  // NAME=VALUE
inline constexpr size_t kArgumentsBytesMax = 1 << 20;            // argv or shell line
inline constexpr size_t kArgumentBytesMax = 128 << 10;           // one argument
inline constexpr size_t kStdinBytesMax = 1 << 20;
inline constexpr size_t kNameBytesMax = 128;  // task, group, label
inline constexpr size_t kLabelsMax = 64;
inline constexpr size_t kAfterMax = 256;                     // tasks that one waits for
inline constexpr size_t kLocksMax = 16;                      // of one task
inline constexpr size_t kResourcesMax = 16;                  // that one task names
inline constexpr uint32_t kResourceCapacityMax = 1'000'000;  // of one resource
inline constexpr int32_t kPriorityMax = 1000;
inline constexpr size_t kSubmitBatchMax = 10'000;  // tasks in one call
inline constexpr uint64_t kTimeoutMsMax = 366ull * 24 * 3600 * 1000;
inline constexpr int64_t kIdempotencyNs = 24ll * 3600 * 1'000'000'000;

// Stored as numbers: never renumbered.
enum class TaskState : uint8_t {
  kQueued = 1,
  kRunning = 2,
  kSucceeded = 3,
  kFailed = 4,
  kSignaled = 5,
  kTimedOut = 6,
  kCanceled = 7,
  kLost = 8,
  kSkipped = 9,
};

inline bool is_final(TaskState state) { return state >= TaskState::kSucceeded; }
absl::string_view state_name(TaskState state);

// How a task that is waited for has to end. Stored as numbers: never renumbered.
enum class DependencyCondition : uint8_t {
  kOk = 1,      // it succeeded
  kFailed = 2,  // it ended in any other way
  kAny = 3,     // it ended
};
inline bool meets(DependencyCondition condition, bool ok) {
  return condition == DependencyCondition::kAny || ok == (condition == DependencyCondition::kOk);
}

struct TaskDependency {
  std::string task;  // an id, once it is accepted
  DependencyCondition condition = DependencyCondition::kOk;
};

struct ResourceNeed {
  std::string name;
  uint32_t amount = 1;
};

// Which one of an array a task is.
struct TaskArray {
  std::string id;
  int64_t index = 0;
  uint32_t size = 0;
  std::map<std::string, std::string> values;  // by axis of a matrix
};

struct TaskSpec {
  std::vector<std::string> argv;
  Rare<std::string> shell;
  std::string cwd;
  Environment env;
  bool replace_env = false;
  Rare<std::string> stdin_bytes;
  bool stdin_stream = false;
  std::string name;
  Rare<std::map<std::string, std::string>> labels;
  std::string group;
  int32_t priority = 0;
  uint64_t timeout_ms = 0;  // 0: none
  std::optional<uint64_t> kill_grace_ms;
  uint32_t retries = 0;                      // further attempts after failures
  std::shared_ptr<const RetryPolicy> retry;  // null: every default
  bool retry_lost = false;                   // on_lost: retry
  Rare<std::string> idempotency_key;
  bool keep_children = false;
  std::string traceparent;
  Rare<std::vector<TaskDependency>> after;
  uint64_t period_ms = 0;          // of a schedule's task that keeps its period; 0: none
  uint64_t delay_ms = 0;           // from the submission on
  int64_t start_at_unix_nano = 0;  // 0: at once
  Rare<std::vector<std::string>> locks;
  Rare<std::vector<ResourceNeed>> resources;
  uint64_t start_deadline_ms = 0;          // from the submission on; 0: none
  int64_t start_deadline_unix_nano = 0;    // 0: none
  uint64_t deadline_ms = 0;                // from the submission on; 0: none
  int64_t deadline_unix_nano = 0;          // 0: none
  std::shared_ptr<const TaskArray> array;  // null: it is none of an array
  TaskPriorities priorities;
  TaskLimits limits;
  shim::TerminalSize terminal;                   // 0 rows: none
  std::shared_ptr<const FunctionCall> function;  // null: it is a command
  Rare<std::vector<std::string>> matchers;       // by name; what its output is searched with

  // Whether Input reaches the command.
  bool takes_input() const { return stdin_stream || terminal.rows != 0; }
};

// The one that it is in where it names none.
const std::string& group_of(const TaskSpec& spec);

// Errors: kInvalidArgument with the field, the limit and the cure.
absl::Status validate(const TaskSpec& spec);
// Of a task that is submitted again and again: what only makes sense once is refused.
//
// Errors: kInvalidArgument for "spec.task".
absl::Status validate_template(const TaskSpec& task);

std::string encode_task_spec(const TaskSpec& spec);
// nullopt: damaged.
std::optional<TaskSpec> decode_task_spec(std::string_view bytes);

// An attempt that another one followed.
struct TaskAttempt {
  uint32_t attempt = 0;
  TaskState state = TaskState::kFailed;
  int32_t exit_code = 0;
  int32_t signal = 0;
  std::string reason;
  int64_t started_unix_nano = 0;
  int64_t finished_unix_nano = 0;
  uint64_t output_bytes = 0;
  uint64_t output_records = 0;
  shim::Usage usage;
};

struct TaskRecord {
  std::string id;
  std::shared_ptr<const TaskSpec> spec;  // without env and stdin once the task is final
  TaskState state = TaskState::kQueued;
  uint32_t attempt = 0;
  int32_t exit_code = 0;
  int32_t signal = 0;
  std::string reason;
  int64_t created_unix_nano = 0;
  int64_t started_unix_nano = 0;
  int64_t finished_unix_nano = 0;
  int64_t pid = 0;
  bool cancel_requested = false;
  uint64_t output_bytes = 0;
  uint64_t output_records = 0;
  uint32_t submitter_uid = 0;
  int32_t submitter_pid = 0;
  int64_t not_before_unix_nano = 0;         // while queued: it does not start earlier; 0: at once
  Rare<std::vector<TaskAttempt>> attempts;  // all that others followed, oldest first
  shim::Usage usage;                        // of the newest attempt
  int64_t paused_unix_nano = 0;             // while running; 0: it is not paused
  Rare<std::string> limits_note;      // how its limits are held, where that is not by its cgroup
  std::optional<int64_t> slack_nano;  // when it was asked for; not stored
  std::shared_ptr<const FunctionResult> result;  // of a function call that was answered
};

// The attempt that the record itself tells of; nullopt: none yet, or it is among `attempts`
// already.
std::optional<TaskAttempt> newest_attempt(const TaskRecord& record);

// Who paused or drained a group, and when.
struct GroupHold {
  int64_t since_unix_nano = 0;  // 0: nobody did
  uint32_t uid = 0;
  int32_t pid = 0;
  bool on() const { return since_unix_nano != 0; }
};

// What happens to tasks that a group is given when `queued_max` of them wait already. Stored as
// numbers: never renumbered.
enum class OverloadPolicy : uint8_t {
  kQueue = 1,   // they wait as well, and the event log tells of it
  kReject = 2,  // they are refused
  kShed = 3,    // the oldest ones of the lowest priority are canceled for them
};

absl::string_view overload_name(OverloadPolicy policy);

// What of a group starts first. Stored as numbers: never renumbered.
enum class StartOrder : uint8_t {
  kPriority = 0,
  kDeadline = 1,  // the earliest deadline, whatever the priority
  kRate = 2,      // the shortest period; what has none comes last
};

struct GroupSettings {
  uint32_t parallel = 1;  // tasks that run at once
  StartOrder order = StartOrder::kPriority;
  GroupHold paused;   // nothing starts, what runs goes on
  GroupHold drained;  // nothing is submitted any more, what is queued runs
  OverloadPolicy overload = OverloadPolicy::kQueue;
  uint32_t queued_max = 0;  // 0: no bound of its own
  // What running tasks may have together, by their TaskLimits; 0: any amount.
  uint64_t memory_bytes_max = 0;
  uint32_t cpu_millis_max = 0;
};

struct GroupRecord {
  std::string name;
  GroupSettings settings;
  uint32_t queued = 0;
  uint32_t running = 0;
  uint64_t memory_bytes_used = 0;  // declared by those that run
  uint64_t cpu_millis_used = 0;
};

// A lock or a counted resource.
struct ResourceRecord {
  std::string name;
  bool lock = false;
  uint32_t capacity = 1;
  uint32_t used = 0;
  std::vector<uint64_t> holders;  // running tasks, by their order
};

// The command as one text, for people: cut between characters to at most `bytes_max`, with an
// ellipsis besides.
std::string command_text(const TaskSpec& spec, size_t bytes_max);

}  // namespace zsync::daemon
