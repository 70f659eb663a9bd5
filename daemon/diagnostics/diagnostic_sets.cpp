#include "daemon/diagnostics/diagnostic_sets.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/diagnostics/findings.hpp"

namespace zsync::daemon {
namespace {

constexpr int kGenerationShift = 32;

size_t bytes_of(const std::vector<Diagnostic>& diagnostics) {
  size_t bytes = 0;
  for (const Diagnostic& diagnostic : diagnostics) bytes += daemon::bytes_of(diagnostic);
  return bytes;
}

size_t bytes_of(const DiagnosticSet& set) {
  return set.key.path.size() + set.key.source.size() + set.task.size() + bytes_of(set.diagnostics);
}

// A path has no line feed (Findings): what comes behind the first one is the source.
std::string token_of(const SetKey& key) { return absl::StrCat(key.path, "\n", key.source); }

SetKey key_of(const std::string& token) {
  const size_t end = token.find('\n');
  if (end == token.npos) return {};
  return {token.substr(0, end), token.substr(end + 1)};
}

}  // namespace

bool DiagnosticFilter::takes(const SetKey& key) const {
  return (source.empty() || key.source == source) &&
         (path_prefix.empty() || is_below(key.path, path_prefix));
}

DiagnosticSet DiagnosticFilter::applied(const DiagnosticSet& set) const {
  DiagnosticSet left = set;
  std::erase_if(left.diagnostics,
                [this](const Diagnostic& diagnostic) { return diagnostic.severity > at_least; });
  return left;
}

void DiagnosticSets::begin_generation(uint64_t generation) {
  version_ = std::max(version_, generation << kGenerationShift);
}

void DiagnosticSets::put(DiagnosticSet set) {
  const auto [at, made] = sets_.try_emplace(set.key);
  DiagnosticSet& slot = at->second;
  if (!made) {
    by_version_.erase(slot.version);
    if (slot.diagnostics.empty()) --cleared_;
    diagnostics_ -= slot.diagnostics.size();
    bytes_ -= bytes_of(slot.diagnostics);
  }
  by_version_[set.version] = set.key;
  diagnostics_ += set.diagnostics.size();
  bytes_ += bytes_of(set.diagnostics);
  std::set<std::string>& paths = paths_[set.key.source];
  if (set.diagnostics.empty()) {
    ++cleared_;
    paths.erase(set.key.path);
    if (paths.empty()) paths_.erase(set.key.source);
  } else {
    paths.insert(set.key.path);
  }
  slot = std::move(set);
}

void DiagnosticSets::load(DiagnosticSet set) {
  version_ = std::max(version_, set.version);
  put(std::move(set));
}

bool DiagnosticSets::replace(const SetKey& key, std::vector<Diagnostic> diagnostics,
                             const std::string& task, int64_t now) {
  const DiagnosticSet* before = find(key);
  if (before ? before->diagnostics == diagnostics : diagnostics.empty()) return false;
  put({key, ++version_, task, now, std::move(diagnostics)});
  keep_limits(key, task, now);
  forget_cleared();
  return true;
}

// The newest one stays: no task alone has more than there may be.
void DiagnosticSets::keep_limits(const SetKey& newest, const std::string& task, int64_t now) {
  while (diagnostics_ > limits_.diagnostics_max || bytes_ > limits_.bytes_max) {
    auto oldest = std::find_if(by_version_.begin(), by_version_.end(), [this](const auto& entry) {
      return !sets_.at(entry.second).diagnostics.empty();
    });
    if (oldest == by_version_.end() || oldest->second == newest) return;
    const SetKey key = oldest->second;
    left_out_ += sets_.at(key).diagnostics.size();
    put({key, ++version_, task, now, {}});
    evicted_.insert(key);
  }
}

void DiagnosticSets::forget_cleared() {
  for (auto at = by_version_.begin(); cleared_ > limits_.cleared_max && at != by_version_.end();) {
    const auto set = sets_.find(at->second);
    if (!set->second.diagnostics.empty()) {
      ++at;
      continue;
    }
    forgotten_ = std::max(forgotten_, at->first);
    sets_.erase(set);
    at = by_version_.erase(at);
    --cleared_;
  }
}

std::vector<std::string> DiagnosticSets::paths_of(const std::string& source) const {
  const auto paths = paths_.find(source);
  if (paths == paths_.end()) return {};
  return {paths->second.begin(), paths->second.end()};
}

std::set<SetKey> DiagnosticSets::take_evicted() { return std::exchange(evicted_, {}); }

const DiagnosticSet* DiagnosticSets::find(const SetKey& key) const {
  const auto found = sets_.find(key);
  return found == sets_.end() ? nullptr : &found->second;
}

DiagnosticSets::Page DiagnosticSets::list(const DiagnosticFilter& filter, const std::string& token,
                                          size_t sets_max, size_t bytes_max) const {
  Page page;
  size_t bytes = 0;
  auto at = token.empty() ? sets_.lower_bound({filter.path_prefix, ""})
                          : sets_.upper_bound(key_of(token));
  for (; at != sets_.end(); ++at) {
    if (!at->first.path.starts_with(filter.path_prefix)) break;
    if (!filter.takes(at->first)) continue;
    DiagnosticSet set = filter.applied(at->second);
    if (set.diagnostics.empty()) continue;
    const size_t more = bytes_of(set);
    if (page.sets.size() == sets_max || (bytes + more > bytes_max && !page.sets.empty())) {
      page.next = token_of(page.sets.back().key);
      break;
    }
    bytes += more;
    page.sets.push_back(std::move(set));
  }
  return page;
}

DiagnosticSets::Changes DiagnosticSets::changes(const DiagnosticFilter& filter, Cursor& cursor,
                                                size_t bytes_max) const {
  Changes changes;
  // A set that was cleared and is not remembered may have been told as it was before.
  if (!cursor.begun || forgotten_ > std::max(cursor.since, cursor.seen)) {
    cursor = {true, version_, 0};
    changes.reset = true;
  }
  size_t bytes = 0;
  for (auto at = by_version_.upper_bound(cursor.seen); at != by_version_.end(); ++at) {
    if (bytes > bytes_max) return changes;
    cursor.seen = at->first;
    if (!filter.takes(at->second)) continue;
    DiagnosticSet set = filter.applied(sets_.at(at->second));
    if (set.diagnostics.empty() && at->first <= cursor.since) continue;
    bytes += bytes_of(set);
    changes.sets.push_back(std::move(set));
  }
  changes.current = true;
  return changes;
}

}  // namespace zsync::daemon
