#include "daemon/config/keys.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <utility>

#include "daemon/config/units.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kSecond = 1000;  // in milliseconds
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;
constexpr int64_t kTiB = kMiB * kMiB;
// The wire's message limit is 4 MiB; the rest is room for what travels beside one channel message.
constexpr int64_t kChannelMessageBytesMax = 4 * kMiB - 64 * kKiB;

constexpr std::array<std::string_view, 2> kLogFormats = {"text", "json"};
constexpr std::array<std::string_view, 4> kLogLevels = {"debug", "info", "warning", "error"};

constexpr std::array<std::string_view, 3> kOverloads = {"queue", "reject", "shed"};
constexpr std::array<std::string_view, 3> kOrders = {"priority", "deadline", "rate"};

constexpr std::string_view kCpus = "cpus";

// clang-format off
#define ZS_FIELD(member) [](Config& config) -> decltype(auto) { return (config.member); }
constexpr std::array kKeys = {
    Key{"socket", PathField{ZS_FIELD(socket)},
        "${XDG_RUNTIME_DIR}/zsync/zsyncd.sock, or zsyncd.sock in state_dir without XDG_RUNTIME_DIR", 1,
        static_cast<int64_t>(kSocketPathBytesMax), "the Unix socket that clients call"},
    Key{"state_dir", PathField{ZS_FIELD(state_dir)},
        "${XDG_STATE_HOME}/zsync, or ~/.local/state/zsync without XDG_STATE_HOME", 1, 4000,
        "the directory of everything durable"},
    Key{"idle_exit", DurationField{ZS_FIELD(idle_exit)}, "0", 0, 365 * kDay,
        "the daemon ends after this time without a client or pending work; 0: never"},
    Key{"workers", CountField{ZS_FIELD(workers)}, "0", 0, 1024, "threads of the runtime; 0: automatic"},
    Key{"log.format", ChoiceField{kLogFormats,
            [](Config& c, size_t i) { c.log.format = static_cast<LogFormat>(i); },
            [](const Config& c) { return static_cast<size_t>(c.log.format); }},
        "text", 0, 0, "how log lines are written"},
    Key{"log.level", ChoiceField{kLogLevels,
            [](Config& c, size_t i) { c.log.level = static_cast<LogLevel>(i); },
            [](const Config& c) { return static_cast<size_t>(c.log.level); }},
        "info", 0, 0, "the least important line that is written"},
    Key{"drain_timeout", DurationField{ZS_FIELD(drain_timeout)}, "10s", 0, kHour,
        "how long a stopping daemon waits for running calls"},
    Key{"grpc_linger", DurationField{ZS_FIELD(grpc_linger)}, "5s", 0, kHour,
        "how long the gRPC server outlives its last connection"},
    Key{"connections_max", CountField{ZS_FIELD(connections_max)}, "1024", 1, 100'000, "open connections"},
    Key{"connections_per_uid_max", CountField{ZS_FIELD(connections_per_uid_max)}, "256", 1, 100'000,
        "open connections of one user"},
    Key{"calls_per_uid_max", CountField{ZS_FIELD(calls_per_uid_max)}, "4096", 1, 1'000'000,
        "running calls of one user"},
    Key{"tasks.kill_grace", DurationField{ZS_FIELD(tasks.kill_grace)}, "10s", 0, kHour,
        "time between SIGTERM and SIGKILL"},
    Key{"tasks.env_pass", NamesField{ZS_FIELD(tasks.env_pass)},
        "PATH,HOME,USER,LOGNAME,SHELL,LANG,LC_*,TZ,TMPDIR,TERM,XDG_*", 0, static_cast<int64_t>(kEnvPassMax),
        "variables of the caller that a task receives; names and globs"},
    Key{"tasks.groups", GroupsField{ZS_FIELD(tasks.groups)}, "default=cpus", 1,
        static_cast<int64_t>(kTaskGroupsMax),
        "groups made at start, each with the tasks that it runs at once (a number or cpus), and its order, overload, "
        "queued_max, memory and cpus"},
    Key{"tasks.resources", CapacitiesField{ZS_FIELD(tasks.resources)}, "", 0, kTaskResourcesMax,
        "counted resources that tasks may need, and how much of each there is"},
    Key{"tasks.output_bytes_max", SizeField{ZS_FIELD(tasks.output_bytes_max)}, "4GiB", 64 * kKiB, 16 * kTiB,
        "output kept of one task; then its beginning and its newest part stay"},
    Key{"tasks.output_retention_bytes_max", SizeField{ZS_FIELD(tasks.output_retention_bytes_max)}, "1GiB", 0,
        16 * kTiB, "output kept of all finished tasks; the oldest goes first"},
    Key{"tasks.retention_age", DurationField{ZS_FIELD(tasks.retention_age)}, "7d", kSecond, 3650 * kDay,
        "how long a finished task is remembered"},
    Key{"tasks.queued_max", CountField{ZS_FIELD(tasks.queued_max)}, "1000000", 1, 10'000'000,
        "tasks waiting to run"},
    Key{"channels.capacity_default", CountField{ZS_FIELD(channels.capacity_default)}, "1024", 1, 1'000'000,
        "messages that a channel holds unless its creator says otherwise"},
    Key{"channels.bytes_max", SizeField{ZS_FIELD(channels.bytes_max)}, "256MiB", kMiB, kTiB,
        "bytes that one channel holds"},
    Key{"channels.message_bytes_max", SizeField{ZS_FIELD(channels.message_bytes_max)}, "1MiB", kKiB,
        kChannelMessageBytesMax, "bytes of one message"},
    Key{"channels.disk_bytes_max", SizeField{ZS_FIELD(channels.disk_bytes_max)}, "1GiB", 0, kTiB,
        "bytes that one unbounded channel puts on disk when its memory is full"},
    Key{"channels.max", CountField{ZS_FIELD(channels.max)}, "10000", 1, 1'000'000, "channels"},
    Key{"watch.settle", DurationField{ZS_FIELD(watch.settle)}, "50ms", 0, kMinute,
        "quiet time that ends a batch of changes"},
    Key{"watch.max_wait", DurationField{ZS_FIELD(watch.max_wait)}, "1s", 1, 10 * kMinute,
        "a batch is told after this time even if changes go on"},
    Key{"watch.roots_max", CountField{ZS_FIELD(watch.roots_max)}, "256", 1, 10'000, "watched directory trees"},
    Key{"events.retention_bytes_max", SizeField{ZS_FIELD(events.retention_bytes_max)}, "256MiB", kMiB, kTiB,
        "size of the event log; the oldest goes first"},
};
#undef ZS_FIELD
// clang-format on

absl::Status wrong(std::string reason) { return absl::InvalidArgumentError(std::move(reason)); }

std::string in_quotes(std::string_view text) { return absl::StrCat("\"", std::string(text), "\""); }

absl::Status check_range(const Key& key, int64_t value, std::string_view text) {
  if (value >= key.min && value <= key.max) return absl::OkStatus();
  return wrong(absl::StrCat(in_quotes(text), " is out of range: ", key_limits(key)));
}

absl::StatusOr<std::string> expand(std::string_view text, const TextContext& context) {
  auto value_of = [&](const std::string& name) -> absl::StatusOr<std::string> {
    const auto found = context.environment->find(name);
    if (found != context.environment->end() && !found->second.empty()) return found->second;
    return wrong(absl::StrCat(in_quotes(text), " needs the variable ", name, ", which is not set"));
  };
  std::string result;
  std::string_view rest = text;
  if (rest == "~" || rest.substr(0, 2) == "~/") {
    absl::StatusOr<std::string> home = value_of("HOME");
    if (!home.ok()) return home.status();
    result = *home;
    rest.remove_prefix(1);
  }
  while (!rest.empty()) {
    const size_t start = rest.find("${");
    result += rest.substr(0, start);
    if (start == std::string_view::npos) break;
    const size_t end = rest.find('}', start);
    if (end == std::string_view::npos)
      return wrong(absl::StrCat(in_quotes(text), " has no closing }"));
    absl::StatusOr<std::string> value =
        value_of(std::string(rest.substr(start + 2, end - start - 2)));
    if (!value.ok()) return value.status();
    result += *value;
    rest.remove_prefix(end + 1);
  }
  return result;
}

absl::StatusOr<std::string> parse_path(const Key& key, std::string_view text,
                                       const TextContext& context) {
  if (text.empty()) return wrong("the path is empty");
  if (text.find('\0') != std::string_view::npos || text.find('\n') != std::string_view::npos) {
    return wrong("the path holds a newline or a NUL byte");
  }
  absl::StatusOr<std::string> expanded = expand(text, context);
  if (!expanded.ok()) return expanded;
  std::filesystem::path path(*expanded);
  if (path.is_relative()) {
    if (context.base_directory.empty()) {
      return wrong(absl::StrCat(in_quotes(text), " is relative: write it from / or ~/ on"));
    }
    path = std::filesystem::path(context.base_directory) / path;
  }
  std::string result = path.lexically_normal().string();
  while (result.size() > 1 && result.back() == '/') result.pop_back();
  if (static_cast<int64_t>(result.size()) > key.max) {
    return wrong(absl::StrCat(in_quotes(result), " is ", result.size(), " bytes long and at most ",
                              key.max, " are possible: set a shorter one, for example with ",
                              environment_name(std::string(key.path))));
  }
  return result;
}

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Commas and blanks part the words of one line.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text) {
    if (c != ',' && c != ' ') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) words.push_back(word);
  return words;
}

