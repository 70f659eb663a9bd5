#include "daemon/tasks/tasks_proto.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "daemon/tasks/deadlines.hpp"
#include "daemon/tasks/functions_proto.hpp"

namespace zsync::daemon {
namespace {

void set_duration(google::protobuf::Duration& duration, uint64_t ms) {
  duration.set_seconds(static_cast<int64_t>(ms / 1000));
  duration.set_nanos(static_cast<int32_t>(ms % 1000 * 1'000'000));
}

void set_condition(v1::RetryCondition& proto, const RetryCondition& condition) {
  for (int32_t code : condition.exit_codes) proto.add_exit_codes(code);
  proto.set_timeout(condition.timeout);
  proto.set_signal(condition.signal);
}

void set_retry(v1::RetryPolicy& proto, const RetryPolicy& retry) {
  set_duration(*proto.mutable_backoff(), retry.backoff_ms);
  proto.set_factor(retry.factor);
  set_duration(*proto.mutable_backoff_max(), retry.backoff_max_ms);
  proto.set_jitter(retry.jitter ? v1::JITTER_FULL : v1::JITTER_NONE);
  if (!retry.on.empty()) set_condition(*proto.mutable_on(), retry.on);
  if (!retry.not_on.empty()) set_condition(*proto.mutable_not_on(), retry.not_on);
}

RetryCondition condition_of(const v1::RetryCondition& proto) {
  return {{proto.exit_codes().begin(), proto.exit_codes().end()}, proto.timeout(), proto.signal()};
}

absl::StatusOr<std::shared_ptr<const RetryPolicy>> retry_of(const v1::RetryPolicy& proto) {
  auto retry = std::make_shared<RetryPolicy>();
  if (proto.has_backoff()) {
    absl::StatusOr<uint64_t> ms = to_ms(proto.backoff(), "spec.retry.backoff");
    if (!ms.ok()) return ms.status();
    retry->backoff_ms = *ms;
  }
  if (proto.factor() != 0) retry->factor = proto.factor();
  if (proto.has_backoff_max()) {
    absl::StatusOr<uint64_t> ms = to_ms(proto.backoff_max(), "spec.retry.backoff_max");
    if (!ms.ok()) return ms.status();
    retry->backoff_max_ms = *ms;
  }
  retry->jitter = proto.jitter() != v1::JITTER_NONE;
  retry->on = condition_of(proto.on());
  retry->not_on = condition_of(proto.not_on());
  return retry;
}

void set_microseconds(google::protobuf::Duration& duration, uint64_t us) {
  duration.set_seconds(static_cast<int64_t>(us / 1'000'000));
  duration.set_nanos(static_cast<int32_t>(us % 1'000'000 * 1000));
}

void set_usage(v1::TaskUsage& proto, const shim::Usage& usage) {
  set_microseconds(*proto.mutable_cpu_user(), usage.cpu_user_us);
  set_microseconds(*proto.mutable_cpu_system(), usage.cpu_system_us);
  proto.set_memory_peak_bytes(usage.memory_peak_bytes);
  proto.set_io_read_bytes(usage.io_read_bytes);
  proto.set_io_written_bytes(usage.io_written_bytes);
  proto.set_memory_is_tree(usage.memory_is_tree);
}

// A command that ran has had some memory.
bool is_known(const shim::Usage& usage) { return usage.memory_peak_bytes != 0; }

void set_machine(v1::TaskSpec& proto, const TaskSpec& spec) {
  proto.set_nice(spec.priorities.nice);
  proto.set_io_class(static_cast<v1::IoClass>(spec.priorities.io_class));
  proto.set_io_level(spec.priorities.io_level);
  if (spec.terminal.rows != 0) {
    proto.mutable_terminal()->set_rows(spec.terminal.rows);
    proto.mutable_terminal()->set_columns(spec.terminal.columns);
  }
  const TaskLimits& limits = spec.limits;
  if (limits.memory_bytes == 0 && limits.cpu_millis == 0 && limits.processes == 0 &&
      limits.io_weight == 0) {
    return;
  }
  proto.mutable_limits()->set_memory_bytes(limits.memory_bytes);
  proto.mutable_limits()->set_cpu_millis(limits.cpu_millis);
  proto.mutable_limits()->set_processes(limits.processes);
  proto.mutable_limits()->set_io_weight(limits.io_weight);
}

absl::Status take_machine(const v1::TaskSpec& proto, TaskSpec& spec) {
  if (!v1::IoClass_IsValid(proto.io_class())) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("there is no io class ", static_cast<int>(proto.io_class())),
                 {"spec.io_class", "INVALID", "", "give best effort or idle, or none", {}});
  }
  if (proto.has_terminal()) {
    absl::StatusOr<shim::TerminalSize> size = to_terminal_size(proto.terminal(), "spec.terminal");
    if (!size.ok()) return size.status();
    spec.terminal = *size;
  }
  spec.priorities = {proto.nice(), static_cast<IoClass>(proto.io_class()), proto.io_level()};
  spec.limits = {proto.limits().memory_bytes(), proto.limits().cpu_millis(),
                 proto.limits().processes(), proto.limits().io_weight()};
  return absl::OkStatus();
}

