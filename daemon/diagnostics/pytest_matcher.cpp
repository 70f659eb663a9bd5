// pytest's report: tracebacks of every style, warnings, and the summary.
//
//   >       assert a == 2
//   E       assert 1 == 2
//   test_a.py:6: AssertionError
#include <set>
#include <utility>
#include <vector>

#include "daemon/diagnostics/line_scan.hpp"
#include "daemon/diagnostics/matcher.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kPlacesMax = 256;  // of one traceback; the innermost count
constexpr size_t kReportedMax =
    10'000;  // tests that are remembered; of more the summary tells again

bool is_word(std::string_view text) {
  if (text.empty()) return false;
  for (const char byte : text) {
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    if (!letter && !is_digit(byte) && byte != '_' && byte != '.') return false;
  }
  return true;
}

// "= FAILURES =" between equal signs, "_ test_eq _" between underscores -> the middle.
std::optional<std::string_view> title_in(std::string_view line, char frame) {
  if (line.size() < 5 || line.front() != frame || line.back() != frame) return std::nullopt;
  const size_t begin = line.find_first_not_of(frame);
  if (begin == line.npos || line[begin] != ' ') return std::nullopt;
  const size_t end = line.find_last_not_of(frame);
  if (end <= begin || line[end] != ' ') return std::nullopt;
  const std::string_view title = trimmed(line.substr(begin, end - begin + 1));
  if (title.empty() || title.find_first_not_of("_ ") == title.npos) return std::nullopt;
  return title;
}

// "ERROR at setup of test_fix" -> "test_fix"
std::string_view test_of(std::string_view title) {
  for (std::string_view begins :
       {"ERROR at setup of ", "ERROR at teardown of ", "ERROR collecting ", "ERROR at call of "}) {
    if (take_prefix(title, begins)) break;
  }
  return title;
}

class PytestMatcher final : public Matcher {
 public:
  void line(std::string_view line, Findings& findings) override {
    if (const auto title = title_in(line, '=')) {
      settle(findings);
      section_ = section_of(*title);
      return;
    }
    switch (section_) {
      case Section::kFailures:
        report_line(line, findings);
        break;
      case Section::kWarnings:
        warning_line(line, findings);
        break;
      case Section::kSummary:
        summary_line(line, findings);
        break;
      case Section::kOther:
        break;
    }
  }

  void finish(Findings& findings) override { settle(findings); }

 private:
  enum class Section { kOther, kFailures, kWarnings, kSummary };
  struct Place {
    std::string path;
    uint32_t line = 0;
    std::string what;  // "in inner", "ValueError", or nothing
  };

  static Section section_of(std::string_view title) {
    if (title == "FAILURES" || title == "ERRORS") return Section::kFailures;
    if (title.starts_with("warnings summary")) return Section::kWarnings;
    if (title == "short test summary info") return Section::kSummary;
    return Section::kOther;
  }

  void report_line(std::string_view line, Findings& findings) {
    if (const auto title = title_in(line, '_')) {
      settle(findings);
      test_ = test_of(*title);
      return;
    }
    if (const auto title = title_in(line, '-'); title && title->starts_with("Captured ")) {
      captured_ = true;
    }
    if (captured_) return;
    if (line.starts_with("E ") || line == "E") {
      error_line(line.substr(1));
      return;
    }
    if (native_line(line)) return;
    place_line(line, findings);
  }

  // What was raised: all lines of it, but the last block where there are several (one error while
  // another one is handled).
  void error_line(std::string_view text) {
    if (!in_error_) error_.clear();
    in_error_ = true;
    const std::string_view words = trimmed(text);
    std::string_view rest = words;
    if (take_prefix(rest, "File \"")) {  // of a syntax error: the place, and then the source
      const size_t quote = rest.find("\", line ");
      if (quote == rest.npos) return;
      std::string_view number = rest.substr(quote + 8);
      if (const auto at = take_number(number)) {
        add_place({std::string(rest.substr(0, quote)), *at, ""});
        error_.clear();
        in_source_ = true;
      }
      return;
    }
    if (in_source_) {
      const size_t colon = words.find(':');
      if (colon == words.npos || !is_word(words.substr(0, colon)) || indent_of(text) > 4) return;
      in_source_ = false;
    }
    if (words.empty() || error_.size() + words.size() > kDiagnosticMessageBytesMax) return;
    if (!error_.empty()) error_.push_back('\n');
    error_.append(words);
  }

  // --tb=native: Python's own.
  bool native_line(std::string_view line) {
    std::string_view rest = line;
    if (take_prefix(rest, "  File \"")) {
      const size_t quote = rest.find("\", line ");
      if (quote == rest.npos) return true;
      std::string_view number = rest.substr(quote + 8);
      const auto at = take_number(number);
      take_prefix(number, ", ");
      if (at) add_place({std::string(rest.substr(0, quote)), *at, std::string(trimmed(number))});
      native_ = true;
      in_error_ = false;
      return true;
    }
    if (!native_) return false;
    if (indent_of(line) > 0 || line.empty()) return true;
    if (!in_error_) error_.clear();
    in_error_ = true;
    if (error_.size() + line.size() > kDiagnosticMessageBytesMax) return true;
    if (!error_.empty()) error_.push_back('\n');
    error_.append(line);
    return true;
  }

