// Events: the daemon's log of what happened, from any cursor.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/events.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// Errors, Cancel, Threads, Lifetime: as Tasks.
class Events {
 public:
  // Called once a batch, in order; false ends the call well.
  using BatchCallback = std::function<bool(const v1::EventBatch&)>;

  // Use Client::events().
  explicit Events(internal::Connection& connection) : connection_(connection) {}

  // Reads from request.from_seq; with request.follow it stays for what comes. Resumable, from the
  // event after the last one delivered.
  [[nodiscard]] absl::Status follow(const v1::FollowEventsRequest& request,
                                    const BatchCallback& callback, const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
