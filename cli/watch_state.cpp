#include "cli/watch_state.hpp"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

extern char** environ;

namespace zsync::cli {
namespace {

constexpr std::chrono::seconds kLeaveTimeout{5};

struct StateFlags {
  std::string name;
  std::string directory;
};

// Holds the state on a thread of its own, from the daemon's word to the end of its life.
class Holding {
 public:
  Holding(client::Client& client, v1::HoldStateRequest request, client::CallOptions call)
      : client_(client), call_(call), thread_([this, request] { hold(request); }) {}
  ~Holding() {
    call_.stop->cancel();
    thread_.join();
  }

  // Blocks until the state is held -> how many subscriptions are silent, or why it is not held.
  absl::StatusOr<std::uint32_t> entered() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return silent_ || ended_; });
    if (!silent_) return ended_->ok() ? absl::UnavailableError("the daemon ended it") : *ended_;
    return *silent_;
  }
  // Returns when the state is left; if that cannot be waited for, the end of the call leaves it.
  void leave() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (ended_) return;
    const std::string hold = hold_;
    lock.unlock();
    (void)client_.watch().leave_state(hold, {kLeaveTimeout, nullptr});
  }
  // Why it is held no more, while it should be.
  std::optional<absl::Status> ended() {
    std::lock_guard<std::mutex> lock(mutex_);
    return ended_;
  }

 private:
  void hold(const v1::HoldStateRequest& request) {
    absl::Status status = client_.watch().hold_state(
        request,
        [this](const v1::HoldStateReply& reply) {
          std::lock_guard<std::mutex> lock(mutex_);
          silent_ = reply.silent();
          hold_ = reply.hold();
          changed_.notify_all();
          return true;
        },
        call_);
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = std::move(status);
    changed_.notify_all();
  }

  client::Client& client_;
  client::CallOptions call_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::uint32_t> silent_;
  std::string hold_;
  std::optional<absl::Status> ended_;
  std::thread thread_;
};

// SIGINT and SIGQUIT of the terminal are the command's, as in system(3).
class TerminalSignalsIgnored {
 public:
  TerminalSignalsIgnored() {
    struct sigaction ignore = {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGINT, &ignore, &interrupt_);
    ::sigaction(SIGQUIT, &ignore, &quit_);
  }
  ~TerminalSignalsIgnored() {
    ::sigaction(SIGINT, &interrupt_, nullptr);
    ::sigaction(SIGQUIT, &quit_, nullptr);
  }
  TerminalSignalsIgnored(const TerminalSignalsIgnored&) = delete;
  TerminalSignalsIgnored& operator=(const TerminalSignalsIgnored&) = delete;

 private:
  struct sigaction interrupt_ = {};
  struct sigaction quit_ = {};
};

// The command on this terminal -> its exit code, as a shell says it.
int run_here(Context& context, const std::string& state) {
  std::vector<char*> words;
  for (std::string& word : context.command) words.push_back(word.data());
  words.push_back(nullptr);
  ::setenv("ZSYNC_STATE", state.c_str(), 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t usual;
  sigemptyset(&usual);
  posix_spawnattr_setsigmask(&attributes, &usual);
  for (const int number : {SIGINT, SIGQUIT, SIGPIPE}) sigaddset(&usual, number);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, words[0], nullptr, &attributes, words.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    context.note(absl::StrCat(printable(context.command[0]), ": ", std::strerror(error)));
    return error == ENOENT ? kExitCommandNotFound : kExitCannotExecute;
  }
  int how = 0;
  while (::waitpid(pid, &how, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
}

absl::StatusOr<int> hold(Context& context, const StateFlags& flags) {
  if (context.command.empty()) {
    return usage_error("give the command, as in `zsyncctl watch state hold build . -- make`");
  }
  std::error_code error;
  const std::filesystem::path root = std::filesystem::canonical(flags.directory, error);
  if (error) {
    return absl::NotFoundError(absl::StrCat(flags.directory, ": ", error.message()));
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  v1::HoldStateRequest request;
  request.set_path(root.string());
  request.set_name(flags.name);
  Holding holding(**client, request, *call);
  const absl::StatusOr<std::uint32_t> silent = holding.entered();
  if (!silent.ok()) return silent.status();
  const TerminalSignalsIgnored ignored;
  const int code = run_here(context, flags.name);
  if (const std::optional<absl::Status> ended = holding.ended()) {
    context.note(absl::StrCat("the state was not held to the end: ",
                              ended->ok() ? "the daemon ended it" : ended->message()));
  }
  holding.leave();
  return code;
}

absl::StatusOr<int> list(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto reply = (*client)->watch().list(*call);
  if (!reply.ok()) return reply.status();
  Table table({"STATE", "HOLDERS", "PID", "SINCE", "SILENT", "PATH"});
  ListPrinter printer(context);
  for (const v1::HeldState& state : reply->states()) {
    if (printer.add(state, state.name())) continue;
    table.add({{state.name()},
               {absl::StrCat(state.holders())},
               {absl::StrCat(state.pid())},
               {utc_time(state.since_unix_nano())},
               {absl::StrCat(state.silent())},
               {state.path()}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no states are held");
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_watch_state(Command& watch, Context& context) {
  add_noun(
      watch, "state", "states", "Named states, which make subscriptions silent",
      [&context](Command& noun) {
        add_leaf(noun, context, "list", "States that are held, and by whom",
                 [&context] { return list(context); });
        auto flags = std::make_shared<StateFlags>();
        Command* leaf = add_leaf(noun, context, "hold", "Hold a state while a command runs",
                                 [&context, flags] { return hold(context, *flags); });
        leaf->add_option("NAME", flags->name, "Name of the state, as in build")->required();
        leaf->add_option("DIR", flags->directory, "Directory: the state is one of all below it")
            ->required();
        leaf->footer(
            "The command stands behind --, runs on this terminal, and its exit code is passed on. "
            "Watches "
            "with --defer NAME are silent until it ends; those with --drop NAME are never told "
            "what "
            "changed meanwhile. If zsyncctl dies the state is left at once.");
      });
}

}  // namespace zsync::cli