// "4:order=deadline:queued_max=100" -> its settings by name.
absl::StatusOr<std::map<std::string, std::string>> group_settings(std::string_view text) {
  std::map<std::string, std::string> settings;
  bool first = true;
  while (true) {
    const size_t colon = text.find(':');
    const std::string part(text.substr(0, colon));
    const size_t equals = part.find('=');
    if (std::exchange(first, false)) {
      settings["parallel"] = part;
    } else if (equals == std::string::npos) {
      return wrong(
          absl::StrCat(in_quotes(part), " has no =: write settings like ci=4:order=deadline"));
    } else {
      settings[part.substr(0, equals)] = part.substr(equals + 1);
    }
    if (colon == std::string_view::npos) return settings;
    text.remove_prefix(colon + 1);
  }
}

absl::StatusOr<TaskGroups> parse_groups(std::string_view text) {
  TaskGroups groups;
  for (const std::string& word : words_of(text)) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      return wrong(
          absl::StrCat(in_quotes(word), " has no =: write groups like default=cpus,serial=1"));
    }
    auto settings = group_settings(std::string_view(word).substr(equals + 1));
    if (!settings.ok()) return settings.status();
    const absl::Status status = set_group(word.substr(0, equals), *settings, groups);
    if (!status.ok()) return status;
  }
  return groups;
}

