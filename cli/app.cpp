#include "cli/app.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"

namespace zsync::cli {
namespace {

std::vector<std::string> words_of(Command& command, bool flags) {
  std::vector<std::string> words;
  if (flags) {
    for (const Flag* flag : command.flags()) {
      for (const std::string& name : flag->long_names()) words.push_back("--" + name);
    }
    return words;
  }
  for (const Command* sub : command.subcommands()) {
    if (sub->name().rfind("__", 0) == 0) continue;
    words.push_back(sub->name());
    for (const std::string& alias : sub->aliases()) words.push_back(alias);
  }
  return words;
}

std::string missing_word(Command& at) {
  std::vector<std::string> verbs;
  for (const Command* sub : at.subcommands()) {
    if (sub->name().rfind("__", 0) != 0) verbs.push_back(sub->name());
  }
  return absl::StrCat(at.full_name(), " needs one of: ", absl::StrJoin(verbs, ", "));
}

int print_usage_error(Context& context, Command& at, const std::string& message) {
  context.err.write(absl::StrCat("zsyncctl: ", message, "\n  `", at.full_name(),
                                 " --help` shows what it takes\n"));
  context.err.flush();
  return context.passes_command_code ? kExitRunFailed : kExitUsage;
}

// Says which word the parser could not place, and what was probably meant.
int print_unknown_word(Context& context, Command& app, const std::vector<std::string>& args) {
  std::vector<std::string> extras = named_command(app, args)->unknown_words();
  if (extras.empty()) extras = app.unknown_words();
  std::string word = extras.empty() ? "" : extras.front();
  Command& at = *named_command(app, {args.begin(), std::find(args.begin(), args.end(), word)});
  if (const std::size_t equals = word.find('='); word.rfind("--", 0) == 0 && equals != word.npos) {
    word.resize(equals);
  }
  const bool flag = !word.empty() && word[0] == '-';
  std::string text =
      absl::StrCat("unknown ", flag ? "option" : "word", " \"", word, "\" for ", at.full_name());
  const std::string near = closest(word, words_of(at, flag));
  if (!near.empty()) absl::StrAppend(&text, "\n  hint: did you mean \"", near, "\"?");
  return print_usage_error(context, at, text);
}

int parse(Command& app, Context& context, const std::vector<std::string>& args) {
  bool dashes = false;
  std::vector<std::string> ours = split_off_command(app, args, context.command, dashes);
  Command& at = *named_command(app, ours);
  context.passes_command_code = at.name() == "run" && takes_command(at) == TakesCommand::kFirstWord;
  const Command::Parsed parsed = app.parse(ours);
  switch (parsed.outcome) {
    case Command::Outcome::kParsed:
      break;
    case Command::Outcome::kHelp:
      context.out.write(at.help());
      break;
    case Command::Outcome::kVersion:
      context.out.write(absl::StrCat("zsyncctl ", ZSYNC_VERSION, "\n"));
      break;
    case Command::Outcome::kUnknownWord:
      return print_unknown_word(context, app, ours);
    case Command::Outcome::kMissing: {
      if (!at.lacks_subcommand()) return print_usage_error(context, at, parsed.message);
      const bool unknown = !at.unknown_words().empty() || !app.unknown_words().empty();
      if (unknown) return print_unknown_word(context, app, ours);
      return print_usage_error(context, at, missing_word(at));
    }
    case Command::Outcome::kWrong:
      return print_usage_error(context, at, parsed.message);
  }
  return kExitOk;
}

}  // namespace

int run_cli(const std::vector<std::string>& args, Io io) {
  Context context(io);
  Command app("zsyncctl", "zsyncctl: run, watch and connect the work of this machine");
  app.version_flag(ZSYNC_VERSION);
  app.require_subcommand();
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
