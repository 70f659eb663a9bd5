#include "cli/spec_flags.hpp"

#include <google/protobuf/duration.pb.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/attach.hpp"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/words.hpp"

namespace zsync::cli {
namespace {

void add_retry_flags(Command& app, RetryFlags& flags) {
  app.add_option("--backoff", flags.backoff,
                 "Pause before the second attempt (default 1s); any time up to it is waited")
      ->type_name("TIME");
  app.add_option("--backoff-factor", flags.factor,
                 "How much longer each further pause is: 1..100 (default 2)")
      ->type_name("X")
      ->between(1.0, 100.0);
  app.add_option("--backoff-max", flags.backoff_max, "The longest pause (default 60s)")
      ->type_name("TIME");
  app.add_flag("--no-jitter", flags.no_jitter, "Wait the whole pause each time");
  app.add_option("--retry-on", flags.on,
                 "Try again only after these: exit codes, timeout, signal; as in 75,timeout")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("WHAT");
  app.add_option("--no-retry-on", flags.not_on, "Never after these")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("WHAT");
  app.add_option("--on-lost", flags.on_lost,
                 "What follows when the supervisor is killed or the machine goes down: fail "
                 "(default) or retry")
      ->type_name("WHAT")
      ->one_of({"fail", "retry"});
}

absl::Status set_condition(const std::vector<std::string>& words, const char* flag,
                           v1::RetryCondition& condition) {
  for (const std::string& word : words) {
    int code = 0;
    if (word == "timeout") {
      condition.set_timeout(true);
    } else if (word == "signal") {
      condition.set_signal(true);
    } else if (absl::SimpleAtoi(word, &code)) {
      condition.add_exit_codes(code);
    } else {
      return usage_error(
          absl::StrCat(flag, ": \"", word, "\" is no exit code (1..255), nor timeout nor signal"));
    }
  }
  return absl::OkStatus();
}

absl::Status set_retry(const RetryFlags& flags, v1::TaskSpec& spec) {
  v1::RetryPolicy retry;
  absl::Status set = set_duration(flags.backoff, "--backoff", *retry.mutable_backoff());
  if (!set.ok()) return set;
  if (flags.backoff.empty()) retry.clear_backoff();
  set = set_duration(flags.backoff_max, "--backoff-max", *retry.mutable_backoff_max());
  if (!set.ok()) return set;
  if (flags.backoff_max.empty()) retry.clear_backoff_max();
  retry.set_factor(flags.factor);
  if (flags.no_jitter) retry.set_jitter(v1::JITTER_NONE);
  if (!flags.on.empty()) {
    set = set_condition(flags.on, "--retry-on", *retry.mutable_on());
    if (!set.ok()) return set;
  }
  if (!flags.not_on.empty()) {
    set = set_condition(flags.not_on, "--no-retry-on", *retry.mutable_not_on());
    if (!set.ok()) return set;
  }
  if (retry.ByteSizeLong() > 0) *spec.mutable_retry() = std::move(retry);
  if (flags.on_lost == "retry") spec.set_on_lost(v1::ON_LOST_RETRY);
  return absl::OkStatus();
}

void add_dependency(std::string text, v1::TaskSpec& spec) {
  v1::TaskDependency& dependency = *spec.add_after();
  dependency.set_condition(v1::DEPENDENCY_CONDITION_OK);
  for (const auto& [word, condition] : {std::pair{":ok", v1::DEPENDENCY_CONDITION_OK},
                                        {":failed", v1::DEPENDENCY_CONDITION_FAILED},
                                        {":any", v1::DEPENDENCY_CONDITION_ANY}}) {
    if (!absl::EndsWith(text, word)) continue;
    text.resize(text.size() - std::string_view(word).size());
    dependency.set_condition(condition);
    break;
  }
  dependency.set_task(text);
}

absl::StatusOr<std::int64_t> parse_when(const char* flag, const std::string& text) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return absl::ToUnixNanos(time);
  const absl::TimeZone zone = absl::LocalTimeZone();
  const absl::CivilDay today = absl::ToCivilDay(absl::Now(), zone);
  if (absl::ParseTime("%Y-%m-%d %H:%M", absl::StrCat(absl::FormatCivilTime(today), " ", text), zone,
                      &time, &error)) {
    if (time <= absl::Now()) {
      time += absl::FromCivil(today + 1, zone) - absl::FromCivil(today, zone);
    }
    return absl::ToUnixNanos(time);
  }
  return usage_error(
      absl::StrCat(flag, ": \"", text, "\" is no time: write 2026-12-24T18:00:00Z or 18:00"));
}

// A duration from the submission on, or a time.
absl::StatusOr<std::pair<google::protobuf::Duration, std::int64_t>> parse_deadline(
    const char* flag, const std::string& text) {
  std::pair<google::protobuf::Duration, std::int64_t> deadline;
  if (text.find(':') == std::string::npos) {
    const auto duration = parse_duration(text);
    if (!duration.ok()) {
      return usage_error(absl::StrCat(flag, ": \"", text,
                                      "\" is neither a duration such as 10m nor a time such as "
                                      "18:00 or 2026-12-24T18:00:00Z"));
    }
    set_duration(*duration, deadline.first);
    return deadline;
  }
  const absl::StatusOr<std::int64_t> at = parse_when(flag, text);
  if (!at.ok()) return at.status();
  deadline.second = *at;
  return deadline;
}

absl::Status set_deadlines(const SpecFlags& flags, v1::TaskSpec& spec) {
  if (!flags.start_deadline.empty()) {
    const auto due = parse_deadline("--start-deadline", flags.start_deadline);
    if (!due.ok()) return due.status();
    if (due->second == 0) *spec.mutable_start_deadline() = due->first;
    spec.set_start_deadline_unix_nano(due->second);
  }
  if (!flags.deadline.empty()) {
    const auto due = parse_deadline("--deadline", flags.deadline);
    if (!due.ok()) return due.status();
    if (due->second == 0) *spec.mutable_deadline() = due->first;
    spec.set_deadline_unix_nano(due->second);
  }
  return absl::OkStatus();
}

// "gpu:2", or "gpu" for one.
absl::Status add_resource(const std::string& text, v1::TaskSpec& spec) {
  const std::size_t colon = text.rfind(':');
  std::uint32_t amount = 1;
  if (colon != std::string::npos &&
      (!absl::SimpleAtoi(text.substr(colon + 1), &amount) || amount == 0)) {
    return usage_error(absl::StrCat("--resource: \"", text, "\": write NAME:AMOUNT, as in gpu:2"));
  }
  v1::ResourceNeed& need = *spec.add_resources();
  need.set_name(text.substr(0, colon));
  need.set_amount(amount);
  return absl::OkStatus();
}

void add_machine_flags(Command& app, MachineFlags& flags) {
  app.add_option("--nice", flags.nice,
                 "Niceness: 19 gives way to all others; below 0 only for root")
      ->type_name("N")
      ->between(-20, 19);
  app.add_option("--ionice", flags.ionice,
                 "How urgent its disk accesses are: idle, best-effort, best-effort:0..7 (last)")
      ->type_name("CLASS");
  app.add_option("--memory", flags.memory, "At most this much memory, as in 512M")
      ->type_name("BYTES")
      ->in_bytes();
  app.add_option("--cpus", flags.cpus, "At most this much CPU time a second, as in 1.5")
      ->type_name("N")
      ->between(0.01, 4096.0);
  app.add_option("--processes", flags.processes, "At most this many processes and threads")
      ->type_name("N");
  app.add_option("--io-weight", flags.io_weight, "Its share of the disk, where others have 100")
      ->type_name("N")
      ->between(1, 10000);
}

absl::Status set_machine(const MachineFlags& flags, v1::TaskSpec& spec) {
  spec.set_nice(flags.nice);
  if (flags.memory != 0) spec.mutable_limits()->set_memory_bytes(flags.memory);
  if (flags.processes != 0) spec.mutable_limits()->set_processes(flags.processes);
  if (flags.io_weight != 0) spec.mutable_limits()->set_io_weight(flags.io_weight);
  if (flags.cpus > 0) {
    spec.mutable_limits()->set_cpu_millis(static_cast<std::uint32_t>(flags.cpus * 1000 + 0.5));
  }
  if (flags.ionice.empty()) return absl::OkStatus();
  const std::string word = flags.ionice.substr(0, flags.ionice.find(':'));
  if (word == "idle" && word == flags.ionice) {
    spec.set_io_class(v1::IO_CLASS_IDLE);
    return absl::OkStatus();
  }
  unsigned level = 0;
  const bool leveled = word != flags.ionice;
  if (word != "best-effort" ||
      (leveled && (!absl::SimpleAtoi(flags.ionice.substr(word.size() + 1), &level) || level > 7))) {
    return usage_error(absl::StrCat("--ionice: \"", flags.ionice,
                                    "\" is not idle, best-effort, nor best-effort:0 to :7"));
  }
  spec.set_io_class(v1::IO_CLASS_BEST_EFFORT);
  spec.set_io_level(level);
  return absl::OkStatus();
}

// As large as the caller's, and of its kind.
void set_terminal(v1::TaskSpec& spec) {
  constexpr std::uint32_t kRowsDefault = 24, kColumnsDefault = 80;
  const std::optional<v1::TerminalSize> size = terminal_size(STDIN_FILENO);
  const bool known = size && size->rows() > 0 && size->columns() > 0;
  spec.mutable_terminal()->set_rows(known ? size->rows() : kRowsDefault);
  spec.mutable_terminal()->set_columns(known ? size->columns() : kColumnsDefault);
  const char* kind = std::getenv("TERM");
  spec.mutable_env()->try_emplace("TERM", kind == nullptr || !is_utf8(kind) ? "xterm" : kind);
}

absl::Status set_order(const SpecFlags& flags, v1::TaskSpec& spec) {
  for (const std::string& text : flags.after) add_dependency(text, spec);
  for (const std::string& lock : flags.locks) spec.add_locks(lock);
  for (const std::string& text : flags.resources) {
    if (absl::Status added = add_resource(text, spec); !added.ok()) return added;
  }
  if (absl::Status set = set_deadlines(flags, spec); !set.ok()) return set;
  absl::Status set = set_duration(flags.delay, "--delay", *spec.mutable_delay());
  if (!set.ok()) return set;
  if (flags.delay.empty()) spec.clear_delay();
  if (flags.at.empty()) return absl::OkStatus();
  const absl::StatusOr<std::int64_t> at = parse_when("--at", flags.at);
  if (at.ok()) spec.set_start_at_unix_nano(*at);
  return at.status();
}

}  // namespace

