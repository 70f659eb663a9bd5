// What every noun's file gives to the command line, and what it builds it with.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/context.hpp"

namespace zsync::cli {

void add_run(CLI::App& app, Context& context);
void add_hot_path(CLI::App& app, Context& context);  // ps logs why top status
void add_projects(CLI::App& app, Context& context);  // up down restart, too
void add_tasks(CLI::App& app, Context& context);
void add_functions(CLI::App& app, Context& context);
void add_channels(CLI::App& app, Context& context);
void add_watch(CLI::App& app, Context& context);
void add_daemon(CLI::App& app, Context& context);
void add_events(CLI::App& app, Context& context);
void add_traces(CLI::App& app, Context& context);
void add_doctor(CLI::App& app, Context& context);
void add_completion(CLI::App& app, Context& context);

// Everything above, in the order in which help shows it.
void add_all(CLI::App& app, Context& context);

// The flags that every command has. `with_timeout` false: the command has its own --timeout.
void add_globals(CLI::App& app, Context& context, bool with_timeout = true);

// A command that does something: `action` runs after the whole line is parsed.
CLI::App* add_leaf(CLI::App& parent, Context& context, const std::string& name,
                   const std::string& help, Action action, bool with_timeout = true);

// A noun: one of its verbs is required.
CLI::App* add_noun(CLI::App& app, const std::string& name, const std::string& singular,
                   const std::string& help);

// `name` of the command line takes the rest of it as a command: at once at its first word that is
// no flag, or only after "--".
enum class TakesCommand { kNo, kFirstWord, kAfterDashes };
TakesCommand takes_command(const CLI::App& app);

// Cuts the command off the line, so that its flags are never taken for ours.
std::vector<std::string> split_off_command(CLI::App& app, std::vector<std::string> args,
                                           std::vector<std::string>& command, bool& dashes);

// The subcommand that the line names.
CLI::App* named_command(CLI::App& app, const std::vector<std::string>& args);

}  // namespace zsync::cli
