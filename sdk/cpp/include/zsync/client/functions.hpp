// Functions: named work that one client does for others.
//
//   // a worker                                     // a caller
//   client->functions().serve("resize", resize);    client->functions().call("resize", image);
//
// A call is a task (v1::TaskSpec::function, submitted with Tasks): on disk before it is
// acknowledged, with priorities, retries and deadlines; or direct (call()): in memory only.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/functions.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// What a handler is given.
//
// Lifetime: until the handler returns.
class ServedCall {
 public:
  // Use Functions::serve().
  ServedCall(const v1::HandedCall& call, const std::atomic<bool>& canceled)
      : call_(call), canceled_(canceled) {}

  // Payload, content type, deadline, trace; task_id is empty for a direct call.
  const v1::HandedCall& call() const { return call_; }
  // What the caller sent, at most 1 MiB.
  const std::string& payload() const { return call_.payload(); }
  // Nobody wants the result any more: it was canceled, its time is over, or the daemon went away.
  [[nodiscard]] bool canceled() const { return canceled_.load(); }

 private:
  const v1::HandedCall& call_;
  const std::atomic<bool>& canceled_;
};

// How much a worker does at once.
struct ServeOptions {
  int concurrency = 1;       // handlers at once, each on a thread of its own
  std::uint32_t window = 0;  // calls that are fetched ahead, at least `concurrency`; 0: that many
};

// Errors, Threads, Lifetime: as Tasks.
class Functions {
 public:
  // Returns the result, with `error` set or not. A status that is not ok is a failure with its
  // code's name and its message; kInvalidArgument is permanent: no retry follows. Called from
  // several threads at once where concurrency is above 1.
  using Handler = std::function<absl::StatusOr<v1::FunctionResult>(const ServedCall&)>;

  // Use Client::functions().
  explicit Functions(internal::Connection& connection) : connection_(connection) {}

  // Is a worker of the function until options.stop is cancelled; then it gets no more calls,
  // answers those it has, and returns ok. A broken connection is opened again, for as long as it
  // takes; what was in hand then goes to other workers, and its answers are dropped.
  //
  // Errors: the daemon's that do not pass by themselves, as kInvalidArgument for a bad name.
  // Cancel: options.stop, see above; options.timeout likewise.
  [[nodiscard]] absl::Status serve(const std::string& function, const Handler& handler,
                                   const ServeOptions& serving = {},
                                   const CallOptions& options = {});

  // A direct call: waits for a worker and its result, for options.timeout (30 s) at most.
  //
  // Errors: kNotFound naming the functions that exist; kAborted with what the handler says when it
  //         failed, or when workers went away with it; kDeadlineExceeded; kInvalidArgument when
  //         the payload is over 1 MiB.
  // Cancel: options.stop; the worker is told.
  [[nodiscard]] absl::StatusOr<v1::FunctionResult> call(v1::FunctionCall call,
                                                        const CallOptions& options = {});
  // The same by name, for the result's payload alone. Errors, Cancel: as above.
  [[nodiscard]] absl::StatusOr<std::string> call(const std::string& function, std::string payload,
                                                 const CallOptions& options = {});

  // Those that are served, or were in the last 30 days.
  [[nodiscard]] absl::StatusOr<std::vector<v1::Function>> list(const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
