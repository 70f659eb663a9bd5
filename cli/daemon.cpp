// `zsyncctl daemon`.
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/json.hpp"
#include "cli/render/progress.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

constexpr std::chrono::seconds kStopTimeout{30};
constexpr std::chrono::milliseconds kStopPoll{5};
constexpr off_t kLogTailBytes = 16 << 10;

std::string info_text(const v1::DaemonInfo& info, bool color) {
  std::string text =
      key_values({{"version", info.version()},
                  {"instance", info.instance()},
                  {"pid", absl::StrCat(info.pid())},
                  {"uid", absl::StrCat(info.uid())},
                  {"caller", info.caller()},
                  {"socket", info.socket()},
                  {"state", info.state_dir()},
                  {"program", info.program()},
                  {"runtime", absl::StrCat(info.backend(), ", ", info.workers(), " workers")},
                  {"started", utc_time(info.started_unix_nano())}},
                 color);
  if (const v1::Takeover& takeover = info.takeover(); !takeover.failure().empty()) {
    absl::StrAppend(&text, "\n", takeover.program(), " was to take over at ",
                    utc_time(takeover.began_unix_nano()), " and failed: ", takeover.failure(),
                    "\n");
  } else if (info.has_takeover()) {
    absl::StrAppend(&text, "\ntook over from ", takeover.from_version(), " at ",
                    utc_time(takeover.began_unix_nano()), "\n");
  }
  Table nouns({"NOUN", "AVAILABILITY", "REASON"});
  for (const v1::Capability& one : info.capabilities()) {
    std::string word = absl::AsciiStrToLower(
        absl::StripPrefix(v1::Capability::Availability_Name(one.availability()), "AVAILABILITY_"));
    for (char& c : word) c = c == '_' ? ' ' : c;
    const bool there = one.availability() == v1::Capability::AVAILABILITY_AVAILABLE;
    nouns.add({{one.noun()}, {word, there ? Color::kGood : Color::kDim}, {one.reason()}});
  }
  if (!nouns.empty()) absl::StrAppend(&text, "\n", nouns.text(0, color));
  Table limits({"LIMIT", "VALUE"});
  for (const v1::Limit& one : info.limits()) {
    limits.add({{one.name()}, {absl::StrCat(one.value(), " ", one.unit())}});
  }
  if (!limits.empty()) absl::StrAppend(&text, "\n", limits.text(0, color));
  return text;
}

std::string stats_text(const v1::DaemonStats& stats, bool color) {
  return key_values(
      {{"memory", human_bytes(stats.rss_bytes())},
       {"connections", absl::StrCat(stats.connections())},
       {"calls", absl::StrCat(stats.calls_open(), " open, ", stats.calls_total(), " in all")},
       {"tasks", absl::StrCat(stats.tasks_running(), " running, ", stats.tasks_queued(),
                              " queued, ", stats.tasks_stored(), " stored")},
       {"channels", absl::StrCat(stats.channels())},
       {"watches",
        absl::StrCat(stats.watch_roots(), " roots, ", stats.watch_directories(), " directories")},
       {"coroutines", absl::StrCat(stats.coroutines())},
       {"commits", absl::StrCat(stats.commits(), " for ", stats.commit_requests(), " requests")},
       {"event seq", absl::StrCat(stats.event_seq())}},
      color);
}

// `info` and `stats`: one call, one object.
template <typename Reply>
Action show_reply(Context& context,
                  absl::StatusOr<Reply> (client::Daemon::*method)(const client::CallOptions&),
                  std::string (*text)(const Reply&, bool)) {
  return [&context, method, text]() -> absl::StatusOr<int> {
    absl::StatusOr<client::Client*> client = context.client(false);
    if (!client.ok()) return client.status();
    const absl::StatusOr<client::CallOptions> call = context.call();
    if (!call.ok()) return call.status();
    client::Daemon daemon = (*client)->daemon();
    const absl::StatusOr<Reply> reply = (daemon.*method)(*call);
    if (!reply.ok()) return reply.status();
    context.show(*reply, (*client)->socket(), [&] { return text(*reply, context.color()); });
    return static_cast<int>(kExitOk);
  };
}

absl::StatusOr<int> show_config(Context& context, bool origin) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto config = (*client)->daemon().config(*call);
  if (!config.ok()) return config.status();
  Table table(origin ? std::vector<std::string>{"KEY", "ORIGIN", "VALUE"}
                     : std::vector<std::string>{"KEY", "VALUE"});
  ListPrinter printer(context);
  for (const v1::ConfigValue& value : config->values()) {
    if (printer.add(value, value.key())) continue;
    if (origin) {
      table.add({{value.key()}, {value.origin(), Color::kDim}, {value.value()}});
    } else {
      table.add({{value.key()}, {value.value()}});
    }
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no settings");
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> start(Context& context) {
  const absl::StatusOr<std::string> path = client::socket_path(context.globals.socket);
  if (!path.ok()) return path.status();
  const auto daemon = client::ensure_daemon(*path, "");
  if (!daemon.ok()) return daemon.status();
  context.note(daemon->started ? absl::StrCat("started zsyncd (pid ", daemon->pid, ")")
                               : absl::StrCat("zsyncd runs already at ", *path));
  return static_cast<int>(kExitOk);
}

// Returns once nobody listens any more: a start that follows finds a free socket.
absl::StatusOr<int> stop(Context& context, bool must_run) {
  const absl::StatusOr<std::string> path = client::socket_path(context.globals.socket);
  if (!path.ok()) return path.status();
  absl::Status alive = client::probe(*path);
  if (absl::IsUnavailable(alive) && !must_run) return static_cast<int>(kExitOk);
  if (!alive.ok()) return alive;
  absl::StatusOr<client::Client*> client = context.client(false);
  if (!client.ok()) return client.status();
  absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const absl::Status asked = (*client)->daemon().shutdown(*call);
  if (!asked.ok() && !absl::IsUnavailable(asked)) return asked;
  const Progress progress(context.err, !context.globals.quiet, "stopping zsyncd");
  const auto deadline = std::chrono::steady_clock::now() +
                        call->timeout.value_or(std::chrono::nanoseconds(kStopTimeout));
  while (client::probe(*path).ok()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat("zsyncd at ", *path, " is still draining"));
    }
    context.stop.wait_for(kStopPoll);
  }
  return static_cast<int>(kExitOk);
}

