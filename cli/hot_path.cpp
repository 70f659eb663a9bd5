// The short commands: ps, logs, why, top, status.
#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/logs.hpp"
#include "cli/nouns.hpp"
#include "cli/projects.hpp"
#include "cli/render/text.hpp"
#include "cli/task_view.hpp"

namespace zsync::cli {
namespace {

constexpr std::chrono::seconds kTopRefresh{1};
constexpr std::uint64_t kTopTasks = 20;

ListQuery unfinished(std::uint64_t limit) {
  ListQuery query;
  query.limit = limit;
  query.request.add_states(v1::TASK_STATE_RUNNING);
  query.request.add_states(v1::TASK_STATE_QUEUED);
  return query;
}

std::string stats_line(const v1::DaemonStats& stats) {
  return absl::StrCat("tasks: ", stats.tasks_running(), " running, ", stats.tasks_queued(),
                      " queued, ", stats.tasks_stored(), " stored   channels: ", stats.channels(),
                      "   watches: ", stats.watch_roots(), "   connections: ", stats.connections(),
                      "   memory: ", human_bytes(stats.rss_bytes()), "\n");
}

absl::Status show_top(Context& context, bool in_place) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto stats = (*client)->daemon().stats(*call);
  if (!stats.ok()) return stats.status();
  Table table = task_table();
  bool more = false;
  const absl::Status status = for_each_task(
      context, unfinished(kTopTasks), [&](const v1::Task& task) { add_row(table, task); }, &more);
  if (!status.ok()) return status;
  if (in_place) context.out.write("\x1b[H\x1b[J");
  context.out.write(stats_line(*stats));
  context.out.write("\n");
  if (!table.empty()) context.out.write(table.text(context.out.width(), context.color()));
  if (more) context.out.write("...\n");
  context.out.flush();
  return absl::OkStatus();
}

absl::StatusOr<int> top(Context& context) {
  const bool in_place = context.out.is_terminal();
  if (in_place) context.out.write("\x1b[2J");
  do {
    if (absl::Status status = show_top(context, in_place); !status.ok()) return status;
  } while (in_place && !context.out.broken() && !context.stop.wait_for(kTopRefresh));
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> status(Context& context) {
  absl::StatusOr<client::Client*> client = context.client(false);
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto info = (*client)->daemon().info(*call);
  if (!info.ok()) return info.status();
  const auto stats = (*client)->daemon().stats(*call);
  if (!stats.ok()) return stats.status();
  context.show(*stats, info->instance(), [&] {
    return absl::StrCat(
        "zsyncd ", info->version(), " (pid ", info->pid(), ") at ", info->socket(), ", up ",
        human_duration(std::chrono::nanoseconds(now_unix_nano() - info->started_unix_nano())), "\n",
        stats_line(*stats));
  });
  return static_cast<int>(kExitOk);
}

}  // namespace

absl::StatusOr<int> why(Context& context, const std::string& id) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto reply = (*client)->tasks().why(id, *call);
  if (!reply.ok()) {
    if (const auto unit = unit_nearby(context, id)) return why_unit(context, *unit);
    return reply.status();
  }
  context.show(*reply, reply->task().id(), [&] {
    const v1::Task& task = reply->task();
    std::string text = absl::StrCat(
        task.id(), " ", paint(shown_state(task), state_color(task.state()), context.color()), "\n");
    for (const std::string& reason : reply->reasons()) {
      absl::StrAppend(&text, "  ", printable(reason), "\n");
    }
    return text;
  });
  return static_cast<int>(kExitOk);
}

void add_hot_path(Command& app, Context& context) {
  auto all = std::make_shared<bool>(false);
  auto project = std::make_shared<std::string>();
  auto of_project = std::make_shared<Flag*>(nullptr);
  Command* ps = add_leaf(app, context, "ps", "Tasks that run or wait", [=, &context] {
    if ((*of_project)->count() > 0) return show_project(context, *project);
    ListQuery query = unfinished(100);
    if (*all) query.request.clear_states();
    return list_tasks(context, query, *all ? "no tasks" : "no tasks run or wait (-a shows all)");
  });
  ps->add_flag("-a,--all", *all, "Finished ones too");
  *of_project = ps->add_option("--project", *project,
                               "Steps and services of a project (default: the nearest zsync.yaml)")
                    ->expected(0, 1)
                    ->type_name("NAME");
  add_logs(app, context, "logs");
  auto id = std::make_shared<std::string>();
  Command* explain = add_leaf(app, context, "why", "What a task, step or service is waiting for",
                              [&context, id] { return why(context, *id); });
  explain->add_option("ID", *id, "Id, unique prefix of one, or name")->required();
  add_leaf(app, context, "top", "Load and tasks, refreshed in place on a terminal",
           [&context] { return top(context); });
  add_leaf(app, context, "status", "Whether the daemon runs, and what it has to do",
           [&context] { return status(context); });
}

}  // namespace zsync::cli
