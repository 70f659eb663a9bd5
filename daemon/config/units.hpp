// Durations and sizes as people write them: "50ms", "7d", "4GiB".
#pragma once

#include <absl/status/statusor.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace zsync::daemon {

// A whole number and one of ms, s, m, h, d; several parts may follow each other ("1h30m"); "0"
// alone is zero.
//
// Errors:  kInvalidArgument, in words that follow the name of the value: `"10" has no unit: write
// 10s ...`.
absl::StatusOr<std::chrono::milliseconds> parse_duration(std::string_view text);

// A whole number of bytes with an optional B, KiB, MiB, GiB, TiB (powers of 1024) or KB, MB, GB, TB
// (of 1000).
absl::StatusOr<int64_t> parse_size(std::string_view text);

// A whole decimal number.
absl::StatusOr<int64_t> parse_count(std::string_view text);

// The shortest text that the parser turns back into exactly this value.
std::string format_duration(std::chrono::milliseconds value);
std::string format_size(int64_t bytes);

}  // namespace zsync::daemon
