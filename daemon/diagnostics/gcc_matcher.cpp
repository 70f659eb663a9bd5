// GCC and Clang, clang-tidy, and what linkers say about lines.
//
//   a.cpp:3:30: error: invalid conversion from ... [-fpermissive]
//   In file included from a.cpp:1:
//                    from b.cpp:2:
//   a.cpp:5:15:   required from here
#include <array>
#include <utility>
#include <vector>

#include "daemon/diagnostics/line_scan.hpp"
#include "daemon/diagnostics/matcher.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kContextMax = kDiagnosticRelatedMax;

struct Kind {
  std::string_view word;
  Severity severity;
};
constexpr std::array kKinds = {
    Kind{"error: ", Severity::kError},
    Kind{"fatal error: ", Severity::kError},
    Kind{"warning: ", Severity::kWarning},
    Kind{"note: ", Severity::kNote},
    Kind{"remark: ", Severity::kNote},
    Kind{"sorry, unimplemented: ", Severity::kError},
    Kind{"internal compiler error: ", Severity::kError},
    Kind{"confused by earlier errors, bailing out", Severity::kError},
};

bool names_check(std::string_view word) {
  return !word.empty() && word.find_first_of(" ()'\"") == word.npos && word.find('-') != word.npos;
}

// Takes "[-Wunused]" or "[bugprone-branch-clone]" off the end.
std::string take_code(std::string_view& message) {
  if (!message.ends_with(']')) return "";
  const size_t open = message.rfind(" [");
  if (open == message.npos) return "";
  const std::string_view code = message.substr(open + 2, message.size() - open - 3);
  if (!names_check(code)) return "";
  message = message.substr(0, open);
  return std::string(code);
}

class GccMatcher final : public Matcher {
 public:
  void line(std::string_view line, Findings& findings) override {
    if (included(line) || directory(line, findings) || linker(line, findings)) return;
    std::optional<FilePosition> at = find_position(line);
    if (!at || indent_of(at->path) > 0) return;
    const size_t indent = indent_of(at->rest);
    std::string_view message = at->rest.substr(indent);
    if (indent >= 2) {  // "  required from here", "  recursively required by substitution of ..."
      if (message.find("required") != message.npos) context(*at, message);
      return;
    }
    if (message.starts_with("undefined reference to ") ||
        message.starts_with("multiple definition of ")) {
      findings.add(made(*at, Severity::kError, message));
      return;
    }
    for (const Kind& kind : kKinds) {
      if (!take_prefix(message, kind.word)) continue;
      found(*at, kind, message, findings);
      return;
    }
  }

 private:
  static Diagnostic made(const FilePosition& at, Severity severity, std::string_view message) {
    Diagnostic diagnostic;
    diagnostic.path = at.path;
    diagnostic.line = at.line;
    diagnostic.column = at.column;
    diagnostic.severity = severity;
    diagnostic.code = take_code(message);
    diagnostic.message = message;
    diagnostic.matcher = matcher_name(MatcherKind::kGcc);
    return diagnostic;
  }

  // A note belongs to what was said before; what leads to the place comes before it.
  void found(const FilePosition& at, const Kind& kind, std::string_view message,
             Findings& findings) {
    if (kind.word == "note: ") {
      context_.clear();
      findings.relate({std::string(at.path), at.line, at.column, std::string(trimmed(message))});
      return;
    }
    Diagnostic diagnostic = made(at, kind.severity, message);
    diagnostic.related = std::exchange(context_, {});
    findings.add(std::move(diagnostic));
  }

  void context(const FilePosition& at, std::string_view message) {
    if (context_.size() >= kContextMax) return;
    context_.push_back({std::string(at.path), at.line, at.column, std::string(trimmed(message))});
  }

  bool included(std::string_view line) {
    std::string_view rest = line;
    if (take_prefix(rest, "In file included from ")) {
      context_.clear();
    } else {
      const size_t indent = indent_of(rest);
      rest.remove_prefix(indent);
      if (indent == 0 || !take_prefix(rest, "from ")) return false;
    }
    if (!rest.empty() && (rest.back() == ',' || rest.back() == ':')) rest.remove_suffix(1);
    const size_t colon = rest.find(':');
    if (colon == rest.npos) return true;
    std::string_view number = rest.substr(colon + 1);
    const std::optional<uint32_t> at = take_number(number);
    if (at && context_.size() < kContextMax) {
      context_.push_back({std::string(rest.substr(0, colon)), *at, 0, "included from here"});
    }
    return true;
  }

  // make[1]: Entering directory '/x'; ninja: Entering directory `/x'
  static bool directory(std::string_view line, Findings& findings) {
    const size_t colon = line.find(": ");
    if (colon == line.npos || line.size() < 3 || line.back() != '\'') return false;
    std::string_view rest = line.substr(colon + 2);
    const bool enters = take_prefix(rest, "Entering directory ");
    if (!enters && !take_prefix(rest, "Leaving directory ")) return false;
    if (rest.size() < 3) return false;
    rest = rest.substr(1, rest.size() - 2);
    if (enters) {
      findings.enter(resolve_path(findings.directory(), rest));
    } else {
      findings.leave(rest);
    }
    return true;
  }

  // ld:  link.c:(.text+0x5): undefined reference to `missing'
  // lld: ld.lld: error: undefined symbol: missing
  //      >>> referenced by link.c:1 (/src/link.c:1)
  bool linker(std::string_view line, Findings& findings) {
    if (const size_t section = line.find(":(."); section != line.npos && section > 0) {
      const size_t close = line.find("): ", section);
      if (close == line.npos || indent_of(line) > 0) return false;
      const std::string_view message = line.substr(close + 3);
      if (!message.starts_with("undefined reference to ") &&
          !message.starts_with("multiple definition of ")) {
        return false;
      }
      findings.add(made({line.substr(0, section), 0, 0, {}}, Severity::kError, message));
      return true;
    }
    if (const size_t lld = line.find("lld"); lld != line.npos && lld < 8) {
      if (const size_t error = line.find(": error: "); error != line.npos) {
        unplaced_ = line.substr(error + 9);
        return true;
      }
    }
    std::string_view rest = line;
    if (!take_prefix(rest, ">>> referenced by ")) return false;
    if (unplaced_.empty()) return true;
    // The place in parentheses is the whole one.
    if (const size_t open = rest.rfind(" ("); open != rest.npos && rest.ends_with(')')) {
      rest = rest.substr(open + 2, rest.size() - open - 3);
    }
    const size_t colon = rest.rfind(':');
    std::string_view number = colon == rest.npos ? std::string_view() : rest.substr(colon + 1);
    const std::optional<uint32_t> at = take_number(number);
    if (!at || !number.empty()) return true;
    findings.add(
        made({rest.substr(0, colon), *at, 0, {}}, Severity::kError, std::exchange(unplaced_, {})));
    return true;
  }

  std::vector<RelatedPlace> context_;  // what comes before the diagnostic it belongs to
  std::string unplaced_;               // an error of lld, before its place
};

}  // namespace

std::unique_ptr<Matcher> make_gcc_matcher() { return std::make_unique<GccMatcher>(); }

}  // namespace zsync::daemon
