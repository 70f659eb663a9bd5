#include "daemon/config/config.hpp"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "daemon/config/closest.hpp"
#include "daemon/config/keys.hpp"
#include "daemon/config/yaml_tree.hpp"

namespace zsync::daemon {
namespace {

constexpr std::string_view kVersionKey = "version";
constexpr std::string_view kEnvironmentPrefix = "ZSYNC_";
constexpr size_t kWarningDistanceMax =
    2;  // letters between a ZSYNC_ variable and the key it may mean

const Key* find_key(std::string_view path) {
  for (const Key& key : config_keys()) {
    if (key.path == path) return &key;
  }
  return nullptr;
}

bool is_section(const std::string& path) {
  return std::any_of(config_keys().begin(), config_keys().end(), [&](const Key& key) {
    return key.path.substr(0, path.size() + 1) == path + ".";
  });
}

std::string_view leaf_of(std::string_view path) { return path.substr(path.rfind('.') + 1); }

// The key that was meant: the same last word in another section, else the nearest spelling.
std::optional<std::string> meant_by(const std::string& path) {
  std::vector<std::string> candidates = {std::string(kVersionKey)};
  for (const Key& key : config_keys()) {
    if (leaf_of(key.path) == leaf_of(path)) return std::string(key.path);
    candidates.emplace_back(key.path);
    const size_t dot = key.path.find('.');
    if (dot != std::string_view::npos) candidates.emplace_back(key.path.substr(0, dot));
  }
  return closest_match(path, candidates);
}

class Loader {
 public:
  explicit Loader(const ConfigSources& sources) : sources_(sources) {
    origins_.assign(config_keys().size(), "default");
  }

  absl::StatusOr<LoadedConfig> load() {
    absl::Status status = apply_defaults();
    if (status.ok() && sources_.file) status = apply_file(*sources_.file);
    if (status.ok()) status = apply_environment();
    if (status.ok()) status = apply_flags();
    if (status.ok()) status = complete();
    if (status.ok()) status = check_together();
    if (!status.ok()) return status;
    LoadedConfig loaded{std::move(config_), {}, std::move(warnings_)};
    for (size_t i = 0; i < config_keys().size(); ++i) {
      const Key& key = config_keys()[i];
      loaded.values.push_back({std::string(key.path), key_text(key, loaded.config), origins_[i]});
    }
    return loaded;
  }

 private:
  std::string& origin_of(const Key& key) {
    return origins_[static_cast<size_t>(&key - config_keys().data())];
  }

  std::string variable(const std::string& name) const {
    const auto found = sources_.environment.find(name);
    return found == sources_.environment.end() ? "" : found->second;
  }

