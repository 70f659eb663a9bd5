// The table of all configuration keys, and the text form of each kind of value.
#pragma once

#include <absl/status/status.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/config/config.hpp"

namespace zsync::daemon {

using TaskGroups = std::map<std::string, TaskGroupConfig>;
using TaskResources = std::map<std::string, int64_t>;

// One of a few words, kept in an enum whose values count from 0 in the order of `words`.
struct ChoiceField {
  std::span<const std::string_view> words;
  void (*set)(Config&, size_t);
  size_t (*get)(const Config&);
};
struct PathField {
  std::string& (*at)(Config&);
};
struct DurationField {
  std::chrono::milliseconds& (*at)(Config&);
};
struct SizeField {
  int64_t& (*at)(Config&);
};
struct CountField {
  int64_t& (*at)(Config&);
};
struct NamesField {
  std::vector<std::string>& (*at)(Config&);
};
struct GroupsField {
  TaskGroups& (*at)(Config&);
};
struct CapacitiesField {
  TaskResources& (*at)(Config&);
};
using KeyField = std::variant<PathField, DurationField, SizeField, CountField, ChoiceField,
                              NamesField, GroupsField, CapacitiesField>;

struct Key {
  std::string_view path;
  KeyField field;
  std::string_view default_text;  // of a path: words for the reference; load_config computes it
  int64_t min = 0;                // milliseconds, bytes or a count
  int64_t max = 0;
  std::string_view doc;
};

std::span<const Key> config_keys();

// What a value's text may refer to.
struct TextContext {
  const std::map<std::string, std::string>* environment;
  std::string_view base_directory;  // for relative paths; empty: they are refused
};

// Parses `text` as this key's type, checks its limits and stores it. The message follows "origin:
// key: ".
absl::Status set_key(const Key& key, std::string_view text, const TextContext& context,
                     Config& config);

// For values that have a form of their own in YAML.
absl::Status set_names(const Key& key, std::vector<std::string> names, Config& config);
// `settings` by their names: parallel, order, overload, queued_max.
absl::Status set_group(std::string_view name, const std::map<std::string, std::string>& settings,
                       TaskGroups& groups);
absl::Status set_resource(std::string_view name, std::string_view capacity,
                          TaskResources& resources);

// The text that set_key turns back into this value.
std::string key_text(const Key& key, const Config& config);

std::string key_type(const Key& key);
std::string key_limits(const Key& key);

inline constexpr size_t kEnvPassMax = 256;            // names and globs
inline constexpr size_t kTaskGroupsMax = 256;         // groups
inline constexpr size_t kTaskGroupNameBytesMax = 64;  // bytes
inline constexpr int64_t kTaskGroupParallelMax = 4096;
inline constexpr int64_t kTaskGroupQueuedMax = 10'000'000;  // tasks
inline constexpr int64_t kTaskGroupMemoryBytesMin = 1 << 20;
inline constexpr int64_t kTaskGroupMemoryBytesMax = 1ll << 50;
inline constexpr int64_t kTaskResourcesMax = 256;       // resources
inline constexpr int64_t kTaskCapacityMax = 1'000'000;  // of one resource

}  // namespace zsync::daemon