void set_spec(v1::TaskSpec& proto, const TaskSpec& spec) {
  for (const std::string& argument : spec.argv) proto.add_argv(argument);
  proto.set_shell(spec.shell);
  proto.set_cwd(spec.cwd);
  for (const auto& [name, value] : spec.env) (*proto.mutable_env())[name] = value;
  proto.set_replace_env(spec.replace_env);
  proto.set_stdin_stream(spec.stdin_stream);
  proto.set_name(spec.name);
  for (const auto& [name, value] : spec.labels) (*proto.mutable_labels())[name] = value;
  proto.set_group(group_of(spec));
  if (spec.function) to_proto(*spec.function, *proto.mutable_function());
  proto.set_priority(spec.priority);
  if (spec.timeout_ms) set_duration(*proto.mutable_timeout(), spec.timeout_ms);
  if (spec.kill_grace_ms) set_duration(*proto.mutable_kill_grace(), *spec.kill_grace_ms);
  proto.set_retries(spec.retries);
  proto.set_idempotency_key(spec.idempotency_key);
  proto.set_keep_children(spec.keep_children);
  proto.set_traceparent(spec.traceparent);
  if (spec.retry) set_retry(*proto.mutable_retry(), *spec.retry);
  if (spec.retry_lost) proto.set_on_lost(v1::ON_LOST_RETRY);
  for (const TaskDependency& dependency : spec.after) {
    v1::TaskDependency& after = *proto.add_after();
    after.set_task(dependency.task);
    after.set_condition(static_cast<v1::DependencyCondition>(dependency.condition));
  }
  if (spec.delay_ms) set_duration(*proto.mutable_delay(), spec.delay_ms);
  proto.set_start_at_unix_nano(spec.start_at_unix_nano);
  for (const std::string& lock : spec.locks) proto.add_locks(lock);
  set_machine(proto, spec);
  for (const ResourceNeed& need : spec.resources) {
    v1::ResourceNeed& resource = *proto.add_resources();
    resource.set_name(need.name);
    resource.set_amount(need.amount);
  }
  if (spec.start_deadline_ms) {
    set_duration(*proto.mutable_start_deadline(), spec.start_deadline_ms);
  }
  proto.set_start_deadline_unix_nano(spec.start_deadline_unix_nano);
  if (spec.deadline_ms) set_duration(*proto.mutable_deadline(), spec.deadline_ms);
  proto.set_deadline_unix_nano(spec.deadline_unix_nano);
  for (const std::string& matcher : spec.matchers) proto.add_matchers(matcher);
}

// What a task needs, and by when.
absl::Status take_needs(const v1::TaskSpec& proto, TaskSpec& spec) {
  spec.locks = std::vector<std::string>(proto.locks().begin(), proto.locks().end());
  for (const v1::ResourceNeed& need : proto.resources()) {
    spec.resources.push_back({need.name(), need.amount() ? need.amount() : 1});
  }
  if (proto.has_start_deadline()) {
    absl::StatusOr<uint64_t> ms = to_ms(proto.start_deadline(), "spec.start_deadline");
    if (!ms.ok()) return ms.status();
    spec.start_deadline_ms = std::max<uint64_t>(1, *ms);
  }
  if (proto.has_deadline()) {
    absl::StatusOr<uint64_t> ms = to_ms(proto.deadline(), "spec.deadline");
    if (!ms.ok()) return ms.status();
    spec.deadline_ms = std::max<uint64_t>(1, *ms);
  }
  spec.start_deadline_unix_nano = std::max<int64_t>(0, proto.start_deadline_unix_nano());
  spec.deadline_unix_nano = std::max<int64_t>(0, proto.deadline_unix_nano());
  return absl::OkStatus();
}

