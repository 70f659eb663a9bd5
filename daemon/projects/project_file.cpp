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
#include "absl/strings/str_split.h"
#include "daemon/config/closest.hpp"
#include "daemon/config/units.hpp"
#include "daemon/config/yaml_tree.hpp"
#include "daemon/diagnostics/diagnostics.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/projects/file_values.hpp"
#include "daemon/projects/step_files.hpp"
#include "watch/glob.hpp"

namespace zsync::daemon {
namespace {

constexpr char kNoName[] =
    "is no name: use 1 to 63 letters, digits, '-', '_' and '.', from a letter or digit on";

// Reads one file.
class FileReader : private FileValues {
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
      } else if (key.name == "channels") {
        read_channels(entry);
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
    check_saves();
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

  void read_channels(const Entry& section) {
    if (section.value.kind != Kind::map || section.value.entries.size() > kProjectChannelsMax) {
      complain(section.value, absl::StrCat("channels: put at most ", kProjectChannelsMax,
                                           " names below it, and what each is below those"));
      return;
    }
    std::set<std::string> names;
    for (const Entry& entry : section.value.entries) {
      if (const absl::Status name = validate_channel_name(entry.name); !name.ok()) {
        complain(entry.line, entry.column, absl::StrCat("channels: ", name.message()));
      } else if (!names.insert(entry.name).second) {
        complain(entry.line, entry.column,
                 absl::StrCat("channel \"", entry.name, "\" is there twice: keep one"));
      } else if (entry.value.kind != Kind::map) {
        complain(entry.line, entry.column,
                 absl::StrCat("channels.", entry.name,
                              " needs keys, like {class: durable, capacity: 1000}"));
      } else {
        read_channel(entry, absl::StrCat("channels.", entry.name));
      }
    }
  }

  void read_channel(const Entry& entry, const std::string& path) {
    ChannelEntry channel;
    channel.name = entry.name;
    channel.line = entry.line;
    channel.column = entry.column;
    const Entry* retain = nullptr;
    const Entry* form = nullptr;
    read_section(FileSection::kChannel, path, entry.value,
                 [&](const FileKey& key, const Entry& value) {
                   if (key.name == "capacity") return read_capacity(value, channel.capacity);
                   if (key.name == "retain") {
                     retain = &value;
                     return read_retain(value, channel.retention_age_ns);
                   }
                   if (key.name == "form") form = &value;
                   const std::optional<size_t> choice = read_choice(key, value);
                   if (!choice) return;
                   const auto number = static_cast<uint8_t>(*choice + 1);  // as they are numbered
                   if (key.name == "class") channel.kind = ChannelClass{number};
                   if (key.name == "form") channel.form = ChannelForm{number};
                   if (key.name == "overflow") channel.overflow = Overflow{number};
                 });
    const bool durable = channel.kind == ChannelClass::kDurable;
    if (retain != nullptr && !durable) {
      complain(retain->line, retain->column,
               absl::StrCat(path,
                            ": a channel in memory keeps nothing: take retain away, or write "
                            "class: durable"));
    }
    if (durable && channel.form.value_or(ChannelForm::kQueue) != ChannelForm::kQueue) {
      complain(form->line, form->column,
               absl::StrCat(path,
                            ": a durable channel is a queue: take form away, or write class: "
                            "memory"));
    }
    project_.channels.push_back(std::move(channel));
  }

  // Which of the key's choices.
  std::optional<size_t> read_choice(const FileKey& key, const Entry& entry) {
    const std::vector<std::string> words = absl::StrSplit(std::string(key.choices), '|');
    const auto found = std::find(words.begin(), words.end(), entry.value.text);
    if (entry.value.kind == Kind::scalar && found != words.end()) {
      return static_cast<size_t>(found - words.begin());
    }
    const std::optional<std::string> meant = closest_match(entry.value.text, words);
    complain(entry.value, absl::StrCat(entry.name, ": \"", entry.value.text, "\" is not known: ",
                                       meant ? absl::StrCat("did you mean ", *meant, "?")
                                             : "write " + absl::StrJoin(words, ", ")));
    return std::nullopt;
  }

  void read_capacity(const Entry& entry, std::optional<uint64_t>& capacity) {
    uint64_t number = 0;
    if (entry.value.text == "unbounded") {
      capacity = 0;
    } else if (absl::SimpleAtoi(entry.value.text, &number) && number >= 1 &&
               number <= kCapacityMax) {
      capacity = number;
    } else {
      complain(entry.value,
               absl::StrCat("capacity: write 1 to ", kCapacityMax, " messages, or unbounded"));
    }
  }

  void read_retain(const Entry& entry, std::optional<int64_t>& age_ns) {
    std::string text;
    if (!read_text(entry, text)) return;
    const absl::StatusOr<std::chrono::milliseconds> time = parse_duration(text);
    const int64_t most = kRetentionAgeNsMax / 1'000'000;
    if (!time.ok()) {
      complain(entry.value, absl::StrCat("retain: ", time.status().message()));
    } else if (time->count() < kRetentionAgeNsMin / 1'000'000 || time->count() > most) {
      complain(entry.value, "retain: 1s to 3650d are allowed");
    } else {
      age_ns = time->count() * 1'000'000;
    }
  }

  void read_globs(const Entry& entry, std::vector<std::string>& out) {
    for (const YamlTree* name : read_names(entry)) {
      const absl::Status compiled = watching::Glob::compile(name->text).status();
      if (!compiled.ok()) complain(*name, absl::StrCat(entry.name, ": ", compiled.message()));
      out.push_back(name->text);
    }
  }

  void read_step_globs(const Entry& entry, std::vector<std::string>& out) {
    for (const YamlTree* name : read_names(entry)) {
      const absl::Status taken = check_step_glob(name->text);
      if (!taken.ok()) complain(*name, absl::StrCat(entry.name, ": ", taken.message()));
      out.push_back(name->text);
    }
  }

  void read_on(const Entry& entry, UnitSpec& unit) {
    for (const YamlTree* name : read_names(entry)) {
      if (name->text != "save") {
        complain(*name, absl::StrCat("on: \"", name->text, "\" is not known: write save"));
        continue;
      }
      unit.on_save = true;
      on_save_.emplace(unit.name, name);
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
    } else if (key.name == "in" || key.name == "out") {
      read_step_globs(entry, key.name == "in" ? unit.inputs : unit.outputs);
    } else if (key.name == "on") {
      read_on(entry, unit);
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

  // A step that saves start has to say, or those that it waits for, which files count.
  void check_saves() {
    for (const auto& [step, where] : on_save_) {
      std::set<std::string> chain{step};
      bool known = false;
      for (auto unit = project_.units.rbegin(); unit != project_.units.rend(); ++unit) {
        if (!chain.contains(unit->name)) continue;
        known |= !unit->inputs.empty();
        chain.insert(unit->after.begin(), unit->after.end());
      }
      if (known || project_.units.empty()) continue;  // none: a circle is told already
      complain(*where, absl::StrCat("on: which saved files start \"", step,
                                    "\"? Name them with in: [\"src/**\"], here or in a step that "
                                    "it waits for"));
    }
  }

  void complain_circle(const std::vector<UnitSpec>& left) {
    const std::vector<std::string> circle = circle_in(left);
    if (circle.size() < 3) return;  // told as such, or it waits for one that was refused
    complain(lines_[circle.front()], 1,
             absl::StrCat("these wait for each other: ", absl::StrJoin(circle, " -> "),
                          ": take one \"after\" away"));
  }

  ProjectSpec project_;
  std::vector<Mention> mentions_;
  std::map<std::string, int> lines_;  // of units
  std::map<std::string, const YamlTree*> on_save_;
  bool refused_command_ = false;  // so that its absence is not told as well
};

}  // namespace

std::string problem_line(const std::string& file, const ProjectProblem& problem) {
  return absl::StrCat(file, ":", problem.line, ":", problem.column, ": ", problem.text);
}

ParsedProject parse_project(const std::string& text) { return FileReader().read(text); }

}  // namespace zsync::daemon
