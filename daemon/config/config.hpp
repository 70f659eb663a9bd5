// The daemon's configuration: typed, with the origin of every value.
//
// defaults < YAML file < ZSYNC_* environment < command-line flags. What exists, its limits, its
// default and its manual line stand in one table (keys.cpp); the parser, `config show --origin` and
// the reference come from it.
//
//   version: 1
//   idle_exit: 30m
//   tasks:
//     kill_grace: 5s
//     groups: {default: {parallel: cpus}, serial: {parallel: 1, order: deadline}}
//     resources: {gpu: 2}
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace zsync::daemon {

enum class LogFormat { text, json };
enum class LogLevel { debug, info, warning, error };

enum class GroupOrder { priority, deadline, rate };
enum class GroupOverload { queue, reject, shed };

struct TaskGroupConfig {
  int64_t parallel = 0;  // tasks running at once; 0: one for each CPU ("cpus")
  GroupOrder order = GroupOrder::priority;
  GroupOverload overload = GroupOverload::queue;
  int64_t queued_max = 0;        // 0: no bound
  int64_t memory_bytes_max = 0;  // of what its running tasks may have together; 0: any amount
  int64_t cpu_millis_max = 0;    // the same
  bool operator==(const TaskGroupConfig&) const = default;
};

// The units are in the types and names: `_bytes_max` in bytes, the rest counts. Limits: describe().
struct Config {
  std::string socket;                     // absolute, at most kSocketPathBytesMax long
  std::string state_dir;                  // absolute
  std::chrono::milliseconds idle_exit{};  // 0: never
  int64_t workers = 0;                    // 0: automatic
  std::chrono::milliseconds drain_timeout{};
  std::chrono::milliseconds grpc_linger{};
  int64_t connections_max = 0;
  int64_t connections_per_uid_max = 0;
  int64_t calls_per_uid_max = 0;

  struct Log {
    LogFormat format = LogFormat::text;
    LogLevel level = LogLevel::info;
    bool operator==(const Log&) const = default;
  } log;

  struct Tasks {
    std::chrono::milliseconds kill_grace{};
    std::vector<std::string> env_pass;              // names and globs (* and ?)
    std::map<std::string, TaskGroupConfig> groups;  // always has "default"
    std::map<std::string, int64_t> resources;       // capacities
    int64_t output_bytes_max = 0;
    int64_t output_retention_bytes_max = 0;
    std::chrono::milliseconds retention_age{};
    int64_t queued_max = 0;
    bool operator==(const Tasks&) const = default;
  } tasks;

  struct Channels {
    int64_t capacity_default = 0;
    int64_t bytes_max = 0;
    int64_t message_bytes_max = 0;
    int64_t disk_bytes_max = 0;
    int64_t max = 0;
    bool operator==(const Channels&) const = default;
  } channels;

  struct Watch {
    std::chrono::milliseconds settle{};
    std::chrono::milliseconds max_wait{};
    int64_t roots_max = 0;
    bool operator==(const Watch&) const = default;
  } watch;

  struct Events {
    int64_t retention_bytes_max = 0;
    bool operator==(const Events&) const = default;
  } events;

  bool operator==(const Config&) const = default;
};

// sockaddr_un holds 108 bytes with the closing NUL.
inline constexpr size_t kSocketPathBytesMax = 107;
inline constexpr size_t kConfigFileBytesMax = size_t{1} << 20;
inline constexpr int kConfigVersion = 1;

struct ConfigFile {
  std::string path;  // as errors and origins name it
  std::string content;
};

// One command-line flag that sets a key: {"--socket", "socket", "/tmp/z.sock"}.
struct ConfigFlag {
  std::string flag;
  std::string key;
  std::string value;
};

// Everything that load_config looks at; it reads no file, environment or clock of its own.
struct ConfigSources {
  std::optional<ConfigFile> file;
  std::map<std::string, std::string> environment;  // an empty value counts as unset
  std::vector<ConfigFlag> flags;                   // a later one wins
  std::string working_directory;  // relative paths of environment and flags start here
};

struct ConfigValue {
  std::string key;     // "tasks.kill_grace"
  std::string value;   // "10s"
  std::string origin;  // "default", "/path/zsyncd.yaml:12", "ZSYNC_IDLE_EXIT", "--socket"
};

struct LoadedConfig {
  Config config;
  std::vector<ConfigValue> values;  // every key, in the order of the reference
  std::vector<std::string>
      warnings;  // a ZSYNC_ variable that is nearly, but not quite, one of the keys
};

// Errors:  kInvalidArgument: one line that begins with the origin (file:line, variable or flag),
// names the key
//          and says what would be right. Nothing is half loaded.
// Threads: a pure function.
absl::StatusOr<LoadedConfig> load_config(const ConfigSources& sources);

// The values as aligned text, one a line; with `origin`, where each came from.
std::string render_config(const std::vector<ConfigValue>& values, bool origin);

// The reference of all keys as a Markdown table: key, type, default, limits, environment variable,
// meaning.
std::string describe_config();

// "tasks.kill_grace" -> "ZSYNC_TASKS_KILL_GRACE".
std::string environment_name(const std::string& key);

}  // namespace zsync::daemon
