#include "daemon/diagnostics/source.hpp"

#include <fstream>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "daemon/diagnostics/line_scan.hpp"
#include "watch/utf8.hpp"

namespace zsync::daemon {
namespace {

constexpr char kProject[] = "project";  // labels of what submits tasks
constexpr char kUnit[] = "unit";
constexpr char kSchedule[] = "schedule";
constexpr char kTrigger[] = "trigger";
constexpr int kModuleLinesMax = 1000;  // of a go.mod, before the module's name

// nullopt: there is no such file, or it names none.
std::optional<std::string> module_of(const std::string& file) {
  std::ifstream lines(file);
  std::string line;
  for (int i = 0; i < kModuleLinesMax && std::getline(lines, line); ++i) {
    std::string_view text = trimmed(line);
    if (!take_prefix(text, "module ")) continue;
    text = trimmed(text.substr(0, text.find("//")));
    if (text.size() > 1 && text.front() == '"') text = text.substr(1, text.size() - 2);
    return std::string(text);
  }
  return std::nullopt;
}

}  // namespace

std::string source_of(const TaskRecord& task, const std::string& cwd) {
  const TaskSpec& spec = *task.spec;
  auto label = [&spec](const char* name) -> const std::string* {
    const auto found = spec.labels->find(name);
    return found == spec.labels.end() ? nullptr : &found->second;
  };
  const std::string* project = label(kProject);
  const std::string* unit = label(kUnit);
  if (project && unit) return absl::StrCat(*project, "/", *unit);
  if (const std::string* schedule = label(kSchedule)) return absl::StrCat("schedule ", *schedule);
  if (const std::string* trigger = label(kTrigger)) return absl::StrCat("trigger ", *trigger);
  const std::string what = spec.name.empty() ? command_text(spec, kSourceBytesMax) : spec.name;
  return watching::to_utf8(absl::StrCat(what, " in ", cwd));
}

MatchContext context_in(const std::string& cwd) {
  for (std::string at = cwd;; at = at.substr(0, at.rfind('/'))) {
    if (std::optional<std::string> module = module_of(at + "/go.mod")) {
      return {cwd, *std::move(module), at};
    }
    if (at.empty() || at.find('/') == at.npos) return {cwd, "", ""};
  }
}

}  // namespace zsync::daemon
