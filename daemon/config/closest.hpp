// "Did you mean": the candidate nearest to a mistyped word.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace zsync::daemon {

// Words longer than this are not compared, in bytes: it bounds the time for hostile input.
inline constexpr size_t kClosestWordBytesMax = 256;

// Single-character insertions, deletions, replacements and swaps of neighbours that turn `a` into
// `b`.
size_t edit_distance(std::string_view a, std::string_view b);

// The nearest candidate, the earlier one of two equally near; none when nothing is near enough to
// be meant (more than a third of the longer word would have to change). Letter case counts for
// nothing.
std::optional<std::string> closest_match(std::string_view word,
                                         std::span<const std::string> candidates);

// `no trigger "buld"`, with the closest of the names; `list` is the command that shows them all.
absl::Status unknown_name(std::string_view kind, std::string_view name,
                          const std::vector<std::string>& names, std::string_view list);

}  // namespace zsync::daemon