absl::StatusOr<TaskResources> parse_resources(std::string_view text) {
  TaskResources resources;
  for (const std::string& word : words_of(text)) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      return wrong(absl::StrCat(in_quotes(word), " has no =: write resources like gpu=2"));
    }
    const absl::Status status =
        set_resource(word.substr(0, equals), word.substr(equals + 1), resources);
    if (!status.ok()) return status;
  }
  return resources;
}

bool is_word(std::string_view name) {
  return !name.empty() && name.size() <= kTaskGroupNameBytesMax && is_letter_or_digit(name[0]) &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return is_letter_or_digit(c) || c == '_' || c == '-' || c == '.';
         });
}

absl::Status set_group_budget(TaskGroupConfig& group, const std::string& setting,
                              const std::string& value) {
  if (setting == "memory") {
    absl::StatusOr<int64_t> bytes = parse_size(value);
    if (!bytes.ok() || (*bytes != 0 && *bytes < kTaskGroupMemoryBytesMin) ||
        *bytes > kTaskGroupMemoryBytesMax) {
      return wrong(absl::StrCat("memory is ", in_quotes(value),
                                ": a size from 1MiB to 1024TiB, or 0 for any, is needed"));
    }
    group.memory_bytes_max = *bytes;
    return absl::OkStatus();
  }
  double cpus = -1;
  if (!absl::SimpleAtod(value, &cpus) || !(cpus == 0 || (cpus >= 0.01 && cpus <= 4096))) {
    return wrong(absl::StrCat("cpus is ", in_quotes(value),
                              ": a number from 0.01 to 4096, or 0 for any, is needed"));
  }
  group.cpu_millis_max = static_cast<int64_t>(cpus * 1000 + 0.5);
  return absl::OkStatus();
}

