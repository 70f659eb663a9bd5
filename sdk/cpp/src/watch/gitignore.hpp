// The rules of one ignore file, with git's exact semantics (gitignore(5), git's dir.c).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "watch/glob.hpp"

namespace zsync::watching {

// One rule.
class IgnoreRule {
 public:
  // `line` as it stands in the file, without its newline and already trimmed.
  static IgnoreRule parse(std::string_view line);

  // `path` is relative to the directory of the rule's file, `name` its last component.
  [[nodiscard]] bool matches(std::string_view path, std::string_view name, bool is_directory) const;
  [[nodiscard]] bool negated() const { return negated_; }

 private:
  enum class Shape : unsigned char { name, name_suffix, name_pattern, path };

  Shape shape_ = Shape::name;
  bool negated_ = false;
  bool directory_only_ = false;
  bool literal_ = true;  // path: nothing follows the literal head
  std::string head_;     // the literal name, suffix, or the literal head of a path
  GlobProgram program_;  // what follows the head of a path, or the pattern of a name
};

// The rules of one file in order; the last one that matches decides.
//
// Threads: const members may be called by any number of threads at once.
class IgnoreRules {
 public:
  IgnoreRules() = default;
  static IgnoreRules parse(std::string_view text);

  // True: ignored; false: kept by a negated rule; nullopt: no rule of this file matches.
  [[nodiscard]] std::optional<bool> decide(std::string_view path, std::string_view name,
                                           bool is_directory) const;
  [[nodiscard]] bool empty() const { return rules_.empty(); }

 private:
  std::vector<IgnoreRule> rules_;
};

}  // namespace zsync::watching