struct UpgradeArgs {
  std::string program;
  bool check = false;
};

absl::StatusOr<int> upgrade(Context& context, const UpgradeArgs& args) {
  absl::StatusOr<client::Client*> client = context.client(false);
  if (!client.ok()) return client.status();
  absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  std::error_code error;
  const std::string program =
      args.program.empty() ? "" : std::filesystem::absolute(args.program, error).string();
  client::Daemon daemon = (*client)->daemon();
  if (args.check) {
    const auto next = daemon.check_upgrade(program, *call);
    if (!next.ok()) return next.status();
    context.show(*next, next->program(), [&] {
      return absl::StrCat(next->program(), " (", next->version(), ") can take over\n");
    });
    return static_cast<int>(kExitOk);
  }
  const auto now = daemon.upgrade(program, *call);
  if (!now.ok()) return now.status();
  context.show(*now, now->program(), [&] {
    return absl::StrCat("zsyncd ", now->takeover().from_version(), " -> ", now->version(), " (pid ",
                        now->pid(), ", away ",
                        (now->started_unix_nano() - now->takeover().began_unix_nano()) / 1'000'000,
                        " ms)\n");
  });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> restart(Context& context) {
  const absl::StatusOr<int> stopped = stop(context, false);
  if (!stopped.ok()) return stopped.status();
  return start(context);
}

// Copies what the file holds from its current position on.
void copy_rest(int fd, Out& out) {
  char buffer[16 << 10];
  ssize_t got;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0) {
    out.write(std::string_view(buffer, static_cast<std::size_t>(got)));
  }
  out.flush();
}

absl::StatusOr<int> show_logs(Context& context, bool follow) {
  const absl::StatusOr<std::string> state = client::state_directory();
  if (!state.ok()) return state.status();
  const std::string path = *state + "/zsyncd.log";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return absl::NotFoundError(
        absl::StrCat("no log at ", path, ": under systemd `journalctl --user -u zsyncd` has it"));
  }
  const off_t size = ::lseek(fd, 0, SEEK_END);
  ::lseek(fd, size > kLogTailBytes ? size - kLogTailBytes : 0, SEEK_SET);
  if (size > kLogTailBytes) {
    char c;
    while (::read(fd, &c, 1) == 1 && c != '\n') {
    }
  }
  copy_rest(fd, context.out);
  const int changes = follow ? ::inotify_init1(IN_CLOEXEC) : -1;
  if (changes >= 0) ::inotify_add_watch(changes, path.c_str(), IN_MODIFY);
  while (changes >= 0 && !context.out.broken()) {
    pollfd fds[2] = {{changes, POLLIN, 0}, {context.out.fd(), 0, 0}};
    if (::poll(fds, 2, -1) > 0 && fds[1].revents != 0) break;
    char events[4096];
    if (::read(changes, events, sizeof events) > 0) copy_rest(fd, context.out);
  }
  if (changes >= 0) ::close(changes);
  ::close(fd);
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_daemon(Command& app, Context& context) {
  add_noun(app, "daemon", "", "The zsyncd behind all this", [&context](Command& daemon) {
    add_leaf(daemon, context, "info", "What it is and what it can do",
             show_reply(context, &client::Daemon::info, info_text));
    add_leaf(daemon, context, "stats", "How it is doing",
             show_reply(context, &client::Daemon::stats, stats_text));
    add_noun(daemon, "config", "", "Its settings", [&context](Command& config) {
      auto origin = std::make_shared<bool>(false);
      add_leaf(config, context, "show", "Every setting", [&context, origin] {
        return show_config(context, *origin);
      })->add_flag("--origin", *origin, "Where each comes from");
    });
    add_leaf(daemon, context, "start", "Start it unless it runs",
             [&context] { return start(context); });
    add_leaf(daemon, context, "stop", "Stop it; running commands go on",
             [&context] { return stop(context, true); });
    add_leaf(daemon, context, "restart", "Stop it and start it; running commands go on",
             [&context] { return restart(context); });
    auto args = std::make_shared<UpgradeArgs>();
    Command* leaf = add_leaf(daemon, context, "upgrade",
                             "Have another zsyncd take over; commands, channels and clients go on",
                             [&context, args] { return upgrade(context, *args); });
    leaf->add_option("PROGRAM", args->program,
                     "The new zsyncd; without: the file it was started from, as it is now");
    leaf->add_flag("--check", args->check, "Only ask it whether it could");
    auto follow = std::make_shared<bool>(false);
    add_leaf(daemon, context, "logs", "The end of its log file", [&context, follow] {
      return show_logs(context, *follow);
    })->add_flag("-f,--follow", *follow, "Stay for what comes");
  });
}

}  // namespace zsync::cli
