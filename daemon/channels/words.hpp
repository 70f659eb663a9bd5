// Numbers and times in the words of `channels show`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace zsync::daemon {

inline std::string count_of(uint64_t count, const char* noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}
inline std::string messages(uint64_t count) { return count_of(count, "message"); }
inline std::string are(uint64_t count, const char* noun = "message") {
  return absl::StrCat(count_of(count, noun), count == 1 ? " is" : " are");
}

// Exact enough for a person: milliseconds below ten seconds, seconds from there on.
inline std::string length_of(int64_t ns) {
  const absl::Duration time = absl::Nanoseconds(std::max<int64_t>(ns, 0));
  const absl::Duration unit = time < absl::Seconds(10) ? absl::Milliseconds(1) : absl::Seconds(1);
  return absl::FormatDuration(absl::Trunc(time, unit));
}

}  // namespace zsync::daemon
