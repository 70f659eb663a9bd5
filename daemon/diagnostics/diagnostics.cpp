#include "daemon/diagnostics/diagnostics.hpp"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kRecordBytes = 64;  // numbers and headers of a diagnostic or a place

const std::array<std::string, 6> kNames = {"gcc", "tsc", "pytest", "cargo-json", "go", "clang"};

}  // namespace

size_t bytes_of(const Diagnostic& diagnostic) {
  size_t bytes =
      kRecordBytes + diagnostic.path.size() + diagnostic.message.size() + diagnostic.code.size();
  for (const RelatedPlace& place : diagnostic.related) {
    bytes += kRecordBytes + place.path.size() + place.message.size();
  }
  return bytes;
}

void DiagnosticCounts::add(const std::vector<Diagnostic>& diagnostics) {
  for (const Diagnostic& diagnostic : diagnostics) {
    switch (diagnostic.severity) {
      case Severity::kError:
        ++errors;
        break;
      case Severity::kWarning:
        ++warnings;
        break;
      case Severity::kNote:
        ++notes;
        break;
    }
  }
}

absl::StatusOr<MatcherKind> matcher_of(const std::string& name, const std::string& field) {
  if (name == "clang") return MatcherKind::kGcc;
  for (size_t i = 0; i + 1 < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<MatcherKind>(i);
  }
  std::vector<std::string> closest;
  if (std::optional<std::string> near = closest_match(name, kNames)) {
    closest.push_back(*std::move(near));
  }
  return fault(absl::StatusCode::kInvalidArgument,
               absl::StrCat(field, ": there is no matcher \"", name, "\""),
               {field, "UNKNOWN", "", absl::StrCat("those known are ", absl::StrJoin(kNames, ", ")),
                std::move(closest)});
}

std::string_view matcher_name(MatcherKind kind) { return kNames[static_cast<size_t>(kind)]; }

}  // namespace zsync::daemon
