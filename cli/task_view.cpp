#include "cli/task_view.hpp"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/durations.hpp"
#include "cli/render/text.hpp"
#include "cli/words.hpp"

namespace zsync::cli {
namespace {

constexpr std::uint32_t kPageSize = 1000;
constexpr std::size_t kResultShownBytes = 200;  // longer ones are only counted

std::string quoted_word(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c >= 0x80 ||
           std::string("-_./=:,+@%^").find(static_cast<char>(c)) != std::string::npos;
  });
  if (plain) return word;
  std::string result = "'";
  for (const char c : word) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string ago(std::int64_t unix_nano) {
  return human_duration(
      std::chrono::nanoseconds(std::max<std::int64_t>(0, now_unix_nano() - unix_nano)));
}

std::string run_time(const v1::Task& task) {
  if (task.started_unix_nano() == 0) return "-";
  const std::int64_t end =
      task.finished_unix_nano() != 0 ? task.finished_unix_nano() : now_unix_nano();
  return human_duration(
      std::chrono::nanoseconds(std::max<std::int64_t>(0, end - task.started_unix_nano())));
}

// "12.0 MiB now in 3 processes, "
std::string memory_now(const v1::TaskUsage& usage) {
  if (usage.processes() == 0) return "";
  return absl::StrCat(human_bytes(usage.memory_bytes()), " now in ", usage.processes(),
                      usage.processes() == 1 ? " process, " : " processes, ");
}

std::string usage_text(const v1::TaskUsage& usage) {
  return absl::StrCat("cpu ", human_duration(to_nanoseconds(usage.cpu_user())), " user, ",
                      human_duration(to_nanoseconds(usage.cpu_system())), " system; memory ",
                      memory_now(usage), "at most ", human_bytes(usage.memory_peak_bytes()),
                      usage.memory_is_tree() ? "" : " in one process", "; read ",
                      human_bytes(usage.io_read_bytes()), ", wrote ",
                      human_bytes(usage.io_written_bytes()));
}

std::string limits_text(const v1::ResourceLimits& limits) {
  std::vector<std::string> parts;
  if (limits.memory_bytes() != 0) parts.push_back("memory " + human_bytes(limits.memory_bytes()));
  if (limits.cpu_millis() != 0)
    parts.push_back(absl::StrCat("cpus ", limits.cpu_millis() / 1000.0));
  if (limits.processes() != 0) parts.push_back(absl::StrCat("processes ", limits.processes()));
  if (limits.io_weight() != 0) parts.push_back(absl::StrCat("io weight ", limits.io_weight()));
  return absl::StrJoin(parts, ", ");
}

std::string attempt_text(const v1::TaskAttempt& attempt) {
  std::string text = state_word(attempt.state());
  if (attempt.state() == v1::TASK_STATE_FAILED) absl::StrAppend(&text, " ", attempt.exit_code());
  if (attempt.started_unix_nano() != 0) {
    absl::StrAppend(&text, ", started ", utc_time(attempt.started_unix_nano()));
  }
  if (attempt.finished_unix_nano() > attempt.started_unix_nano()) {
    absl::StrAppend(&text, ", ran ",
                    human_duration(std::chrono::nanoseconds(attempt.finished_unix_nano() -
                                                            attempt.started_unix_nano())));
  }
  if (!attempt.reason().empty()) absl::StrAppend(&text, ": ", attempt.reason());
  if (attempt.has_usage()) absl::StrAppend(&text, "; ", usage_text(attempt.usage()));
  return text;
}

void add_deadlines(const v1::Task& task, std::vector<std::pair<std::string, std::string>>& lines) {
  if (task.start_deadline_unix_nano() != 0) {
    lines.emplace_back("start deadline", utc_time(task.start_deadline_unix_nano()));
  }
  if (task.deadline_unix_nano() != 0) {
    lines.emplace_back("deadline", utc_time(task.deadline_unix_nano()));
  }
  if (!task.has_slack()) return;
  const std::chrono::nanoseconds slack = to_nanoseconds(task.slack());
  lines.emplace_back("slack", slack.count() < 0 ? absl::StrCat("-", human_duration(-slack))
                                                : human_duration(slack));
}

std::string counts_text(const v1::DiagnosticCounts& counts) {
  std::string text =
      absl::StrCat(counts.errors(), counts.errors() == 1 ? " error, " : " errors, ",
                   counts.warnings(), counts.warnings() == 1 ? " warning" : " warnings");
  if (counts.notes() > 0) {
    absl::StrAppend(&text, ", ", counts.notes(), counts.notes() == 1 ? " note" : " notes");
  }
  if (counts.left_out() > 0) absl::StrAppend(&text, "; ", counts.left_out(), " more left out");
  return text;
}

void add_result(const v1::Task& task, std::vector<std::pair<std::string, std::string>>& lines) {
  if (!task.has_result()) return;
  if (task.result().has_error()) {
    const v1::FunctionError& error = task.result().error();
    if (!error.code().empty()) lines.emplace_back("error", error.code());
    if (error.permanent()) lines.emplace_back("permanent", "yes, so it was not tried again");
    return;
  }
  const std::string& type = task.result().content_type();
  lines.emplace_back("result", absl::StrCat(human_bytes(task.result_bytes()),
                                            type.empty() ? "" : absl::StrCat(" of ", type)));
  const std::string& payload = task.result().payload();
  if (!payload.empty() && payload.size() <= kResultShownBytes && is_utf8(payload)) {
    lines.emplace_back("", printable(payload));
  }
}

std::string exit_text(const v1::Task& task) {
  switch (task.state()) {
    case v1::TASK_STATE_SUCCEEDED:
    case v1::TASK_STATE_FAILED:
      return absl::StrCat(task.exit_code());
    case v1::TASK_STATE_SIGNALED:
      return absl::StrCat("sig ", task.signal());
    default:
      return "-";
  }
}

}  // namespace

