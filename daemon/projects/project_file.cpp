#include "daemon/projects/project_file.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/config/closest.hpp"
#include "daemon/config/units.hpp"
#include "daemon/config/yaml_tree.hpp"
#include "daemon/diagnostics/diagnostics.hpp"
#include "daemon/fault/fault.hpp"
#include "watch/glob.hpp"

namespace zsync::daemon {
namespace {

using Kind = YamlTree::Kind;
using Entry = YamlTree::Entry;

constexpr char kNoName[] =
    "is no name: use 1 to 63 letters, digits, '-', '_' and '.', from a letter or digit on";

// Reads one file. A value that is refused is left as it was, so that reading goes on.
class FileReader {
 public:
  ParsedProject read(const std::string& text) {
    if (text.size() > kProjectFileBytesMax) {
      complain(1, 1,
               absl::StrCat("the file has ", text.size(), " bytes and at most ",
                            kProjectFileBytesMax, " are read"));
      return std::move(problems_);
    }
    absl::StatusOr<YamlTree> tree = parse_yaml("", text);
    if (!tree.ok()) {
      complain_yaml(tree.status());
    } else if (tree->kind != Kind::map) {
      complain(tree->line, tree->column, "the file must hold keys, like \"version: 1\"");
    } else {
      read_top(*tree);
    }
    if (!problems_.empty()) {
      std::sort(problems_.begin(), problems_.end(),
                [](const ProjectProblem& a, const ProjectProblem& b) {
                  return std::tie(a.line, a.column, a.text) < std::tie(b.line, b.column, b.text);
                });
      return std::move(problems_);
    }
    return std::move(project_);
  }

 private:
  struct Mention {  // of another unit
    std::string unit, name;
    bool step_only;
    int line, column;
  };

  void complain(int line, int column, const std::string& text) {
    if (problems_.size() < kProjectProblemsMax) problems_.push_back({line, column, one_line(text)});
  }
  void complain(const YamlTree& value, const std::string& text) {
    complain(value.line, value.column, text);
  }

  // ":LINE: the file ..."
  void complain_yaml(const absl::Status& status) {
    const std::string text(status.message());
    int line = 1;
    const size_t end = text.find(": ", 1);
    if (end == text.npos || !absl::SimpleAtoi(text.substr(1, end - 1), &line)) line = 1;
    complain(line, 1, end == text.npos ? text : text.substr(end + 2));
  }

