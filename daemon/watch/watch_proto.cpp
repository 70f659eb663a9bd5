#include "daemon/watch/watch_proto.hpp"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kDurationSecondsMax = 86'400;  // beyond it every limit is exceeded anyway

absl::StatusOr<std::chrono::nanoseconds> to_time(const google::protobuf::Duration& duration,
                                                 const char* field) {
  if (duration.seconds() < 0 || duration.nanos() < 0 || duration.seconds() > kDurationSecondsMax) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat(field, " is negative or too long"),
                 {field,
                  "LIMIT",
                  "settle_max = 60 s, max_wait_max = 600 s",
                  "give a time within the limit, or leave it out",
                  {}});
  }
  return std::chrono::seconds(duration.seconds()) + std::chrono::nanoseconds(duration.nanos());
}

void put_time(std::chrono::nanoseconds time, google::protobuf::Duration& duration) {
  duration.set_seconds(time.count() / 1'000'000'000);
  duration.set_nanos(static_cast<int32_t>(time.count() % 1'000'000'000));
}

}  // namespace

absl::Status take_filter(v1::WatchFilter filter, WatchRequest& request) {
  request.globs.assign(filter.globs().begin(), filter.globs().end());
  request.ignore.assign(filter.ignore().begin(), filter.ignore().end());
  request.gitignore = !filter.no_gitignore();
  request.changed_content = filter.changed_content();
  request.defer.assign(filter.defer().begin(), filter.defer().end());
  request.drop.assign(filter.drop().begin(), filter.drop().end());
  if (filter.has_settle()) {
    absl::StatusOr<std::chrono::nanoseconds> settle = to_time(filter.settle(), "filter.settle");
    if (!settle.ok()) return settle.status();
    request.settle = *settle;
  }
  if (filter.has_max_wait()) {
    absl::StatusOr<std::chrono::nanoseconds> limit = to_time(filter.max_wait(), "filter.max_wait");
    if (!limit.ok()) return limit.status();
    request.max_wait = *limit;
  }
  return absl::OkStatus();
}

v1::WatchFilter filter_to_proto(const WatchRequest& request) {
  v1::WatchFilter filter;
  for (const std::string& glob : request.globs) filter.add_globs(glob);
  for (const std::string& pattern : request.ignore) filter.add_ignore(pattern);
  filter.set_no_gitignore(!request.gitignore);
  put_time(request.settle, *filter.mutable_settle());
  put_time(request.max_wait, *filter.mutable_max_wait());
  filter.set_changed_content(request.changed_content);
  for (const std::string& name : request.defer) filter.add_defer(name);
  for (const std::string& name : request.drop) filter.add_drop(name);
  return filter;
}

}  // namespace zsync::daemon
