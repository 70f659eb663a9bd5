// A YAML document as a plain tree with lines and columns: the only place where yaml-cpp is called.
#pragma once

#include <absl/status/statusor.h>
#include <absl/strings/string_view.h>

#include <string>
#include <utility>
#include <vector>

namespace zsync::daemon {

struct YamlTree {
  enum class Kind { none, scalar, list, map };
  struct Entry;

  Kind kind = Kind::none;
  int line = 1;    // counted from 1
  int column = 1;  // counted from 1, in bytes
  std::string text;
  std::vector<YamlTree> items;
  std::vector<Entry> entries;  // in the file's order, duplicates included
};

struct YamlTree::Entry {
  std::string name;
  int line = 1;
  int column = 1;
  YamlTree value;
};

inline constexpr int kYamlDepthMax = 16;
inline constexpr int kYamlNodesMax = 100'000;

// What a file holds, fit for a line of a message: control characters as \xNN.
std::string one_line(absl::string_view text);

// Errors:  kInvalidArgument "name:line: ..." for a syntax error, a tab in the indentation, more
// than one
//          document, a key that is no plain word, or a document that grows beyond the limits above.
absl::StatusOr<YamlTree> parse_yaml(const std::string& name, const std::string& content);

}  // namespace zsync::daemon
