// `zsyncctl diagnostics`: what tools have said about files, as editors read it.
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/frames.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

struct DiagnosticFlags {
  std::string path;
  std::string source;
  std::string severity;
  bool follow = false;
};

struct Severity {
  const char* word;
  Color color;
};

Severity severity_of(v1::DiagnosticSeverity severity) {
  switch (severity) {
    case v1::DIAGNOSTIC_SEVERITY_ERROR:
      return {"error", Color::kBad};
    case v1::DIAGNOSTIC_SEVERITY_WARNING:
      return {"warning", Color::kBusy};
    default:
      return {"note", Color::kDim};
  }
}

std::string place_text(const std::string& path, std::uint32_t line, std::uint32_t column) {
  std::string text = printable(path);
  if (line > 0) absl::StrAppend(&text, ":", line);
  if (line > 0 && column > 0) absl::StrAppend(&text, ":", column);
  return text;
}

// `path:line:column: severity: message [code] (source)`, then what else belongs to it: indented, or
// as a place of its own.
std::string diagnostic_text(const v1::Diagnostic& diagnostic, const std::string& source,
                            bool color) {
  const Severity severity = severity_of(diagnostic.severity());
  const std::size_t end = diagnostic.message().find('\n');
  std::string text =
      absl::StrCat(place_text(diagnostic.path(), diagnostic.line(), diagnostic.column()), ": ",
                   paint(severity.word, severity.color, color), ": ",
                   printable(diagnostic.message().substr(0, end)));
  if (!diagnostic.code().empty()) absl::StrAppend(&text, " [", printable(diagnostic.code()), "]");
  absl::StrAppend(&text, " (", printable(source), ")\n");
  for (std::size_t from = end; from != std::string::npos;) {
    const std::size_t next = diagnostic.message().find('\n', ++from);
    absl::StrAppend(&text, "    ", printable(diagnostic.message().substr(from, next - from)), "\n");
    from = next;
  }
  for (const v1::RelatedPlace& place : diagnostic.related()) {
    absl::StrAppend(&text, place_text(place.path(), place.line(), place.column()),
                    ": note: ", printable(place.message()), "\n");
  }
  return text;
}

absl::StatusOr<v1::DiagnosticFilter> make_filter(const DiagnosticFlags& flags) {
  v1::DiagnosticFilter filter;
  filter.set_source(flags.source);
  if (!flags.path.empty()) {
    std::error_code error;
    const std::filesystem::path path = std::filesystem::absolute(flags.path, error);
    if (error) return usage_error(absl::StrCat("--path: ", error.message()));
    filter.set_path_prefix(path.lexically_normal().string());
  }
  if (flags.severity == "error") filter.set_severity(v1::DIAGNOSTIC_SEVERITY_ERROR);
  if (flags.severity == "warning") filter.set_severity(v1::DIAGNOSTIC_SEVERITY_WARNING);
  if (flags.severity == "note") filter.set_severity(v1::DIAGNOSTIC_SEVERITY_NOTE);
  return filter;
}

void print_set(Context& context, ListPrinter& printer, const v1::DiagnosticSet& set) {
  if (printer.add(set, set.path())) return;
  for (const v1::Diagnostic& diagnostic : set.diagnostics()) {
    context.out.write(diagnostic_text(diagnostic, set.source(), context.color()));
  }
}

absl::StatusOr<int> follow(Context& context, client::Client& client,
                           const v1::DiagnosticFilter& filter, const client::CallOptions& call) {
  ListPrinter printer(context);
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  const absl::Status status = client.diagnostics().subscribe(
      filter,
      [&](const v1::DiagnosticSetBatch& batch) {
        for (const v1::DiagnosticSet& set : batch.sets()) {
          print_set(context, printer, set);
          if (set.diagnostics().empty()) {
            context.note(
                absl::StrCat(printable(set.path()), ": cleared (", printable(set.source()), ")"));
          }
        }
        return context.out.flush();
      },
      call);
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (!status.ok()) return status;
  printer.end();
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> list(Context& context, const DiagnosticFlags& flags) {
  const absl::StatusOr<v1::DiagnosticFilter> filter = make_filter(flags);
  if (!filter.ok()) return filter.status();
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  if (flags.follow) return follow(context, **client, *filter, *call);
  const absl::StatusOr<v1::ListDiagnosticsReply> found =
      (*client)->diagnostics().list(*filter, *call);
  if (!found.ok()) return found.status();
  ListPrinter printer(context);
  for (const v1::DiagnosticSet& set : found->sets()) print_set(context, printer, set);
  printer.end();
  if (found->sets().empty() && !context.json() && !context.jsonl()) {
    context.note("no diagnostics; `zsyncctl run --matcher gcc -- make` would find some");
  }
  if (found->left_out() > 0) {
    context.note(absl::StrCat(found->left_out(), " older ones made room for newer ones"));
  }
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_diagnostics(Command& app, Context& context) {
  add_noun(app, "diagnostics", "diagnostic", "What tools have said about places of files",
           [&context](Command& diagnostics) {
             const auto flags = std::make_shared<DiagnosticFlags>();
             Command* all =
                 add_leaf(diagnostics, context, "list",
                          "The newest of each file and source, as in PATH:LINE:COLUMN: error: ...",
                          [&context, flags] { return list(context, *flags); });
             all->add_option("--path", flags->path, "Only of this file, or below this directory")
                 ->type_name("PATH");
             all->add_option("--source", flags->source,
                             "Only of this one, as the list shows it in (...)")
                 ->type_name("SOURCE");
             all->add_option("--severity", flags->severity,
                             "Only these and worse: error, warning, note")
                 ->type_name("WORD")
                 ->one_of({"error", "warning", "note"});
             all->add_flag("-f,--follow", flags->follow, "Stay, and print each set that changes");
           });
}

}  // namespace zsync::cli
