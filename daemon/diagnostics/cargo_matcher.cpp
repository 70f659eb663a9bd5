// cargo --message-format=json: one JSON object a line; and what panicking tests print between them.
//
//   {"reason":"compiler-message","manifest_path":...,"message":{"level":"error","spans":[...]}}
//   thread 'tests::t' panicked at src/util.rs:2:43:
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/diagnostics/json_reader.hpp"
#include "daemon/diagnostics/line_scan.hpp"
#include "daemon/diagnostics/matcher.hpp"

namespace zsync::daemon {
namespace {

struct Span {
  std::string file;
  uint32_t line = 0, column = 0, end_line = 0, end_column = 0;
  bool primary = false;
  std::string label;
};

struct Message {
  std::string text;
  std::string level;
  std::string code;
  std::vector<Span> spans;
  std::vector<Message> children;
};

// What a macro of another crate expands to is told at the place that uses the macro.
bool is_foreign(const std::string& file) {
  return file.starts_with("/rustc/") || file.starts_with('<');
}

Span read_span(JsonReader& json) {
  Span span;
  std::optional<Span> used_at;
  json.object([&](const std::string& key) {
    if (key == "file_name") {
      span.file = json.string();
    } else if (key == "line_start") {
      span.line = json.number();
    } else if (key == "line_end") {
      span.end_line = json.number();
    } else if (key == "column_start") {
      span.column = json.number();
    } else if (key == "column_end") {
      span.end_column = json.number();
    } else if (key == "is_primary") {
      span.primary = json.boolean();
    } else if (key == "label") {
      span.label = json.string();
    } else if (key == "expansion" && !json.null()) {
      json.object([&](const std::string& part) {
        if (part == "span") {
          used_at = read_span(json);
        } else {
          json.skip();
        }
      });
    } else if (key != "expansion") {
      json.skip();
    }
  });
  if (used_at && is_foreign(span.file)) {
    used_at->primary = span.primary;
    used_at->label = std::move(span.label);
    return *std::move(used_at);
  }
  return span;
}

Message read_message(JsonReader& json) {
  Message message;
  json.object([&](const std::string& key) {
    if (key == "message") {
      message.text = json.string();
    } else if (key == "level") {
      message.level = json.string();
    } else if (key == "code" && !json.null()) {
      json.object([&](const std::string& part) {
        if (part == "code") {
          message.code = json.string();
        } else {
          json.skip();
        }
      });
    } else if (key == "spans") {
      json.array([&] {
        Span span = read_span(json);
        if (message.spans.size() <= kDiagnosticRelatedMax || span.primary) {
          message.spans.push_back(std::move(span));
        }
      });
    } else if (key == "children") {
      json.array([&] {
        Message child = read_message(json);
        if (message.children.size() < kDiagnosticRelatedMax) {
          message.children.push_back(std::move(child));
        }
      });
    } else if (key != "code") {
      json.skip();
    }
  });
  return message;
}

std::string_view directory_of(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? std::string_view() : path.substr(0, slash);
}

class CargoMatcher final : public Matcher {
 public:
  void line(std::string_view line, Findings& findings) override {
    if (line.starts_with('{')) {
      json_line(line, findings);
    } else {
      panic_line(line, findings);
    }
  }
  void finish(Findings& findings) override {
    if (std::exchange(panic_open_, false)) findings.add(std::move(panic_));
  }

 private:
  void json_line(std::string_view line, Findings& findings) {
    panic_open_ = false;
    JsonReader json(line);
    std::string reason, manifest, source;
    Message message;
    bool has_message = false;
    json.object([&](const std::string& key) {
      if (key == "reason") {
        reason = json.string();
      } else if (key == "manifest_path") {
        manifest = json.string();
      } else if (key == "target") {
        json.object([&](const std::string& part) {
          if (part == "src_path") {
            source = json.string();
          } else {
            json.skip();
          }
        });
      } else if (key == "message" && !has_message) {
        message = read_message(json);
        has_message = true;
      } else {
        json.skip();
      }
    });
    if (json.failed()) {
      if (line.starts_with("{\"reason\":\"compiler-message\"")) findings.leave_out();
      return;
    }
    if (!manifest.empty()) {
      package_ = directory_of(manifest);
      sources_ = directory_of(source);
      source_ = std::move(source);
    }
    if (reason == "compiler-message" && has_message) compiler_message(message, findings);
  }

