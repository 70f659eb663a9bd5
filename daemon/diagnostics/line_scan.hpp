// Reading a line from the left, part by part.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace zsync::daemon {

struct FilePosition {
  std::string_view path;
  uint32_t line = 0;
  uint32_t column = 0;  // 0: none is there
  std::string_view rest;
};

inline bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

// Takes a number of 1 to 9 digits off the front.
std::optional<uint32_t> take_number(std::string_view& text);
bool take_prefix(std::string_view& text, std::string_view prefix);
// The spaces in front of it; a tab counts as one.
size_t indent_of(std::string_view text);
std::string_view trimmed(std::string_view text);  // without blanks at both ends

// `path:line:column:rest` or `path:line:rest`: the first colon in `text` that a number and another
// colon follow ends the path.
std::optional<FilePosition> find_position(std::string_view text);

}  // namespace zsync::daemon
