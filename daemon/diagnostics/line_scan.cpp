#include "daemon/diagnostics/line_scan.hpp"
namespace zsync::daemon {
namespace {

constexpr size_t kDigitsMax = 9;

}  // namespace

std::optional<uint32_t> take_number(std::string_view& text) {
  size_t digits = 0;
  uint32_t value = 0;
  while (digits < text.size() && is_digit(text[digits])) {
    if (digits == kDigitsMax) return std::nullopt;
    value = value * 10 + static_cast<uint32_t>(text[digits++] - '0');
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

size_t indent_of(std::string_view text) {
  const size_t end = text.find_first_not_of(" \t");
  return end == text.npos ? text.size() : end;
}

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(indent_of(text));
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

std::optional<FilePosition> find_position(std::string_view text) {
  for (size_t colon = text.find(':'); colon != text.npos; colon = text.find(':', colon + 1)) {
    std::string_view rest = text.substr(colon + 1);
    if (rest.empty() || !is_digit(rest.front())) continue;
    const std::optional<uint32_t> line = take_number(rest);
    if (!line || colon == 0) return std::nullopt;
    if (!take_prefix(rest, ":")) continue;
    FilePosition position{text.substr(0, colon), *line, 0, rest};
    if (const std::optional<uint32_t> column = take_number(rest);
        column && take_prefix(rest, ":")) {
      position.column = *column;
      position.rest = rest;
    }
    return position;
  }
  return std::nullopt;
}

}  // namespace zsync::daemon