  // Hands each key of the section to `take`, once.
  void read_section(FileSection section, const std::string& path, const YamlTree& tree,
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

  static const FileKey* find_key(FileSection section, const std::string& name) {
    for (const FileKey& key : project_keys()) {
      if (key.section == section && key.name == name) return &key;
    }
    return nullptr;
  }

  static std::string unknown_key(FileSection section, const std::string& name,
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

  // Values ------------------------------------------------------------------------------------

  bool read_text(const Entry& entry, std::string& out) {
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

  void read_words(const Entry& entry, std::vector<std::string>& out, const char* otherwise) {
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

  std::vector<const YamlTree*> read_names(const Entry& entry) {
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

  void read_duration(const Entry& entry, uint64_t& ms) {
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

  void read_port(const Entry& entry, PortKind& kind, uint16_t& port) {
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

  void read_pairs(const Entry& entry, std::map<std::string, std::string>& out) {
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

  void read_command(const Entry& entry, ProjectCommand& out) {
    if (entry.value.kind == Kind::scalar) {
      read_text(entry, out.shell);
    } else {
      read_words(entry, out.run, ", or a line for the shell");
    }
  }

  // Sections ----------------------------------------------------------------------------------

  void read_top(const YamlTree& tree) {
    bool versioned = false;
    read_section(FileSection::kTop, "", tree, [&](const FileKey& key, const Entry& entry) {
      if (key.name == "version") {
        versioned = true;
        if (entry.value.text != "1") {
          complain(entry.value, absl::StrCat("version: \"", entry.value.text,
                                             "\" is not known to this zsyncd: write version: 1"));
        }
      } else if (key.name == "project") {
        if (read_text(entry, project_.name) && !is_project_word(project_.name)) {
          complain(entry.value, absl::StrCat("project: \"", project_.name, "\" ", kNoName));
        }
      } else if (key.name == "triggers") {
        read_triggers(entry);
      } else {
        read_units(entry, key.name == "services");
      }
    });
    if (!versioned) {
      complain(tree.line, tree.column,
               "key \"version\" is missing: begin the file with \"version: 1\"");
    }
    check_mentions();
    order_units();
  }

  void read_units(const Entry& section, bool services) {
    if (section.value.kind != Kind::map) {
      complain(section.value,
               absl::StrCat(section.name, ": put names below it, and what each is below those"));
      return;
    }
    for (const Entry& entry : section.value.entries) {
      if (!is_project_word(entry.name)) {
        complain(entry.line, entry.column, absl::StrCat("\"", entry.name, "\" ", kNoName));
        continue;
      }
      const auto [before, fresh] = lines_.emplace(entry.name, entry.line);
      if (!fresh) {
        complain(entry.line, entry.column,
                 absl::StrCat("\"", entry.name, "\" is there twice, first in line ", before->second,
                              ": steps and services need names of their own"));
        continue;
      }
      const std::string path = absl::StrCat(section.name, ".", entry.name);
      if (entry.value.kind != Kind::map) {
        complain(entry.line, entry.column,
                 absl::StrCat(path, " needs keys, like {run: [make, all]}"));
        continue;
      }
      if (project_.units.size() == kProjectUnitsMax) {
        complain(entry.line, entry.column,
                 absl::StrCat("more than ", kProjectUnitsMax, " steps and services"));
        return;
      }
      read_unit(entry, path, services);
    }
  }

  void read_unit(const Entry& entry, const std::string& path, bool service) {
    UnitSpec unit;
    unit.name = entry.name;
    unit.service = service;
    const Entry* ready = nullptr;
    read_section(service ? FileSection::kService : FileSection::kStep, path, entry.value,
                 [&](const FileKey& key, const Entry& value) {
                   if (key.name == "ready") {
                     ready = &value;
                   } else {
                     read_unit_key(key, value, path, unit);
                   }
                 });
    // What it is measured by may stand behind it.
    if (ready != nullptr) read_ready(*ready, path + ".ready", unit);
    check_command(entry, path, unit.command);
    project_.units.push_back(std::move(unit));
  }

  void read_matchers(const Entry& entry, std::vector<std::string>& matchers) {
    std::set<MatcherKind> seen;
    for (const YamlTree* name : read_names(entry)) {
      const absl::StatusOr<MatcherKind> kind = matcher_of(name->text, "matcher");
      if (!kind.ok()) {
        complain(*name,
                 absl::StrCat(kind.status().message(), "; ", fault_detail(kind.status())->hint));
      } else if (!seen.insert(*kind).second) {
        complain(*name, absl::StrCat("matcher: \"", name->text, "\" is there twice"));
      } else if (matchers.size() == kMatchersMax) {
        complain(*name, absl::StrCat("matcher: at most ", kMatchersMax, " are allowed"));
      } else {
        matchers.push_back(name->text);
      }
    }
  }

  void check_command(const Entry& entry, const std::string& path, const ProjectCommand& command) {
    const bool refused = std::exchange(refused_command_, false);
    if (command.run.empty() != command.shell.empty() || refused) return;
    complain(entry.line, entry.column,
             absl::StrCat(path, command.run.empty()
                                    ? " has no command: give it run: [make, all], or shell: "
                                      "\"make all\""
                                    : " has both run and shell: keep one"));
  }

  void read_triggers(const Entry& section) {
    if (section.value.kind != Kind::map || section.value.entries.size() > kProjectTriggersMax) {
      complain(section.value, absl::StrCat("triggers: put at most ", kProjectTriggersMax,
                                           " names below it, and what each is below those"));
      return;
    }
    std::set<std::string> names;
    for (const Entry& entry : section.value.entries) {
      if (!is_project_word(entry.name)) {
        complain(entry.line, entry.column, absl::StrCat("\"", entry.name, "\" ", kNoName));
      } else if (!names.insert(entry.name).second) {
        complain(entry.line, entry.column,
                 absl::StrCat("trigger \"", entry.name, "\" is there twice: keep one"));
      } else if (entry.value.kind != Kind::map) {
        complain(entry.line, entry.column,
                 absl::StrCat("triggers.", entry.name,
                              " needs keys, like {watch: \"*.sql\", run: [make, migrate]}"));
      } else {
        read_trigger(entry, absl::StrCat("triggers.", entry.name));
      }
    }
  }

  void read_trigger(const Entry& entry, const std::string& path) {
    TriggerEntry trigger;
    trigger.name = entry.name;
    UnitSpec like;  // what a step may have as well
    read_section(FileSection::kTrigger, path, entry.value,
                 [&](const FileKey& key, const Entry& value) {
                   if (key.name == "watch") return read_globs(value, trigger.globs);
                   if (key.name == "writes") return read_globs(value, trigger.writes);
                   if (key.name == "settle") return read_duration(value, trigger.settle_ms);
                   if (key.name == "dir") return void(read_text(value, trigger.dir));
                   if (key.name != "ignore") return read_unit_key(key, value, path, like);
                   for (const YamlTree* name : read_names(value)) {
                     trigger.ignore.push_back(name->text);
                   }
                 });
    check_command(entry, path, like.command);
    trigger.command = std::move(like.command);
    trigger.cwd = std::move(like.cwd);
    trigger.env = std::move(like.env);
    trigger.locks = std::move(like.locks);
    trigger.matchers = std::move(like.matchers);
    trigger.timeout_ms = like.timeout_ms;
    trigger.deadline_ms = like.deadline_ms;
    project_.triggers.push_back(std::move(trigger));
  }

  void read_globs(const Entry& entry, std::vector<std::string>& out) {
    for (const YamlTree* name : read_names(entry)) {
      const absl::Status compiled = watching::Glob::compile(name->text).status();
      if (!compiled.ok()) complain(*name, absl::StrCat(entry.name, ": ", compiled.message()));
      out.push_back(name->text);
    }
  }

  void read_unit_key(const FileKey& key, const Entry& entry, const std::string& path,
                     UnitSpec& unit) {
    const size_t before = problems_.size();
    if (key.name == "run") {
      read_words(entry, unit.command.run, "; a line for the shell stands in \"shell\"");
    } else if (key.name == "shell") {
      read_text(entry, unit.command.shell);
    } else if (key.name == "after" || key.name == "restart_on") {
      const bool after = key.name == "after";
      for (const YamlTree* name : read_names(entry)) {
        (after ? unit.after : unit.restart_on).push_back(name->text);
        mentions_.push_back({unit.name, name->text, !after, name->line, name->column});
      }
    } else if (key.name == "env") {
      read_pairs(entry, unit.env);
    } else if (key.name == "cwd") {
      read_text(entry, unit.cwd);
    } else if (key.name == "matcher") {
      read_matchers(entry, unit.matchers);
    } else if (key.value == FileValue::kNames) {
      for (const YamlTree* name : read_names(entry)) unit.locks.push_back(name->text);
    } else if (key.name == "timeout") {
      read_duration(entry, unit.timeout_ms);
    } else if (key.name == "deadline") {
      read_duration(entry, unit.deadline_ms);
    } else if (key.name == "port") {
      read_port(entry, unit.port_kind, unit.port);
    } else if (key.value == FileValue::kRestart) {
      read_restart(entry, path + ".restart", unit.restart);
    }
    const bool command = key.name == "run" || key.name == "shell";
    if (command && problems_.size() != before) refused_command_ = true;
  }

  void read_ready(const Entry& entry, const std::string& path, UnitSpec& unit) {
    if (entry.value.kind != Kind::map) {
      complain(entry.value, absl::StrCat(path,
                                         ": one of {log: TEXT}, {tcp: auto}, {http: /PATH}, "
                                         "{exec: COMMAND} is needed"));
      return;
    }
    ReadySpec& ready = unit.ready;
    int ways = 0;
    bool interval = false;
    PortKind port = PortKind::kNone;
    const size_t before = problems_.size();
    read_section(FileSection::kReady, path, entry.value,
                 [&](const FileKey& key, const Entry& value) {
                   if (key.name == "timeout") return read_duration(value, ready.timeout_ms);
                   if (key.name == "port") return read_port(value, port, ready.port);
                   if (key.name == "interval") {
                     interval = true;
                     return read_duration(value, ready.interval_ms);
                   }
                   ++ways;
                   read_way(key, value, ready, port);
                 });
    if (problems_.size() != before) return;
    if (ways != 1) {
      complain(entry.value, absl::StrCat(path, " needs exactly one of log, tcp, http, exec"));
      return;
    }
    if (!interval && ready.kind == ReadyKind::kExec) ready.interval_ms = kReadyExecIntervalMs;
    const bool asks_port = ready.kind == ReadyKind::kTcp || ready.kind == ReadyKind::kHttp;
    if (asks_port && port != PortKind::kFixed && unit.port_kind == PortKind::kNone) {
      complain(entry.value, absl::StrCat(path,
                                         " asks the service's port, and it has none: add "
                                         "\"port: auto\" to the service"));
    }
  }

  void read_way(const FileKey& key, const Entry& value, ReadySpec& ready, PortKind& port) {
    if (key.name == "tcp") {
      ready.kind = ReadyKind::kTcp;
      read_port(value, port, ready.port);
      return;
    }
    if (key.name == "exec") {
      ready.kind = ReadyKind::kExec;
      read_command(value, ready.exec);
      return;
    }
    ready.kind = key.name == "log" ? ReadyKind::kLog : ReadyKind::kHttp;
    if (!read_text(value, ready.text)) return;
    if (ready.text.empty() || ready.text.size() > kReadyTextBytesMax) {
      complain(value.value,
               absl::StrCat(value.name, ": 1 to ", kReadyTextBytesMax, " bytes are allowed"));
    } else if (ready.kind == ReadyKind::kHttp &&
               (ready.text[0] != '/' || ready.text.find_first_of(" \r\n") != std::string::npos)) {
      complain(value.value, absl::StrCat("http: \"", ready.text,
                                         "\" is no path: it begins with '/' and has no spaces"));
    } else if (ready.text.find('\n') != std::string::npos) {
      complain(value.value, "log: the text is part of one line");
    }
  }

  void read_when(const YamlTree& value, RestartSpec& restart) {
    const std::map<std::string, RestartWhen> words = {{"no", RestartWhen::kNo},
                                                      {"on-failure", RestartWhen::kOnFailure},
                                                      {"always", RestartWhen::kAlways}};
    const auto found = words.find(value.text);
    if (value.kind == Kind::scalar && found != words.end()) {
      restart.when = found->second;
    } else {
      complain(value, absl::StrCat("restart: \"", value.text,
                                   "\" is not known: write no, on-failure or always"));
    }
  }

  void read_restart(const Entry& entry, const std::string& path, RestartSpec& restart) {
    if (entry.value.kind != Kind::map) return read_when(entry.value, restart);
    bool when = false;
    read_section(FileSection::kRestart, path, entry.value,
                 [&](const FileKey& key, const Entry& value) {
                   if (key.name == "when") {
                     when = true;
                     return read_when(value.value, restart);
                   }
                   if (key.name == "backoff") return read_duration(value, restart.backoff_ms);
                   if (key.name == "backoff_max") {
                     return read_duration(value, restart.backoff_max_ms);
                   }
                   int64_t count = 0;
                   if (absl::SimpleAtoi(value.value.text, &count) && count >= 1 && count <= 1000) {
                     restart.max = static_cast<uint32_t>(count);
                   } else {
                     complain(value.value, "max: 1 to 1000 restarts are allowed");
                   }
                 });
    if (!when) complain(entry.value, path + " needs \"when: on-failure\", or always");
  }

  // The whole ---------------------------------------------------------------------------------

  void check_mentions() {
    std::vector<std::string> names, steps;
    for (const UnitSpec& unit : project_.units) {
      names.push_back(unit.name);
      if (!unit.service) steps.push_back(unit.name);
    }
    for (const Mention& mention : mentions_) {
      const std::vector<std::string>& known = mention.step_only ? steps : names;
      const bool is_known = std::find(known.begin(), known.end(), mention.name) != known.end();
      if (is_known && mention.name != mention.unit) continue;
      const std::optional<std::string> meant = closest_match(mention.name, known);
      complain(mention.line, mention.column,
               is_known
                   ? absl::StrCat("\"", mention.unit, "\" waits for itself")
                   : absl::StrCat("\"", mention.name, "\" is no ",
                                  mention.step_only ? "step" : "step or service",
                                  meant ? absl::StrCat(": did you mean \"", *meant, "\"?") : ""));
    }
  }

  // What others wait for comes first, else the file's order; a circle is told instead.
  void order_units() {
    std::vector<UnitSpec> ordered;
    std::set<std::string> done;
    std::vector<UnitSpec> left = std::move(project_.units);
    project_.units.clear();
    while (!left.empty()) {
      const auto next = std::find_if(left.begin(), left.end(), [&](const UnitSpec& unit) {
        return std::all_of(unit.after.begin(), unit.after.end(), [&](const std::string& name) {
          return done.contains(name) || !lines_.contains(name);
        });
      });
      if (next == left.end()) return complain_circle(left);
      done.insert(next->name);
      ordered.push_back(std::move(*next));
      left.erase(next);
    }
    project_.units = std::move(ordered);
  }

  void complain_circle(const std::vector<UnitSpec>& left) {
    const std::vector<std::string> circle = circle_in(left);
    if (circle.size() < 3) return;  // told as such, or it waits for one that was refused
    complain(lines_[circle.front()], 1,
             absl::StrCat("these wait for each other: ", absl::StrJoin(circle, " -> "),
                          ": take one \"after\" away"));
  }

  ProjectSpec project_;
  std::vector<ProjectProblem> problems_;
  std::vector<Mention> mentions_;
  std::map<std::string, int> lines_;  // of units
  bool refused_command_ = false;      // so that its absence is not told as well
};

}  // namespace

std::string problem_line(const std::string& file, const ProjectProblem& problem) {
  return absl::StrCat(file, ":", problem.line, ":", problem.column, ": ", problem.text);
}

ParsedProject parse_project(const std::string& text) { return FileReader().read(text); }

}  // namespace zsync::daemon
