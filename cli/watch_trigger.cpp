#include "cli/watch_trigger.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace zsync::cli {
namespace {

// Parts of `path` against parts of `glob`, "**" standing for any number of parts.
bool parts_match(std::string_view glob, std::string_view path) {
  const std::size_t slash = glob.find('/');
  const std::string part(glob.substr(0, slash));
  const bool last = slash == std::string_view::npos;
  if (part == "**") {
    if (last) return true;
    const std::string_view rest = glob.substr(slash + 1);
    while (true) {
      if (parts_match(rest, path)) return true;
      const std::size_t next = path.find('/');
      if (next == std::string_view::npos) return false;
      path.remove_prefix(next + 1);
    }
  }
  const std::size_t end = path.find('/');
  const std::string name(path.substr(0, end));
  if (::fnmatch(part.c_str(), name.c_str(), 0) != 0) return false;
  if (last || end == std::string_view::npos) return last && end == std::string_view::npos;
  return parts_match(glob.substr(slash + 1), path.substr(end + 1));
}

}  // namespace

bool glob_matches(const std::string& glob, const std::string& path) {
  if (glob.find('/') == std::string::npos) return parts_match("**/" + glob, path);
  const std::size_t skip = glob[0] == '/' ? 1 : 0;
  return parts_match(std::string_view(glob).substr(skip), path);
}

WatchTrigger::Decision WatchTrigger::changed(const std::vector<std::string>& paths, Time now) {
  std::vector<std::string> counting;
  for (const std::string& path : paths) {
    const bool written = std::any_of(writes_.begin(), writes_.end(), [&](const std::string& glob) {
      return glob_matches(glob, path);
    });
    if (!written) counting.push_back(path);
  }
  if (running_) {
    pending_.insert(counting.begin(), counting.end());
    return {};
  }
  return decide(counting, ran_ && now - ended_ <= aftermath_);
}

WatchTrigger::Decision WatchTrigger::finished(Time now) {
  running_ = false;
  ran_ = true;
  ended_ = now;
  const std::vector<std::string> paths(pending_.begin(), pending_.end());
  pending_.clear();
  return decide(paths, true);
}

WatchTrigger::Decision WatchTrigger::decide(const std::vector<std::string>& paths, bool following) {
  std::map<std::string, std::string> differing;
  for (const std::string& path : paths) {
    std::string content = hash_(path);
    const auto seen = seen_.find(path);
    if (seen == seen_.end() || seen->second != content) differing[path] = std::move(content);
  }
  if (differing.empty()) return {};
  std::set<std::string> names;
  for (const auto& [path, content] : differing) names.insert(path);
  if (following) {
    std::set<std::string> still;
    std::set_intersection(common_.begin(), common_.end(), names.begin(), names.end(),
                          std::inserter(still, still.end()));
    if (following_runs_ >= kFollowingRunsMax && !still.empty()) {
      return {Decision::Action::kStop, {still.begin(), still.end()}};
    }
    following_runs_ = still.empty() ? 1 : following_runs_ + 1;
    common_ = still.empty() ? names : std::move(still);
  } else {
    following_runs_ = 0;
    common_.clear();
  }
  if (seen_.size() + differing.size() > kPathsMax) seen_.clear();
  for (auto& [path, content] : differing) seen_[path] = std::move(content);
  running_ = true;
  return {Decision::Action::kRun, {names.begin(), names.end()}};
}

}  // namespace zsync::cli
