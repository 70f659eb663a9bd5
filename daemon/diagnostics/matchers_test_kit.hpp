// What tests of matchers share.
#pragma once

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/diagnostics/output_matching.hpp"

namespace zsync::daemon {

// "/w/a.cpp:3:30: error: message [code]", and each place below it, indented.
inline std::string text_of(const Diagnostic& diagnostic) {
  constexpr const char* kSeverities[] = {"", "error", "warning", "note"};
  std::string text =
      absl::StrCat(diagnostic.path, ":", diagnostic.line, ":", diagnostic.column, ": ",
                   kSeverities[static_cast<size_t>(diagnostic.severity)], ": ", diagnostic.message);
  if (!diagnostic.code.empty()) absl::StrAppend(&text, " [", diagnostic.code, "]");
  for (const RelatedPlace& place : diagnostic.related) {
    absl::StrAppend(&text, "\n  ", place.path, ":", place.line, ":", place.column, ": ",
                    place.message);
  }
  return text;
}

inline std::vector<std::string> texts_of(const Findings& findings) {
  std::vector<std::string> texts;
  for (const auto& [path, diagnostics] : findings.by_path()) {
    for (const Diagnostic& diagnostic : diagnostics) texts.push_back(text_of(diagnostic));
  }
  return texts;
}

// What is found in `output` when it comes in pieces of `piece` bytes.
inline std::vector<std::string> found_in(MatcherKind kind, std::string_view output,
                                         MatchContext context = {"/w", "", ""},
                                         size_t piece = 1000) {
  OutputMatching matching({kind}, std::move(context));
  for (; !output.empty(); output.remove_prefix(std::min(piece, output.size()))) {
    matching.feed(2, output.substr(0, piece));
  }
  matching.finish();
  return texts_of(matching.findings());
}

}  // namespace zsync::daemon