absl::Status set_group_setting(TaskGroupConfig& group, const std::string& setting,
                               const std::string& value) {
  if (setting == "parallel") {
    if (value == kCpus) return absl::OkStatus();
    absl::StatusOr<int64_t> count = parse_count(value);
    if (!count.ok() || *count < 1 || *count > kTaskGroupParallelMax) {
      return wrong(absl::StrCat("parallel is ", in_quotes(value), ": a number from 1 to ",
                                kTaskGroupParallelMax, " or cpus is needed"));
    }
    group.parallel = *count;
  } else if (setting == "order") {
    const auto found = std::find(kOrders.begin(), kOrders.end(), value);
    if (found == kOrders.end()) {
      return wrong(
          absl::StrCat("order is ", in_quotes(value), ": priority, deadline or rate is needed"));
    }
    group.order = static_cast<GroupOrder>(found - kOrders.begin());
  } else if (setting == "overload") {
    const auto found = std::find(kOverloads.begin(), kOverloads.end(), value);
    if (found == kOverloads.end()) {
      return wrong(
          absl::StrCat("overload is ", in_quotes(value), ": queue, reject or shed is needed"));
    }
    group.overload = static_cast<GroupOverload>(found - kOverloads.begin());
  } else if (setting == "queued_max") {
    absl::StatusOr<int64_t> count = parse_count(value);
    if (!count.ok() || *count < 0 || *count > kTaskGroupQueuedMax) {
      return wrong(absl::StrCat("queued_max is ", in_quotes(value), ": a number from 1 to ",
                                kTaskGroupQueuedMax, ", or 0 for no bound, is needed"));
    }
    group.queued_max = *count;
  } else if (setting == "memory" || setting == "cpus") {
    return set_group_budget(group, setting, value);
  } else {
    return wrong(absl::StrCat(
        in_quotes(setting),
        " is no setting: there are parallel, order, overload, queued_max, memory, cpus"));
  }
  return absl::OkStatus();
}

std::string group_text(const std::string& name, const TaskGroupConfig& group) {
  std::string text = absl::StrCat(
      name, "=", group.parallel == 0 ? std::string(kCpus) : absl::StrCat(group.parallel));
  if (group.order != GroupOrder::priority) {
    absl::StrAppend(&text, ":order=", std::string(kOrders[static_cast<size_t>(group.order)]));
  }
  if (group.overload != GroupOverload::queue) {
    absl::StrAppend(&text,
                    ":overload=", std::string(kOverloads[static_cast<size_t>(group.overload)]));
  }
  if (group.queued_max != 0) absl::StrAppend(&text, ":queued_max=", group.queued_max);
  if (group.memory_bytes_max != 0) {
    absl::StrAppend(&text, ":memory=", format_size(group.memory_bytes_max));
  }
  if (group.cpu_millis_max != 0) {
    absl::StrAppend(&text, ":cpus=", static_cast<double>(group.cpu_millis_max) / 1000.0);
  }
  return text;
}

absl::Status set_choice(const ChoiceField& field, std::string_view text, Config& config) {
  const auto found = std::find(field.words.begin(), field.words.end(), text);
  if (found == field.words.end()) {
    std::string words;
    for (std::string_view word : field.words) {
      absl::StrAppend(&words, words.empty() ? "" : ", ", std::string(word));
    }
    return wrong(absl::StrCat(in_quotes(text), " is none of ", words));
  }
  field.set(config, static_cast<size_t>(found - field.words.begin()));
  return absl::OkStatus();
}

