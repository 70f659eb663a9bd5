#include "daemon/projects/file_values.hpp"

#include <chrono>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/config/closest.hpp"
#include "daemon/config/units.hpp"

namespace zsync::daemon {

void FileValues::complain(int line, int column, const std::string& text) {
  if (problems_.size() < kProjectProblemsMax) problems_.push_back({line, column, one_line(text)});
}

void FileValues::complain(const YamlTree& value, const std::string& text) {
  complain(value.line, value.column, text);
}

// ":LINE: the file ..."
void FileValues::complain_yaml(const absl::Status& status) {
  const std::string text(status.message());
  int line = 1;
  const size_t end = text.find(": ", 1);
  if (end == text.npos || !absl::SimpleAtoi(text.substr(1, end - 1), &line)) line = 1;
  complain(line, 1, end == text.npos ? text : text.substr(end + 2));
}

// Hands each key of the section to `take`, once.
void FileValues::read_section(FileSection section, const std::string& path, const YamlTree& tree,
                              const std::function<void(const FileKey&, const Entry&)>& take) {
  std::map<std::string, int> seen;
  for (const Entry& entry : tree.entries) {
    const auto [before, fresh] = seen.emplace(entry.name, entry.line);
    const std::string in = path.empty() ? "" : " in " + path;
    if (!fresh) {
      complain(entry.line, entry.column,
               absl::StrCat("key \"", entry.name, "\"", in, " is there twice, first in line ",
                            before->second, ": keep one"));
      continue;
    }
    const FileKey* key = find_key(section, entry.name);
    if (key == nullptr) {
      complain(entry.line, entry.column, unknown_key(section, entry.name, in));
    } else if (key->value == FileValue::kUnbuilt) {
      complain(entry.line, entry.column,
               absl::StrCat("key \"", entry.name, "\"", in, ": ", std::string(key->doc),
                            " is not built yet: remove the key"));
    } else if (entry.value.kind == Kind::none) {
      complain(entry.line, entry.column,
               absl::StrCat("key \"", entry.name, "\"", in, " has no value"));
    } else {
      take(*key, entry);
    }
  }
}

const FileKey* FileValues::find_key(FileSection section, const std::string& name) {
  for (const FileKey& key : project_keys()) {
    if (key.section == section && key.name == name) return &key;
  }
  return nullptr;
}

std::string FileValues::unknown_key(FileSection section, const std::string& name,
                                    const std::string& in) {
  std::vector<std::string> names;
  for (const FileKey& key : project_keys()) {
    if (key.section == section) names.emplace_back(key.name);
  }
  std::string text = absl::StrCat("unknown key \"", name, "\"", in);
  const std::optional<std::string> meant = closest_match(name, names);
  return meant ? absl::StrCat(text, ": did you mean \"", *meant, "\"?")
               : absl::StrCat(text, ": known are ", absl::StrJoin(names, ", "));
}

bool FileValues::read_text(const Entry& entry, std::string& out) {
  if (entry.value.kind != Kind::scalar) {
    complain(entry.value, absl::StrCat(entry.name, ": one text is needed"));
    return false;
  }
  if (entry.value.text.find('\0') != std::string::npos) {
    complain(entry.value, absl::StrCat(entry.name, ": a NUL byte cannot be passed on"));
    return false;
  }
  out = entry.value.text;
  return true;
}

void FileValues::read_words(const Entry& entry, std::vector<std::string>& out,
                            const char* otherwise) {
  if (entry.value.kind != Kind::list || entry.value.items.empty()) {
    complain(entry.value,
             absl::StrCat(entry.name, ": a list like [make, all] is needed", otherwise));
    return;
  }
  for (const YamlTree& item : entry.value.items) {
    if (item.kind == Kind::scalar) {
      out.push_back(item.text);
    } else {
      complain(item, absl::StrCat(entry.name, ": each part of the command is one text"));
    }
  }
}

std::vector<const YamlTree*> FileValues::read_names(const Entry& entry) {
  std::vector<const YamlTree*> names;
  if (entry.value.kind == Kind::scalar) return {&entry.value};
  if (entry.value.kind != Kind::list) {
    complain(entry.value, absl::StrCat(entry.name, ": a name or a list of names is needed"));
    return names;
  }
  if (entry.value.items.size() > kProjectListMax) {
    complain(entry.value, absl::StrCat(entry.name, ": ", entry.value.items.size(),
                                       " names, at most ", kProjectListMax, " are allowed"));
    return names;
  }
  for (const YamlTree& item : entry.value.items) {
    if (item.kind == Kind::scalar) {
      names.push_back(&item);
    } else {
      complain(item, absl::StrCat(entry.name, ": a name is needed"));
    }
  }
  return names;
}

void FileValues::read_duration(const Entry& entry, uint64_t& ms) {
  std::string text;
  if (!read_text(entry, text)) return;
  const absl::StatusOr<std::chrono::milliseconds> time = parse_duration(text);
  if (!time.ok()) {
    complain(entry.value, absl::StrCat(entry.name, ": ", time.status().message()));
  } else if (time->count() < 1 || static_cast<uint64_t>(time->count()) > kProjectTimeMsMax) {
    complain(entry.value, absl::StrCat(entry.name, ": 1ms to 24h are allowed"));
  } else {
    ms = static_cast<uint64_t>(time->count());
  }
}

void FileValues::read_port(const Entry& entry, PortKind& kind, uint16_t& port) {
  std::string text;
  if (!read_text(entry, text)) return;
  int number = 0;
  if (text == "auto") {
    kind = PortKind::kAuto;
  } else if (absl::SimpleAtoi(text, &number) && number >= 1 && number <= 65535) {
    kind = PortKind::kFixed;
    port = static_cast<uint16_t>(number);
  } else {
    complain(entry.value,
             absl::StrCat(entry.name, ": \"", text, "\" is no port: write auto, or 1 to 65535"));
  }
}

void FileValues::read_pairs(const Entry& entry, std::map<std::string, std::string>& out) {
  if (entry.value.kind != Kind::map) {
    complain(entry.value, absl::StrCat(entry.name, ": names and values are needed"));
    return;
  }
  for (const Entry& pair : entry.value.entries) {
    if (pair.name.empty() || pair.name.find('=') != std::string::npos) {
      complain(pair.line, pair.column,
               absl::StrCat("env: \"", pair.name, "\" is no name of a variable"));
    } else if (pair.value.kind == Kind::list || pair.value.kind == Kind::map) {
      complain(pair.value, absl::StrCat("env: ", pair.name, " needs one text"));
    } else if (!out.emplace(pair.name, pair.value.text).second) {
      complain(pair.line, pair.column, absl::StrCat("env: ", pair.name, " is there twice"));
    }
  }
}

void FileValues::read_command(const Entry& entry, ProjectCommand& out) {
  if (entry.value.kind == Kind::scalar) {
    read_text(entry, out.shell);
  } else {
    read_words(entry, out.run, ", or a line for the shell");
  }
}

}  // namespace zsync::daemon
