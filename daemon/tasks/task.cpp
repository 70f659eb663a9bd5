#include "daemon/tasks/task.hpp"

#include <sys/stat.h>

#include <cctype>
#include <cstring>
#include <set>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/diagnostics/diagnostics.hpp"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

absl::Status invalid(std::string field, std::string message, std::string hint,
                     std::string limit = "") {
  return fault(absl::StatusCode::kInvalidArgument, std::move(message),
               {std::move(field),
                limit.empty() ? "INVALID" : "LIMIT",
                std::move(limit),
                std::move(hint),
                {}});
}

absl::Status too_big(std::string field, size_t is, const char* limit, size_t max,
                     const char* hint) {
  return invalid(field, absl::StrCat(field, " has ", is, " bytes, the limit is ", max), hint,
                 absl::StrCat(limit, " = ", max));
}

bool has_nul(absl::string_view text) { return text.find('\0') != absl::string_view::npos; }

absl::Status check_word(const char* field, absl::string_view word) {
  if (word.size() > kNameBytesMax) {
    return too_big(field, word.size(), "name_bytes_max", kNameBytesMax, "choose a shorter one");
  }
  for (unsigned char c : word) {
    if (c < 0x20 || c == 0x7f || c == '/') {
      return invalid(field,
                     absl::StrCat(field, " \"", absl::CHexEscape(word),
                                  "\" has a slash or a control character"),
                     "use letters, digits, dots, dashes, spaces");
    }
  }
  return absl::OkStatus();
}

// A call has a worker instead of a process.
absl::Status check_call(const TaskSpec& spec) {
  if (!spec.argv.empty() || !spec.shell.empty()) {
    return invalid("spec.function", "both a command and a function are given", "choose one");
  }
  const TaskLimits& limits = spec.limits;
  const bool limited = limits.memory_bytes != 0 || limits.cpu_millis != 0 ||
                       limits.processes != 0 || limits.io_weight != 0;
  for (const auto& [field, given] :
       {std::pair<const char*, bool>{"spec.stdin", !spec.stdin_bytes.empty()},
        {"spec.stdin_stream", spec.stdin_stream},
        {"spec.terminal", spec.terminal.rows != 0},
        {"spec.limits", limited}}) {
    if (!given) continue;
    return invalid(field, absl::StrCat(field, " is for commands: a function runs in its worker"),
                   "leave it out; what the function needs goes into its payload");
  }
  return validate(*spec.function);
}

absl::Status check_command(const TaskSpec& spec) {
  if (spec.function) return check_call(spec);
  if (spec.argv.empty() == spec.shell.empty()) {
    return invalid(
        "spec.argv",
        spec.argv.empty() ? "there is no command" : "both argv and a shell line are given",
        "give a command after --, or one shell line with -c, or a function to call");
  }
  if (!spec.argv.empty() && spec.argv[0].empty()) {
    return invalid("spec.argv", "the command's name is empty", "give a program after --");
  }
  size_t total = spec.shell.size();
  if (has_nul(*spec.shell))
    return invalid("spec.shell", "the shell line has a NUL byte", "remove it");
  for (const std::string& argument : spec.argv) {
    if (has_nul(argument)) return invalid("spec.argv", "an argument has a NUL byte", "remove it");
    if (argument.size() > kArgumentBytesMax) {
      return too_big("spec.argv", argument.size(), "argument_bytes_max", kArgumentBytesMax,
                     "pass the text on stdin or in a file");
    }
    total += argument.size() + 1;
  }
  if (total > kArgumentsBytesMax) {
    return too_big("spec.argv", total, "arguments_bytes_max", kArgumentsBytesMax,
                   "pass the text on stdin or in a file");
  }
  return absl::OkStatus();
}

absl::Status check_environment(const TaskSpec& spec) {
  size_t total = 0;
  for (const auto& [name, value] : spec.env) {
    if (name.empty() || name.find('=') != std::string::npos || has_nul(name) || has_nul(value)) {
      return invalid("spec.env",
                     absl::StrCat("the variable name \"", absl::CHexEscape(name),
                                  "\" is empty, or it or its value has '=' or a NUL byte"),
                     "name variables as NAME=VALUE");
    }
    const size_t size = name.size() + value.size() + 2;
    if (size > kEnvironmentStringBytesMax) {
      return invalid("spec.env",
                     absl::StrCat("the variable ", name, " has ", size, " bytes, the limit is ",
                                  kEnvironmentStringBytesMax),
                     "pass the text on stdin or in a file",
                     absl::StrCat("environment_string_bytes_max = ", kEnvironmentStringBytesMax));
    }
    total += size;
  }
  if (total > kEnvironmentBytesMax) {
    return too_big("spec.env", total, "environment_bytes_max", kEnvironmentBytesMax,
                   "pass fewer variables");
  }
  return absl::OkStatus();
}

