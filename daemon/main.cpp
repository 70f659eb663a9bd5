// zsyncd: parse, load the configuration, build the parts bottom-up, run, stop in reverse.
#include <grpcpp/impl/service_type.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "daemon/channels/channels_service.hpp"
#include "daemon/channels/engine.hpp"
#include "daemon/channels/ring_service.hpp"
#include "daemon/config/sources.hpp"
#include "daemon/diagnostics/diagnostic_store.hpp"
#include "daemon/diagnostics/diagnostics_service.hpp"
#include "daemon/diagnostics/engine.hpp"
#include "daemon/events/event_log.hpp"
#include "daemon/events/events_service.hpp"
#include "daemon/main_setup.hpp"
#include "daemon/ops/daemon_service.hpp"
#include "daemon/ops/environment.hpp"
#include "daemon/ops/log.hpp"
#include "daemon/ops/process_signals.hpp"
#include "daemon/ops/service_manager.hpp"
#include "daemon/ops/takeover.hpp"
#include "daemon/ops/upgrade.hpp"
#include "daemon/options.hpp"
#include "daemon/projects/engine.hpp"
#include "daemon/projects/project_store.hpp"
#include "daemon/projects/projects_service.hpp"
#include "daemon/rpc/call.hpp"
#include "daemon/rpc/self_test.hpp"
#include "daemon/rpc/server.hpp"
#include "daemon/rpc/unbuilt.hpp"
#include "daemon/store/store.hpp"
#include "daemon/tasks/engine.hpp"
#include "daemon/tasks/functions_service.hpp"
#include "daemon/tasks/schedule_store.hpp"
#include "daemon/tasks/schedules.hpp"
#include "daemon/tasks/tasks_service.hpp"
#include "daemon/traces/traces_service.hpp"
#include "daemon/triggers/engine.hpp"
#include "daemon/triggers/trigger_store.hpp"
#include "daemon/triggers/triggers_service.hpp"
#include "daemon/watch/engine.hpp"
#include "daemon/watch/watch_service.hpp"
#include "zsync/zsync.hpp"

namespace zsync::daemon {
namespace {

// What calls under way get when another program takes over.
constexpr std::chrono::milliseconds kCallsEnd{250};
constexpr char kAskedToStop[] = "asked to shut down";
constexpr std::initializer_list<int> kSignals = {SIGTERM, SIGINT, SIGHUP};

int64_t unix_nano_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

int complain(const absl::Status& status) {
  log(LogLevel::error, status.message());
  return 1;
}

// The configuration in force; SIGHUP replaces it whole or not at all.
class LiveConfig {
 public:
  LiveConfig(Options options, LoadedConfig loaded)
      : options_(std::move(options)), loaded_(std::move(loaded)) {}

  LoadedConfig get() {
    rt::LockGuard guard(lock_);
    return loaded_;
  }
  absl::Status reload() {
    absl::StatusOr<LoadedConfig> fresh = load(options_);
    if (!fresh.ok()) return fresh.status();
    rt::LockGuard guard(lock_);
    loaded_ = std::move(*fresh);
    configure_log(loaded_.config.log.format, loaded_.config.log.level);
    return absl::OkStatus();
  }
  static absl::StatusOr<LoadedConfig> load(const Options& options) {
    absl::StatusOr<ConfigSources> sources =
        gather_config_sources(options.config_file, options.flags);
    if (!sources.ok()) return sources.status();
    return load_config(*sources);
  }

