// Watch: settled batches of file changes below a directory.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/watch.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// Errors, Cancel, Threads, Lifetime: as Tasks.
class Watch {
 public:
  // Called once a batch, in order; false ends the call well.
  using BatchCallback = std::function<bool(const v1::WatchBatch&)>;

  // false ends the call well.
  using HeldCallback = std::function<bool(const v1::HoldStateReply&)>;

  // Use Client::watch().
  explicit Watch(internal::Connection& connection) : connection_(connection) {}

  // The first batch tells the clock at which the subscription begins. Resumable: it goes on from
  // the clock of the last batch, and the daemon says with `fresh` when it no longer knows that
  // clock.
  [[nodiscard]] absl::Status subscribe(const v1::SubscribeWatchRequest& request,
                                       const BatchCallback& callback,
                                       const CallOptions& options = {});
  // What changed since a clock, or without one just the clock of now, as one batch. It holds every
  // change that was complete before the call.
  [[nodiscard]] absl::StatusOr<v1::WatchBatch> query(const v1::QueryWatchRequest& request,
                                                     const CallOptions& options = {});
  // Enters a state of a directory and holds it until `held` says false or the call ends, by
  // CallOptions::stop or a timeout. `held` is called when the state is in force; again when a
  // restart of the daemon had interrupted it, and with it every subscription.
  [[nodiscard]] absl::Status hold_state(const v1::HoldStateRequest& request,
                                        const HeldCallback& held, const CallOptions& options = {});
  // Leaves it: hold_state() of that HoldStateReply::hold ends well. Returns when what changes from
  // now on is told as ever, which the end of a call alone does not wait for.
  //
  // Errors: kNotFound when it has been left.
  [[nodiscard]] absl::Status leave_state(const std::string& hold, const CallOptions& options = {});
  // The directories that are being watched, and the states that are held.
  [[nodiscard]] absl::StatusOr<v1::ListWatchesReply> list(const CallOptions& options = {});
  // Who uses the inotify watches of the machine, and what sharing them saves.
  [[nodiscard]] absl::StatusOr<v1::WatchUsageReply> usage(const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
