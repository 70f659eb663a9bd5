#include "daemon/main_setup.hpp"

#include <unistd.h>

#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "daemon/diagnostics/diagnostic_store.hpp"
#include "daemon/ops/environment.hpp"
#include "daemon/projects/engine.hpp"
#include "daemon/projects/project_store.hpp"
#include "daemon/tasks/schedule_store.hpp"
#include "daemon/tasks/task_store.hpp"
#include "daemon/triggers/trigger_store.hpp"
#include "zsync/zsync.hpp"

namespace zsync::daemon {
namespace {

constexpr uint32_t kServicesParallel = 4096;  // services run side by side, whatever the machine

}  // namespace

uint64_t random_bits() {
  static thread_local std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

StoreOptions store_options(const std::string& dir) {
  StoreOptions options;
  options.path = dir + "/store.db";
  options.migrations = {
      {1, kTaskSchemaV1},          {2, kChannelSchemaV2},  {3, kChannelSchemaV3},
      {4, kTaskSchemaV4},          {5, kTaskSchemaV5},     {6, kTaskSchemaV6},
      {7, kChannelSchemaV7},       {8, kScheduleSchemaV8}, {9, kTaskSchemaV9},
      {10, kProjectSchemaV10},     {11, kTaskSchemaV11},   {12, kTriggerSchemaV12},
      {13, kDiagnosticsSchemaV13}, {14, kProjectSchemaV14}};
  return options;
}

absl::Status check_state(const std::string& dir) {
  StoreOptions options = store_options(dir);
  if (access(options.path.c_str(), F_OK) != 0) {
    return absl::NotFoundError("there is no \"" + options.path +
                               "\": --check wants the directory of a copy of the store");
  }
  absl::StatusOr<std::unique_ptr<Store>> store = Store::open(std::move(options));
  if (!store.ok()) return store.status();
  EnvironmentPool environments;
  return (*store)->read([&environments](Database& db) {
    absl::Status status = load_tasks(db, environments, [](StoredTask) {});
    if (status.ok()) {
      status = load_schedules(db, [](ScheduleRecord) { return absl::OkStatus(); });
    }
    if (status.ok()) {
      status =
          load_projects(db, [](ProjectRecord, std::vector<UnitRow>) { return absl::OkStatus(); });
    }
    if (status.ok()) {
      status = load_triggers(db, [](TriggerRecord) { return absl::OkStatus(); });
    }
    if (status.ok()) status = load_sets(db, [](DiagnosticSet) {});
    if (status.ok()) status = load_runs(db, [](const std::string&, RunRow) {});
    return status;
  });
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
    settings.order = static_cast<StartOrder>(group.order);
    settings.overload = group.overload == GroupOverload::reject ? OverloadPolicy::kReject
                        : group.overload == GroupOverload::shed ? OverloadPolicy::kShed
                                                                : OverloadPolicy::kQueue;
    settings.queued_max = static_cast<uint32_t>(group.queued_max);
    settings.memory_bytes_max = static_cast<uint64_t>(group.memory_bytes_max);
    settings.cpu_millis_max = static_cast<uint32_t>(group.cpu_millis_max);
  }
  for (const auto& [name, capacity] : config.tasks.resources) {
    options.resources[name] = static_cast<uint32_t>(capacity);
  }
  return options;
}

ChannelsOptions channels_options(const Config& config) {
  return {config.state_dir + "/channels",
          static_cast<uint64_t>(config.channels.capacity_default),
          static_cast<uint64_t>(config.channels.bytes_max),
          static_cast<uint64_t>(config.channels.message_bytes_max),
          static_cast<uint64_t>(config.channels.max),
          static_cast<uint64_t>(config.channels.disk_bytes_max)};
}

WatchEngineOptions watch_options(const Config& config) {
  return {.roots_max = static_cast<size_t>(config.watch.roots_max),
          .state_dir = config.state_dir + "/watch"};
}

}  // namespace zsync::daemon