void set_hold(v1::GroupHold& proto, const GroupHold& hold) {
  proto.set_since_unix_nano(hold.since_unix_nano);
  proto.set_uid(hold.uid);
  proto.set_pid(hold.pid);
}

void add_attempt(v1::Task& task, const TaskAttempt& attempt) {
  v1::TaskAttempt& proto = *task.add_attempts();
  proto.set_attempt(attempt.attempt);
  proto.set_state(static_cast<v1::TaskState>(attempt.state));
  proto.set_exit_code(attempt.exit_code);
  proto.set_signal(attempt.signal);
  proto.set_reason(attempt.reason);
  proto.set_started_unix_nano(attempt.started_unix_nano);
  proto.set_finished_unix_nano(attempt.finished_unix_nano);
  proto.set_output_bytes(attempt.output_bytes);
  proto.set_output_records(attempt.output_records);
  if (is_known(attempt.usage)) set_usage(*proto.mutable_usage(), attempt.usage);
}

}  // namespace

absl::StatusOr<shim::TerminalSize> to_terminal_size(const v1::TerminalSize& size,
                                                    const char* field) {
  if (size.rows() == 0 || size.columns() == 0 || size.rows() > kTerminalSizeMax ||
      size.columns() > kTerminalSizeMax) {
    return fault(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("a terminal of ", size.rows(), " rows and ", size.columns(), " columns"),
        {field,
         "LIMIT",
         absl::StrCat("terminal_size = 1..", kTerminalSizeMax),
         "24 rows and 80 columns do for most programs",
         {}});
  }
  return shim::TerminalSize{static_cast<uint16_t>(size.rows()),
                            static_cast<uint16_t>(size.columns())};
}

absl::StatusOr<uint64_t> to_ms(const google::protobuf::Duration& duration, const char* field) {
  if (duration.seconds() < 0 || duration.nanos() < 0 ||
      static_cast<uint64_t>(duration.seconds()) > kTimeoutMsMax / 1000) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat(field, " is negative or longer than 366 days"),
                 {field,
                  "LIMIT",
                  absl::StrCat("timeout_ms_max = ", kTimeoutMsMax),
                  "give 0 to 366 days",
                  {}});
  }
  const uint64_t whole = static_cast<uint64_t>(duration.seconds()) * 1000;
  return whole + (static_cast<uint64_t>(duration.nanos()) + 999'999) / 1'000'000;
}

namespace {

using ProtoEnvironment = google::protobuf::Map<std::string, std::string>;

bool same(const Environment& environment, const ProtoEnvironment& proto) {
  return environment.variables().size() == proto.size() &&
         std::ranges::all_of(environment, [&proto](const auto& variable) {
           auto found = proto.find(variable.first);
           return found != proto.end() && found->second == variable.second;
         });
}

Environment take_environment(ProtoEnvironment& proto, const Environment& likely) {
  if (same(likely, proto)) return likely;
  Environment::Variables variables;
  for (auto& [name, value] : proto) variables[name] = std::move(value);
  return Environment(std::move(variables));
}

}  // namespace

