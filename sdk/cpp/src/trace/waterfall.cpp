#include <algorithm>
#include <cstdio>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "trace/by_start.hpp"
#include "zsync/trace/span_store.hpp"

namespace zsync::trace {
namespace {

constexpr size_t kWidthMin = 60;
constexpr size_t kDurationWidth = 10;

std::string shown(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
      text += escaped;
    } else {
      text += c;
    }
  }
  return text;
}

// Characters in UTF-8, each taken as one column wide.
size_t columns_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string padded(std::string_view text, size_t columns) {
  std::string out;
  size_t used = 0;
  const bool fits = columns_of(text) <= columns;
  for (const char c : text) {
    const bool begins = (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    if (begins && !fits && used + 1 == columns) {
      out += "…";
      ++used;
      break;
    }
    used += begins ? 1 : 0;
    out += c;
  }
  out.append(columns - std::min(columns, used), ' ');
  return out;
}

std::string duration_text(std::chrono::nanoseconds duration) {
  const auto nanos = static_cast<double>(duration.count());
  char text[32];
  if (nanos < 1e3) {
    std::snprintf(text, sizeof text, "%.0f ns", nanos);
  } else if (nanos < 1e6) {
    std::snprintf(text, sizeof text, "%.1f us", nanos / 1e3);
  } else if (nanos < 1e9) {
    std::snprintf(text, sizeof text, "%.1f ms", nanos / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f s", nanos / 1e9);
  }
  return text;
}

class Waterfall {
 public:
  Waterfall(std::ostream& out, const std::vector<SpanRecord>& spans, size_t width)
      : out_(out), spans_(spans) {
    for (const SpanRecord& span : spans) known_[span.context.span_id] = &span;
    begin_ = spans.front().start_unix_nanos;
    for (const SpanRecord& span : spans) {
      begin_ = std::min(begin_, span.start_unix_nanos);
      end_ = std::max(end_, span.start_unix_nanos + span.duration.count());
      children_[parent_of(span)].push_back(&span);
    }
    for (auto& [parent, list] : children_) {
      sort_by_start(list, [](const SpanRecord* span) { return span->start_unix_nanos; });
    }
    name_columns_ = width * 2 / 5;
    bar_columns_ = width - name_columns_ - kDurationWidth - 3;
  }

  void print() {
    if (const auto first = children_.find(SpanId{}); first != children_.end()) {
      for (const SpanRecord* span : first->second) draw_with_children(*span);
    }
    // What is left has parents in a circle, which no tracer makes; it is shown all the same.
    for (const SpanRecord& span : spans_) draw_with_children(span);
  }

 private:
  // Of one whose parent is elsewhere, or itself: none.
  SpanId parent_of(const SpanRecord& span) const {
    if (span.parent == span.context.span_id || !known_.contains(span.parent)) return {};
    return span.parent;
  }

  void draw_with_children(const SpanRecord& first) {
    std::vector<std::pair<const SpanRecord*, size_t>> next{{&first, 0}};
    while (!next.empty()) {
      const auto [span, depth] = next.back();
      next.pop_back();
      if (!drawn_.insert(span).second) continue;
      draw(*span, depth);
      const auto below = children_.find(span->context.span_id);
      if (below == children_.end()) continue;
      for (auto child = below->second.rbegin(); child != below->second.rend(); ++child) {
        next.emplace_back(*child, depth + 1);
      }
    }
  }

  void draw(const SpanRecord& span, size_t depth) {
    const size_t indent = std::min(2 * depth, name_columns_ / 2);
    const std::string name = absl::StrCat(std::string(indent, ' '), shown(span.name));
    const std::string took = duration_text(span.duration);
    const bool failed = span.status == SpanStatus::error;
    out_ << padded(name, name_columns_) << ' '
         << std::string(kDurationWidth - std::min(kDurationWidth, took.size()), ' ') << took << "  "
         << bar(span) << (failed ? "  error" : "") << '\n';
    if (failed && !span.status_message.empty()) {
      out_ << std::string(indent + 2, ' ') << shown(span.status_message) << '\n';
    }
  }

  std::string bar(const SpanRecord& span) const {
    const double whole = static_cast<double>(std::max<int64_t>(1, end_ - begin_));
    const double scale = static_cast<double>(bar_columns_) / whole;
    auto from = static_cast<size_t>(static_cast<double>(span.start_unix_nanos - begin_) * scale);
    from = std::min(from, bar_columns_ - 1);
    auto columns = static_cast<size_t>(static_cast<double>(span.duration.count()) * scale + 0.5);
    columns = std::clamp<size_t>(columns, 1, bar_columns_ - from);
    std::string bar(from, ' ');
    for (size_t i = 0; i < columns; ++i) bar += "█";
    return bar;
  }

  std::ostream& out_;
  const std::vector<SpanRecord>& spans_;
  std::map<SpanId, const SpanRecord*> known_;
  std::map<SpanId, std::vector<const SpanRecord*>> children_;  // none: the first ones
  std::set<const SpanRecord*> drawn_;
  int64_t begin_ = 0;
  int64_t end_ = 0;
  size_t name_columns_ = 0;
  size_t bar_columns_ = 0;
};

}  // namespace

void print_waterfall(std::ostream& out, const std::vector<SpanRecord>& spans,
                     WaterfallOptions options) {
  if (spans.empty()) return;
  Waterfall(out, spans, std::max(kWidthMin, options.width)).print();
}

}  // namespace zsync::trace
