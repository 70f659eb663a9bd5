#include "cli/task_schedules.hpp"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/calls.hpp"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/render/json.hpp"
#include "cli/render/progress.hpp"
#include "cli/render/text.hpp"
#include "cli/spec_flags.hpp"
#include "cli/task_view.hpp"

namespace zsync::cli {
namespace {

struct AddFlags {
  SpecFlags spec;
  std::string schedule, every, cron, zone, missed, overlap;
  unsigned missed_max = 0;
  bool replace = false;
  bool guaranteed = false;
  bool dry_run = false;
};

// Local: a schedule is about the clock on the wall.
std::string local_time(std::int64_t unix_nano) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S%Ez", absl::FromUnixNanos(unix_nano),
                          absl::LocalTimeZone());
}

std::string when_text(const v1::ScheduleSpec& spec) {
  if (spec.has_every()) {
    return absl::StrCat("every ", human_duration(to_nanoseconds(spec.every())));
  }
  return absl::StrCat("cron ", spec.cron(),
                      spec.time_zone().empty() ? "" : absl::StrCat(" ", spec.time_zone()));
}

std::string missed_text(const v1::ScheduleSpec& spec) {
  if (spec.missed() == v1::MISSED_RUNS_ONCE) return "run once";
  if (spec.missed() != v1::MISSED_RUNS_ALL) return "skipped";
  return absl::StrCat("run, at most ", spec.missed_max());
}

std::string next_text(const v1::Schedule& schedule) {
  if (schedule.has_paused()) return "paused";
  return schedule.next_unix_nano() == 0 ? "never" : local_time(schedule.next_unix_nano());
}

std::string guarantee_text(const v1::Guarantee& guarantee) {
  const std::string share = absl::StrFormat("; they use %.2f of a place", guarantee.utilization());
  if (!guarantee.has_response_max()) return "lost: a run may be late" + share;
  return absl::StrCat("each run ends within ",
                      human_duration(to_nanoseconds(guarantee.response_max())), share);
}

std::string details(const v1::Schedule& schedule, bool color) {
  const v1::ScheduleSpec& spec = schedule.spec();
  std::vector<std::pair<std::string, std::string>> lines = {
      {"name", spec.name()},
      {"when", when_text(spec)},
      {"next", next_text(schedule)},
      {"command", command_text(spec.task())},
      {"directory", spec.task().cwd()},
      {"missed times", missed_text(spec)},
      {"overlap", spec.overlap() == v1::OVERLAP_POLICY_QUEUE ? "queued" : "skipped"},
      {"runs", absl::StrCat(schedule.runs())}};
  if (schedule.has_guarantee())
    lines.emplace_back("guarantee", guarantee_text(schedule.guarantee()));
  if (schedule.last_unix_nano() != 0) {
    lines.emplace_back("last run", absl::StrCat(local_time(schedule.last_unix_nano()), ", ",
                                                schedule.last_task()));
  }
  lines.emplace_back("left out", absl::StrCat(schedule.missed(), " missed, ", schedule.overlapped(),
                                              " overlapped, ", schedule.refused(), " refused"));
  if (!schedule.last_refusal().empty()) lines.emplace_back("refusal", schedule.last_refusal());
  return key_values(lines, color);
}

absl::StatusOr<int> show(Context& context, const absl::StatusOr<v1::Schedule>& schedule) {
  if (!schedule.ok()) return schedule.status();
  context.show(*schedule, schedule->spec().name(),
               [&] { return details(*schedule, context.color()); });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> add(Context& context, const AddFlags& flags) {
  absl::StatusOr<v1::TaskSpec> task = make_spec(flags.spec);
  if (!task.ok()) return task.status();
  if (absl::Status set = set_command(*task, flags.spec, context.command); !set.ok()) return set;
  task->clear_traceparent();  // each run is the beginning of a trace
  v1::CreateScheduleRequest request;
  request.set_replace(flags.replace);
  v1::ScheduleSpec& spec = *request.mutable_spec();
  spec.set_name(flags.schedule);
  absl::Status set = set_duration(flags.every, "--every", *spec.mutable_every());
  if (!set.ok()) return set;
  if (flags.every.empty()) spec.clear_every();
  spec.set_cron(flags.cron);
  spec.set_time_zone(flags.zone);
  spec.set_missed(flags.missed == "all"    ? v1::MISSED_RUNS_ALL
                  : flags.missed == "once" ? v1::MISSED_RUNS_ONCE
                                           : v1::MISSED_RUNS_SKIP);
  spec.set_missed_max(flags.missed_max);
  spec.set_overlap(flags.overlap == "queue" ? v1::OVERLAP_POLICY_QUEUE : v1::OVERLAP_POLICY_SKIP);
  spec.set_guaranteed(flags.guaranteed);
  *spec.mutable_task() = *std::move(task);
  if (flags.dry_run) {
    context.out.write(to_json(spec, true));
    return static_cast<int>(kExitOk);
  }
  return show(context,
              call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
                return client.tasks().create_schedule(request, call);
              }));
}

