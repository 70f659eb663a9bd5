// `zsyncctl tasks`.
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/logs.hpp"
#include "cli/nouns.hpp"
#include "cli/render/progress.hpp"
#include "cli/stdin_pump.hpp"
#include "cli/submit.hpp"
#include "cli/task_groups.hpp"
#include "cli/task_schedules.hpp"
#include "cli/task_verbs.hpp"
#include "cli/task_view.hpp"

namespace zsync::cli {
namespace {

constexpr const char* kIdOrArrayHelp = "Id, unique prefix of one, or name; or an array's id";

void add_list(Command& tasks, Context& context) {
  struct Flags {
    std::vector<std::string> states, labels;
    ListQuery query;
    std::string group, name, array;
  };
  auto flags = std::make_shared<Flags>();
  Command* list = add_leaf(tasks, context, "list", "Tasks, newest first",
                           [&context, flags]() -> absl::StatusOr<int> {
                             v1::ListTasksRequest& request = flags->query.request;
                             for (const std::string& word : flags->states) {
                               const auto state = parse_state(word);
                               if (!state.ok()) return state.status();
                               request.add_states(*state);
                             }
                             for (const std::string& text : flags->labels) {
                               const auto label = parse_pair(text, "--label");
                               if (!label.ok()) return label.status();
                               (*request.mutable_labels())[label->first] = label->second;
                             }
                             request.set_group(flags->group);
                             request.set_name(flags->name);
                             request.set_array(flags->array);
                             return list_tasks(context, flags->query, "no tasks");
                           });
  list->add_option("-s,--state", flags->states, "Only this state; may be repeated")
      ->allow_extra_args(false)
      ->delimiter(',')
      ->type_name("STATE");
  list->add_option("-g,--group", flags->group, "Only this group")->type_name("GROUP");
  list->add_option("--name", flags->name, "Only this name")->type_name("NAME");
  list->add_option("-l,--label", flags->labels, "Only with this label; may be repeated")
      ->allow_extra_args(false)
      ->type_name("K=V");
  list->add_option("--array", flags->array, "Only tasks of this array")->type_name("ID");
  list->add_option("--limit", flags->query.limit, "At most this many, 0: all")
      ->type_name("N")
      ->capture_default_str();
  list->add_flag_callback(
      "--oldest", [flags] { flags->query.request.set_oldest_first(true); }, "Oldest first");
}

absl::StatusOr<int> wait_for(Context& context, const Ids& ids) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  absl::StatusOr<v1::WaitTasksReply> reply = absl::UnknownError("");
  {
    const Progress progress(context.err, !context.globals.quiet,
                            absl::StrCat("waiting for ", ids.size(), " tasks"));
    reply = (*client)->tasks().wait(ids, *call);
  }
  if (!reply.ok()) return reply.status();
  Table table = task_table();
  ListPrinter printer(context);
  int code = kExitOk;
  for (const v1::Task& task : reply->tasks()) {
    if (task.state() != v1::TASK_STATE_SUCCEEDED) code = kExitFailed;
    if (!printer.add(task, task.id())) add_row(table, task);
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no tasks");
  return code;
}

void add_get_and_wait(Command& tasks, Context& context) {
  auto get_ids = std::make_shared<Ids>();
  Command* get = add_leaf(
      tasks, context, "get", "One task in full", [&context, get_ids]() -> absl::StatusOr<int> {
        return for_each_id(
            context, *get_ids,
            [&](client::Tasks tasks, const std::string& id, const client::CallOptions& call) {
              const auto task = tasks.get(id, call);
              if (!task.ok()) return task.status();
              context.show(*task, task->id(), [&] { return task_details(*task, context.color()); });
              return absl::OkStatus();
            });
      });
  get->add_option("ID", *get_ids, kIdHelp)->required();
  auto wait_ids = std::make_shared<Ids>();
  Command* wait = add_leaf(tasks, context, "wait",
                           "Wait until every one has ended; exit code 1 unless all succeeded",
                           [&context, wait_ids] { return wait_for(context, *wait_ids); });
  wait->add_option("ID", *wait_ids, kIdOrArrayHelp)->required();
}

absl::Status cancel_array(Context& context, client::Tasks tasks, const std::string& id,
                          const v1::CancelTaskRequest& like, const client::CallOptions& call) {
  v1::CancelArrayRequest request;
  request.set_id(id);
  request.set_wait(like.wait());
  if (like.has_kill_grace()) *request.mutable_kill_grace() = like.kill_grace();
  const auto reply = tasks.cancel_array(request, call);
  if (!reply.ok()) return reply.status();
  for (const v1::Task& task : reply->tasks()) {
    if (absl::Status shown = show_result(context, task); !shown.ok()) return shown;
  }
  return absl::OkStatus();
}

void add_cancel(Command& tasks, Context& context) {
  struct Flags {
    Ids ids;
    bool wait = false;
    std::string grace;
  };
  auto flags = std::make_shared<Flags>();
  Command* cancel = add_leaf(
      tasks, context, "cancel", "End tasks and every process they started",
      [&context, flags]() -> absl::StatusOr<int> {
        v1::CancelTaskRequest request;
        request.set_wait(flags->wait);
        if (!flags->grace.empty()) {
          absl::Status set =
              set_duration(flags->grace, "--kill-grace", *request.mutable_kill_grace());
          if (!set.ok()) return set;
        }
        return for_each_id(
            context, flags->ids,
            [&](client::Tasks tasks, const std::string& id, const client::CallOptions& call) {
              if (absl::StartsWith(id, "array_")) {
                return cancel_array(context, tasks, id, request, call);
              }
              request.set_id(id);
              return show_result(context, tasks.cancel(request, call));
            });
      });
  cancel->add_option("ID", flags->ids, kIdOrArrayHelp)->required();
  cancel->add_flag("--wait", flags->wait, "Return once the whole process tree is gone");
  cancel->add_option("--kill-grace", flags->grace, "Between SIGTERM and SIGKILL; 0 kills at once")
      ->type_name("TIME");
}

void add_retry_and_remove(Command& tasks, Context& context) {
  auto retry_ids = std::make_shared<Ids>();
  Command* retry = add_leaf(
      tasks, context, "retry", "Queue another attempt of finished tasks", [&context, retry_ids] {
        return for_each_id(
            context, *retry_ids,
            [&](client::Tasks tasks, const std::string& id, const client::CallOptions& call) {
              return show_result(context, tasks.retry(id, call));
            });
      });
  retry->add_option("ID", *retry_ids, kIdHelp)->required();
  auto remove_ids = std::make_shared<Ids>();
  Command* remove = add_leaf(
      tasks, context, "remove", "Forget finished tasks and their output",
      [&context, remove_ids]() -> absl::StatusOr<int> {
        if (!context.confirm(
                absl::StrCat("forget ", remove_ids->size(), " tasks and their output?"))) {
          return static_cast<int>(kExitFailed);
        }
        return for_each_id(context, *remove_ids,
                           [&](client::Tasks tasks, const std::string& id,
                               const client::CallOptions& call) { return tasks.remove(id, call); });
      });
  remove->add_option("ID", *remove_ids, kIdHelp)->required();
}

absl::StatusOr<int> feed_input(Context& context, const std::string& id) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  StdinPump pump(**client, id, context.in);
  const absl::StatusOr<std::uint64_t> bytes = pump.wait();
  if (!bytes.ok()) return bytes.status();
  context.note(absl::StrCat("sent ", *bytes, " bytes"));
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_tasks(Command& app, Context& context) {
  add_noun(app, "tasks", "task", "Commands under the daemon's supervision",
           [&context](Command& tasks) {
             add_submit(tasks, context);
             add_list(tasks, context);
             add_get_and_wait(tasks, context);
             add_cancel(tasks, context);
             add_control(tasks, context);
             add_retry_and_remove(tasks, context);
             add_logs(tasks, context, "output");
             auto why_id = std::make_shared<std::string>();
             add_leaf(tasks, context, "why", "What a task is waiting for",
                      [&context, why_id] { return why(context, *why_id); })
                 ->add_option("ID", *why_id, kIdHelp)
                 ->required();
             auto input_id = std::make_shared<std::string>();
             add_leaf(tasks, context, "input", "Feed stdin to a task that was submitted to take it",
                      [&context, input_id] { return feed_input(context, *input_id); })
                 ->add_option("ID", *input_id, kIdHelp)
                 ->required();
             add_task_groups(tasks, context);
             add_task_schedules(tasks, context);
           });
}

}  // namespace zsync::cli
