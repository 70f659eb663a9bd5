// zsyncd: parse, load the configuration, build the parts bottom-up, run, stop in reverse.
#include <grpcpp/impl/service_type.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "absl/synchronization/mutex.h"
#include "daemon/channels/channels_service.hpp"
#include "daemon/channels/engine.hpp"
#include "daemon/config/sources.hpp"
#include "daemon/events/event_log.hpp"
#include "daemon/events/events_service.hpp"
#include "daemon/ops/daemon_service.hpp"
#include "daemon/ops/environment.hpp"
#include "daemon/ops/log.hpp"
#include "daemon/ops/process_signals.hpp"
#include "daemon/ops/service_manager.hpp"
#include "daemon/options.hpp"
#include "daemon/projects/engine.hpp"
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
#include "daemon/watch/engine.hpp"
#include "daemon/watch/watch_service.hpp"
#include "zsync/zsync.hpp"

namespace zsync::daemon {
namespace {

constexpr uint32_t kServicesParallel = 4096;  // services run side by side, whatever the machine
constexpr std::initializer_list<int> kSignals = {SIGTERM, SIGINT, SIGHUP};

int64_t unix_nano_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000ll + now.tv_nsec;
}

uint64_t random_bits() {
  static thread_local std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
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

absl::StatusOr<State> open_state(const Config& config) {
  std::error_code error;
  std::filesystem::create_directories(config.state_dir, error);
  if (error) {
    return absl::UnavailableError("making the state directory \"" + config.state_dir +
                                  "\": " + error.message() + "; choose another with --state-dir");
  }
  chmod(config.state_dir.c_str(), 0700);
  StoreOptions options;
  options.path = config.state_dir + "/store.db";
  options.migrations = {{1, kTaskSchemaV1},     {2, kChannelSchemaV2},  {3, kChannelSchemaV3},
                        {4, kTaskSchemaV4},     {5, kTaskSchemaV5},     {6, kTaskSchemaV6},
                        {7, kChannelSchemaV7},  {8, kScheduleSchemaV8}, {9, kTaskSchemaV9},
                        {10, kProjectSchemaV10}};
  absl::StatusOr<std::unique_ptr<Store>> store = Store::open(std::move(options));
  if (!store.ok()) return store.status();
  absl::StatusOr<std::unique_ptr<EventLog>> events =
      EventLog::open(config.state_dir + "/events",
                     static_cast<uint64_t>(config.events.retention_bytes_max), unix_nano_now);
  if (!events.ok()) return events.status();
  return State{std::move(*store), std::move(*events)};
}

TasksOptions tasks_options(const Config& config, const std::string& socket,
                           uint64_t open_files_soft) {
  TasksOptions options;
  options.tasks_dir = config.state_dir + "/tasks";
  options.boot_id = boot_id();
  options.shim_program = program_beside_this("zsync-shim");
  options.base_env = passed_environment(config.tasks.env_pass);
  options.own_env = {"ZSYNC_SOCKET=" + socket};
  options.default_cwd = home_directory();
  options.open_files_soft = open_files_soft;
  options.kill_grace_ms = static_cast<uint64_t>(config.tasks.kill_grace.count());
  options.output_bytes_max = static_cast<uint64_t>(config.tasks.output_bytes_max);
  options.output_retention_bytes_max =
      static_cast<uint64_t>(config.tasks.output_retention_bytes_max);
  options.retention_age = config.tasks.retention_age;
  options.queued_max = static_cast<uint64_t>(config.tasks.queued_max);
  options.default_parallel = static_cast<uint32_t>(usable_cpus());
  options.random_bits = random_bits;
  options.groups[kServicesGroup].parallel = kServicesParallel;
  for (const auto& [name, group] : config.tasks.groups) {
    GroupSettings& settings = options.groups[name];
    settings.parallel =
        group.parallel ? static_cast<uint32_t>(group.parallel) : options.default_parallel;
    settings.by_deadline = group.by_deadline;
    settings.overload = group.overload == GroupOverload::reject ? OverloadPolicy::kReject
                        : group.overload == GroupOverload::shed ? OverloadPolicy::kShed
                                                                : OverloadPolicy::kQueue;
    settings.queued_max = static_cast<uint32_t>(group.queued_max);
  }
  for (const auto& [name, capacity] : config.tasks.resources) {
    options.resources[name] = static_cast<uint32_t>(capacity);
  }
  return options;
}

ChannelsOptions channels_options(const Config& config) {
  return {config.state_dir + "/channels", static_cast<uint64_t>(config.channels.capacity_default),
          static_cast<uint64_t>(config.channels.bytes_max),
          static_cast<uint64_t>(config.channels.message_bytes_max),
          static_cast<uint64_t>(config.channels.max)};
}

RpcOptions rpc_options(const Config& config) {
  return {config.grpc_linger, static_cast<uint32_t>(config.connections_max),
          static_cast<uint32_t>(config.connections_per_uid_max), getuid()};
}

// The engines; schedules and projects submit tasks, and know nothing else of the others.
struct Engines {
  TasksEngine& tasks;
  Schedules& schedules;
  ProjectsEngine& projects;
  ChannelsEngine& channels;
  WatchEngine& watch;
};

// Completes when the daemon has been without clients and work for `idle_exit`.
Task<void> wait_until_idle(RpcServer& server, const Engines& engines,
                           std::chrono::milliseconds limit) {
  auto is_idle = [&] {
    return server.connections() == 0 && engines.tasks.queued() + engines.tasks.running() == 0 &&
           engines.schedules.active() + engines.projects.active() == 0;
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
    if (event.index == 1) co_return "asked to shut down";
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

// Serves until a signal, a call or idleness says stop; then there are no connections any more.
Task<std::string> serve_until_stopped(LiveConfig& live, RpcServer& server,
                                      ListeningSocket& listener, const Engines& engines,
                                      Notify& asked_to_stop) {
  const Config config = live.get().config;
  TaskHandle<absl::Status> serving = spawn(server.serve(listener));
  TaskHandle<void> watchdog = spawn(feed_watchdog());
  log(LogLevel::info, "zsyncd is ready",
      {{"socket", listener.path()},
       {"state", config.state_dir},
       {"pid", std::to_string(getpid())}});
  tell_ready("serving");
  auto stop = co_await race(wait_for_stop(live, asked_to_stop),
                            wait_until_idle(server, engines, config.idle_exit));
  const std::string why = stop.index == 0 ? std::get<0>(stop.value) : "idle";
  log(LogLevel::info, "stopping", {{"reason", why}});
  tell_stopping();
  engines.tasks.close_functions();
  serving.cancel();
  (void)co_await timeout(std::move(serving), config.drain_timeout);
  watchdog.cancel();
  co_return why;
}

Task<absl::Status> serve(LiveConfig& live, State& state, ListeningSocket& listener,
                         uint64_t open_files_soft) {
  const Config config = live.get().config;
  Runtime& runtime = *get_global_runtime();
  UlidGenerator ids([] { return static_cast<uint64_t>(unix_nano_now() / 1'000'000); }, random_bits);
  TaskCgroups cgroups;
  cgroups.detect();
  TasksEngine tasks(tasks_options(config, listener.path(), open_files_soft), *state.store,
                    *state.events, ids, cgroups, unix_nano_now);
  if (absl::Status status = co_await tasks.start(); !status.ok()) co_return status;
  Schedules schedules(*state.store, *state.events, ids, tasks, unix_nano_now);
  if (absl::Status status = co_await schedules.start(); !status.ok()) co_return status;
  ProjectsEngine projects(*state.store, *state.events, ids, tasks, unix_nano_now);
  if (absl::Status status = co_await projects.start(); !status.ok()) co_return status;
  ChannelsEngine channels(channels_options(config), *state.store, *state.events, ids,
                          unix_nano_now);
  if (absl::Status status = channels.start(); !status.ok()) co_return status;
  WatchEngine watch({.roots_max = static_cast<size_t>(config.watch.roots_max),
                     .state_dir = config.state_dir + "/watch"},
                    ids);
  const Engines engines{tasks, schedules, projects, channels, watch};

  CallGate gate(runtime, getuid(), static_cast<uint32_t>(config.calls_per_uid_max));
  Notify asked_to_stop;
  const RpcServer* server = nullptr;
  DaemonFacts facts;
  facts.instance = ids.next();
  facts.socket = listener.path();
  facts.state_dir = config.state_dir;
  facts.started_unix_nano = unix_nano_now();
  facts.config = [&live] { return live.get(); };
  facts.shut_down = [&asked_to_stop] { asked_to_stop.notify_all(); };
  facts.doctor = [&] {
    return DoctorInputs{name_of(runtime.backend()), RuntimeDiagnostics(runtime).get_stats(),
                        config.state_dir, cgroups.explanation(), cgroups.available()};
  };
  facts.stats = [&] { return stats_of(state, engines, *server); };
  const std::unique_ptr<grpc::Service> services[] = {
      make_daemon_service(gate, facts),           make_events_service(gate, *state.events),
      make_tasks_service(gate, tasks, schedules), make_functions_service(gate, tasks),
      make_channels_service(gate, channels),      make_watch_service(gate, watch),
      make_traces_service(gate, *state.events),   make_projects_service(gate, projects),
  };
  std::vector<grpc::Service*> registered;
  for (const auto& service : services) registered.push_back(service.get());
  RpcServer rpc(rpc_options(config), registered, make_unbuilt_services, [](absl::Status status) {
    log(LogLevel::warning, "connection refused", {{"reason", std::string(status.message())}});
  });
  server = &rpc;

  state.events->append("daemon.started", facts.instance, {{"version", ZSYNC_VERSION}});
  // 1. Serving ends first: nobody asks any more for what is being taken down.
  const std::string why = co_await serve_until_stopped(live, rpc, listener, engines, asked_to_stop);
  // 2. The engines; running commands go on under their shims.
  co_await watch.stop();
  co_await channels.stop();
  co_await projects.stop();
  co_await schedules.stop();
  co_await tasks.stop();
  // 3. What was accepted is on disk.
  state.events->append("daemon.stopped", facts.instance, {{"reason", why}});
  state.store->close();
  log(LogLevel::info, "stopped");
  co_return absl::OkStatus();
}

int run_daemon(const Options& options) {
  absl::StatusOr<LoadedConfig> loaded = LiveConfig::load(options);
  if (!loaded.ok()) {
    complain(loaded.status());
    return 2;
  }
  configure_log(loaded->config.log.format, loaded->config.log.level);
  for (const std::string& warning : loaded->warnings) log(LogLevel::warning, warning);
  absl::StatusOr<ListeningSocket> listener = ListeningSocket::open(loaded->config.socket);
  if (!listener.ok()) return complain(listener.status());
  absl::StatusOr<State> state = open_state(loaded->config);
  if (!state.ok()) return complain(state.status());

  if (absl::Status status = test_caller_names(); !status.ok()) return complain(status);

  const uint64_t open_files_soft = raise_open_files();
  zsync::Config runtime = zsync::Config::for_server();
  if (loaded->config.workers) runtime.workers = static_cast<size_t>(loaded->config.workers);
  // A killed process's ring lets go of its descriptors some time after the process has gone: the
  // next daemon, and its clients, would meet a socket that answers for nobody.
  runtime.backend = Backend::libuv;
  if (absl::Status status = init_global_runtime(runtime); !status.ok()) return complain(status);
  LiveConfig live(options, std::move(*loaded));
  absl::Status status =
      get_global_runtime()->block_on(serve(live, *state, *listener, open_files_soft));
  deinit_global_runtime();
  return status.ok() ? 0 : complain(status);
}

}  // namespace
}  // namespace zsync::daemon

int main(int argc, char** argv) {
  zsync::daemon::ParsedOptions parsed = zsync::daemon::parse_options(argc, argv);
  if (parsed.exit_code) return *parsed.exit_code;
  // Debian's abseil is built to look for deadlocks at every lock that gRPC takes.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Before any thread exists: signals are read by the runtime, ended shims need no reaping, a
  // client that is gone is an error code.
  zsync::daemon::block_signals(zsync::daemon::kSignals);
  struct sigaction children{};
  children.sa_handler = SIG_DFL;
  children.sa_flags = SA_NOCLDWAIT;
  sigaction(SIGCHLD, &children, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return zsync::daemon::run_daemon(parsed.options);
}