  void compiler_message(const Message& message, Findings& findings) {
    Diagnostic diagnostic;
    if (message.level == "warning") {
      diagnostic.severity = Severity::kWarning;
    } else if (message.level == "note" || message.level == "help") {
      diagnostic.severity = Severity::kNote;
    } else if (!message.level.starts_with("error")) {
      return;  // failure-note
    }
    const Span* primary = nullptr;
    for (const Span& span : message.spans) {
      if (span.primary && !primary) primary = &span;
    }
    if (primary) {
      diagnostic.path = path_of(primary->file);
      diagnostic.line = primary->line;
      diagnostic.column = primary->column;
      diagnostic.end_line = primary->end_line;
      diagnostic.end_column = primary->end_column;
    } else if (diagnostic.severity == Severity::kError &&
               !message.text.starts_with("aborting due to")) {
      diagnostic.path = source_;  // of the whole crate, as what the linker says
    } else {
      return;
    }
    diagnostic.message = message.text;
    if (primary && !primary->label.empty()) {
      absl::StrAppend(&diagnostic.message, "\n", primary->label);
    }
    diagnostic.code = message.code;
    diagnostic.matcher = matcher_name(MatcherKind::kCargoJson);
    if (!findings.add(std::move(diagnostic))) return;
    relate(message, primary, findings);
    findings.part();
  }

  void relate(const Message& message, const Span* primary, Findings& findings) {
    for (const Span& span : message.spans) {
      if (&span == primary || span.label.empty()) continue;
      findings.relate({path_of(span.file), span.line, span.column, span.label});
    }
    for (const Message& child : message.children) {
      if (child.spans.empty()) {
        findings.append(absl::StrCat(child.level, ": ", child.text));
      } else {
        const Span& span = child.spans.front();
        findings.relate({path_of(span.file), span.line, span.column,
                         absl::StrCat(child.level, ": ", child.text)});
      }
    }
  }

  // Paths are seen from the workspace, of which only the directories of a package and of its
  // sources are told: the workspace is the directory above them from which the path leads into
  // them.
  std::string path_of(const std::string& file) const {
    if (file.starts_with('/') || package_.empty()) return file;
    for (std::string_view within : {std::string_view(sources_), std::string_view(package_)}) {
      if (within.empty()) continue;
      for (std::string_view base = package_; !base.empty(); base = directory_of(base)) {
        std::string whole = resolve_path(base, file);
        if (is_below(whole, within)) return whole;
      }
    }
    return file;
  }

  // thread 'tests::t' (21093) panicked at src/util.rs:2:43:
  void panic_line(std::string_view line, Findings& findings) {
    if (panic_open_) {
      if (line.empty() || line.starts_with("stack backtrace:") || line.starts_with("note: ")) {
        findings.add(std::move(panic_));
        findings.part();
        panic_open_ = false;
      } else if (panic_.message.size() + line.size() < kDiagnosticMessageBytesMax) {
        panic_.message.append(panic_.message.empty() ? "" : "\n").append(line);
      }
      return;
    }
    std::string_view rest = line;
    if (!take_prefix(rest, "thread '")) return;
    const size_t name = rest.find('\'');
    const size_t where = rest.find(" panicked at ");
    if (name == rest.npos || where == rest.npos) return;
    const std::optional<FilePosition> at = find_position(rest.substr(where + 13));
    if (!at) return;
    panic_ = Diagnostic();
    panic_.path = path_of(std::string(at->path));
    panic_.line = at->line;
    panic_.column = at->column;
    panic_.code = rest.substr(0, name);
    panic_.matcher = matcher_name(MatcherKind::kCargoJson);
    panic_open_ = true;
  }

  std::string package_;  // of the last message
  std::string sources_;
  std::string source_;
  Diagnostic panic_;
  bool panic_open_ = false;
};

}  // namespace

std::unique_ptr<Matcher> make_cargo_matcher() { return std::make_unique<CargoMatcher>(); }

}  // namespace zsync::daemon