void add_spec_flags(Command& app, SpecFlags& flags) {
  app.add_option("-c,--shell", flags.shell, "Run this line with /bin/sh -c instead of a command")
      ->type_name("LINE");
  app.add_option("-e,--env", flags.environment.set, "Set a variable of the command")
      ->type_name("K=V")
      ->allow_extra_args(false);
  app.add_option("--env-pass", flags.environment.pass, "Hand on one more variable of the caller")
      ->type_name("NAME")
      ->allow_extra_args(false);
  app.add_flag("--clear-env", flags.environment.clear, "Only what -e and --env-pass name");
  app.add_option("--cwd", flags.cwd, "Directory of the command (default: this one)")
      ->type_name("DIR");
  app.add_option("-g,--group", flags.group, "Group, whose limit says how many run at once")
      ->type_name("GROUP");
  app.add_option("-p,--priority", flags.priority, "Higher starts first: -1000..1000")
      ->type_name("N");
  app.add_option("--timeout", flags.timeout, "End the command after this time")->type_name("TIME");
  app.add_option("--kill-grace", flags.kill_grace, "Between SIGTERM and SIGKILL (default 10s)")
      ->type_name("TIME");
  app.add_option("--name", flags.name, "Name of the task")->type_name("NAME");
  app.add_option("-l,--label", flags.labels, "Label of the task")
      ->type_name("K=V")
      ->allow_extra_args(false);
  app.add_option("--retries", flags.retries,
                 "Further attempts after a failure: 0..100 (default 0, or 5 with a flag below)")
      ->type_name("N");
  add_retry_flags(app, flags.retry);
  app.add_option("--after", flags.after,
                 "Start once this task has succeeded, or TASK:failed, TASK:any; else it is skipped")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("TASK");
  app.add_option("--delay", flags.delay, "Start no sooner after now")->type_name("TIME");
  app.add_option("--at", flags.at, "Start no sooner than 2026-12-24T18:00:00Z, or the next 18:00")
      ->type_name("WHEN");
  app.add_option("--lock", flags.locks,
                 "Hold this lock while it runs; one task at a time can; may be repeated")
      ->allow_extra_args(false)
      ->type_name("NAME");
  app.add_option("--resource", flags.resources,
                 "Have so much of a counted resource while it runs, as in gpu:2; may be repeated")
      ->allow_extra_args(false)
      ->type_name("NAME:N");
  app.add_option("--start-deadline", flags.start_deadline,
                 "Start within this time, or by this time of day, or not at all")
      ->type_name("WHEN");
  app.add_option("--deadline", flags.deadline,
                 "End within this time of now, or by this time of day, or be ended")
      ->type_name("WHEN");
  add_machine_flags(app, flags.machine);
  app.add_option("--idempotency-key", flags.idempotency_key,
                 "The same key within 24 h gives the same task")
      ->type_name("KEY");
  app.add_flag("-t,--tty", flags.tty,
               "Run on a terminal of its own, which `tasks attach` shows and types on");
  app.add_option("--matcher", flags.matchers,
                 "Turn what this tool prints into diagnostics: gcc (clang), tsc, pytest, "
                 "cargo-json, go; may be repeated")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("TOOL");
  app.add_flag("--keep-children", flags.keep_children,
               "Leave the processes that the command leaves behind");
}