absl::Status check_directory(const std::string& cwd) {
  if (cwd.empty()) return absl::OkStatus();
  if (cwd[0] != '/' || has_nul(cwd)) {
    return invalid("spec.cwd", absl::StrCat("cwd \"", absl::CHexEscape(cwd), "\" is not absolute"),
                   "give the whole path");
  }
  struct stat info{};
  if (stat(cwd.c_str(), &info) != 0) {
    return invalid("spec.cwd", absl::StrCat("cwd \"", cwd, "\": ", std::strerror(errno)),
                   "give a directory that exists");
  }
  if (!S_ISDIR(info.st_mode)) {
    return invalid("spec.cwd", absl::StrCat("cwd \"", cwd, "\" is not a directory"),
                   "give a directory");
  }
  return absl::OkStatus();
}

absl::Status check_words(const TaskSpec& spec) {
  for (const auto& [field, word] :
       {std::pair<const char*, const std::string&>{"spec.name", spec.name},
        {"spec.group", spec.group},
        {"spec.idempotency_key", spec.idempotency_key}}) {
    if (absl::Status status = check_word(field, word); !status.ok()) return status;
  }
  if (spec.labels.size() > kLabelsMax) {
    return invalid("spec.labels", absl::StrCat("there are ", spec.labels.size(), " labels"),
                   "use fewer labels", absl::StrCat("labels_max = ", kLabelsMax));
  }
  for (const auto& [key, value] : spec.labels) {
    if (key.empty()) return invalid("spec.labels", "a label has no name", "write -l NAME=VALUE");
    for (const std::string& word : {key, value}) {
      if (absl::Status status = check_word("spec.labels", word); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status check_order(const TaskSpec& spec) {
  if (spec.after.size() > kAfterMax) {
    return invalid("spec.after", absl::StrCat("it waits for ", spec.after.size(), " tasks"),
                   "wait for fewer, or for one that waits for them",
                   absl::StrCat("after_max = ", kAfterMax));
  }
  if (spec.locks.size() > kLocksMax) {
    return invalid("spec.locks", absl::StrCat("it needs ", spec.locks.size(), " locks"),
                   "use fewer locks", absl::StrCat("locks_max = ", kLocksMax));
  }
  std::set<std::string> seen;
  for (const std::string& name : spec.locks) {
    if (absl::Status status = check_word("spec.locks", name); !status.ok()) return status;
    if (name.empty() || !seen.insert(name).second) {
      return invalid("spec.locks",
                     name.empty() ? "a lock has no name"
                                  : absl::StrCat("the lock \"", name, "\" is named twice"),
                     "name each lock once");
    }
  }
  for (const auto& [field, ms] : {std::pair<const char*, uint64_t>{"delay", spec.delay_ms},
                                  {"start_deadline", spec.start_deadline_ms},
                                  {"deadline", spec.deadline_ms}}) {
    if (ms <= kTimeoutMsMax) continue;
    return invalid(absl::StrCat("spec.", field), absl::StrCat(field, " is at most 366 days"),
                   "give a shorter one", absl::StrCat("timeout_ms_max = ", kTimeoutMsMax));
  }
  return absl::OkStatus();
}

absl::Status check_matchers(const TaskSpec& spec) {
  if (spec.matchers.size() > kMatchersMax) {
    return invalid("spec.matchers", absl::StrCat("it has ", spec.matchers.size(), " matchers"),
                   "name those of the tools that it runs",
                   absl::StrCat("matchers_max = ", kMatchersMax));
  }
  if (!spec.matchers.empty() && spec.function) {
    return invalid("spec.matchers", "a function call has no output to match", "leave them out");
  }
  std::set<MatcherKind> seen;
  for (const std::string& name : spec.matchers) {
    const absl::StatusOr<MatcherKind> kind = matcher_of(name, "spec.matchers");
    if (!kind.ok()) return kind.status();
    if (!seen.insert(*kind).second) {
      return invalid("spec.matchers", absl::StrCat("the matcher \"", name, "\" is there twice"),
                     "name each matcher once");
    }
  }
  return absl::OkStatus();
}

absl::Status check_resources(const TaskSpec& spec) {
  if (spec.resources.size() > kResourcesMax) {
    return invalid("spec.resources", absl::StrCat("it needs ", spec.resources.size(), " resources"),
                   "use fewer resources", absl::StrCat("resources_max = ", kResourcesMax));
  }
  std::set<std::string> seen;
  for (const auto& [name, amount] : spec.resources) {
    if (absl::Status status = check_word("spec.resources", name); !status.ok()) return status;
    if (name.empty() || !seen.insert(name).second) {
      return invalid("spec.resources",
                     name.empty() ? "a resource has no name"
                                  : absl::StrCat("the resource \"", name, "\" is named twice"),
                     "name each resource once, as in gpu:2");
    }
    if (amount == 0 || amount > kResourceCapacityMax) {
      return invalid("spec.resources", absl::StrCat("it needs ", amount, " of \"", name, "\""),
                     absl::StrCat("ask for 1 to ", kResourceCapacityMax),
                     absl::StrCat("capacity_max = ", kResourceCapacityMax));
    }
  }
  return absl::OkStatus();
}

absl::Status check_numbers(const TaskSpec& spec) {
  if (spec.priority > kPriorityMax || spec.priority < -kPriorityMax) {
    return invalid("spec.priority", absl::StrCat("priority ", spec.priority, " is out of range"),
                   "use -1000 to 1000", absl::StrCat("priority_max = ", kPriorityMax));
  }
  if (spec.retries > kRetriesMax) {
    return invalid("spec.retries", absl::StrCat(spec.retries, " retries are too many"),
                   "use at most 100", absl::StrCat("retries_max = ", kRetriesMax));
  }
  if (spec.retry) {
    if (absl::Status status = validate(*spec.retry); !status.ok()) return status;
  }
  for (uint64_t ms : {spec.timeout_ms, spec.kill_grace_ms.value_or(0)}) {
    if (ms > kTimeoutMsMax) {
      return invalid("spec.timeout", "timeout and kill_grace are at most 366 days",
                     "give a shorter one", absl::StrCat("timeout_ms_max = ", kTimeoutMsMax));
    }
  }
  if (spec.stdin_bytes.size() > kStdinBytesMax) {
    return too_big("spec.stdin", spec.stdin_bytes.size(), "stdin_bytes_max", kStdinBytesMax,
                   "stream it: submit with stdin_stream and send Input");
  }
  if (spec.stdin_stream && !spec.stdin_bytes.empty()) {
    return invalid("spec.stdin", "both stdin bytes and stdin_stream are given", "choose one");
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view state_name(TaskState state) {
  switch (state) {
    case TaskState::kQueued:
      return "queued";
    case TaskState::kRunning:
      return "running";
    case TaskState::kSucceeded:
      return "succeeded";
    case TaskState::kFailed:
      return "failed";
    case TaskState::kSignaled:
      return "signaled";
    case TaskState::kTimedOut:
      return "timed_out";
    case TaskState::kCanceled:
      return "canceled";
    case TaskState::kLost:
      return "lost";
    case TaskState::kSkipped:
      return "skipped";
  }
  return "unknown";
}

absl::string_view overload_name(OverloadPolicy policy) {
  switch (policy) {
    case OverloadPolicy::kQueue:
      return "queue";
    case OverloadPolicy::kReject:
      return "reject";
    case OverloadPolicy::kShed:
      return "shed";
  }
  return "unknown";
}

std::optional<TaskAttempt> newest_attempt(const TaskRecord& record) {
  const bool known = !record.attempts.empty() && record.attempts.back().attempt >= record.attempt;
  if (record.attempt == 0 || known || record.state == TaskState::kQueued) return std::nullopt;
  return TaskAttempt{record.attempt,
                     record.state,
                     record.exit_code,
                     record.signal,
                     record.reason,
                     record.started_unix_nano,
                     record.finished_unix_nano,
                     record.output_bytes,
                     record.output_records,
                     record.usage};
}

absl::Status validate(const TaskSpec& spec) {
  for (auto check : {check_command, check_environment, check_words, check_order, check_resources,
                     check_matchers, check_numbers}) {
    if (absl::Status status = check(spec); !status.ok()) return status;
  }
  if (spec.terminal.rows != 0 && !spec.stdin_bytes.empty()) {
    return invalid("spec.stdin", "a command on a terminal reads its keyboard, not stdin bytes",
                   "type them with Input, or leave the terminal out");
  }
  if (absl::Status status = validate(spec.priorities); !status.ok()) return status;
  if (absl::Status status = validate(spec.limits); !status.ok()) return status;
  return check_directory(spec.cwd);
}

absl::Status validate_template(const TaskSpec& task) {
  const std::pair<const char*, bool> refused[] = {
      {"idempotency_key", !task.idempotency_key.empty()},
      {"after", !task.after.empty()},
      {"start_at_unix_nano", task.start_at_unix_nano != 0},
      {"start_deadline_unix_nano", task.start_deadline_unix_nano != 0},
      {"deadline_unix_nano", task.deadline_unix_nano != 0},
      {"stdin_stream", task.stdin_stream},
  };
  for (const auto& [field, given] : refused) {
    if (!given) continue;
    return invalid(
        "spec.task", absl::StrCat("spec.task.", field, " makes sense for one run only"),
        absl::StrCat("leave ", field, " out; durations count from each run, as in deadline 10m"));
  }
  return absl::OkStatus();
}

const std::string& group_of(const TaskSpec& spec) {
  static const std::string kDefault = "default";
  static const std::string kFunctions = kFunctionsGroup;
  return !spec.group.empty() ? spec.group : spec.function ? kFunctions : kDefault;
}

std::string command_text(const TaskSpec& spec, size_t bytes_max) {
  std::string text = spec.shell.empty() ? absl::StrJoin(spec.argv, " ") : *spec.shell;
  if (spec.function) {
    text = absl::StrCat(spec.function->name, "(", spec.function->payload_bytes, " bytes)");
  }
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text + "…";
}

}  // namespace zsync::daemon
