// `zsyncctl completion SHELL`, and the hidden `__complete` that the scripts ask.
#include <algorithm>
#include <chrono>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/projects.hpp"

namespace zsync::cli {
namespace {

constexpr std::chrono::milliseconds kAnswerTime{200};
constexpr std::uint32_t kTasksOffered = 100;

constexpr const char* kBash = R"(_zsyncctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("$line")
  done < <(zsyncctl __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ ${#COMPREPLY[@]} -eq 0 ]; then
    COMPREPLY=($(compgen -o default -- "$cur"))
  fi
}
complete -F _zsyncctl zsyncctl
)";

constexpr const char* kZsh = R"(#compdef zsyncctl
_zsyncctl() {
  local -a found
  found=("${(@f)$(zsyncctl __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if (( ${#found} )) && [[ -n ${found[1]} ]]; then
    compadd -- "${found[@]}"
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_zsyncctl" ]; then
  _zsyncctl "$@"
else
  compdef _zsyncctl zsyncctl
fi
)";

constexpr const char* kFish = R"(function __zsyncctl_complete
  set -l words (commandline -opc) (commandline -ct)
  zsyncctl __complete -- $words[2..-1] 2>/dev/null
end
complete -c zsyncctl -a '(__zsyncctl_complete)'
)";

absl::StatusOr<int> print_script(Context& context, const std::string& shell) {
  context.out.write(shell == "bash" ? kBash : shell == "zsh" ? kZsh : kFish);
  return static_cast<int>(kExitOk);
}

std::vector<std::string> task_words(client::Client& client, const client::CallOptions& call) {
  v1::ListTasksRequest request;
  request.set_page_size(kTasksOffered);
  std::vector<std::string> words;
  const auto reply = client.tasks().list(request, call);
  if (!reply.ok()) return words;
  for (const v1::Task& task : reply->tasks()) {
    words.push_back(task.id());
    if (!task.spec().name().empty()) words.push_back(task.spec().name());
  }
  return words;
}

std::vector<std::string> channel_words(client::Client& client, const client::CallOptions& call) {
  std::vector<std::string> words;
  const auto reply = client.channels().list({}, call);
  if (!reply.ok()) return words;
  for (const v1::Channel& channel : reply->channels()) words.push_back(channel.spec().name());
  return words;
}

std::vector<std::string> group_words(client::Client& client, const client::CallOptions& call) {
  std::vector<std::string> words;
  const auto reply = client.tasks().list_groups(call);
  if (!reply.ok()) return words;
  for (const v1::TaskGroup& group : reply->groups()) words.push_back(group.name());
  return words;
}

std::vector<std::string> function_words(client::Client& client, const client::CallOptions& call) {
  std::vector<std::string> words;
  const auto functions = client.functions().list(call);
  if (!functions.ok()) return words;
  for (const v1::Function& function : *functions) words.push_back(function.name());
  return words;
}

// Of the project nearby.
std::vector<std::string> unit_words(client::Client& client, const client::CallOptions& call) {
  std::vector<std::string> words;
  const std::string root = project_near("");
  if (root.empty()) return words;
  const auto project = client.projects().get(root, call);
  if (!project.ok()) return words;
  for (const v1::ProjectUnit& unit : project->units()) words.push_back(unit.name());
  return words;
}

std::vector<std::string> project_words(client::Client& client, const client::CallOptions& call) {
  std::vector<std::string> words;
  const auto projects = client.projects().list(call);
  if (!projects.ok()) return words;
  for (const v1::Project& project : *projects) words.push_back(project.name());
  return words;
}

// What lives in the daemon, for the positional of `command`; silent when there is no daemon.
std::vector<std::string> live_words(Context& context, Command& command) {
  const bool takes_id = command.find_flag("ID") != nullptr;
  const bool takes_group = command.find_flag("GROUP") != nullptr;
  const bool takes_channel = command.find_flag("NAME") != nullptr && command.name() != "create";
  const bool takes_function = command.find_flag("FUNCTION") != nullptr;
  const bool takes_unit = command.find_flag("UNIT") != nullptr;
  const bool takes_project = command.find_flag("PROJECT") != nullptr;
  if (!takes_id && !takes_group && !takes_channel && !takes_function && !takes_unit &&
      !takes_project) {
    return {};
  }
  absl::StatusOr<client::Client*> client = context.client(false);
  if (!client.ok()) return {};
  client::CallOptions call;
  call.timeout = kAnswerTime;
  if (takes_function) return function_words(**client, call);
  if (takes_unit) return unit_words(**client, call);
  if (takes_project) return project_words(**client, call);
  if (takes_id) {
    std::vector<std::string> words = task_words(**client, call);
    const std::string name = command.name();
    if (name == "logs" || name == "why") {
      for (std::string& unit : unit_words(**client, call)) words.push_back(std::move(unit));
    }
    return words;
  }
  return takes_group ? group_words(**client, call) : channel_words(**client, call);
}

std::vector<std::string> static_words(Command& command, bool flags) {
  std::vector<std::string> words;
  if (flags) {
    for (const Flag* flag : command.flags()) {
      for (const std::string& name : flag->long_names()) words.push_back("--" + name);
    }
    return words;
  }
  for (const Command* sub : command.subcommands()) {
    if (sub->name().rfind("__", 0) != 0) words.push_back(sub->name());
  }
  return words;
}

absl::StatusOr<int> complete(Context& context, Command& app) {
  std::vector<std::string> line = context.command;
  if (std::find(line.begin(), line.end(), "--") != line.end()) return static_cast<int>(kExitOk);
  const std::string current = line.empty() ? "" : line.back();
  if (!line.empty()) line.pop_back();
  Command& command = *named_command(app, line);
  context.globals.quiet = true;
  const bool flags = !current.empty() && current[0] == '-';
  std::vector<std::string> words = static_words(command, flags);
  if (!flags) {
    for (std::string& word : live_words(context, command)) words.push_back(std::move(word));
  }
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
  for (const std::string& word : words) {
    if (word.rfind(current, 0) == 0) context.out.write(word + "\n");
  }
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_completion(Command& app, Context& context) {
  auto shell = std::make_shared<std::string>();
  Command* script = add_leaf(app, context, "completion", "A completion script for a shell",
                             [&context, shell] { return print_script(context, *shell); });
  script->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->one_of({"bash", "zsh", "fish"});
  script->footer("bash: source <(zsyncctl completion bash)");
  Command* hidden = add_leaf(app, context, "__complete", "What may come next",
                             [&context, &app] { return complete(context, app); });
  hidden->group("");
}

}  // namespace zsync::cli
