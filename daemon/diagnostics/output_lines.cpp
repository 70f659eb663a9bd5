#include "daemon/diagnostics/output_lines.hpp"

#include <algorithm>
#include <cstdint>

#include "daemon/diagnostics/diagnostics.hpp"

namespace zsync::daemon {
namespace {

constexpr char kEscape = '\x1b';
constexpr char kBell = '\x07';

// Behind the escape sequence that begins at `at` (ECMA-48: CSI, OSC and its like, two bytes).
size_t behind_escape(std::string_view line, size_t at) {
  ++at;
  if (at >= line.size()) return line.size();
  const char kind = line[at++];
  if (kind == '[') {
    while (at < line.size() && (line[at] < 0x40 || line[at] > 0x7e)) ++at;
    return std::min(at + 1, line.size());
  }
  if (kind == ']' || kind == 'P' || kind == '_' || kind == '^') {
    while (at < line.size() && line[at] != kBell && line[at] != kEscape) ++at;
    if (at < line.size() && line[at] == kEscape) ++at;
    return std::min(at + 1, line.size());
  }
  if (kind == '(' || kind == ')') return std::min(at + 1, line.size());
  return at;
}

}  // namespace

std::string plain_line(std::string_view line) {
  while (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  if (const size_t over = line.rfind('\r'); over != line.npos) line.remove_prefix(over + 1);
  std::string plain;
  plain.reserve(line.size());
  for (size_t at = 0; at < line.size();) {
    const auto byte = static_cast<uint8_t>(line[at]);
    if (line[at] == kEscape) {
      at = behind_escape(line, at);
      continue;
    }
    if (byte >= 0x20 || line[at] == '\t') plain.push_back(line[at]);
    ++at;
  }
  return plain;
}

void OutputLines::keep(std::string_view bytes) {
  const size_t room = kDiagnosticLineBytesMax - std::min(begun_.size(), kDiagnosticLineBytesMax);
  begun_.append(bytes.substr(0, room));
}

void OutputLines::give(const Take& take) {
  if (!broken_) take(plain_line(begun_));
  broken_ = false;
  begun_.clear();
}

void OutputLines::feed(std::string_view bytes, const Take& take) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    keep(bytes.substr(0, end));
    if (end == bytes.npos) return;
    give(take);
    bytes.remove_prefix(end + 1);
  }
}

void OutputLines::finish(const Take& take) {
  if (!begun_.empty()) give(take);
  broken_ = false;
}

void OutputLines::gap() {
  begun_.clear();
  broken_ = true;
}

}  // namespace zsync::daemon
