#include "cli/app.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"

namespace zsync::cli {
namespace {

std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : full_name(*parent) + " " + app.get_name();
}

std::vector<std::string> words_of(CLI::App& app, bool flags) {
  std::vector<std::string> words;
  if (flags) {
    for (const CLI::Option* option : app.get_options()) {
      for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
    }
    return words;
  }
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) {
    if (sub->get_name().rfind("__", 0) == 0) continue;
    words.push_back(sub->get_name());
    for (const std::string& alias : sub->get_aliases()) words.push_back(alias);
  }
  return words;
}

// The first word that the parser could not place, with what was probably meant.
std::string unknown_word(CLI::App& app, const std::vector<std::string>& args) {
  CLI::App* at = named_command(app, args);
  std::vector<std::string> extras = at->remaining(true);
  if (extras.empty()) extras = app.remaining(true);
  std::string word = extras.empty() ? "" : extras.front();
  if (const std::size_t equals = word.find('='); word.rfind("--", 0) == 0 && equals != word.npos) {
    word.resize(equals);
  }
  const bool flag = !word.empty() && word[0] == '-';
  std::string text =
      absl::StrCat("unknown ", flag ? "option" : "word", " \"", word, "\" for ", full_name(*at));
  const std::string near = closest(word, words_of(*at, flag));
  if (!near.empty()) absl::StrAppend(&text, "\n  hint: did you mean \"", near, "\"?");
  return text;
}

std::string missing_word(CLI::App& at) {
  std::vector<std::string> verbs;
  for (CLI::App* sub : at.get_subcommands([](CLI::App*) { return true; })) {
    if (sub->get_name().rfind("__", 0) != 0) verbs.push_back(sub->get_name());
  }
  return absl::StrCat(full_name(at), " needs one of: ", absl::StrJoin(verbs, ", "));
}

int print_usage_error(Context& context, CLI::App& at, const std::string& message) {
  context.err.write(absl::StrCat("zsyncctl: ", message, "\n  `", full_name(at),
                                 " --help` shows what it takes\n"));
  context.err.flush();
  return context.passes_command_code ? kExitRunFailed : kExitUsage;
}

int parse(CLI::App& app, Context& context, const std::vector<std::string>& args) {
  bool dashes = false;
  std::vector<std::string> ours = split_off_command(app, args, context.command, dashes);
  CLI::App& at = *named_command(app, ours);
  context.passes_command_code = at.get_name() == "run";
  std::vector<std::string> reversed(ours.rbegin(), ours.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* parent = at.get_parent();
    context.out.write(at.help(parent == nullptr ? "" : full_name(*parent)));
  } catch (const CLI::CallForAllHelp&) {
    context.out.write(app.help("", CLI::AppFormatMode::All));
  } catch (const CLI::CallForVersion& version) {
    context.out.write(absl::StrCat("zsyncctl ", ZSYNC_VERSION, "\n"));
  } catch (const CLI::ExtrasError&) {
    return print_usage_error(context, at, unknown_word(app, ours));
  } catch (const CLI::RequiredError& error) {
    const bool verb = at.get_require_subcommand_min() > 0 && at.get_subcommands().empty();
    if (!verb) return print_usage_error(context, at, error.what());
    const bool unknown = !at.remaining(true).empty() || !app.remaining(true).empty();
    return print_usage_error(context, at, unknown ? unknown_word(app, ours) : missing_word(at));
  } catch (const CLI::ParseError& error) {
    return print_usage_error(context, at, error.what());
  }
  return kExitOk;
}

}  // namespace

int run_cli(const std::vector<std::string>& args, Io io) {
  Context context(io);
  CLI::App app("zsyncctl: run, watch and connect the work of this machine", "zsyncctl");
  app.set_version_flag("--version", ZSYNC_VERSION);
  app.require_subcommand(1);
  add_globals(app, context);
  add_all(app, context);
  if (args.empty()) {
    context.err.write(app.help());
    context.err.flush();
    return kExitUsage;
  }
  int code = parse(app, context, args);
  if (code == kExitOk && context.action) {
    absl::StatusOr<int> result = context.action();
    if (result.ok()) {
      code = *result;
    } else if (!context.out.broken()) {
      context.out.flush();
      context.err.write(error_text(result.status()));
      code = context.passes_command_code ? kExitRunFailed : exit_code_of(result.status());
    }
  }
  const bool delivered = context.out.flush();
  context.err.flush();
  return delivered ? code : kExitPipeClosed;
}

}  // namespace zsync::cli
