#include "cli/watch_triggers.hpp"

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "cli/calls.hpp"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/render/json.hpp"
#include "cli/render/text.hpp"
#include "cli/spec_flags.hpp"
#include "cli/task_view.hpp"
#include "cli/watch_flags.hpp"

namespace zsync::cli {
namespace {

constexpr int kShownPathsMax = 10;

struct AddFlags {
  WatchFlags watch;
  SpecFlags spec;
  std::string trigger;
  bool replace = false;
  bool dry_run = false;
};

std::string lower(const std::string& name, const char* prefix) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StripPrefix(name, prefix)), {{"_", " "}});
}

Color state_color(v1::TriggerState state) {
  switch (state) {
    case v1::TRIGGER_STATE_IDLE:
      return Color::kGood;
    case v1::TRIGGER_STATE_RUNNING:
    case v1::TRIGGER_STATE_SETTLING:
      return Color::kBusy;
    case v1::TRIGGER_STATE_STOPPED:
    case v1::TRIGGER_STATE_ROOT_GONE:
    case v1::TRIGGER_STATE_UNWATCHED:
      return Color::kBad;
    default:
      return Color::kNone;
  }
}

// The first of them, and how many more there are.
template <typename Paths>
std::string paths_text(const Paths& paths, std::uint64_t all) {
  std::string text;
  for (int i = 0; i < paths.size() && i < kShownPathsMax; ++i) {
    absl::StrAppend(&text, i > 0 ? ", " : "", paths[i]);
  }
  const auto shown = static_cast<std::uint64_t>(std::min(paths.size(), kShownPathsMax));
  if (all > shown) absl::StrAppend(&text, text.empty() ? "" : ", ", "and ", all - shown, " more");
  return text;
}

std::string filter_text(const v1::TriggerSpec& spec) {
  const v1::WatchFilter& filter = spec.filter();
  std::vector<std::string> parts;
  const auto add = [&parts](const char* flag, const auto& words) {
    for (const std::string& word : words) parts.push_back(absl::StrCat(flag, " ", word));
  };
  add("--glob", filter.globs());
  add("--ignore", filter.ignore());
  add("--writes", spec.writes());
  add("--defer", filter.defer());
  add("--drop", filter.drop());
  if (filter.no_gitignore()) parts.push_back("--no-gitignore");
  if (filter.changed_content()) parts.push_back("--changed-content");
  parts.push_back(absl::StrCat("--settle ", human_duration(to_nanoseconds(filter.settle()))));
  return absl::StrJoin(parts, " ");
}

std::string details(const v1::Trigger& trigger, bool color) {
  const v1::TriggerSpec& spec = trigger.spec();
  std::string state = trigger_state_text(trigger.state());
  if (!trigger.reason().empty()) absl::StrAppend(&state, ": ", trigger.reason());
  std::vector<std::pair<std::string, std::string>> lines = {
      {"name", spec.name()},
      {"state", state},
      {"next", trigger.next()},
      {"watches", spec.path()},
      {"changes", filter_text(spec)},
      {"command", command_text(spec.task())},
      {"directory", spec.task().cwd().empty() ? spec.path() : spec.task().cwd()}};
  if (!trigger.project().empty()) lines.emplace_back("project", trigger.project());
  if (trigger.loop_size() > 0) {
    lines.emplace_back("loop", paths_text(trigger.loop(), trigger.loop_size()));
    lines.emplace_back("cure", trigger.cure());
  }
  if (trigger.pending() > 0)
    lines.emplace_back("pending", absl::StrCat(trigger.pending(), " paths"));
  lines.emplace_back("runs", absl::StrCat(trigger.runs()));
  if (trigger.has_last()) {
    const v1::TriggerRun& last = trigger.last();
    lines.emplace_back("last run", trigger_last_text(trigger));
    lines.emplace_back(
        "fired", absl::StrCat(utc_time(last.fired_unix_nano()), last.by_hand() ? " by hand" : ""));
    if (last.paths() > 0) lines.emplace_back("by", paths_text(last.changed(), last.paths()));
  }
  if (trigger.refused() > 0) {
    lines.emplace_back("refused", absl::StrCat(trigger.refused(), ": ", trigger.last_refusal()));
  }
  for (auto& [key, value] : lines) value = printable(value);
  return key_values(lines, color);
}

absl::StatusOr<int> show(Context& context, const absl::StatusOr<v1::Trigger>& trigger) {
  if (!trigger.ok()) return trigger.status();
  context.show(*trigger, trigger->spec().name(),
               [&] { return details(*trigger, context.color()); });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> add(Context& context, const AddFlags& flags) {
  absl::StatusOr<v1::TaskSpec> task = make_spec(flags.spec);
  if (!task.ok()) return task.status();
  if (absl::Status set = set_command(*task, flags.spec, context.command); !set.ok()) return set;
  task->clear_traceparent();  // each run is the beginning of a trace
  absl::StatusOr<std::string> root = watched_directory(flags.watch);
  if (!root.ok()) return root.status();
  absl::StatusOr<v1::WatchFilter> filter = make_watch_filter(flags.watch);
  if (!filter.ok()) return filter.status();
  v1::CreateTriggerRequest request;
  request.set_replace(flags.replace);
  v1::TriggerSpec& spec = *request.mutable_spec();
  spec.set_name(flags.trigger);
  spec.set_path(*std::move(root));
  *spec.mutable_filter() = *std::move(filter);
  for (const std::string& glob : flags.watch.writes) spec.add_writes(glob);
  *spec.mutable_task() = *std::move(task);
  if (flags.dry_run) {
    context.out.write(to_json(spec, true));
    return static_cast<int>(kExitOk);
  }
  return show(context,
              call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
                return client.triggers().create(request, call);
              }));
}