  // "test_a.py:6: AssertionError", "mod.py:4: in outer", "test_a.py:8: "
  void place_line(std::string_view line, Findings& findings) {
    const bool after_error = std::exchange(in_error_, false);
    std::optional<FilePosition> at = find_position(line);
    if (!at || indent_of(line) > 0 || at->column != 0 || at->path.find(' ') != at->path.npos)
      return;
    const std::string_view what = trimmed(at->rest);
    const size_t colon = what.find(':');
    const bool raised = is_word(what.substr(0, colon));
    if (!what.empty() && !what.starts_with("in ") && !raised) return;
    add_place({std::string(at->path), at->line, std::string(what)});
    // --tb=line has nothing else, and no titles.
    if (raised && test_.empty()) {
      if (!after_error || error_.empty()) error_ = what;
      settle(findings);
    }
  }

  void add_place(Place place) {
    if (places_.size() == kPlacesMax) places_.erase(places_.begin());
    places_.push_back(std::move(place));
  }

  static bool is_own(const Place& place, const Findings& findings) {
    if (place.path.starts_with('<') || place.path.find("/site-packages/") != place.path.npos) {
      return false;
    }
    return !place.path.starts_with('/') || is_below(place.path, findings.context().cwd);
  }

  // The report of a test is over: the innermost place of one's own code is where it failed.
  void settle(Findings& findings) {
    const std::vector<Place> places = std::exchange(places_, {});
    const std::string error = std::exchange(error_, {});
    const std::string test = std::exchange(test_, {});
    captured_ = native_ = in_error_ = in_source_ = false;
    if (places.empty()) return;
    size_t failed = places.size() - 1;
    for (size_t i = places.size(); i > 0; --i) {
      if (!is_own(places[i - 1], findings)) continue;
      failed = i - 1;
      break;
    }
    Diagnostic diagnostic;
    diagnostic.path = places[failed].path;
    diagnostic.line = places[failed].line;
    diagnostic.message = error.empty() ? places[failed].what : error;
    diagnostic.code = test;
    diagnostic.matcher = matcher_name(MatcherKind::kPytest);
    for (size_t i = 0; i < failed; ++i) {
      if (!is_own(places[i], findings)) continue;
      diagnostic.related.push_back({places[i].path, places[i].line, 0,
                                    places[i].what.empty() ? "called here" : places[i].what});
    }
    if (reported_.size() < kReportedMax) reported_.insert(test);
    if (test.empty() && reported_.size() < kReportedMax)
      reported_.insert(resolve_path(findings.directory(), diagnostic.path));
    findings.add(std::move(diagnostic));
    findings.part();
  }

  // "  /src/test_a.py:16: DeprecationWarning: old thing"
  static void warning_line(std::string_view line, Findings& findings) {
    if (!line.starts_with("  ")) return;
    const std::optional<FilePosition> at = find_position(line.substr(2));
    if (!at || at->column != 0 || indent_of(at->path) > 0) return;
    const std::string_view what = trimmed(at->rest);
    const size_t colon = what.find(": ");
    if (colon == what.npos || !is_word(what.substr(0, colon))) return;
    Diagnostic diagnostic;
    diagnostic.path = at->path;
    diagnostic.line = at->line;
    diagnostic.severity = Severity::kWarning;
    diagnostic.message = what.substr(colon + 2);
    diagnostic.code = what.substr(0, colon);
    diagnostic.matcher = matcher_name(MatcherKind::kPytest);
    findings.add(std::move(diagnostic));
    findings.part();
  }

  // "FAILED test_a.py::test_eq - AssertionError: they differ", where no traceback told of it.
  void summary_line(std::string_view line, Findings& findings) {
    std::string_view rest = line;
    if (!take_prefix(rest, "FAILED ") && !take_prefix(rest, "ERROR ")) return;
    const size_t dash = rest.find(" - ");
    const std::string_view node = rest.substr(0, dash);
    const size_t parts = node.find("::");
    std::string name;
    for (const char byte : parts == node.npos ? node : node.substr(parts + 2)) {
      if (byte == ':' && name.ends_with(':')) {
        name.back() = '.';  // TestClass::test_m is TestClass.test_m in its title
      } else {
        name.push_back(byte);
      }
    }
    const std::string path(node.substr(0, parts));
    if (reported_.contains(name)) return;
    if (reported_.contains(resolve_path(findings.directory(), path))) return;
    Diagnostic diagnostic;
    diagnostic.path = path;
    diagnostic.message = dash == rest.npos ? "failed" : rest.substr(dash + 3);
    if (parts != node.npos) diagnostic.code = name;
    diagnostic.matcher = matcher_name(MatcherKind::kPytest);
    findings.add(std::move(diagnostic));
    findings.part();
  }

  Section section_ = Section::kOther;
  std::string test_;
  std::vector<Place> places_;
  std::string error_;
  bool in_error_ = false;
  bool in_source_ = false;  // of a syntax error
  bool captured_ = false;   // what the test printed follows
  bool native_ = false;
  std::set<std::string> reported_;
};

}  // namespace

std::unique_ptr<Matcher> make_pytest_matcher() { return std::make_unique<PytestMatcher>(); }

}  // namespace zsync::daemon
