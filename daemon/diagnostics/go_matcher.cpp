// go build, go vet and go test.
//
//   p/p.go:3:16: declared and not used: x
//   --- FAIL: TestF (0.00s)
//       p_test.go:4: F() = 1, want 2
//   FAIL    example.com/m/p 0.025s
#include <map>
#include <utility>
#include <vector>

#include "daemon/diagnostics/line_scan.hpp"
#include "daemon/diagnostics/matcher.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kPendingMax = kDiagnosticsPerTaskMax;  // of tests that are not over

bool is_go_file(std::string_view path) {
  return path.ends_with(".go") || path.ends_with(".s") || path.ends_with(".c") ||
         path.ends_with(".h") || path.ends_with("go.mod") || path.ends_with("go.work");
}

// Takes "--- FAIL: " and its like off the front -> the test's name.
std::string_view name_of(std::string_view text) {
  const size_t end = text.find(" (");
  return trimmed(text.substr(0, end));
}

class GoMatcher final : public Matcher {
 public:
  void line(std::string_view line, Findings& findings) override {
    if (test_line(line, findings) || panic_line(line, findings)) return;
    if (continued(line, findings)) return;
    std::string_view text = line;
    take_prefix(text, "vet: ");
    std::optional<FilePosition> at = find_position(text);
    if (!at || !is_go_file(at->path)) {
      if (indent_of(line) == 0) test_open_ = false;
      return;
    }
    const size_t indent = indent_of(at->path);
    if (indent == 0) {
      build_error(*at, findings);
    } else if (!test_.empty() && at->column == 0) {
      test_message(*at, indent);
    }
  }

  void finish(Findings& findings) override { settle("", findings); }

 private:
  struct Pending {
    Diagnostic diagnostic;
    std::string test;
    bool failed = false;
  };

  void build_error(const FilePosition& at, Findings& findings) {
    Diagnostic diagnostic = made(at, trimmed(at.rest));
    build_open_ = findings.add(std::move(diagnostic));
    test_open_ = false;
  }

  void test_message(FilePosition at, size_t indent) {
    at.path.remove_prefix(indent);
    test_open_ = !ignoring_ && pending_.size() < kPendingMax;
    test_indent_ = indent;
    if (!test_open_) return;
    Diagnostic diagnostic = made(at, trimmed(at.rest));
    diagnostic.code = test_;
    pending_.push_back({std::move(diagnostic), test_, failing_});
  }

  static Diagnostic made(const FilePosition& at, std::string_view message) {
    Diagnostic diagnostic;
    diagnostic.path = at.path;
    diagnostic.line = at.line;
    diagnostic.column = at.column;
    diagnostic.message = message;
    diagnostic.matcher = matcher_name(MatcherKind::kGo);
    return diagnostic;
  }

  // More lines of what was said last.
  bool continued(std::string_view line, Findings& findings) {
    const size_t indent = indent_of(line);
    if (build_open_) {
      if (line.starts_with('\t')) {
        findings.append(line);
        return true;
      }
      build_open_ = false;
      findings.part();
    }
    if (!test_open_ || indent < test_indent_ + 4) return false;
    std::string& message = pending_.back().diagnostic.message;
    if (message.size() + line.size() < kDiagnosticMessageBytesMax) {
      message.append("\n").append(line.substr(test_indent_ + 4));
    }
    return true;
  }

  // What `go test` says about tests and packages.
  bool test_line(std::string_view line, Findings& findings) {
    std::string_view text = line.substr(indent_of(line));
    for (std::string_view begins : {"=== RUN ", "=== CONT ", "=== NAME ", "=== PAUSE "}) {
      if (!take_prefix(text, begins)) continue;
      begin_test(trimmed(text), false, false);
      return true;
    }
    if (take_prefix(text, "--- FAIL: ")) {
      const std::string_view name = name_of(text);
      for (Pending& pending : pending_) pending.failed = pending.failed || pending.test == name;
      begin_test(name, true, false);
      return true;
    }
    if (take_prefix(text, "--- PASS: ") || take_prefix(text, "--- SKIP: ")) {
      const std::string_view name = name_of(text);
      std::erase_if(pending_, [name](const Pending& pending) { return pending.test == name; });
      begin_test(name, false, true);
      return true;
    }
    if (line.starts_with("FAIL\t") || line.starts_with("ok  \t")) {
      std::string_view package = line.substr(line.find('\t') + 1);
      settle(package.substr(0, package.find_first_of("\t ")), findings);
      return true;
    }
    return false;
  }

  void begin_test(std::string_view name, bool failing, bool ignoring) {
    test_ = name;
    failing_ = failing;
    ignoring_ = ignoring;
    test_open_ = false;
    build_open_ = false;
  }

  // A package's tests are over: only now it is known where its files are.
  void settle(std::string_view package, Findings& findings) {
    const std::string directory = directory_of(package, findings);
    for (Pending& pending : std::exchange(pending_, {})) {
      if (!pending.failed) continue;
      pending.diagnostic.path = resolve_path(directory, pending.diagnostic.path);
      findings.add(std::move(pending.diagnostic));
    }
    findings.part();
    test_.clear();
    panic_.clear();
    test_open_ = false;
  }

  static std::string directory_of(std::string_view package, const Findings& findings) {
    const MatchContext& context = findings.context();
    std::string_view rest = package;
    if (context.go_module.empty() || !take_prefix(rest, context.go_module) ||
        (!rest.empty() && rest.front() != '/')) {
      return findings.directory();
    }
    return context.go_module_dir + std::string(rest);
  }

  // A panic is where the stack first is in the code of this module.
  bool panic_line(std::string_view line, Findings& findings) {
    std::string_view text = line;
    if (take_prefix(text, "panic: ") || take_prefix(text, "fatal error: ")) {
      if (panic_.empty()) panic_ = line.substr(0, kDiagnosticMessageBytesMax);
      return true;
    }
    if (panic_.empty() || !line.starts_with("\t/")) return false;
    text = line.substr(1);
    const size_t colon = text.find(".go:");
    if (colon == text.npos) return true;
    std::string_view number = text.substr(colon + 4);
    const std::string_view path = text.substr(0, colon + 3);
    const std::optional<uint32_t> at = take_number(number);
    const MatchContext& context = findings.context();
    const bool own = is_below(path, context.cwd) ||
                     (!context.go_module_dir.empty() && is_below(path, context.go_module_dir));
    if (!at || !own) return true;
    Diagnostic diagnostic = made({path, *at, 0, {}}, panic_);
    diagnostic.code = test_;
    findings.add(std::move(diagnostic));
    findings.part();
    panic_.clear();
    return true;
  }

  bool build_open_ = false;  // the diagnostic added last may go on
  std::string test_;
  bool failing_ = false;
  bool ignoring_ = false;   // it has passed
  bool test_open_ = false;  // the last of pending_ may go on
  size_t test_indent_ = 0;
  std::vector<Pending> pending_;
  std::string panic_;
};

}  // namespace

std::unique_ptr<Matcher> make_go_matcher() { return std::make_unique<GoMatcher>(); }

}  // namespace zsync::daemon