absl::StatusOr<TaskSpec> from_proto(v1::TaskSpec proto, const Environment& likely) {
  TaskSpec spec;
  spec.argv.reserve(static_cast<size_t>(proto.argv_size()));
  for (std::string& argument : *proto.mutable_argv()) spec.argv.push_back(std::move(argument));
  spec.shell = std::move(*proto.mutable_shell());
  spec.cwd = std::move(*proto.mutable_cwd());
  spec.env = take_environment(*proto.mutable_env(), likely);
  spec.replace_env = proto.replace_env();
  spec.stdin_bytes = std::move(*proto.mutable_stdin());
  spec.stdin_stream = proto.stdin_stream();
  spec.name = std::move(*proto.mutable_name());
  for (auto& [name, value] : *proto.mutable_labels()) spec.labels.edit()[name] = std::move(value);
  spec.group = std::move(*proto.mutable_group());
  spec.priority = proto.priority();
  if (proto.has_timeout()) {
    absl::StatusOr<uint64_t> timeout = to_ms(proto.timeout(), "spec.timeout");
    if (!timeout.ok()) return timeout.status();
    spec.timeout_ms = *timeout;
  }
  if (proto.has_kill_grace()) {
    absl::StatusOr<uint64_t> grace = to_ms(proto.kill_grace(), "spec.kill_grace");
    if (!grace.ok()) return grace.status();
    spec.kill_grace_ms = *grace;
  }
  spec.retries = proto.retries();
  if (proto.has_retry()) {
    absl::StatusOr<std::shared_ptr<const RetryPolicy>> retry = retry_of(proto.retry());
    if (!retry.ok()) return retry.status();
    spec.retry = *std::move(retry);
    if (spec.retries == 0) spec.retries = kRetriesDefault;
  }
  for (v1::TaskDependency& after : *proto.mutable_after()) {
    const bool ok = after.condition() != v1::DEPENDENCY_CONDITION_FAILED &&
                    after.condition() != v1::DEPENDENCY_CONDITION_ANY;
    spec.after.push_back(
        {std::move(*after.mutable_task()),
         ok ? DependencyCondition::kOk : static_cast<DependencyCondition>(after.condition())});
  }
  if (proto.has_delay()) {
    absl::StatusOr<uint64_t> delay = to_ms(proto.delay(), "spec.delay");
    if (!delay.ok()) return delay.status();
    spec.delay_ms = *delay;
  }
  spec.start_at_unix_nano = std::max<int64_t>(0, proto.start_at_unix_nano());
  if (absl::Status status = take_needs(proto, spec); !status.ok()) return status;
  spec.retry_lost = proto.on_lost() == v1::ON_LOST_RETRY;
  spec.idempotency_key = std::move(*proto.mutable_idempotency_key());
  spec.keep_children = proto.keep_children();
  spec.traceparent = std::move(*proto.mutable_traceparent());
  if (absl::Status status = take_machine(proto, spec); !status.ok()) return status;
  if (proto.has_function()) {
    spec.function =
        std::make_shared<const FunctionCall>(from_proto(std::move(*proto.mutable_function())));
  }
  spec.matchers = std::vector<std::string>(proto.matchers().begin(), proto.matchers().end());
  return spec;
}

ArraySpec array_from_proto(const v1::ArraySpec& proto) {
  ArraySpec array;
  array.indexes = proto.indexes();
  for (const v1::MatrixAxis& axis : proto.matrix()) {
    array.matrix.push_back({axis.name(), {axis.values().begin(), axis.values().end()}});
  }
  return array;
}

v1::TaskSpec spec_to_proto(const TaskSpec& spec) {
  v1::TaskSpec proto;
  set_spec(proto, spec);
  return proto;
}

