#include "watch/open_source.hpp"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "watch/file_system.hpp"
#include "watch/uv_source.hpp"
#if defined(__linux__)
#include "watch/inotify_source.hpp"
#endif

namespace zsync::watching {
namespace {

using Opened = absl::StatusOr<std::unique_ptr<Source>>;

#if defined(__linux__)
constexpr WatchSource kNative = WatchSource::inotify;
Opened open_inotify(std::string_view root, const SourceOptions& options) {
  return InotifySource::open(root, options.filter, options.recall, options.hub);
}
#else
constexpr WatchSource kNative = WatchSource::fs_events;
Opened open_inotify(std::string_view, const SourceOptions&) {
  return absl::UnimplementedError(
      "there is no inotify on this system; watch with fs_events or automatic");
}
#endif

Opened open_chosen(std::string_view root, WatchSource source, const SourceOptions& options) {
  if (source == WatchSource::polling) {
    return PollSource::open(root, options.filter, options.poll_interval, {}, options.recall);
  }
  return source == WatchSource::inotify
             ? open_inotify(root, options)
             : UvSource::open(root, options.filter, kSafetyRescan, options.recall);
}

Opened open_automatic(std::string_view root, const SourceOptions& options) {
  if (const auto remote = remote_file_system_of(std::string(root))) {
    return PollSource::open(
        root, options.filter, options.poll_interval,
        absl::StrCat(absl::string_view(remote->data(), remote->size()),
                     " file system: the kernel is not told of every change; polled every ",
                     absl::FormatDuration(absl::FromChrono(options.poll_interval))),
        options.recall);
  }
  Opened native = open_chosen(root, kNative, options);
  if (native.ok()) (*native)->allow_polling(options.poll_interval);
  if (!absl::IsResourceExhausted(native.status())) return native;
  Opened polling = PollSource::open(root, options.filter, options.poll_interval,
                                    std::string(native.status().message()), options.recall);
  return polling.ok() ? std::move(polling) : std::move(native);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Source>> open_source(std::string_view root, SourceOptions options) {
  if (options.poll_interval < kPollIntervalMin || options.poll_interval > kPollIntervalMax) {
    return absl::InvalidArgumentError("poll_interval: give 10 ms to 1 h");
  }
  return options.source == WatchSource::automatic ? open_automatic(root, options)
                                                  : open_chosen(root, options.source, options);
}

}  // namespace zsync::watching