template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

// Stores a parsed value after the check of its range.
template <typename Parsed, typename Target>
absl::Status store_number(const Key& key, std::string_view text,
                          const absl::StatusOr<Parsed>& parsed, Target& target) {
  if (!parsed.ok()) return parsed.status();
  int64_t number = 0;
  if constexpr (std::is_same_v<Parsed, int64_t>) {
    number = *parsed;
  } else {
    number = parsed->count();
  }
  absl::Status status = check_range(key, number, text);
  if (status.ok()) target = *parsed;
  return status;
}

}  // namespace

std::span<const Key> config_keys() { return kKeys; }

absl::Status set_names(const Key& key, std::vector<std::string> names, Config& config) {
  if (names.size() > kEnvPassMax) {
    return wrong(absl::StrCat("has ", names.size(), " names: ", key_limits(key)));
  }
  for (const std::string& name : names) {
    const bool sound = !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
                       std::all_of(name.begin(), name.end(), [](char c) {
                         return is_letter_or_digit(c) || c == '_' || c == '*' || c == '?';
                       });
    if (!sound)
      return wrong(absl::StrCat(in_quotes(name), " is no variable name or glob such as LC_*"));
  }
  std::get<NamesField>(key.field).at(config) = std::move(names);
  return absl::OkStatus();
}

absl::Status set_group(std::string_view name, const std::map<std::string, std::string>& settings,
                       TaskGroups& groups) {
  if (!is_word(name)) {
    return wrong(absl::StrCat(in_quotes(name), " is no group name: up to ", kTaskGroupNameBytesMax,
                              " letters, digits and . _ - after a letter or digit"));
  }
  TaskGroupConfig group;
  for (const auto& [setting, value] : settings) {
    const absl::Status status = set_group_setting(group, setting, value);
    if (!status.ok()) {
      return wrong(absl::StrCat("group ", in_quotes(name), ": ", status.message()));
    }
  }
  if (group.overload != GroupOverload::queue && group.queued_max == 0) {
    return wrong(absl::StrCat("group ", in_quotes(name), ": overload ",
                              std::string(kOverloads[static_cast<size_t>(group.overload)]),
                              " needs queued_max as well"));
  }
  if (!groups.emplace(std::string(name), group).second) {
    return wrong(absl::StrCat("group ", in_quotes(name), " is there twice"));
  }
  if (groups.size() > kTaskGroupsMax) {
    return wrong(absl::StrCat("has more than ", kTaskGroupsMax, " groups"));
  }
  return absl::OkStatus();
}

absl::Status set_resource(std::string_view name, std::string_view capacity,
                          TaskResources& resources) {
  if (!is_word(name)) {
    return wrong(absl::StrCat(in_quotes(name), " is no name of a resource: up to ",
                              kTaskGroupNameBytesMax,
                              " letters, digits and . _ - after a letter or digit"));
  }
  absl::StatusOr<int64_t> count = parse_count(capacity);
  if (!count.ok() || *count < 0 || *count > kTaskCapacityMax) {
    return wrong(absl::StrCat("resource ", in_quotes(name), " has capacity ", in_quotes(capacity),
                              ": a number from 0 to ", kTaskCapacityMax, " is needed"));
  }
  if (!resources.emplace(std::string(name), *count).second) {
    return wrong(absl::StrCat("resource ", in_quotes(name), " is there twice"));
  }
  if (static_cast<int64_t>(resources.size()) > kTaskResourcesMax) {
    return wrong(absl::StrCat("has more than ", kTaskResourcesMax, " resources"));
  }
  return absl::OkStatus();
}