v1::Task to_proto(const TaskRecord& record) {
  v1::Task proto;
  proto.set_id(record.id);
  set_spec(*proto.mutable_spec(), *record.spec);
  proto.set_state(static_cast<v1::TaskState>(record.state));
  proto.set_attempt(record.attempt);
  proto.set_exit_code(record.exit_code);
  proto.set_signal(record.signal);
  proto.set_reason(record.reason);
  proto.set_created_unix_nano(record.created_unix_nano);
  proto.set_started_unix_nano(record.started_unix_nano);
  proto.set_finished_unix_nano(record.finished_unix_nano);
  proto.set_pid(record.pid);
  proto.set_cancel_requested(record.cancel_requested);
  proto.set_output_bytes(record.output_bytes);
  proto.set_output_records(record.output_records);
  proto.set_submitter_uid(record.submitter_uid);
  proto.set_submitter_pid(record.submitter_pid);
  proto.set_not_before_unix_nano(record.not_before_unix_nano);
  if (is_known(record.usage)) set_usage(*proto.mutable_usage(), record.usage);
  proto.set_paused_unix_nano(record.paused_unix_nano);
  proto.set_limits_note(record.limits_note);
  if (record.result) proto.set_result_bytes(record.result->payload_bytes);
  const TaskDeadlines due = deadlines_of(record);
  if (record.attempt == 0) proto.set_start_deadline_unix_nano(due.start);
  proto.set_deadline_unix_nano(due.end);
  if (const auto& array = record.spec->array) {
    v1::ArrayMember& member = *proto.mutable_array();
    member.set_id(array->id);
    member.set_index(array->index);
    member.set_size(array->size);
    member.mutable_values()->insert(array->values.begin(), array->values.end());
  }
  if (record.slack_nano) {
    proto.mutable_slack()->set_seconds(*record.slack_nano / 1'000'000'000);
    proto.mutable_slack()->set_nanos(static_cast<int32_t>(*record.slack_nano % 1'000'000'000));
  }
  return proto;
}

void add_result(v1::Task& proto, const TaskRecord& record) {
  if (record.result && record.result->payload_here) {
    to_proto(*record.result, *proto.mutable_result());
  }
}

v1::Task to_full_proto(const TaskRecord& record) {
  v1::Task proto = to_proto(record);
  add_result(proto, record);
  for (const TaskAttempt& attempt : record.attempts) add_attempt(proto, attempt);
  if (record.attempts.empty()) return proto;
  if (std::optional<TaskAttempt> newest = newest_attempt(record)) add_attempt(proto, *newest);
  return proto;
}

void add_live_usage(v1::Task& proto, const LiveUsage& usage) {
  if (usage.processes == 0) return;
  set_usage(*proto.mutable_usage(), usage.total);
  proto.mutable_usage()->set_memory_bytes(usage.memory_bytes);
  proto.mutable_usage()->set_processes(usage.processes);
}

v1::TaskGroup to_proto(const GroupRecord& group) {
  v1::TaskGroup proto;
  proto.set_name(group.name);
  proto.set_parallel(group.settings.parallel);
  proto.set_queued(group.queued);
  proto.set_running(group.running);
  const GroupSettings& settings = group.settings;
  proto.set_order(static_cast<v1::GroupOrder>(static_cast<int>(settings.order) + 1));
  proto.set_overload(static_cast<v1::OverloadPolicy>(settings.overload));
  proto.set_queued_max(settings.queued_max);
  proto.set_memory_bytes_max(settings.memory_bytes_max);
  proto.set_cpu_millis_max(settings.cpu_millis_max);
  proto.set_memory_bytes_used(group.memory_bytes_used);
  proto.set_cpu_millis_used(group.cpu_millis_used);
  if (settings.paused.on()) set_hold(*proto.mutable_paused(), settings.paused);
  if (settings.drained.on()) set_hold(*proto.mutable_drained(), settings.drained);
  return proto;
}

GroupChange from_proto(const v1::SetGroupRequest& proto) {
  GroupChange change;
  if (proto.parallel() != 0) change.parallel = proto.parallel();
  switch (proto.order()) {
    case v1::GROUP_ORDER_PRIORITY:
    case v1::GROUP_ORDER_DEADLINE:
    case v1::GROUP_ORDER_RATE:
      change.order = static_cast<StartOrder>(proto.order() - 1);
      break;
    default:
      break;
  }
  switch (proto.overload()) {
    case v1::OVERLOAD_POLICY_QUEUE:
    case v1::OVERLOAD_POLICY_REJECT:
    case v1::OVERLOAD_POLICY_SHED:
      change.overload = static_cast<OverloadPolicy>(proto.overload());
      break;
    default:
      break;
  }
  if (proto.has_queued_max()) change.queued_max = proto.queued_max();
  if (proto.has_memory_bytes_max()) change.memory_bytes_max = proto.memory_bytes_max();
  if (proto.has_cpu_millis_max()) change.cpu_millis_max = proto.cpu_millis_max();
  if (proto.has_paused()) change.paused = proto.paused();
  if (proto.has_drained()) change.drained = proto.drained();
  return change;
}

}  // namespace zsync::daemon
