#include "daemon/diagnostics/findings.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watch/utf8.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kEnteredMax = 64;  // directories within directories

// At most `bytes_max` bytes of whole characters.
std::string text_of(std::string_view bytes, size_t bytes_max) {
  size_t end = std::min(bytes.size(), bytes_max);
  if (end < bytes.size()) {
    while (end > 0 && (static_cast<unsigned char>(bytes[end]) & 0xC0) == 0x80) --end;
  }
  return watching::to_utf8(bytes.substr(0, end));
}

std::string key_of(const Diagnostic& diagnostic) {
  return absl::StrCat(diagnostic.path, "\n", diagnostic.line, ":", diagnostic.column, ":",
                      static_cast<int>(diagnostic.severity), ":", diagnostic.code, "\n",
                      diagnostic.message);
}

}  // namespace

std::string resolve_path(std::string_view base, std::string_view path) {
  std::vector<std::string_view> parts;
  auto walk = [&parts](std::string_view from) {
    while (!from.empty()) {
      const std::string_view part = from.substr(0, from.find('/'));
      from.remove_prefix(std::min(part.size() + 1, from.size()));
      if (part.empty() || part == ".") continue;
      if (part != "..") {
        parts.push_back(part);
      } else if (!parts.empty()) {
        parts.pop_back();
      }
    }
  };
  if (!path.starts_with('/')) walk(base);
  walk(path);
  std::string whole;
  for (std::string_view part : parts) whole.append("/").append(part);
  return whole.empty() ? "/" : whole;
}

bool is_below(std::string_view path, std::string_view directory) {
  if (directory.ends_with('/')) directory.remove_suffix(1);
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

bool Findings::has_room(size_t bytes) {
  if (count_ < kDiagnosticsPerTaskMax && bytes_ + bytes <= kDiagnosticBytesPerTaskMax) return true;
  ++left_out_;
  return false;
}

bool Findings::add(Diagnostic diagnostic) {
  open_ = nullptr;
  // JSON can spell what a line cannot hold; a path with a line feed would be two in every list.
  if (diagnostic.path.find_first_of(std::string_view("\n\0", 2)) != std::string::npos) {
    ++left_out_;
    return false;
  }
  diagnostic.path = text_of(resolve_path(directory(), diagnostic.path), kDiagnosticPathBytesMax);
  diagnostic.message = text_of(diagnostic.message, kDiagnosticMessageBytesMax);
  diagnostic.code = text_of(diagnostic.code, kDiagnosticCodeBytesMax);
  std::string key = key_of(diagnostic);
  if (said_.contains(key)) return false;
  std::vector<RelatedPlace> related = std::exchange(diagnostic.related, {});
  const size_t bytes = bytes_of(diagnostic);
  if (!has_room(bytes)) return false;
  said_.insert(std::move(key));
  ++count_;
  bytes_ += bytes;
  changed_.insert(diagnostic.path);
  std::vector<Diagnostic>& all = by_path_[diagnostic.path];
  all.push_back(std::move(diagnostic));
  open_ = &all.back();
  for (RelatedPlace& place : related) relate(std::move(place));
  return true;
}

void Findings::relate(RelatedPlace place) {
  if (!open_ || open_->related.size() >= kDiagnosticRelatedMax) return;
  place.path = text_of(resolve_path(directory(), place.path), kDiagnosticPathBytesMax);
  place.message = text_of(place.message, kDiagnosticMessageBytesMax);
  const size_t bytes = place.path.size() + place.message.size();
  if (bytes_ + bytes > kDiagnosticBytesPerTaskMax) return;
  bytes_ += bytes;
  changed_.insert(open_->path);
  open_->related.push_back(std::move(place));
}

void Findings::append(std::string_view line) {
  if (!open_ || open_->message.size() + line.size() + 1 > kDiagnosticMessageBytesMax ||
      bytes_ + line.size() + 1 > kDiagnosticBytesPerTaskMax) {
    return;
  }
  bytes_ += line.size() + 1;
  changed_.insert(open_->path);
  absl::StrAppend(&open_->message, "\n", watching::to_utf8(line));
}

void Findings::enter(std::string directory) {
  if (entered_.size() < kEnteredMax) entered_.push_back(std::move(directory));
}

void Findings::leave(std::string_view directory) {
  // With several jobs they leave in another order.
  for (size_t i = entered_.size(); i > 0; --i) {
    if (entered_[i - 1] != directory) continue;
    entered_.erase(entered_.begin() + static_cast<std::ptrdiff_t>(i - 1));
    return;
  }
}

std::set<std::string> Findings::take_changed() { return std::exchange(changed_, {}); }

}  // namespace zsync::daemon