 private:
  const Options options_;
  rt::Lock lock_;
  LoadedConfig loaded_ ABSL_GUARDED_BY(lock_);
};

// What stands below the services, opened in this order.
struct State {
  std::unique_ptr<Store> store;
  std::unique_ptr<EventLog> events;
};

// What is about a change of the program, in the state directory.
std::string upgrade_dir(const Config& config) { return config.state_dir + "/upgrade"; }

// `failed`: the program that took over, and had not run its engines when it failed.
absl::StatusOr<State> open_state(const Config& config, bool failed) {
  std::error_code error;
  std::filesystem::create_directories(config.state_dir, error);
  if (error) {
    return absl::UnavailableError("making the state directory \"" + config.state_dir +
                                  "\": " + error.message() + "; choose another with --state-dir");
  }
  chmod(config.state_dir.c_str(), 0700);
  StoreOptions options = store_options(config.state_dir);
  if (failed) {
    absl::StatusOr<bool> undone = undo_migration(options.path, options.migrations);
    if (!undone.ok()) return undone.status();
    if (*undone) log(LogLevel::warning, "the store is as it was before its migration");
  }
  absl::StatusOr<std::unique_ptr<Store>> store = Store::open(std::move(options));
  if (!store.ok()) return store.status();
  absl::StatusOr<std::unique_ptr<EventLog>> events =
      EventLog::open(config.state_dir + "/events",
                     static_cast<uint64_t>(config.events.retention_bytes_max), unix_nano_now);
  if (!events.ok()) return events.status();
  return State{std::move(*store), std::move(*events)};
}

RpcOptions rpc_options(const Config& config, ChannelsEngine& channels) {
  return {config.grpc_linger, static_cast<uint32_t>(config.connections_max),
          static_cast<uint32_t>(config.connections_per_uid_max), getuid(),
          [&channels](UniqueFd connection, Peer peer) {
            take_ring_end(channels, std::move(connection), peer);
          }};
}

// The engines; schedules, triggers and projects submit tasks, triggers watch, projects have
// triggers, and diagnostics reads what tasks print: beyond that they know nothing of each other.
struct Engines {
  TasksEngine& tasks;
  Schedules& schedules;
  TriggersEngine& triggers;
  ProjectsEngine& projects;
  ChannelsEngine& channels;
  WatchEngine& watch;
  DiagnosticsEngine& diagnostics;
};

// Completes when the daemon has been without clients and work for `idle_exit`.
Task<void> wait_until_idle(RpcServer& server, const Engines& engines,
                           std::chrono::milliseconds limit) {
  auto is_idle = [&] {
    return server.connections() == 0 && engines.tasks.queued() + engines.tasks.running() == 0 &&
           engines.schedules.active() + engines.triggers.active() + engines.projects.active() == 0;
  };
  if (limit.count() == 0) co_await sleep_until(rt::TimePoint::max());
  while (true) {
    const uint64_t seen = server.activity().epoch();
    const bool idle = is_idle();
    absl::Status waited = co_await timeout(server.activity().changed(seen), limit);
    if (absl::IsCancelled(waited)) co_return;
    const bool still = is_idle();
    if (absl::IsDeadlineExceeded(waited) && idle && still) co_return;
  }
}

Task<void> changed_from(Notify& notify, uint64_t seen) { co_await notify.changed(seen); }

// Handles signals until one says stop -> why it stops.
Task<std::string> wait_for_stop(LiveConfig& config, Notify& asked) {
  const uint64_t seen = 0;
  absl::StatusOr<ProcessSignals> signals = ProcessSignals::open(kSignals);
  if (!signals.ok()) co_return std::string(signals.status().message());
  while (true) {
    auto event = co_await race(signals->next(), changed_from(asked, seen));
    if (event.index == 1) co_return kAskedToStop;
    const absl::StatusOr<int>& number = std::get<0>(event.value);
    if (!number.ok()) co_return std::string(number.status().message());
    if (*number != SIGHUP) co_return *number == SIGTERM ? "SIGTERM" : "SIGINT";
    tell_reloading();
    absl::Status status = config.reload();
    if (status.ok()) {
      log(LogLevel::info, "configuration reloaded");
    } else {
      log(LogLevel::error, "configuration kept as it was",
          {{"error", std::string(status.message())}});
    }
    tell_ready("serving");
  }
}

StatsNow stats_of(State& state, const Engines& engines, const RpcServer& server) {
  const StoreStats store = state.store->stats();
  StatsNow now;
  now.connections = server.connections();
  now.tasks_queued = engines.tasks.queued();
  now.tasks_running = engines.tasks.running();
  now.tasks_stored = engines.tasks.stored();
  now.channels = engines.channels.size();
  now.watch_roots = engines.watch.roots();
  now.watch_directories = engines.watch.directories();
  now.commits = store.commits;
  now.commit_requests = store.requests;
  now.event_seq = state.events->last_seq();
  return now;
}

// What a start has to begin with.
struct Start {
  ListeningSocket& listener;
  const std::optional<Inheritance>& inherited;
  std::optional<TakeoverGuard>& guard;
  uint64_t open_files_soft;
  char** argv;
};

// Serves until a signal, a call or idleness says stop; then there are no connections any more.
Task<std::string> serve_until_stopped(LiveConfig& live, RpcServer& server, CallGate& gate,
                                      Start& start, const Engines& engines, Successor& successor,
                                      Notify& asked_to_stop) {
  ListeningSocket& listener = start.listener;
  const Config config = live.get().config;
  TaskHandle<absl::Status> serving = spawn(server.serve(listener));
  TaskHandle<void> watchdog = spawn(feed_watchdog());
  log(LogLevel::info, "zsyncd is ready",
      {{"socket", listener.path()},
       {"state", config.state_dir},
       {"pid", std::to_string(getpid())}});
  tell_ready("serving");
  if (start.guard) start.guard->disarm();
  std::error_code error;
  std::filesystem::remove_all(upgrade_dir(config) + "/channels", error);
  auto stop = co_await race(wait_for_stop(live, asked_to_stop),
                            wait_until_idle(server, engines, config.idle_exit));
  std::string why = stop.index == 0 ? std::get<0>(stop.value) : "idle";
  // Who says stop by a signal means it.
  if (const std::optional<Candidate> next = successor.decide(/*none=*/why != kAskedToStop)) {
    why = "another program takes over: " + next->program;
    tell_reloading();
    gate.drain();
    server.let_calls_end(kCallsEnd);
  } else {
    tell_stopping();
  }
  log(LogLevel::info, "stopping", {{"reason", why}});
  engines.tasks.close_functions();
  serving.cancel();
  (void)co_await timeout(std::move(serving), config.drain_timeout);
  watchdog.cancel();
  co_return why;
}

// What the program before has left, in words for the log.
void tell_takeover(EventLog& events, const std::optional<Inheritance>& inherited) {
  if (!inherited) return;
  const std::string ms =
      absl::StrCat((unix_nano_now() - inherited->began_unix_nano) / 1'000'000, " ms");
  if (inherited->failure.empty()) {
    events.append("daemon.upgraded", inherited->program,
                  {{"from", inherited->from}, {"to", ZSYNC_VERSION}, {"away", ms}});
    log(LogLevel::info, "took over", {{"from", inherited->from}, {"away", ms}});
  } else {
    events.append("daemon.upgrade_failed", inherited->program,
                  {{"reason", inherited->failure}, {"away", ms}});
    log(LogLevel::error, "the program that was to take over failed, and this one goes on",
        {{"program", inherited->program}, {"reason", inherited->failure}, {"away", ms}});
  }
}

// The memory class goes from program to program in files; any other start begins without them.
Task<void> bring_channels_back(ChannelsEngine& channels, EventLog& events, const Config& config,
                               bool inherited) {
  std::error_code error;
  if (!inherited) std::filesystem::remove_all(upgrade_dir(config), error);  // of a killed daemon
  std::filesystem::create_directory(upgrade_dir(config), error);
  if (!inherited) co_return;
  const std::string dir = upgrade_dir(config) + "/channels";
  absl::Status status = co_await rt::call_blocking([&] { return channels.carry_in(dir); });
  channels.keep_carried();
  if (status.ok()) co_return;
  events.append("channels.lost", "", {{"error", std::string(status.message())}});
  log(LogLevel::error, "memory channels are lost", {{"error", std::string(status.message())}});
}

Task<void> carry_channels(ChannelsEngine& channels, EventLog& events, const Config& config) {
  const std::string dir = upgrade_dir(config) + "/channels";
  absl::Status status = co_await rt::call_blocking([&] { return channels.carry_out(dir); });
  if (status.ok()) co_return;
  events.append("channels.lost", "", {{"error", std::string(status.message())}});
  log(LogLevel::error, "memory channels are not kept", {{"error", std::string(status.message())}});
}

// What the service of the daemon itself is to say and do, but for what the engines know.
DaemonFacts facts_of(LiveConfig& live, const Start& start, Successor& successor,
                     Notify& asked_to_stop, std::string instance) {
  DaemonFacts facts;
  facts.instance = std::move(instance);
  facts.socket = start.listener.path();
  facts.state_dir = live.get().config.state_dir;
  facts.started_unix_nano = unix_nano_now();
  facts.config = [&live] { return live.get(); };
  facts.shut_down = [&asked_to_stop] { asked_to_stop.notify_all(); };
  facts.upgrade = [&successor](std::string program, bool check_only) {
    return successor.find(std::move(program), check_only);
  };
  facts.taken_over = start.inherited;
  facts.program = own_program();
  return facts;
}

std::vector<std::unique_ptr<grpc::Service>> make_services(CallGate& gate, const DaemonFacts& facts,
                                                          EventLog& events,
                                                          const Engines& engines) {
  std::vector<std::unique_ptr<grpc::Service>> services;
  services.push_back(make_daemon_service(gate, facts));
  services.push_back(make_events_service(gate, events));
  services.push_back(
      make_tasks_service(gate, engines.tasks, engines.schedules, engines.diagnostics));
  services.push_back(make_functions_service(gate, engines.tasks));
  services.push_back(make_channels_service(gate, engines.channels));
  services.push_back(make_watch_service(gate, engines.watch, events));
  services.push_back(make_traces_service(gate, events));
  services.push_back(make_projects_service(gate, engines.projects));
  services.push_back(make_triggers_service(gate, engines.triggers));
  services.push_back(make_diagnostics_service(gate, engines.diagnostics));
  return services;
}

std::vector<grpc::Service*> pointers_to(
    const std::vector<std::unique_ptr<grpc::Service>>& services) {
  std::vector<grpc::Service*> pointers;
  for (const auto& service : services) pointers.push_back(service.get());
  return pointers;
}

// -> who takes over.
Task<absl::StatusOr<std::optional<Candidate>>> serve(LiveConfig& live, State& state, Start start) {
  const Config config = live.get().config;
  Runtime& runtime = *get_global_runtime();
  EventLog& events = *state.events;
  UlidGenerator ids([] { return static_cast<uint64_t>(unix_nano_now() / 1'000'000); }, random_bits);
  TaskCgroups cgroups;
  cgroups.detect();
  std::function<void(const std::string&)> matched_attempt;  // set before one begins
  TasksOptions tasks_setup = tasks_options(config, start.listener.path(), start.open_files_soft);
  tasks_setup.matched_attempt = [&](const std::string& task) { matched_attempt(task); };
  TasksEngine tasks(std::move(tasks_setup), *state.store, events, ids, cgroups, unix_nano_now);
  DiagnosticsEngine diagnostics(*state.store, events, tasks, home_directory(), unix_nano_now);
  matched_attempt = [&](const std::string& task) { diagnostics.follow(task); };
  if (start.guard) start.guard->engines_run();
  if (absl::Status status = co_await tasks.start(); !status.ok()) co_return status;
  if (absl::Status status = co_await diagnostics.start(); !status.ok()) co_return status;
  Schedules schedules(*state.store, events, ids, tasks, unix_nano_now);
  if (absl::Status status = co_await schedules.start(); !status.ok()) co_return status;
  WatchEngine watch(watch_options(config), ids);
  TriggersEngine triggers(*state.store, events, ids, tasks, watch, unix_nano_now);
  if (absl::Status status = co_await triggers.start(); !status.ok()) co_return status;
  ChannelsEngine channels(channels_options(config), *state.store, events, ids, unix_nano_now);
  if (absl::Status status = channels.start(); !status.ok()) co_return status;
  co_await bring_channels_back(channels, events, config, start.inherited.has_value());
  ProjectsEngine projects(*state.store, events, ids, tasks, triggers, channels, watch,
                          unix_nano_now);
  if (absl::Status status = co_await projects.start(); !status.ok()) co_return status;
  const Engines engines{tasks, schedules, triggers, projects, channels, watch, diagnostics};

  CallGate gate(runtime, getuid(), static_cast<uint32_t>(config.calls_per_uid_max));
  Notify asked_to_stop;
  Successor successor(
      *state.store, upgrade_dir(config), start.argv,
      [&channels] { return channels.carried_bytes(); }, asked_to_stop);
  const RpcServer* server = nullptr;
  DaemonFacts facts = facts_of(live, start, successor, asked_to_stop, ids.next());
  facts.doctor = [&] {
    return DoctorInputs{name_of(runtime.backend()), RuntimeDiagnostics(runtime).get_stats(),
                        config.state_dir, cgroups.explanation(), cgroups.available()};
  };
  facts.stats = [&] { return stats_of(state, engines, *server); };
  const auto services = make_services(gate, facts, events, engines);
  RpcServer rpc(rpc_options(config, channels), pointers_to(services), make_unbuilt_services,
                [](absl::Status status) {
                  log(LogLevel::warning, "connection refused",
                      {{"reason", std::string(status.message())}});
                });
  server = &rpc;

  events.append("daemon.started", facts.instance, {{"version", ZSYNC_VERSION}});
  tell_takeover(events, start.inherited);
  // 1. Serving ends first: nobody asks any more for what is being taken down.
  const std::string why =
      co_await serve_until_stopped(live, rpc, gate, start, engines, successor, asked_to_stop);
  // 2. The engines; running commands go on under their shims.
  co_await projects.stop();
  co_await channels.stop();
  co_await triggers.stop();
  co_await watch.stop();
  co_await schedules.stop();
  co_await diagnostics.stop();
  co_await tasks.stop();
  const std::optional<Candidate> next = successor.chosen();
  if (next) co_await carry_channels(channels, events, config);
  // 3. What was accepted is on disk.
  events.append("daemon.stopped", facts.instance, {{"reason", why}});
  state.store->close();
  log(LogLevel::info, "stopped");
  co_return next;
}

// Returns when neither the next program nor this one could be executed.
absl::Status take_turns(const Candidate& next, const ListeningSocket& listener,
                        uint64_t open_files_soft, char** argv) {
  Inheritance given;
  given.listener = listener.fd();
  given.lock = listener.lock_fd();
  given.from = ZSYNC_VERSION;
  given.program = next.program;
  given.open_files_soft = open_files_soft;
  given.began_unix_nano = next.chosen_unix_nano;
  absl::StatusOr<int> before = open_own_program();
  if (before.ok()) given.before = *before;
  for (char** argument = argv; *argument; ++argument) given.arguments.emplace_back(*argument);
  for (char** variable = environ; *variable; ++variable) given.environment.emplace_back(*variable);
  absl::Status status = hand_over(given);
  given.failure = std::string(status.message());
  return hand_over(given);
}

// Serves to the end -> why it could not.
absl::Status run_daemon(const Options& options, LoadedConfig loaded,
                        const std::optional<Inheritance>& inherited,
                        std::optional<TakeoverGuard>& guard, char** argv) {
  absl::StatusOr<ListeningSocket> listener =
      inherited ? ListeningSocket::adopt(inherited->listener, inherited->lock)
                : ListeningSocket::open(loaded.config.socket);
  if (!listener.ok()) return listener.status();
  const bool failed = inherited && !inherited->failure.empty() && !inherited->engines_ran;
  absl::StatusOr<State> state = open_state(loaded.config, failed);
  if (!state.ok()) return state.status();

  if (absl::Status status = test_caller_names(); !status.ok()) return status;

  const uint64_t open_files_soft = inherited ? inherited->open_files_soft : raise_open_files();
  zsync::Config runtime = zsync::Config::for_server();
  if (loaded.config.workers) runtime.workers = static_cast<size_t>(loaded.config.workers);
  // A killed process's ring lets go of its descriptors some time after the process has gone: the
  // next daemon, and its clients, would meet a socket that answers for nobody.
  runtime.backend = Backend::libuv;
  if (absl::Status status = init_global_runtime(runtime); !status.ok()) return status;
  LiveConfig live(options, std::move(loaded));
  absl::StatusOr<std::optional<Candidate>> next = get_global_runtime()->block_on(
      serve(live, *state, {*listener, inherited, guard, open_files_soft, argv}));
  deinit_global_runtime();
  if (!next.ok()) return next.status();
  return *next ? take_turns(**next, *listener, open_files_soft, argv) : absl::OkStatus();
}

int run(const Options& options, const std::optional<Inheritance>& inherited,
        std::optional<TakeoverGuard>& guard, char** argv) {
  auto fail = [&guard](const absl::Status& status, int code) {
    complain(status);
    if (guard) guard->give_back(std::string(status.message()));
    return code;
  };
  absl::StatusOr<LoadedConfig> loaded = LiveConfig::load(options);
  if (!loaded.ok()) return fail(loaded.status(), 2);
  configure_log(loaded->config.log.format, loaded->config.log.level);
  for (const std::string& warning : loaded->warnings) log(LogLevel::warning, warning);
  if (options.check) {
    absl::Status checked = check_state(*options.check);
    if (checked.ok()) checked = test_caller_names();
    if (!checked.ok()) return complain(checked);
    std::puts(check_passed().c_str());
    return 0;
  }
  absl::Status ended = run_daemon(options, std::move(*loaded), inherited, guard, argv);
  return ended.ok() ? 0 : fail(ended, 1);
}

}  // namespace
}  // namespace zsync::daemon

int main(int argc, char** argv) {
  using namespace zsync::daemon;
  const std::optional<Inheritance> inherited = take_inheritance();
  std::optional<TakeoverGuard> guard;
  if (inherited && inherited->failure.empty()) guard.emplace(*inherited);
  ParsedOptions parsed = parse_options(argc, argv);
  if (parsed.exit_code) {
    if (guard) guard->give_back("it does not know the options of the one before");
    return *parsed.exit_code;
  }
  // Debian's abseil is built to look for deadlocks at every lock that gRPC takes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Before any thread exists: signals are read by the runtime, ended shims need no reaping, a
  // client that is gone is an error code.
  block_signals(kSignals);
  struct sigaction children{};
  children.sa_handler = SIG_DFL;
  children.sa_flags = SA_NOCLDWAIT;
  sigaction(SIGCHLD, &children, nullptr);
  // Those of the program before that ended meanwhile.
  while (waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  signal(SIGPIPE, SIG_IGN);
  return run(parsed.options, inherited, guard, argv);
}
