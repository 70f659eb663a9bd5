// Durations of the command line as the wire has them.
#pragma once

#include <google/protobuf/duration.pb.h>

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/words.hpp"

namespace zsync::cli {

inline void set_duration(std::chrono::nanoseconds duration, google::protobuf::Duration& to) {
  to.set_seconds(duration.count() / 1'000'000'000);
  to.set_nanos(static_cast<int>(duration.count() % 1'000'000'000));
}

// Leaves `to` alone when `text` is empty.
//
// Errors: kInvalidArgument, naming `flag`.
inline absl::Status set_duration(const std::string& text, const char* flag,
                                 google::protobuf::Duration& to) {
  if (text.empty()) return absl::OkStatus();
  const auto duration = parse_duration(text);
  if (!duration.ok()) return usage_error(absl::StrCat(flag, ": ", duration.status().message()));
  set_duration(*duration, to);
  return absl::OkStatus();
}

inline std::chrono::nanoseconds to_nanoseconds(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

}  // namespace zsync::cli
