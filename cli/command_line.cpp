#include <algorithm>
#include <utility>

#include "cli/nouns.hpp"

namespace zsync::cli {
namespace {

// How many further words the flag `word` takes with it.
bool takes_next_word(Command& app, const std::string& word) {
  if (word.size() < 2 || word[0] != '-') return false;
  const bool is_long = word[1] == '-';
  if (is_long && word.find('=') != std::string::npos) return false;
  const Flag* flag = app.find_flag(is_long ? word : word.substr(0, 2));
  if (flag == nullptr || !flag->takes_value()) return false;
  return is_long || word.size() == 2;
}

}  // namespace

void add_all(Command& app, Context& context) {
  add_run(app, context);
  add_hot_path(app, context);
  add_projects(app, context);
  add_doctor(app, context);
  add_tasks(app, context);
  add_functions(app, context);
  add_channels(app, context);
  add_watch(app, context);
  add_events(app, context);
  add_diagnostics(app, context);
  add_traces(app, context);
  add_daemon(app, context);
  add_completion(app, context);
}

void add_globals(Command& app, Context& context, bool with_timeout) {
  Globals& globals = context.globals;
  const char* group = "Global options";
  app.add_option("-o,--output", globals.output, "Format of the answer: table, json, jsonl or name")
      ->one_of({"table", "json", "jsonl", "name"})
      ->type_name("FORMAT")
      ->group(group);
  app.add_flag("-q,--quiet", globals.quiet, "Only ids or names on stdout, no talk on stderr")
      ->group(group);
  app.add_flag("-y,--yes", globals.yes, "Ask nothing")->group(group);
  app.add_option("--socket", globals.socket, "Socket of the daemon (ZSYNC_SOCKET)")
      ->type_name("PATH")
      ->group(group);
  app.add_flag("--no-autostart", globals.no_autostart, "Fail when no daemon runs")->group(group);
  app.add_flag("--no-color", globals.no_color, "No colours (NO_COLOR)")->group(group);
  if (!with_timeout) return;
  app.add_option("--timeout", globals.timeout, "Give up after this time: 500ms, 2s, 1m30s")
      ->type_name("TIME")
      ->group(group);
}

Command* add_leaf(Command& parent, Context& context, const std::string& name,
                  const std::string& help, Action action, bool with_timeout) {
  Command* leaf = parent.add_subcommand(name, help);
  leaf->when_named([leaf, &context, with_timeout] { add_globals(*leaf, context, with_timeout); });
  leaf->callback([&context, action = std::move(action)] { context.action = action; });
  return leaf;
}

void add_noun(Command& app, const std::string& name, const std::string& singular,
              const std::string& help, std::function<void(Command& noun)> add_verbs) {
  Command* noun = app.add_subcommand(name, help);
  if (!singular.empty()) noun->alias(singular);
  noun->require_subcommand();
  noun->when_named([noun, add_verbs = std::move(add_verbs)] { add_verbs(*noun); });
}

TakesCommand takes_command(const Command& app) {
  const std::string& name = app.name();
  const Command* noun = app.parent();
  const bool triggers = noun != nullptr && noun->name() == "trigger";
  if ((name == "run" && !triggers) || name == "submit") return TakesCommand::kFirstWord;
  if (name == "reply" || name == "serve" || name == "hold") return TakesCommand::kAfterDashes;
  const bool schedules = noun != nullptr && noun->name() == "schedule";
  const bool adds = name == "add" && (schedules || triggers);
  if (adds || name == "watch" || name == "__complete") return TakesCommand::kAfterDashes;
  return TakesCommand::kNo;
}

Command* named_command(Command& app, const std::vector<std::string>& args) {
  Command* current = &app;
  for (std::size_t i = 0; i < args.size() && args[i] != "--"; ++i) {
    if (takes_next_word(*current, args[i])) {
      ++i;  // its value is no command, whatever it looks like
      continue;
    }
    if (args[i].empty() || args[i][0] == '-') continue;
    Command* next = nullptr;
    for (Command* candidate : current->subcommands()) {
      if (candidate->is_called(args[i])) next = candidate;
    }
    if (next == nullptr) continue;  // a word of its own, as in `watch . list`, or an unknown one
    current = next;
    current->complete();
  }
  return current;
}

std::vector<std::string> split_off_command(Command& app, std::vector<std::string> args,
                                           std::vector<std::string>& command, bool& dashes) {
  dashes = false;
  Command* const leaf = named_command(app, args);
  const TakesCommand takes = takes_command(*leaf);
  if (takes == TakesCommand::kNo) return args;
  Command* current = &app;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const std::string word = args[i];
    if (word == "--") {
      dashes = true;
      command.assign(args.begin() + static_cast<std::ptrdiff_t>(i) + 1, args.end());
      args.resize(i);
      return args;
    }
    if (takes_next_word(*current, word)) {
      ++i;
    } else if (!word.empty() && word[0] == '-') {
      continue;
    } else if (current != leaf) {
      current = named_command(*current, {word});
    } else if (takes == TakesCommand::kFirstWord) {
      command.assign(args.begin() + static_cast<std::ptrdiff_t>(i), args.end());
      args.resize(i);
      return args;
    }
  }
  return args;
}

}  // namespace zsync::cli