  static absl::Status error(const std::string& origin, const std::string& text) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": ", one_line(text)));
  }

  absl::Status set(const Key& key, const std::string& origin, std::string_view text,
                   std::string_view base_directory) {
    const absl::Status status =
        set_key(key, text, TextContext{&sources_.environment, base_directory}, config_);
    return settle(key, origin, status);
  }

  absl::Status settle(const Key& key, const std::string& origin, const absl::Status& status) {
    if (!status.ok()) {
      return error(origin, absl::StrCat(std::string(key.path), ": ", status.message()));
    }
    origin_of(key) = origin;
    return absl::OkStatus();
  }

  absl::Status apply_defaults() {
    for (const Key& key : config_keys()) {
      if (std::holds_alternative<PathField>(key.field)) continue;
      absl::Status status = set(key, "default", key.default_text, "");
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // The defaults that depend on other values; XDG variables that are not absolute are to be
  // ignored.
  absl::Status complete() {
    if (config_.state_dir.empty()) {
      const std::string xdg = variable("XDG_STATE_HOME");
      const bool usable = !xdg.empty() && xdg.front() == '/';
      if (!usable && variable("HOME").empty()) {
        return error("default",
                     "state_dir: neither HOME nor XDG_STATE_HOME is set: set one of them, "
                     "ZSYNC_STATE_DIR or --state-dir");
      }
      absl::Status status =
          set(*find_key("state_dir"), "default", (usable ? xdg : "~/.local/state") + "/zsync", "");
      if (!status.ok()) return status;
    }
    if (config_.socket.empty()) {
      const std::string xdg = variable("XDG_RUNTIME_DIR");
      const bool usable = !xdg.empty() && xdg.front() == '/';
      absl::Status status =
          set(*find_key("socket"), "default",
              usable ? xdg + "/zsync/zsyncd.sock" : config_.state_dir + "/zsyncd.sock", "");
      if (!status.ok()) return status;
    }
    config_.tasks.groups.try_emplace("default");
    return absl::OkStatus();
  }

  absl::Status apply_file(const ConfigFile& file) {
    if (file.content.size() > kConfigFileBytesMax) {
      return error(file.path,
                   absl::StrCat("the file has ", file.content.size(), " bytes and at most ",
                                kConfigFileBytesMax, " are read"));
    }
    absl::StatusOr<YamlTree> tree = parse_yaml(file.path, file.content);
    if (!tree.ok()) return tree.status();
    if (tree->kind == YamlTree::Kind::none) return absl::OkStatus();
    if (tree->kind != YamlTree::Kind::map) {
      return error(place(file, tree->line),
                   "the file must hold keys and values, like \"version: 1\"");
    }
    absl::Status status = check_version(file, *tree);
    if (status.ok()) status = apply_section(file, *tree, "");
    return status;
  }

  static std::string place(const ConfigFile& file, int line) {
    return absl::StrCat(file.path, ":", line);
  }

  absl::Status check_version(const ConfigFile& file, const YamlTree& tree) {
    for (const YamlTree::Entry& entry : tree.entries) {
      if (entry.name != kVersionKey) continue;
      if (entry.value.text == std::to_string(kConfigVersion)) return absl::OkStatus();
      return error(
          place(file, entry.line),
          absl::StrCat("version: \"", entry.value.text, "\" is not known to this zsyncd: write ",
                       "version: ", kConfigVersion, ", or install a zsyncd that knows it"));
    }
    return error(place(file, tree.line),
                 absl::StrCat("key \"version\" is missing: begin the file with \"version: ",
                              kConfigVersion, "\""));
  }

  absl::Status apply_section(const ConfigFile& file, const YamlTree& tree,
                             const std::string& prefix) {
    std::map<std::string, int> seen;
    for (const YamlTree::Entry& entry : tree.entries) {
      const std::string path = prefix + entry.name;
      const std::string origin = place(file, entry.line);
      const auto [before, is_new] = seen.emplace(path, entry.line);
      if (!is_new) {
        return error(origin, absl::StrCat("key \"", path, "\" is there twice, first in line ",
                                          before->second, ": keep one"));
      }
      if (path == kVersionKey) continue;
      const bool plain = entry.name.find('.') == std::string::npos;
      const Key* key = find_key(path);
      absl::Status status;
      if (key != nullptr && plain) {
        status = apply_entry(file, *key, entry);
      } else if (is_section(path) && plain) {
        status = apply_subsection(file, entry, path);
      } else {
        status = unknown(origin, path, key != nullptr);
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status apply_subsection(const ConfigFile& file, const YamlTree::Entry& entry,
                                const std::string& path) {
    if (entry.value.kind == YamlTree::Kind::none) return absl::OkStatus();
    if (entry.value.kind == YamlTree::Kind::map)
      return apply_section(file, entry.value, path + ".");
    return error(place(file, entry.line),
                 absl::StrCat("key \"", path, "\" is a section: put its keys below it, indented"));
  }

  static absl::Status unknown(const std::string& origin, const std::string& path, bool dotted) {
    if (dotted) {
      const size_t dot = path.find('.');
      return error(origin, absl::StrCat("key \"", path, "\" is written with a dot: write \"",
                                        path.substr(0, dot), ":\" and below it, indented, \"",
                                        path.substr(dot + 1), ":\""));
    }
    const std::optional<std::string> meant = meant_by(path);
    std::string text = absl::StrCat("key \"", path, "\" is unknown");
    if (meant) absl::StrAppend(&text, "; did you mean \"", *meant, "\"?");
    return error(origin, text);
  }

  absl::Status apply_entry(const ConfigFile& file, const Key& key, const YamlTree::Entry& entry) {
    const std::string origin = place(file, entry.line);
    const YamlTree& value = entry.value;
    if (value.kind == YamlTree::Kind::scalar) return set(key, origin, value.text, "");
    if (value.kind == YamlTree::Kind::list && std::holds_alternative<NamesField>(key.field)) {
      std::vector<std::string> names;
      for (const YamlTree& item : value.items) {
        if (item.kind != YamlTree::Kind::scalar) {
          return error(place(file, item.line),
                       absl::StrCat(std::string(key.path), ": a name is needed"));
        }
        names.push_back(item.text);
      }
      return settle(key, origin, set_names(key, std::move(names), config_));
    }
    if (value.kind == YamlTree::Kind::map && std::holds_alternative<GroupsField>(key.field)) {
      return apply_groups(file, key, entry);
    }
    if (value.kind == YamlTree::Kind::map && std::holds_alternative<CapacitiesField>(key.field)) {
      return apply_resources(file, key, entry);
    }
    if (value.kind == YamlTree::Kind::none) {
      return error(origin, absl::StrCat("key \"", std::string(key.path),
                                        "\" has no value: give it one, or remove the line"));
    }
    return error(origin, absl::StrCat(std::string(key.path), ": a ", key_type(key), " such as \"",
                                      key_text(key, config_), "\" is needed, not a ",
                                      value.kind == YamlTree::Kind::list ? "list" : "section"));
  }

  absl::Status apply_groups(const ConfigFile& file, const Key& key, const YamlTree::Entry& entry) {
    TaskGroups groups;
    for (const YamlTree::Entry& group : entry.value.entries) {
      const std::string origin = place(file, group.line);
      std::map<std::string, std::string> settings;
      for (const YamlTree::Entry& setting : group.value.entries) {
        const bool fresh = settings.emplace(setting.name, setting.value.text).second;
        if (fresh && setting.value.kind == YamlTree::Kind::scalar) continue;
        return error(
            place(file, setting.line),
            absl::StrCat("key \"", std::string(key.path), ".", group.name, ".", setting.name,
                         fresh ? "\" needs one value" : "\" is there twice"));
      }
      if (!settings.contains("parallel")) {
        return error(origin, absl::StrCat(std::string(key.path), ": write group \"", group.name,
                                          "\" as ", group.name,
                                          ": {parallel: 4}, with order, overload and queued_max "
                                          "where they are wanted"));
      }
      const absl::Status status = set_group(group.name, settings, groups);
      if (!status.ok()) return settle(key, origin, status);
    }
    std::get<GroupsField>(key.field).at(config_) = std::move(groups);
    return settle(key, place(file, entry.line), absl::OkStatus());
  }

  absl::Status apply_resources(const ConfigFile& file, const Key& key,
                               const YamlTree::Entry& entry) {
    TaskResources resources;
    for (const YamlTree::Entry& resource : entry.value.entries) {
      const absl::Status status = set_resource(resource.name, resource.value.text, resources);
      if (!status.ok()) return settle(key, place(file, resource.line), status);
    }
    std::get<CapacitiesField>(key.field).at(config_) = std::move(resources);
    return settle(key, place(file, entry.line), absl::OkStatus());
  }

  absl::Status apply_environment() {
    std::set<std::string> known;
    for (const Key& key : config_keys()) {
      const std::string name = environment_name(std::string(key.path));
      known.insert(name);
      const std::string value = variable(name);
      if (value.empty()) continue;
      absl::Status status = set(key, name, value, sources_.working_directory);
      if (!status.ok()) return status;
    }
    warn_of_near_misses(known);
    return absl::OkStatus();
  }

  // Other programs of zsync have variables of their own, so only a likely misspelling is worth a
  // line.
  void warn_of_near_misses(const std::set<std::string>& known) {
    const std::vector<std::string> names(known.begin(), known.end());
    for (const auto& [name, value] : sources_.environment) {
      if (name.compare(0, kEnvironmentPrefix.size(), kEnvironmentPrefix) != 0) continue;
      if (known.count(name) != 0) continue;
      const std::optional<std::string> meant = closest_match(name, names);
      if (!meant || edit_distance(name, *meant) > kWarningDistanceMax) continue;
      warnings_.push_back(
          absl::StrCat("variable ", name, " is not known; did you mean ", *meant, "?"));
    }
  }

  absl::Status apply_flags() {
    for (const ConfigFlag& flag : sources_.flags) {
      const Key* key = find_key(flag.key);
      if (key == nullptr) {
        return absl::InternalError(
            absl::StrCat(flag.flag, " sets \"", flag.key, "\", which is no key"));
      }
      absl::Status status = set(*key, flag.flag, flag.value, sources_.working_directory);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // The smaller one of two values must not pass the larger one; the later of both origins is named.
  absl::Status check_order(std::string_view smaller, std::string_view larger, int64_t small,
                           int64_t large) {
    if (small <= large) return absl::OkStatus();
    const Key& small_key = *find_key(smaller);
    const Key& large_key = *find_key(larger);
    const bool small_was_set = origin_of(small_key) != "default";
    return error(origin_of(small_was_set ? small_key : large_key),
                 absl::StrCat(std::string(smaller), " (", key_text(small_key, config_), ", ",
                              origin_of(small_key), ") must not pass ", std::string(larger), " (",
                              key_text(large_key, config_), ", ", origin_of(large_key), ")"));
  }

  absl::Status check_together() {
    absl::Status status = check_order("watch.settle", "watch.max_wait",
                                      config_.watch.settle.count(), config_.watch.max_wait.count());
    if (!status.ok()) return status;
    return check_order("channels.message_bytes_max", "channels.bytes_max",
                       config_.channels.message_bytes_max, config_.channels.bytes_max);
  }

  const ConfigSources& sources_;
  Config config_;
  std::vector<std::string> origins_;  // beside config_keys()
  std::vector<std::string> warnings_;
};

}  // namespace

absl::StatusOr<LoadedConfig> load_config(const ConfigSources& sources) {
  return Loader(sources).load();
}

std::string render_config(const std::vector<ConfigValue>& values, bool origin) {
  size_t key_width = 0;
  size_t value_width = 0;
  for (const ConfigValue& value : values) {
    key_width = std::max(key_width, value.key.size());
    value_width = std::max(value_width, value.value.size());
  }
  std::string text;
  for (const ConfigValue& value : values) {
    text += value.key + std::string(key_width - value.key.size() + 2, ' ') + value.value;
    if (origin) text += std::string(value_width - value.value.size() + 2, ' ') + value.origin;
    text += '\n';
  }
  return text;
}

std::string describe_config() {
  std::string text =
      "| Key | Type | Default | Limits | Environment | Meaning |\n"
      "|---|---|---|---|---|---|\n";
  for (const Key& key : config_keys()) {
    const std::string path(key.path);
    absl::StrAppend(&text, "| `", path, "` | ", key_type(key), " | ");
    absl::StrAppend(&text, "`", std::string(key.default_text), "` | ", key_limits(key), " | `");
    absl::StrAppend(&text, environment_name(path), "` | ", std::string(key.doc), " |\n");
  }
  return text;
}

std::string environment_name(const std::string& key) {
  std::string name(kEnvironmentPrefix);
  for (const char c : key) {
    name += c == '.' ? '_' : (c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
  }
  return name;
}

}  // namespace zsync::daemon
