// What a person types: durations, command lines, pairs.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace zsync::cli {

// "500ms", "2s", "1m30s", "1h", "2d"; a bare number is seconds and may have a fraction.
//
// Errors: kInvalidArgument.
absl::StatusOr<std::chrono::nanoseconds> parse_duration(const std::string& text);

// Splits as a POSIX shell splits words, expanding nothing: quotes, backslashes and comments count;
// $ * ~ stay as they are.
//
// Errors: kInvalidArgument for an open quote, and for an unquoted operator (| & ; < > ( )), which
// needs
//         a shell.
absl::StatusOr<std::vector<std::string>> split_words(const std::string& line);

// "KEY=VALUE".
//
// Errors: kInvalidArgument, naming `what`, when there is no key.
absl::StatusOr<std::pair<std::string, std::string>> parse_pair(const std::string& text,
                                                               const std::string& what);

// Whether the text may go into a proto string.
bool is_utf8(const std::string& text);

}  // namespace zsync::cli