absl::Status set_key(const Key& key, std::string_view text, const TextContext& context,
                     Config& config) {
  return std::visit(
      Overloaded{[&](const PathField& field) -> absl::Status {
                   absl::StatusOr<std::string> path = parse_path(key, text, context);
                   if (path.ok()) field.at(config) = *std::move(path);
                   return path.status();
                 },
                 [&](const DurationField& field) {
                   return store_number(key, text, parse_duration(text), field.at(config));
                 },
                 [&](const SizeField& field) {
                   return store_number(key, text, parse_size(text), field.at(config));
                 },
                 [&](const CountField& field) {
                   return store_number(key, text, parse_count(text), field.at(config));
                 },
                 [&](const ChoiceField& field) { return set_choice(field, text, config); },
                 [&](const NamesField&) { return set_names(key, words_of(text), config); },
                 [&](const GroupsField& field) -> absl::Status {
                   absl::StatusOr<TaskGroups> groups = parse_groups(text);
                   if (groups.ok()) field.at(config) = *std::move(groups);
                   return groups.status();
                 },
                 [&](const CapacitiesField& field) -> absl::Status {
                   absl::StatusOr<TaskResources> resources = parse_resources(text);
                   if (resources.ok()) field.at(config) = *std::move(resources);
                   return resources.status();
                 }},
      key.field);
}

std::string key_text(const Key& key, const Config& original) {
  Config config = original;  // the accessors of the table give references that can be written
  return std::visit(
      Overloaded{
          [&](const PathField& field) { return field.at(config); },
          [&](const DurationField& field) { return format_duration(field.at(config)); },
          [&](const SizeField& field) { return format_size(field.at(config)); },
          [&](const CountField& field) { return std::to_string(field.at(config)); },
          [&](const ChoiceField& field) { return std::string(field.words[field.get(config)]); },
          [&](const NamesField& field) {
            std::string text;
            for (const std::string& name : field.at(config)) {
              absl::StrAppend(&text, text.empty() ? "" : ",", name);
            }
            return text;
          },
          [&](const GroupsField& field) {
            std::string text;
            for (const auto& [name, group] : field.at(config)) {
              absl::StrAppend(&text, text.empty() ? "" : ",", group_text(name, group));
            }
            return text;
          },
          [&](const CapacitiesField& field) {
            std::string text;
            for (const auto& [name, capacity] : field.at(config)) {
              absl::StrAppend(&text, text.empty() ? "" : ",", name, "=", capacity);
            }
            return text;
          }},
      key.field);
}

std::string key_type(const Key& key) {
  return std::visit(Overloaded{[](const PathField&) { return std::string("path"); },
                               [](const DurationField&) { return std::string("duration"); },
                               [](const SizeField&) { return std::string("size"); },
                               [](const CountField&) { return std::string("number"); },
                               [](const ChoiceField&) { return std::string("word"); },
                               [](const NamesField&) { return std::string("list of names"); },
                               [](const GroupsField&) { return std::string("groups"); },
                               [](const CapacitiesField&) { return std::string("capacities"); }},
                    key.field);
}

std::string key_limits(const Key& key) {
  auto range = [&](const std::string& from, const std::string& to) { return from + " to " + to; };
  return std::visit(
      Overloaded{
          [&](const PathField&) { return absl::StrCat("at most ", key.max, " bytes"); },
          [&](const DurationField&) {
            return range(format_duration(std::chrono::milliseconds(key.min)),
                         format_duration(std::chrono::milliseconds(key.max)));
          },
          [&](const SizeField&) { return range(format_size(key.min), format_size(key.max)); },
          [&](const CountField&) { return range(absl::StrCat(key.min), absl::StrCat(key.max)); },
          [&](const ChoiceField& field) {
            std::string text;
            for (std::string_view word : field.words) {
              absl::StrAppend(&text, text.empty() ? "" : ", ", std::string(word));
            }
            return text;
          },
          [&](const NamesField&) { return absl::StrCat("at most ", key.max, " names"); },
          [&](const GroupsField&) { return absl::StrCat("at most ", key.max, " groups"); },
          [&](const CapacitiesField&) { return absl::StrCat("at most ", key.max, " resources"); }},
      key.field);
}

}  // namespace zsync::daemon
