// What every noun's file gives to the command line, and what it builds it with.
#pragma once

#include <functional>
#include <string>

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_run(Command& app, Context& context);
void add_hot_path(Command& app, Context& context);  // ps logs why top status
void add_projects(Command& app, Context& context);  // up down restart, too
void add_tasks(Command& app, Context& context);
void add_functions(Command& app, Context& context);
void add_channels(Command& app, Context& context);
void add_watch(Command& app, Context& context);
void add_daemon(Command& app, Context& context);
void add_events(Command& app, Context& context);
void add_traces(Command& app, Context& context);
void add_diagnostics(Command& app, Context& context);
void add_doctor(Command& app, Context& context);
void add_completion(Command& app, Context& context);

// Everything above, in the order in which help shows it.
void add_all(Command& app, Context& context);

// The flags that every command has. `with_timeout` false: the command has its own --timeout.
void add_globals(Command& app, Context& context, bool with_timeout = true);

// A command that does something: `action` runs after the whole line is parsed.
Command* add_leaf(Command& parent, Context& context, const std::string& name,
                  const std::string& help, Action action, bool with_timeout = true);

// A noun: one of its verbs is required. `add_verbs` is called once the line names it.
void add_noun(Command& app, const std::string& name, const std::string& singular,
              const std::string& help, std::function<void(Command& noun)> add_verbs);

// `name` of the command line takes the rest of it as a command: at once at its first word that is
// no flag, or only after "--".
enum class TakesCommand { kNo, kFirstWord, kAfterDashes };
TakesCommand takes_command(const Command& app);

// Cuts the command off the line, so that its flags are never taken for ours.
std::vector<std::string> split_off_command(Command& app, std::vector<std::string> args,
                                           std::vector<std::string>& command, bool& dashes);

// The subcommand that the line names; it and those above it are complete then.
Command* named_command(Command& app, const std::vector<std::string>& args);

}  // namespace zsync::cli
