// The TypeScript compiler, with --pretty and without.
//
//   a.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.
//   a.ts:1:7 - error TS2322: Type 'string' is not assignable to type 'number'.
#include "daemon/diagnostics/line_scan.hpp"
#include "daemon/diagnostics/matcher.hpp"

namespace zsync::daemon {
namespace {

// Takes "error TS2322: " off the front.
bool take_head(std::string_view& text, Diagnostic& diagnostic) {
  if (take_prefix(text, "error ")) {
    diagnostic.severity = Severity::kError;
  } else if (take_prefix(text, "warning ")) {
    diagnostic.severity = Severity::kWarning;
  } else if (take_prefix(text, "message ")) {
    diagnostic.severity = Severity::kNote;
  } else {
    return false;
  }
  const size_t colon = text.find(": ");
  if (!text.starts_with("TS") || colon == text.npos) return false;
  std::string_view number = text.substr(2, colon - 2);
  if (!take_number(number) || !number.empty()) return false;
  diagnostic.code = text.substr(0, colon);
  diagnostic.message = text.substr(colon + 2);
  diagnostic.matcher = matcher_name(MatcherKind::kTsc);
  return true;
}

// The last one that ends a path: paths may have parentheses.
bool take_plain(std::string_view line, Diagnostic& diagnostic) {
  const size_t close = line.find("): ");
  if (close == line.npos) return false;
  const size_t open = line.rfind('(', close);
  if (open == line.npos || open == 0) return false;
  std::string_view place = line.substr(open + 1, close - open - 1);
  const std::optional<uint32_t> at = take_number(place);
  if (!at || !take_prefix(place, ",")) return false;
  const std::optional<uint32_t> column = take_number(place);
  if (!column || !place.empty()) return false;
  std::string_view head = line.substr(close + 3);
  if (!take_head(head, diagnostic)) return false;
  diagnostic.path = line.substr(0, open);
  diagnostic.line = *at;
  diagnostic.column = *column;
  return true;
}

// `path:line:column` to the end.
bool take_place(std::string_view text, std::string& path, uint32_t& line, uint32_t& column) {
  const size_t second = text.rfind(':');
  if (second == text.npos || second == 0) return false;
  const size_t first = text.rfind(':', second - 1);
  if (first == text.npos || first == 0) return false;
  std::string_view lines = text.substr(first + 1, second - first - 1);
  std::string_view columns = text.substr(second + 1);
  const std::optional<uint32_t> at = take_number(lines);
  const std::optional<uint32_t> in = take_number(columns);
  if (!at || !in || !lines.empty() || !columns.empty()) return false;
  path = text.substr(0, first);
  line = *at;
  column = *in;
  return true;
}

bool take_pretty(std::string_view line, Diagnostic& diagnostic) {
  const size_t dash = line.find(" - ");
  if (dash == line.npos || indent_of(line) > 0) return false;
  if (!take_place(line.substr(0, dash), diagnostic.path, diagnostic.line, diagnostic.column)) {
    return false;
  }
  std::string_view head = line.substr(dash + 3);
  return take_head(head, diagnostic);
}

class TscMatcher final : public Matcher {
 public:
  void line(std::string_view line, Findings& findings) override {
    Diagnostic diagnostic;
    std::string_view head = line;
    if (take_plain(line, diagnostic) || take_pretty(line, diagnostic)) {
      begin(std::move(diagnostic), findings);
    } else if (take_head(head, diagnostic)) {  // of the whole program
      diagnostic.path = ".";
      begin(std::move(diagnostic), findings);
    } else {
      go_on(line, findings);
    }
  }

 private:
  enum class Part { kNone, kMessage, kSource, kPlace };

  void begin(Diagnostic diagnostic, Findings& findings) {
    part_ = findings.add(std::move(diagnostic)) ? Part::kMessage : Part::kNone;
  }

  // What stands indented below a diagnostic: more of its message, then (pretty) after an empty line
  // the source, then further places.
  void go_on(std::string_view line, Findings& findings) {
    if (part_ == Part::kNone) return;
    const size_t indent = indent_of(line);
    const std::string_view text = trimmed(line);
    if (text.empty()) {
      if (part_ == Part::kMessage) part_ = Part::kSource;
      return;
    }
    if (part_ == Part::kMessage) {
      if (indent >= 2) {
        findings.append(line);
      } else {
        part_ = Part::kNone;
      }
      return;
    }
    RelatedPlace place;
    if (indent == 2 && take_place(text, place.path, place.line, place.column)) {
      place_ = std::move(place);
      part_ = Part::kPlace;
    } else if (part_ == Part::kPlace && indent >= 4 && !is_digit(text.front()) &&
               text.find_first_not_of('~') != text.npos) {
      place_.message = text;
      findings.relate(std::move(place_));
      part_ = Part::kSource;
    } else if (indent == 0 && !is_digit(text.front())) {
      part_ = Part::kNone;  // "Found 5 errors ..."
    }
  }

  Part part_ = Part::kNone;
  RelatedPlace place_;
};

}  // namespace

std::unique_ptr<Matcher> make_tsc_matcher() { return std::make_unique<TscMatcher>(); }

}  // namespace zsync::daemon