std::string command_text(const v1::TaskSpec& spec) {
  if (spec.has_function()) {
    return absl::StrCat(spec.function().name(), "(", human_bytes(spec.function().payload_bytes()),
                        ")");
  }
  if (!spec.shell().empty()) return spec.shell();
  std::string result;
  for (const std::string& word : spec.argv()) {
    if (!result.empty()) result += ' ';
    result += quoted_word(word);
  }
  return result;
}

std::string shown_state(const v1::Task& task) {
  return task.paused_unix_nano() != 0 ? "paused" : state_word(task.state());
}

Table task_table() {
  return Table({"ID", "STATE", "AGE", "RAN", "EXIT", "GROUP", "NAME", "COMMAND"});
}

void add_row(Table& table, const v1::Task& task) {
  const std::string& group = task.spec().group();
  table.add({{task.id()},
             {shown_state(task), state_color(task.state())},
             {ago(task.created_unix_nano())},
             {run_time(task)},
             {exit_text(task)},
             {group.empty() ? "default" : group},
             {task.spec().name().empty() ? "-" : task.spec().name()},
             {command_text(task.spec())}});
}

std::string task_details(const v1::Task& task, bool color) {
  std::vector<std::pair<std::string, std::string>> lines = {
      {"id", task.id()},
      {"state", shown_state(task)},
      {"command", command_text(task.spec())},
      {"directory", task.spec().cwd()},
      {"group", task.spec().group().empty() ? "default" : task.spec().group()},
      {"attempt", absl::StrCat(task.attempt())},
      {"created", utc_time(task.created_unix_nano())}};
  if (task.spec().has_function()) lines.erase(lines.begin() + 3);  // it has no directory
  const auto add = [&](std::string key, std::string value) {
    if (!value.empty()) lines.emplace_back(std::move(key), std::move(value));
  };
  add("name", task.spec().name());
  for (const auto& [key, value] : task.spec().labels()) add("label", key + "=" + value);
  for (const v1::TaskDependency& dependency : task.spec().after()) {
    const char* how = dependency.condition() == v1::DEPENDENCY_CONDITION_ANY      ? " (ended)"
                      : dependency.condition() == v1::DEPENDENCY_CONDITION_FAILED ? " (failed)"
                                                                                  : "";
    add("after", dependency.task() + how);
  }
  for (const std::string& lock : task.spec().locks()) add("lock", lock);
  for (const v1::ResourceNeed& need : task.spec().resources()) {
    add("resource", absl::StrCat(need.name(), ":", need.amount()));
  }
  if (task.has_array()) {
    add("array", absl::StrCat(task.array().id(), ", index ", task.array().index(), " of ",
                              task.array().size(), " tasks"));
    for (const auto& [axis, value] : task.array().values()) add(absl::StrCat("  ", axis), value);
  }
  add_deadlines(task, lines);
  if (task.spec().nice() != 0) add("nice", absl::StrCat(task.spec().nice()));
  if (task.spec().io_class() == v1::IO_CLASS_IDLE) add("ionice", "idle");
  if (task.spec().io_class() == v1::IO_CLASS_BEST_EFFORT) {
    add("ionice", absl::StrCat("best-effort:", task.spec().io_level()));
  }
  if (task.spec().has_terminal()) {
    add("terminal", absl::StrCat(task.spec().terminal().rows(), " rows, ",
                                 task.spec().terminal().columns(), " columns"));
  }
  add("limits", limits_text(task.spec().limits()));
  add("limits held", task.limits_note());
  for (const std::string& matcher : task.spec().matchers()) add("matcher", matcher);
  if (task.has_diagnostics()) add("diagnostics", counts_text(task.diagnostics()));
  if (task.spec().has_timeout()) {
    add("timeout", human_duration(to_nanoseconds(task.spec().timeout())));
  }
  if (task.started_unix_nano() != 0) add("started", utc_time(task.started_unix_nano()));
  if (task.finished_unix_nano() != 0) add("finished", utc_time(task.finished_unix_nano()));
  if (task.started_unix_nano() != 0) add("ran", run_time(task));
  if (exit_text(task) != "-") add("exit", exit_text(task));
  if (task.pid() != 0) add("pid", absl::StrCat(task.pid()));
  if (task.paused_unix_nano() != 0) add("paused", utc_time(task.paused_unix_nano()));
  if (task.has_usage()) add("used", usage_text(task.usage()));
  if (task.cancel_requested()) add("cancel", "requested");
  add("reason", task.reason());
  if (task.not_before_unix_nano() != 0) add("not before", utc_time(task.not_before_unix_nano()));
  if (task.attempts_size() > 1) {
    for (const v1::TaskAttempt& attempt : task.attempts()) {
      add(absl::StrCat("attempt ", attempt.attempt()), attempt_text(attempt));
    }
  }
  add_result(task, lines);
  if (!task.spec().has_function())
    add("output",
        absl::StrCat(human_bytes(task.output_bytes()), " in ", task.output_records(), " records"));
  return key_values(lines, color);
}

