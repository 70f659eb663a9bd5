#include "watch/trigger.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "absl/strings/str_join.h"
#include "watch/utf8.hpp"

namespace zsync::watching {

std::vector<std::string> changed_lines(const std::vector<std::string>& paths) {
  std::vector<std::string> lines;
  size_t bytes = 0;
  for (const std::string& path : paths) {
    if (!is_utf8(path) || path.find_first_of(std::string_view("\n\0", 2)) != path.npos) continue;
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
