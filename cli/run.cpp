// `zsyncctl run`: a command under the daemon that looks like the command itself.
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/attach.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/json.hpp"
#include "cli/signals.hpp"
#include "cli/spec_flags.hpp"
#include "cli/stdin_pump.hpp"
#include "cli/task_stream.hpp"

namespace zsync::cli {
namespace {

struct RunFlags {
  SpecFlags spec;
  bool detach = false;
  bool dry_run = false;
  std::string detach_keys = kDetachKeysDefault;
};

// What Ctrl-C does: before the task exists it ends the submit; then cancel, kill, and at last the
// wait.
class Interrupts {
 public:
  explicit Interrupts(Context& context) : context_(context) {}

  void submitted(client::Client& client, const std::string& id) {
    std::lock_guard<std::mutex> lock(mutex_);
    client_ = &client;
    id_ = id;
    if (count_ > 0) cancel(count_ > 1);
  }
  void received(int count) {
    std::lock_guard<std::mutex> lock(mutex_);
    count_ = count;
    if (client_ == nullptr || count > 2) {
      context_.stop.cancel();
    } else {
      cancel(count > 1);
    }
  }
  bool any() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return count_ > 0;
  }

 private:
  void cancel(bool kill) { (void)request_cancel(*client_, id_, kill); }

  Context& context_;
  mutable std::mutex mutex_;
  client::Client* client_ = nullptr;
  std::string id_;
  int count_ = 0;
};

// A login session without linger takes its processes with it.
bool ends_at_logout() {
  std::error_code error;
  const char* user = std::getenv("USER");
  return std::getenv("XDG_SESSION_ID") != nullptr && user != nullptr &&
         std::filesystem::exists("/run/systemd/system", error) &&
         !std::filesystem::exists(std::string("/var/lib/systemd/linger/") + user, error);
}

int detached(Context& context, const std::string& id) {
  if (context.json() || context.jsonl()) {
    context.out.write("{\"id\":" + json_string(id) + "}\n");
  } else {
    context.out.write(id + "\n");
  }
  if (ends_at_logout()) {
    context.note("the task ends when you log out: `loginctl enable-linger` keeps it");
  }
  return kExitOk;
}

absl::StatusOr<int> attached(Context& context, client::Client& client, const std::string& id,
                             bool feeds_stdin, Interrupts& interrupts,
                             const client::CallOptions& call) {
  std::optional<StdinPump> pump;
  if (feeds_stdin) pump.emplace(client, id, context.in);
  std::atomic<bool> reader_gone{false};
  absl::StatusOr<v1::Task> task = absl::UnknownError("");
  {
    const HangupGuard guard(context.out.fd(), [&] {
      reader_gone = true;
      (void)request_cancel(client, id, false);
    });
    task = stream_task(context, client, id, call);
  }
  // As a pipe would do it: who writes to a reader that is gone is ended.
  if (context.out.broken() && !reader_gone) (void)request_cancel(client, id, false);
  if (context.out.broken() || reader_gone) return static_cast<int>(kExitPipeClosed);
  if (!task.ok() && interrupts.any()) {
    context.note(absl::StrCat("no longer waiting for task ", id));
    return static_cast<int>(kExitInterrupted);
  }
  if (!task.ok()) return task.status();
  explain_end(context, *task);
  if (task->state() == v1::TASK_STATE_CANCELED && interrupts.any()) {
    return static_cast<int>(kExitInterrupted);
  }
  return exit_code_of(*task);
}

// The same on a terminal: Ctrl-C is a key like any other, and the keys that detach leave the task
// alone.
absl::StatusOr<int> run_on_terminal(Context& context, v1::TaskSpec spec, DetachKeys keys) {
  if (::isatty(context.in) == 0) {
    return usage_error("--tty: stdin is no terminal; with --detach nobody has to be there");
  }
  return attach(context,
                [&](client::Client& client) { return client.tasks().submit(std::move(spec)); },
                {std::move(keys), false, true});
}

absl::StatusOr<int> run_command(Context& context, const RunFlags& flags) {
  absl::StatusOr<DetachKeys> keys = DetachKeys::parse(flags.detach_keys);
  if (!keys.ok()) return keys.status();
  absl::StatusOr<v1::TaskSpec> spec = make_spec(flags.spec);
  if (!spec.ok()) return spec.status();
  if (absl::Status set = set_command(*spec, flags.spec, context.command); !set.ok()) return set;
  if (!flags.detach) inherit_deadline(*spec);
  const bool feeds_stdin = !flags.detach && !flags.spec.tty && stdin_is_fed(context.in);
  spec->set_stdin_stream(feeds_stdin);
  if (flags.dry_run) {
    context.out.write(to_json(*spec, true));
    return static_cast<int>(kExitOk);
  }
  if (flags.spec.tty && !flags.detach) {
    return run_on_terminal(context, *std::move(spec), *std::move(keys));
  }
  Interrupts interrupts(context);
  std::optional<SignalGuard> signals;
  if (!flags.detach) signals.emplace([&](int count) { interrupts.received(count); });
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  client::CallOptions call;
  call.stop = &context.stop;
  const absl::StatusOr<std::string> id = (*client)->tasks().submit(*std::move(spec), call);
  if (!id.ok()) {
    if (interrupts.any()) return static_cast<int>(kExitInterrupted);
    return id.status();
  }
  if (flags.detach) return detached(context, *id);
  interrupts.submitted(**client, *id);
  return attached(context, **client, *id, feeds_stdin, interrupts, call);
}

}  // namespace

void add_run(Command& app, Context& context) {
  auto flags = std::make_shared<RunFlags>();
  Command* run = add_leaf(
      app, context, "run", "Run a command as a task and be it: its output, its exit code",
      [&context, flags] { return run_command(context, *flags); }, false);
  add_spec_flags(*run, flags->spec);
  run->add_flag("-d,--detach", flags->detach, "Print the task's id and leave it running");
  run->add_option("--detach-keys", flags->detach_keys, kDetachKeysHelp)
      ->type_name("KEYS")
      ->capture_default_str();
  run->add_flag("--dry-run", flags->dry_run, "Print what would be submitted, as JSON");
  run->footer(
      "The command follows, after -- where one of its words could be taken for a flag:\n"
      "  zsyncctl run --timeout 5m -- make -j4");
}

}  // namespace zsync::cli
