// The stored form of a specification: version byte, then tagged fields.
//
//   field   tag:u8 size:u32 bytes, little endian; unknown tags are skipped, a tag is never reused
#include <bit>
#include <cstring>

#include "daemon/tasks/task.hpp"

namespace zsync::daemon {
namespace {

constexpr char kVersion = 1;

enum Tag : uint8_t {
  kArgument = 1,
  kShell,
  kCwd,
  kEnvName,
  kEnvValue,
  kClearEnv,
  kStdin,
  kStdinStream,
  kName,
  kLabelName,
  kLabelValue,
  kGroup,
  kPriority,
  kTimeout,
  kKillGrace,
  kRetries,
  kIdempotencyKey,
  kKeepChildren,
  kTraceparent,
  kRetryPolicy,  // has none of the fields below, and comes before them
  kRetryBackoff,
  kRetryFactor,
  kRetryBackoffMax,
  kRetryNoJitter,
  kRetryOnExitCode,
  kRetryOnOther,  // bits: 1 timeout, 2 signal
  kRetryNotOnExitCode,
  kRetryNotOnOther,
  kRetryLost,
  kAfterTask,
  kAfterCondition,  // of the task before it
  kDelay,
  kStartAt,
  kLock,
  kResource,
  kResourceAmount,  // of the resource before it
  kStartDeadline,
  kStartDeadlineAt,
  kDeadline,
  kDeadlineAt,
  kArrayId,
  kArrayIndex,
  kArraySize,
  kArrayAxis,
  kArrayValue,  // of the axis before it
  kNice = 60,
  kIoClass,
  kIoLevel,
  kMemoryBytes,
  kCpuMillis,
  kProcesses,
  kIoWeight,
  kTerminalRows,
  kTerminalColumns,
  kFunctionName = 80,  // has none of the fields below, and comes before them
  kFunctionPayload,
  kFunctionContentType,
  kFunctionWaitForWorker,
  kPeriod = 90,
  kMatcher = 100,
};

class Encoder {
 public:
  void text(Tag tag, std::string_view value) {
    const uint32_t size = static_cast<uint32_t>(value.size());
    bytes_.push_back(static_cast<char>(tag));
    bytes_.append(reinterpret_cast<const char*>(&size), sizeof size);
    bytes_.append(value);
  }
  void text_if(Tag tag, std::string_view value) {
    if (!value.empty()) text(tag, value);
  }
  void number(Tag tag, int64_t value) {
    text(tag, {reinterpret_cast<const char*>(&value), sizeof value});
  }
  void number_if(Tag tag, int64_t value) {
    if (value != 0) number(tag, value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_{kVersion};
};

int64_t number_of(std::string_view bytes) {
  int64_t value = 0;
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

struct Decoding {
  TaskSpec spec;
  std::shared_ptr<RetryPolicy> retry;
  std::shared_ptr<TaskArray> array;
  Environment::Variables env;
  std::shared_ptr<FunctionCall> function;
  std::string pending_name;  // of the variable or label whose value comes next
};

int64_t others_of(const RetryCondition& condition) {
  return (condition.timeout ? 1 : 0) | (condition.signal ? 2 : 0);
}

void set_others(RetryCondition& condition, std::string_view value) {
  condition.timeout = (number_of(value) & 1) != 0;
  condition.signal = (number_of(value) & 2) != 0;
}

// False: none of these.
bool take_retry_field(Decoding& decoding, uint8_t tag, std::string_view value) {
  if (tag == kRetryPolicy) {
    decoding.retry = std::make_shared<RetryPolicy>();
    decoding.spec.retry = decoding.retry;
    return true;
  }
  if (!decoding.retry) return false;
  RetryPolicy& retry = *decoding.retry;
  switch (tag) {
    case kRetryBackoff:
      retry.backoff_ms = static_cast<uint64_t>(number_of(value));
      return true;
    case kRetryFactor:
      retry.factor = std::bit_cast<double>(number_of(value));
      return true;
    case kRetryBackoffMax:
      retry.backoff_max_ms = static_cast<uint64_t>(number_of(value));
      return true;
    case kRetryNoJitter:
      retry.jitter = number_of(value) == 0;
      return true;
    case kRetryOnExitCode:
      retry.on.exit_codes.push_back(static_cast<int32_t>(number_of(value)));
      return true;
    case kRetryOnOther:
      set_others(retry.on, value);
      return true;
    case kRetryNotOnExitCode:
      retry.not_on.exit_codes.push_back(static_cast<int32_t>(number_of(value)));
      return true;
    case kRetryNotOnOther:
      set_others(retry.not_on, value);
      return true;
    default:
      return false;
  }
}

void put_retry(Encoder& out, const RetryPolicy& retry) {
  out.number(kRetryPolicy, 1);
  out.number(kRetryBackoff, static_cast<int64_t>(retry.backoff_ms));
  out.number(kRetryFactor, std::bit_cast<int64_t>(retry.factor));
  out.number(kRetryBackoffMax, static_cast<int64_t>(retry.backoff_max_ms));
  out.number_if(kRetryNoJitter, !retry.jitter);
  for (int32_t code : retry.on.exit_codes) out.number(kRetryOnExitCode, code);
  out.number_if(kRetryOnOther, others_of(retry.on));
  for (int32_t code : retry.not_on.exit_codes) out.number(kRetryNotOnExitCode, code);
  out.number_if(kRetryNotOnOther, others_of(retry.not_on));
}

// False: none of these.
bool take_machine_field(TaskSpec& spec, uint8_t tag, std::string_view value) {
  switch (tag) {
    case kNice:
      spec.priorities.nice = static_cast<int32_t>(number_of(value));
      return true;
    case kIoClass:
      spec.priorities.io_class = static_cast<IoClass>(number_of(value));
      return true;
    case kIoLevel:
      spec.priorities.io_level = static_cast<uint32_t>(number_of(value));
      return true;
    case kMemoryBytes:
      spec.limits.memory_bytes = static_cast<uint64_t>(number_of(value));
      return true;
    case kCpuMillis:
      spec.limits.cpu_millis = static_cast<uint32_t>(number_of(value));
      return true;
    case kProcesses:
      spec.limits.processes = static_cast<uint64_t>(number_of(value));
      return true;
    case kIoWeight:
      spec.limits.io_weight = static_cast<uint32_t>(number_of(value));
      return true;
    case kTerminalRows:
      spec.terminal.rows = static_cast<uint16_t>(number_of(value));
      return true;
    case kTerminalColumns:
      spec.terminal.columns = static_cast<uint16_t>(number_of(value));
      return true;
    default:
      return false;
  }
}

void put_machine(Encoder& out, const TaskPriorities& priorities, const TaskLimits& limits) {
  out.number_if(kNice, priorities.nice);
  out.number_if(kIoClass, static_cast<int64_t>(priorities.io_class));
  out.number_if(kIoLevel, priorities.io_level);
  out.number_if(kMemoryBytes, static_cast<int64_t>(limits.memory_bytes));
  out.number_if(kCpuMillis, limits.cpu_millis);
  out.number_if(kProcesses, static_cast<int64_t>(limits.processes));
  out.number_if(kIoWeight, limits.io_weight);
}

void take_order_field(TaskSpec& spec, uint8_t tag, std::string_view value) {
  switch (tag) {
    case kAfterTask:
      spec.after.push_back({std::string(value), DependencyCondition::kOk});
      break;
    case kAfterCondition:
      if (!spec.after.empty()) {
        spec.after.edit().back().condition = static_cast<DependencyCondition>(number_of(value));
      }
      break;
    case kPeriod:
      spec.period_ms = static_cast<uint64_t>(number_of(value));
      break;
    case kDelay:
      spec.delay_ms = static_cast<uint64_t>(number_of(value));
      break;
    case kStartAt:
      spec.start_at_unix_nano = number_of(value);
      break;
    case kMatcher:
      spec.matchers.edit().emplace_back(value);
      break;
    case kLock:
      spec.locks.edit().emplace_back(value);
      break;
    case kResource:
      spec.resources.push_back({std::string(value), 1});
      break;
    case kResourceAmount:
      if (!spec.resources.empty()) {
        spec.resources.edit().back().amount = static_cast<uint32_t>(number_of(value));
      }
      break;
    case kStartDeadline:
      spec.start_deadline_ms = static_cast<uint64_t>(number_of(value));
      break;
    case kStartDeadlineAt:
      spec.start_deadline_unix_nano = number_of(value);
      break;
    case kDeadline:
      spec.deadline_ms = static_cast<uint64_t>(number_of(value));
      break;
    case kDeadlineAt:
      spec.deadline_unix_nano = number_of(value);
      break;
    default:
      break;
  }
}

// False: none of these.
bool take_array_field(Decoding& decoding, uint8_t tag, std::string_view value) {
  if (tag == kArrayId) {
    decoding.array = std::make_shared<TaskArray>();
    decoding.array->id = value;
    decoding.spec.array = decoding.array;
    return true;
  }
  if (!decoding.array) return false;
  switch (tag) {
    case kArrayIndex:
      decoding.array->index = number_of(value);
      return true;
    case kArraySize:
      decoding.array->size = static_cast<uint32_t>(number_of(value));
      return true;
    case kArrayAxis:
      decoding.pending_name = value;
      return true;
    case kArrayValue:
      decoding.array->values[decoding.pending_name] = value;
      return true;
    default:
      return false;
  }
}

// False: none of these.
bool take_function_field(Decoding& decoding, uint8_t tag, std::string_view value) {
  if (tag == kFunctionName) {
    decoding.function = std::make_shared<FunctionCall>();
    decoding.function->name = value;
    decoding.spec.function = decoding.function;
    return true;
  }
  if (!decoding.function) return false;
  switch (tag) {
    case kFunctionPayload:
      decoding.function->payload = value;
      decoding.function->payload_bytes = value.size();
      return true;
    case kFunctionContentType:
      decoding.function->content_type = value;
      return true;
    case kFunctionWaitForWorker:
      decoding.function->wait_for_worker = number_of(value) != 0;
      return true;
    default:
      return false;
  }
}

void take_field(Decoding& decoding, uint8_t tag, std::string_view value) {
  TaskSpec& spec = decoding.spec;
  switch (tag) {
    case kArgument:
      spec.argv.emplace_back(value);
      break;
    case kShell:
      spec.shell = value;
      break;
    case kCwd:
      spec.cwd = value;
      break;
    case kEnvName:
    case kLabelName:
      decoding.pending_name = value;
      break;
    case kEnvValue:
      decoding.env[decoding.pending_name] = value;
      break;
    case kLabelValue:
      spec.labels.edit()[decoding.pending_name] = value;
      break;
    case kClearEnv:
      spec.replace_env = number_of(value) != 0;
      break;
    case kStdin:
      spec.stdin_bytes = value;
      break;
    case kStdinStream:
      spec.stdin_stream = number_of(value) != 0;
      break;
    case kName:
      spec.name = value;
      break;
    case kGroup:
      spec.group = value;
      break;
    case kPriority:
      spec.priority = static_cast<int32_t>(number_of(value));
      break;
    case kTimeout:
      spec.timeout_ms = static_cast<uint64_t>(number_of(value));
      break;
    case kKillGrace:
      spec.kill_grace_ms = static_cast<uint64_t>(number_of(value));
      break;
    case kRetries:
      spec.retries = static_cast<uint32_t>(number_of(value));
      break;
    case kIdempotencyKey:
      spec.idempotency_key = value;
      break;
    case kKeepChildren:
      spec.keep_children = number_of(value) != 0;
      break;
    case kTraceparent:
      spec.traceparent = value;
      break;
    case kRetryLost:
      spec.retry_lost = number_of(value) != 0;
      break;
    default:
      if (take_retry_field(decoding, tag, value) || take_array_field(decoding, tag, value) ||
          take_function_field(decoding, tag, value)) {
        break;
      }
      if (!take_machine_field(spec, tag, value)) take_order_field(spec, tag, value);
      break;
  }
}

}  // namespace

std::string encode_task_spec(const TaskSpec& spec) {
  Encoder out;
  for (const std::string& argument : spec.argv) out.text(kArgument, argument);
  out.text_if(kShell, *spec.shell);
  out.text_if(kCwd, spec.cwd);
  for (const auto& [name, value] : spec.env) {
    out.text(kEnvName, name);
    out.text(kEnvValue, value);
  }
  out.number_if(kClearEnv, spec.replace_env);
  out.text_if(kStdin, *spec.stdin_bytes);
  out.number_if(kStdinStream, spec.stdin_stream);
  out.text_if(kName, spec.name);
  for (const auto& [name, value] : spec.labels) {
    out.text(kLabelName, name);
    out.text(kLabelValue, value);
  }
  out.text_if(kGroup, spec.group);
  out.number_if(kPriority, spec.priority);
  out.number_if(kTimeout, static_cast<int64_t>(spec.timeout_ms));
  if (spec.kill_grace_ms) out.number(kKillGrace, static_cast<int64_t>(*spec.kill_grace_ms));
  out.number_if(kRetries, spec.retries);
  out.text_if(kIdempotencyKey, *spec.idempotency_key);
  out.number_if(kKeepChildren, spec.keep_children);
  out.text_if(kTraceparent, spec.traceparent);
  if (spec.retry) put_retry(out, *spec.retry);
  out.number_if(kRetryLost, spec.retry_lost);
  for (const TaskDependency& dependency : spec.after) {
    out.text(kAfterTask, dependency.task);
    out.number(kAfterCondition, static_cast<int64_t>(dependency.condition));
  }
  out.number_if(kPeriod, static_cast<int64_t>(spec.period_ms));
  out.number_if(kDelay, static_cast<int64_t>(spec.delay_ms));
  out.number_if(kStartAt, spec.start_at_unix_nano);
  for (const std::string& lock : spec.locks) out.text(kLock, lock);
  for (const ResourceNeed& need : spec.resources) {
    out.text(kResource, need.name);
    out.number(kResourceAmount, need.amount);
  }
  out.number_if(kStartDeadline, static_cast<int64_t>(spec.start_deadline_ms));
  out.number_if(kStartDeadlineAt, spec.start_deadline_unix_nano);
  out.number_if(kDeadline, static_cast<int64_t>(spec.deadline_ms));
  out.number_if(kDeadlineAt, spec.deadline_unix_nano);
  if (spec.array) {
    out.text(kArrayId, spec.array->id);
    out.number(kArrayIndex, spec.array->index);
    out.number(kArraySize, spec.array->size);
    for (const auto& [axis, value] : spec.array->values) {
      out.text(kArrayAxis, axis);
      out.text(kArrayValue, value);
    }
  }
  put_machine(out, spec.priorities, spec.limits);
  out.number_if(kTerminalRows, spec.terminal.rows);
  out.number_if(kTerminalColumns, spec.terminal.columns);
  if (spec.function) {
    out.text(kFunctionName, spec.function->name);
    out.text_if(kFunctionPayload, spec.function->payload);
    out.text_if(kFunctionContentType, spec.function->content_type);
    out.number_if(kFunctionWaitForWorker, spec.function->wait_for_worker);
  }
  for (const std::string& matcher : spec.matchers) out.text(kMatcher, matcher);
  return out.take();
}

std::optional<TaskSpec> decode_task_spec(std::string_view bytes) {
  if (bytes.empty() || bytes[0] != kVersion) return std::nullopt;
  bytes.remove_prefix(1);
  Decoding decoding;
  while (!bytes.empty()) {
    uint32_t size = 0;
    if (bytes.size() < 1 + sizeof size) return std::nullopt;
    const uint8_t tag = static_cast<uint8_t>(bytes[0]);
    std::memcpy(&size, bytes.data() + 1, sizeof size);
    bytes.remove_prefix(1 + sizeof size);
    if (bytes.size() < size) return std::nullopt;
    take_field(decoding, tag, bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  decoding.spec.env = Environment(std::move(decoding.env));
  return std::move(decoding.spec);
}

}  // namespace zsync::daemon