void add_add(Command& noun, Context& context) {
  auto flags = std::make_shared<AddFlags>();
  Command* leaf = add_leaf(
      noun, context, "add", "Run a command on changes from now on",
      [&context, flags] { return add(context, *flags); }, false);
  leaf->add_option("NAME", flags->trigger, "Name of the trigger")->required();
  leaf->add_option("DIR", flags->watch.directory, "Directory to watch")->required();
  add_watch_selection(*leaf, flags->watch, "--glob");
  add_watch_pace(*leaf, flags->watch);
  add_watch_writes(*leaf, flags->watch);
  leaf->add_flag("--replace", flags->replace, "Take the place of one of that name");
  leaf->add_flag("--dry-run", flags->dry_run, "Print what would be sent, as JSON");
  add_spec_flags(*leaf, flags->spec);
  leaf->find_flag("--name")->description("Name of each task (default: the trigger's)");
  leaf->footer(
      "The command follows after --; it finds what has changed in ZSYNC_CHANGED, a path a line:\n"
      "  zsyncctl watch trigger add build . --glob 'src/**' --writes 'out/**' -- make\n"
      "zsyncd keeps the trigger over restarts; one run at a time, and one more for what changes\n"
      "meanwhile.");
}

absl::StatusOr<int> list(Context& context, const std::string& project) {
  const auto reply =
      call_daemon(context, [&](client::Client& client, const client::CallOptions& call) {
        return client.triggers().list(project, call);
      });
  if (!reply.ok()) return reply.status();
  Table table({"NAME", "STATE", "RUNS", "LAST RUN", "WATCHES", "COMMAND"});
  ListPrinter printer(context);
  for (const v1::Trigger& trigger : reply->triggers()) {
    if (printer.add(trigger, trigger.spec().name())) continue;
    table.add({{trigger.spec().name()},
               {trigger_state_text(trigger.state()), state_color(trigger.state())},
               {absl::StrCat(trigger.runs())},
               {trigger_last_text(trigger)},
               {printable(trigger.spec().path())},
               {command_text(trigger.spec().task())}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no triggers");
  return static_cast<int>(kExitOk);
}

}  // namespace

std::string trigger_state_text(v1::TriggerState state) {
  return lower(v1::TriggerState_Name(state), "TRIGGER_STATE_");
}

std::string trigger_last_text(const v1::Trigger& trigger) {
  if (!trigger.has_last()) return "-";
  const v1::TriggerRun& last = trigger.last();
  std::string text = last.task();
  const auto say = [&text](const std::string& more) {
    absl::StrAppend(&text, text.empty() ? "" : " ", more);
  };
  if (last.ended_unix_nano() == 0) {
    say(last.task().empty() ? "being submitted" : "under way");
  } else if (last.state() == v1::TASK_STATE_UNSPECIFIED) {
    say(last.reason());
  } else {
    say(lower(v1::TaskState_Name(last.state()), "TASK_STATE_"));
    if (last.state() == v1::TASK_STATE_FAILED) say(absl::StrCat("with code ", last.exit_code()));
  }
  return text;
}

void add_watch_triggers(Command& watch, Context& context) {
  add_noun(
      watch, "trigger", "triggers", "Commands that zsyncd itself runs on changes",
      [&context](Command& noun) {
        add_add(noun, context);
        auto project = std::make_shared<std::string>();
        Command* all = add_leaf(noun, context, "list", "Triggers, and how each stands",
                                [&context, project] { return list(context, *project); });
        all->add_option("--project", *project, "Only those of this project")->type_name("NAME");
        add_named<v1::Trigger>(
            noun, context, "show", "One trigger in full: its state, its last run, what comes next",
            "trigger", show,
            [](client::Client& client, const std::string& name, const client::CallOptions& call) {
              return client.triggers().get(name, call);
            });
        add_named<v1::Trigger>(
            noun, context, "pause", "No further runs; what changes makes one when it is resumed",
            "trigger", show,
            [](client::Client& client, const std::string& name, const client::CallOptions& call) {
              return client.triggers().pause(name, call);
            });
        add_named<v1::Trigger>(
            noun, context, "resume", "Let one go on that is paused, or was stopped as a loop",
            "trigger", show,
            [](client::Client& client, const std::string& name, const client::CallOptions& call) {
              return client.triggers().resume(name, call);
            });
        add_named<v1::Trigger>(
            noun, context, "run", "A run now, whatever has changed", "trigger", show,
            [](client::Client& client, const std::string& name, const client::CallOptions& call) {
              return client.triggers().run(name, call);
            });
        add_removal(
            noun, context, "remove", "rm", "trigger",
            [](client::Client& client, const std::string& name, const client::CallOptions& call) {
              return client.triggers().remove(name, call);
            });
      });
}

}  // namespace zsync::cli