absl::StatusOr<v1::TaskSpec> make_spec(const SpecFlags& flags) {
  v1::TaskSpec spec;
  std::error_code error;
  const std::filesystem::path cwd = flags.cwd.empty() ? std::filesystem::current_path(error)
                                                      : std::filesystem::absolute(flags.cwd, error);
  if (error) return usage_error(absl::StrCat("--cwd: ", error.message()));
  spec.set_cwd(cwd.lexically_normal().string());
  auto environment = capture_environment(environ, flags.environment);
  if (!environment.ok()) return environment.status();
  for (const auto& [name, value] : *environment) (*spec.mutable_env())[name] = value;
  spec.set_replace_env(true);
  spec.set_group(flags.group);
  spec.set_priority(flags.priority);
  spec.set_name(flags.name);
  spec.set_retries(flags.retries);
  spec.set_idempotency_key(flags.idempotency_key);
  spec.set_keep_children(flags.keep_children);
  if (flags.tty) set_terminal(spec);
  for (const std::string& matcher : flags.matchers) spec.add_matchers(matcher);
  for (const std::string& text : flags.labels) {
    const auto label = parse_pair(text, "--label");
    if (!label.ok()) return label.status();
    (*spec.mutable_labels())[label->first] = label->second;
  }
  if (absl::Status set = set_retry(flags.retry, spec); !set.ok()) return set;
  if (absl::Status set = set_order(flags, spec); !set.ok()) return set;
  if (absl::Status set = set_machine(flags.machine, spec); !set.ok()) return set;
  absl::Status parsed = set_duration(flags.timeout, "--timeout", *spec.mutable_timeout());
  if (!parsed.ok()) return parsed;
  if (flags.timeout.empty()) spec.clear_timeout();
  parsed = set_duration(flags.kill_grace, "--kill-grace", *spec.mutable_kill_grace());
  if (!parsed.ok()) return parsed;
  if (flags.kill_grace.empty()) spec.clear_kill_grace();
  if (const char* trace = std::getenv("TRACEPARENT"); trace != nullptr && is_utf8(trace)) {
    spec.set_traceparent(trace);
  }
  for (const std::string* text : {&spec.cwd(), &spec.name(), &spec.group()}) {
    if (!is_utf8(*text)) return usage_error(absl::StrCat("\"", *text, "\" is not valid UTF-8"));
  }
  return spec;
}

void inherit_deadline(v1::TaskSpec& spec) {
  const char* text = std::getenv("ZSYNC_DEADLINE");
  std::int64_t at = 0;
  if (text == nullptr || !absl::SimpleAtoi(text, &at) || at <= 0) return;
  const std::int64_t own = spec.deadline_unix_nano();
  if (own == 0 || at < own) spec.set_deadline_unix_nano(at);
}

absl::Status set_command(v1::TaskSpec& spec, const SpecFlags& flags,
                         const std::vector<std::string>& command) {
  if (!flags.shell.empty() && !command.empty()) {
    return usage_error("give a command or --shell LINE, not both");
  }
  if (flags.shell.empty() && command.empty()) {
    return usage_error("no command: write it after --, as in `zsyncctl run -- make -j4`");
  }
  spec.set_shell(flags.shell);
  spec.clear_argv();
  for (const std::string& word : command) spec.add_argv(word);
  for (const std::string& word : spec.argv()) {
    if (!is_utf8(word)) return usage_error("a word of the command is not valid UTF-8");
  }
  return is_utf8(flags.shell) ? absl::OkStatus() : usage_error("--shell: not valid UTF-8");
}

}  // namespace zsync::cli
