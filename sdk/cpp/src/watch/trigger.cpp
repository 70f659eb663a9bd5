#include "watch/trigger.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "absl/strings/str_join.h"

namespace zsync::watching {
namespace {

// The length of the character at the beginning, or 0 where there is none (RFC 3629).
size_t character(std::string_view text) {
  const auto byte = [&](size_t at) {
    return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool beyond = (first == 0xed && byte(1) > 0x9f) || (first == 0xf4 && byte(1) > 0x8f);
  return overlong || beyond ? 0 : size;
}

bool is_line(std::string_view path) {
  while (!path.empty()) {
    const size_t size = character(path);
    if (size == 0 || path[0] == '\n' || path[0] == '\0') return false;
    path.remove_prefix(size);
  }
  return true;
}

}  // namespace

std::vector<std::string> changed_lines(const std::vector<std::string>& paths) {
  std::vector<std::string> lines;
  size_t bytes = 0;
  for (const std::string& path : paths) {
    if (!is_line(path)) continue;
    if (lines.size() == kChangedPathsMax || bytes + path.size() + 1 > kChangedBytesMax) break;
    bytes += path.size() + 1;
    lines.push_back(path);
  }
  return lines;
}

std::string changed_variable(const std::vector<std::string>& paths) {
  return absl::StrJoin(changed_lines(paths), "\n");
}

Trigger::Decision Trigger::changed(const std::vector<std::string>& paths, Time now) {
  keep(paths);
  if (running_) return {};
  return decide(take_kept(), ran_ && now - ended_ <= aftermath_);
}

Trigger::Decision Trigger::finished(Time now) {
  end(now);
  return decide(take_kept(), true);
}

void Trigger::end(Time now) {
  running_ = false;
  ran_ = true;
  ended_ = now;
}

void Trigger::keep(const std::vector<std::string>& paths) {
  std::copy_if(paths.begin(), paths.end(), std::inserter(pending_, pending_.end()),
               [this](const std::string& path) { return !is_written(path); });
}

Trigger::Decision Trigger::run() {
  memory_.following_runs = 0;
  memory_.common.clear();
  const std::vector<std::string> paths = take_kept();
  Decision decision = begin(differing(paths));
  decision.paths = paths;
  return decision;
}

bool Trigger::counts(const std::vector<std::string>& paths) const {
  return std::any_of(paths.begin(), paths.end(),
                     [this](const std::string& path) { return !is_written(path); });
}

Trigger::Memory Trigger::memory(size_t paths_max) const {
  if (memory_.seen.size() + memory_.common.size() <= paths_max) return memory_;
  return {{}, memory_.following_runs, {}};
}

void Trigger::restore(Memory memory, bool running) {
  memory_ = std::move(memory);
  running_ = running;
}

std::vector<std::string> Trigger::take_kept() {
  std::vector<std::string> paths(pending_.begin(), pending_.end());
  pending_.clear();
  return paths;
}

// Those whose content is not what it was when the last run that knew of them began.
std::map<std::string, std::string> Trigger::differing(const std::vector<std::string>& paths) const {
  std::map<std::string, std::string> differing;
  for (const std::string& path : paths) {
    std::string mark = mark_(path);
    const auto seen = memory_.seen.find(path);
    if (seen == memory_.seen.end() || seen->second != mark) differing[path] = std::move(mark);
  }
  return differing;
}

Trigger::Decision Trigger::decide(const std::vector<std::string>& paths, bool following) {
  std::map<std::string, std::string> marks = differing(paths);
  if (marks.empty()) return {};
  if (!following) {
    memory_.following_runs = 0;
    memory_.common.clear();
    return begin(std::move(marks));
  }
  std::set<std::string> still;
  for (const auto& [path, mark] : marks) {
    if (memory_.common.contains(path)) still.insert(path);
  }
  if (memory_.following_runs >= kFollowingRunsMax && !still.empty()) {
    for (auto& [path, mark] : marks) memory_.seen[path] = std::move(mark);
    return {Decision::Action::kStop, {still.begin(), still.end()}};
  }
  memory_.following_runs = still.empty() ? 1 : memory_.following_runs + 1;
  if (still.empty()) {
    for (const auto& [path, mark] : marks) still.insert(path);
  }
  memory_.common = std::move(still);
  return begin(std::move(marks));
}

Trigger::Decision Trigger::begin(std::map<std::string, std::string> marks) {
  Decision decision{Decision::Action::kRun, {}};
  if (memory_.seen.size() + marks.size() > kPathsMax) memory_.seen.clear();
  for (auto& [path, mark] : marks) {
    decision.paths.push_back(path);
    memory_.seen[path] = std::move(mark);
  }
  running_ = true;
  return decision;
}

}  // namespace zsync::watching
