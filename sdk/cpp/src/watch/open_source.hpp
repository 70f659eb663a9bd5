// Which source a root gets.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "watch/poll_source.hpp"
#include "watch/source.hpp"

namespace zsync::watching {

inline constexpr std::chrono::milliseconds kPollIntervalMin{10};
inline constexpr std::chrono::hours kPollIntervalMax{1};

class InotifyHub;

struct SourceOptions {
  FilterOptions filter;
  WatchSource source = WatchSource::automatic;
  std::chrono::nanoseconds poll_interval = kPollInterval;
  Recall recall;  // null: nothing is known from before
  // Linux: the instance to share. Null: one of its own.
  std::shared_ptr<InotifyHub> hub;
};

// The source that was asked for. `automatic`: the kernel's, which may also be replaced by polling
// later, or polling at once where the file system is a network's or the system has no more watches;
// Source::fallback() tells that. Only the file system of the root itself counts, not what is
// mounted below.
//
// Errors:  InvalidArgument (not absolute, bad filter, poll_interval out of range), NotFound,
//          FailedPrecondition (not a directory), PermissionDenied, ResourceExhausted;
//          Unimplemented for inotify where there is none.
absl::StatusOr<std::unique_ptr<Source>> open_source(std::string_view root,
                                                    SourceOptions options = {});

}  // namespace zsync::watching