absl::Status for_each_task(Context& context, const ListQuery& query,
                           const std::function<void(const v1::Task&)>& visit, bool* more) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  v1::ListTasksRequest request = query.request;
  std::uint64_t left = query.limit;
  *more = false;
  do {
    const std::uint64_t page =
        query.limit == 0 ? kPageSize : std::min<std::uint64_t>(left, kPageSize);
    request.set_page_size(static_cast<std::uint32_t>(page));
    const absl::StatusOr<v1::ListTasksReply> reply = (*client)->tasks().list(request, *call);
    if (!reply.ok()) return reply.status();
    for (const v1::Task& task : reply->tasks()) visit(task);
    left -= std::min<std::uint64_t>(left, static_cast<std::uint64_t>(reply->tasks_size()));
    request.set_page_token(reply->next_page_token());
  } while (!request.page_token().empty() && (query.limit == 0 || left > 0) &&
           !context.out.broken());
  *more = !request.page_token().empty() && !context.out.broken();
  return absl::OkStatus();
}

absl::StatusOr<int> list_tasks(Context& context, const ListQuery& query, const char* when_empty) {
  Table table = task_table();
  ListPrinter printer(context);
  bool more = false;
  const absl::Status status = for_each_task(
      context, query,
      [&](const v1::Task& task) {
        if (!printer.add(task, task.id())) add_row(table, task);
      },
      &more);
  if (!status.ok()) return status;
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, when_empty);
  if (more) {
    context.out.flush();
    context.note(
        absl::StrCat("showing ", query.limit, " tasks, there are more: --limit 0 shows all"));
  }
  return 0;
}

absl::StatusOr<v1::TaskState> parse_state(const std::string& word) {
  std::vector<std::string> words;
  for (int i = v1::TASK_STATE_QUEUED; v1::TaskState_IsValid(i); ++i) {
    words.push_back(state_word(static_cast<v1::TaskState>(i)));
    if (words.back() == word) return static_cast<v1::TaskState>(i);
  }
  const std::string near = closest(word, words);
  return usage_error(absl::StrCat("no state \"", word, "\"",
                                  near.empty() ? "" : ": did you mean \"" + near + "\"?"));
}

}  // namespace zsync::cli
