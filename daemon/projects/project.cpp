#include "daemon/projects/project.hpp"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

// Lengths in front, so that no two lists read the same.
void add(std::string& out, const std::string& text) {
  absl::StrAppend(&out, text.size(), ":", text, ",");
}

void add(std::string& out, const std::vector<std::string>& list) {
  absl::StrAppend(&out, "[", list.size(), ":");
  for (const std::string& text : list) add(out, text);
}

void add(std::string& out, const ProjectCommand& command) {
  add(out, command.run);
  add(out, command.shell);
}

}  // namespace

int ProjectSpec::find(const std::string& wanted) const {
  for (size_t i = 0; i < units.size(); ++i) {
    if (units[i].name == wanted) return static_cast<int>(i);
  }
  return -1;
}

std::vector<std::string> channel_names(const ProjectSpec& spec) {
  std::vector<std::string> names;
  for (const ChannelEntry& channel : spec.channels) names.push_back(channel.name);
  return names;
}

// When it is started again says nothing of how it runs; what it waits for is in its environment.
std::string normalized(const UnitSpec& unit) {
  std::string out = unit.service ? "service," : "step,";
  add(out, unit.command);
  add(out, unit.cwd);
  absl::StrAppend(&out, "{", unit.env.size(), ":");
  for (const auto& [name, value] : unit.env) {
    add(out, name);
    add(out, value);
  }
  add(out, unit.after);
  add(out, unit.locks);
  absl::StrAppend(&out, unit.timeout_ms, ",", unit.deadline_ms, ",",
                  static_cast<int>(unit.port_kind), ",", unit.port, ",",
                  static_cast<int>(unit.ready.kind), ",");
  add(out, unit.ready.text);
  absl::StrAppend(&out, unit.ready.port, ",");
  add(out, unit.ready.exec);
  if (!unit.matchers.empty()) add(out, unit.matchers);
  return out;
}

std::string port_variable(const std::string& unit) {
  std::string name;
  for (const char letter : unit) {
    name += absl::ascii_isalnum(static_cast<unsigned char>(letter))
                ? absl::ascii_toupper(static_cast<unsigned char>(letter))
                : '_';
  }
  return name + "_PORT";
}

bool is_project_word(const std::string& text) {
  if (text.empty() || text.size() > kProjectNameBytesMax) return false;
  if (!absl::ascii_isalnum(static_cast<unsigned char>(text[0]))) return false;
  for (const char letter : text) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(letter)) || letter == '-' ||
                       letter == '_' || letter == '.';
    if (!plain) return false;
  }
  return true;
}

std::vector<std::string> circle_in(const std::vector<UnitSpec>& left) {
  std::map<std::string, std::string> waits_for;
  for (const UnitSpec& unit : left) {
    for (const std::string& name : unit.after) {
      const bool among = std::any_of(left.begin(), left.end(),
                                     [&](const UnitSpec& other) { return other.name == name; });
      if (among) waits_for[unit.name] = name;
    }
  }
  std::vector<std::string> way;
  std::string at = left.front().name;
  while (std::find(way.begin(), way.end(), at) == way.end()) {
    way.push_back(at);
    const auto next = waits_for.find(at);
    if (next == waits_for.end()) return {};
    at = next->second;
  }
  way.erase(way.begin(), std::find(way.begin(), way.end(), at));
  way.push_back(at);
  return way;
}

}  // namespace zsync::daemon
