// WatchFeed: what one client gets of a subscription.
//
// The subscription tells what differs in the tree; the feed leaves out what the client asked not to
// hear of.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/watch/engine.hpp"
#include "watch/content.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// Lifetime: the engine outlives it.
// Threads:  used by one task at a time.
class WatchFeed {
 public:
  // Errors: those of WatchEngine::subscribe.
  static Task<absl::StatusOr<WatchFeed>> open(WatchEngine& engine, WatchRequest request);

  // The next batch that says something, or state that was entered or left. The first one tells the
  // clock; with `changed_content` it comes once the files that are there have been read.
  //
  // Errors: as of Subscription::next. Cancel: throws Cancelled.
  Task<absl::StatusOr<watching::Told>> next();

  [[nodiscard]] std::string fallback() const { return subscription_.fallback(); }

 private:
  explicit WatchFeed(watching::Subscription subscription)
      : subscription_(std::move(subscription)) {}
  Task<void> learn();
  Task<void> leave_out(WatchBatch& batch);

  watching::Subscription subscription_;
  std::unique_ptr<watching::ContentFilter> content_;  // null: everything is told
  bool begun_ = false;                                // the first batch was given
};

}  // namespace zsync::daemon