void add_add(Command& noun, Context& context) {
  auto flags = std::make_shared<AddFlags>();
  Command* leaf = add_leaf(
      noun, context, "add", "Submit a command again and again",
      [&context, flags] { return add(context, *flags); }, false);
  leaf->add_option("NAME", flags->schedule, "Name of the schedule")->required();
  leaf->add_option("--every", flags->every, "So much time after each other, at least 1s")
      ->type_name("TIME");
  leaf->add_option("--cron", flags->cron,
                   "minute hour day-of-month month day-of-week, as in \"30 2 * * mon-fri\", or "
                   "@hourly, @daily, @weekly, @monthly, @yearly")
      ->type_name("FIELDS");
  leaf->add_option("--tz", flags->zone, "Time zone of --cron (default: the daemon's)")
      ->type_name("ZONE");
  leaf->add_option("--missed", flags->missed,
                   "Times that came while no daemon ran: skip (default), once, or all")
      ->one_of({"skip", "once", "all"})
      ->type_name("POLICY");
  leaf->add_option("--missed-max", flags->missed_max,
                   "With --missed all: so many of the newest (default 10)")
      ->between(1, 1000)
      ->type_name("N");
  leaf->add_option("--overlap", flags->overlap,
                   "While the run before goes on: skip (default), or queue behind it")
      ->one_of({"skip", "queue"})
      ->type_name("POLICY");
  leaf->add_flag("--guaranteed", flags->guaranteed,
                 "Only if each run ends before the next: with --every, --timeout, and a group with "
                 "--order rate");
  leaf->add_flag("--replace", flags->replace, "Take the place of one of that name");
  leaf->add_flag("--dry-run", flags->dry_run, "Print what would be sent, as JSON");
  add_spec_flags(*leaf, flags->spec);
  leaf->find_flag("--name")->description("Name of each task (default: the schedule's)");
  leaf->footer(
      "The command follows after --:\n"
      "  zsyncctl tasks schedule add nightly --cron \"30 2 * * *\" --missed once -- make backup");
}

absl::StatusOr<int> list(Context& context) {
  const auto reply =
      call_daemon(context, [](client::Client& client, const client::CallOptions& call) {
        return client.tasks().list_schedules(call);
      });
  if (!reply.ok()) return reply.status();
  Table table({"NAME", "WHEN", "NEXT", "RUNS", "LAST TASK", "COMMAND"});
  ListPrinter printer(context);
  for (const v1::Schedule& schedule : reply->schedules()) {
    if (printer.add(schedule, schedule.spec().name())) continue;
    table.add({{schedule.spec().name()},
               {when_text(schedule.spec())},
               {next_text(schedule)},
               {absl::StrCat(schedule.runs())},
               {schedule.last_task().empty() ? "-" : schedule.last_task()},
               {command_text(schedule.spec().task())}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no schedules");
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> next(Context& context, const std::string& name, unsigned count) {
  const auto reply =
      call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
        return client.tasks().upcoming_runs(name, count, call);
      });
  if (!reply.ok()) return reply.status();
  if (context.json() || context.jsonl()) {
    context.out.write(to_json(*reply, context.json()) + (context.json() ? "" : "\n"));
    return static_cast<int>(kExitOk);
  }
  for (const std::int64_t time : reply->times_unix_nano()) {
    context.out.write(local_time(time) + "\n");
  }
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_task_schedules(Command& tasks, Context& context) {
  add_noun(tasks, "schedule", "schedules", "Tasks that come again", [&context](Command& noun) {
    add_add(noun, context);
    add_leaf(noun, context, "list", "Schedules, and when each comes next",
             [&context] { return list(context); });
    add_named<v1::Schedule>(
        noun, context, "show", "One schedule in full", "schedule", show,
        [](client::Client& client, const std::string& name, const client::CallOptions& call) {
          return client.tasks().get_schedule(name, call);
        });
    add_named<v1::Schedule>(
        noun, context, "pause", "Let it fire no more; what runs goes on", "schedule", show,
        [](client::Client& client, const std::string& name, const client::CallOptions& call) {
          return client.tasks().pause_schedule(name, true, call);
        });
    add_named<v1::Schedule>(
        noun, context, "resume", "Let it fire again, from now on", "schedule", show,
        [](client::Client& client, const std::string& name, const client::CallOptions& call) {
          return client.tasks().pause_schedule(name, false, call);
        });
    add_removal(
        noun, context, "rm", "remove", "schedule",
        [](client::Client& client, const std::string& name, const client::CallOptions& call) {
          return client.tasks().remove_schedule(name, call);
        });
    auto preview = std::make_shared<std::pair<std::string, unsigned>>("", 5);
    Command* upcoming = add_leaf(noun, context, "next", "The times that come", [&context, preview] {
      return next(context, preview->first, preview->second);
    });
    upcoming->add_option("NAME", preview->first, "Name of the schedule")->required();
    upcoming->add_option("-n", preview->second, "How many")
        ->between(1, 1000)
        ->type_name("N")
        ->capture_default_str();
  });
}

}  // namespace zsync::cli
