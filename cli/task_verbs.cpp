#include "cli/task_verbs.hpp"

#include <signal.h>

#include <memory>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/attach.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/task_view.hpp"

namespace zsync::cli {
namespace {

// A number, or a name with or without SIG.
absl::StatusOr<int> parse_signal(const std::string& text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number) && number >= 1 && number <= SIGRTMAX) return number;
  std::string word = absl::AsciiStrToUpper(text);
  if (word.rfind("SIG", 0) == 0) word.erase(0, 3);
  for (number = 1; number < SIGRTMIN; ++number) {
    const char* name = ::sigabbrev_np(number);
    if (name != nullptr && word == name) return number;
  }
  return usage_error(absl::StrCat("--signal: there is no signal \"", text,
                                  "\": give a name as HUP or SIGHUP, or a number as 1"));
}

void add_attach(Command& tasks, Context& context) {
  struct Flags {
    std::string id, keys = kDetachKeysDefault;
    bool read_only = false;
  };
  auto flags = std::make_shared<Flags>();
  Command* leaf = add_leaf(
      tasks, context, "attach", "Be the terminal of a task that was submitted with --tty",
      [&context, flags]() -> absl::StatusOr<int> {
        absl::StatusOr<DetachKeys> keys = DetachKeys::parse(flags->keys);
        if (!keys.ok()) return keys.status();
        return attach(context,
                      [&](client::Client&) -> absl::StatusOr<std::string> { return flags->id; },
                      {*std::move(keys), flags->read_only, false});
      });
  leaf->add_option("ID", flags->id, kIdHelp)->required();
  leaf->add_option("--detach-keys", flags->keys, kDetachKeysHelp)
      ->type_name("KEYS")
      ->capture_default_str();
  leaf->add_flag("--read-only", flags->read_only, "Look on, and type nothing");
}

}  // namespace

absl::StatusOr<int> for_each_id(
    Context& context, const Ids& ids,
    const std::function<absl::Status(client::Tasks, const std::string&,
                                     const client::CallOptions&)>& each) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  for (const std::string& id : ids) {
    if (absl::Status status = each((*client)->tasks(), id, *call); !status.ok()) return status;
  }
  return static_cast<int>(kExitOk);
}

absl::Status show_result(Context& context, const absl::StatusOr<v1::Task>& task) {
  if (!task.ok()) return task.status();
  context.show(*task, task->id(), [&] {
    return absl::StrCat(
        task->id(), " ", paint(shown_state(*task), state_color(task->state()), context.color()),
        task->cancel_requested() && !client::is_final(task->state()) ? " (cancel requested)\n"
                                                                     : "\n");
  });
  return absl::OkStatus();
}

void add_control(Command& tasks, Context& context) {
  const auto add = [&](const char* name, const char* help, auto method) {
    auto ids = std::make_shared<Ids>();
    add_leaf(tasks, context, name, help,
             [&context, ids, method] {
               return for_each_id(context, *ids,
                                  [&](client::Tasks tasks, const std::string& id,
                                      const client::CallOptions& call) {
                                    return show_result(context, (tasks.*method)(id, call));
                                  });
             })
        ->add_option("ID", *ids, kIdHelp)
        ->required();
  };
  add("pause", "Stop every process of running tasks; they keep their place and their locks",
      &client::Tasks::pause);
  add("resume", "Let paused tasks go on", &client::Tasks::resume);
  struct Flags {
    Ids ids;
    std::string signal = "TERM";
  };
  auto flags = std::make_shared<Flags>();
  Command* signal = add_leaf(
      tasks, context, "signal", "Send a signal to the process group of running commands",
      [&context, flags]() -> absl::StatusOr<int> {
        const absl::StatusOr<int> number = parse_signal(flags->signal);
        if (!number.ok()) return number.status();
        return for_each_id(
            context, flags->ids,
            [&](client::Tasks tasks, const std::string& id, const client::CallOptions& call) {
              return show_result(context, tasks.signal(id, *number, call));
            });
      });
  signal->add_option("ID", flags->ids, kIdHelp)->required();
  signal->add_option("-s,--signal", flags->signal, "Name or number")
      ->type_name("SIGNAL")
      ->capture_default_str();
  add_attach(tasks, context);
}

}  // namespace zsync::cli
