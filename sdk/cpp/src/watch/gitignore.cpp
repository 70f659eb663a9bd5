#include "watch/gitignore.hpp"

#include <algorithm>

namespace zsync::watching {
namespace {

size_t literal_length(std::string_view pattern) {
  return std::min(pattern.find_first_of("*?[\\"), pattern.size());
}

// Unescaped spaces at the end do not count.
std::string_view trim_trailing_spaces(std::string_view line) {
  size_t spaces = std::string_view::npos;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == ' ') {
      if (spaces == std::string_view::npos) spaces = i;
      continue;
    }
    if (line[i] == '\\' && ++i == line.size()) return line;
    spaces = std::string_view::npos;
  }
  return line.substr(0, spaces);
}

}  // namespace

IgnoreRule IgnoreRule::parse(std::string_view line) {
  IgnoreRule rule;
  if (line.starts_with('!')) {
    rule.negated_ = true;
    line.remove_prefix(1);
  }
  if (line.ends_with('/')) {
    rule.directory_only_ = true;
    line.remove_suffix(1);
  }
  if (line.find('/') == std::string_view::npos) {
    if (literal_length(line) == line.size()) {
      rule.head_ = line;
    } else if (line.front() == '*' && literal_length(line.substr(1)) == line.size() - 1) {
      rule.shape_ = Shape::name_suffix;
      rule.head_ = line.substr(1);
    } else {
      rule.shape_ = Shape::name_pattern;
      rule.program_ = GlobProgram::from_wildmatch(line, false);
    }
    return rule;
  }
  rule.shape_ = Shape::path;
  if (line.front() == '/') line.remove_prefix(1);
  // As in git, the literal head is compared and the rest matched on its own; `a**` therefore spans
  // directories.
  const size_t head = literal_length(line);
  rule.head_ = line.substr(0, head);
  rule.literal_ = head == line.size();
  if (!rule.literal_) rule.program_ = GlobProgram::from_wildmatch(line.substr(head), true);
  return rule;
}

bool IgnoreRule::matches(std::string_view path, std::string_view name, bool is_directory) const {
  if (directory_only_ && !is_directory) return false;
  switch (shape_) {
    case Shape::name:
      return name == head_;
    case Shape::name_suffix:
      return name.ends_with(head_);
    case Shape::name_pattern:
      return program_.matches(name);
    case Shape::path:
      if (!path.starts_with(head_)) return false;
      return literal_ ? path.size() == head_.size() : program_.matches(path.substr(head_.size()));
  }
  return false;
}

IgnoreRules IgnoreRules::parse(std::string_view text) {
  IgnoreRules out;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    if (line.empty() || line.front() == '#') continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = trim_trailing_spaces(line.substr(0, line.find('\0')));
    if (line.empty()) continue;
    out.rules_.push_back(IgnoreRule::parse(line));
  }
  return out;
}

std::optional<bool> IgnoreRules::decide(std::string_view path, std::string_view name,
                                        bool is_directory) const {
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->matches(path, name, is_directory)) return !rule->negated();
  }
  return std::nullopt;
}

}  // namespace zsync::watching
