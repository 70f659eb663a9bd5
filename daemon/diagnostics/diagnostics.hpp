// A diagnostic: one thing that a tool says about one place of a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace zsync::daemon {

// Limits of what one task's output turns into.
inline constexpr size_t kDiagnosticLineBytesMax = 1 << 20;  // of a line; what is longer is cut
// The same where lines are for people; matchers keep pieces of hundreds of them.
inline constexpr size_t kDiagnosticPlainLineBytesMax = 16 << 10;
inline constexpr size_t kDiagnosticMessageBytesMax = 4096;
inline constexpr size_t kDiagnosticPathBytesMax = 4096;
inline constexpr size_t kDiagnosticCodeBytesMax = 256;
inline constexpr size_t kDiagnosticRelatedMax = 16;     // further places of one diagnostic
inline constexpr size_t kDiagnosticsPerTaskMax = 2000;  // of one attempt
inline constexpr size_t kDiagnosticBytesPerTaskMax = 1 << 20;
inline constexpr size_t kMatchersMax = 4;  // of one task

// Stored as numbers: never renumbered. The smaller one is the more severe one.
enum class Severity : uint8_t { kError = 1, kWarning = 2, kNote = 3 };

// A place that belongs to a diagnostic: where it was included from, what it conflicts with.
struct RelatedPlace {
  std::string path;
  uint32_t line = 0;
  uint32_t column = 0;
  std::string message;

  bool operator==(const RelatedPlace&) const = default;
};

struct Diagnostic {
  std::string path;     // absolute and without "." and ".."
  uint32_t line = 0;    // from 1; 0: of the whole file
  uint32_t column = 0;  // from 1, as the tool counts; 0: of the whole line
  uint32_t end_line = 0;
  uint32_t end_column = 0;  // behind the last one; 0: the tool does not say
  Severity severity = Severity::kError;
  std::string message;  // lines are parted by "\n"
  std::string code;     // "-Wunused", "TS2322", "E0308"; of a test's failure: the test
  std::string matcher;  // who found it
  std::vector<RelatedPlace> related;

  bool operator==(const Diagnostic&) const = default;
};

// What it takes in memory and on disk, about.
size_t bytes_of(const Diagnostic& diagnostic);

struct DiagnosticCounts {
  uint32_t errors = 0;
  uint32_t warnings = 0;
  uint32_t notes = 0;
  uint32_t left_out = 0;  // beyond a limit

  void add(const std::vector<Diagnostic>& diagnostics);
  bool operator==(const DiagnosticCounts&) const = default;
};

// The tools whose output is understood.
enum class MatcherKind : uint8_t { kGcc, kTsc, kPytest, kCargoJson, kGo };

// "gcc", "clang" (the same), "tsc", "pytest", "cargo-json", "go".
//
// Errors: kInvalidArgument with the known names, and the closest one.
absl::StatusOr<MatcherKind> matcher_of(const std::string& name, const std::string& field);
std::string_view matcher_name(MatcherKind kind);

}  // namespace zsync::daemon
