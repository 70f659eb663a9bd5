// Diagnostics: what the tools that tasks ran have said about places of files.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/v1/diagnostics.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// Errors, Cancel, Threads, Lifetime: as Tasks.
class Diagnostics {
 public:
  // Called once a batch, in order; false ends the call well.
  using BatchCallback = std::function<bool(const v1::DiagnosticSetBatch&)>;

  // Use Client::diagnostics().
  explicit Diagnostics(internal::Connection& connection) : connection_(connection) {}

  // All sets that pass the filter, page after page, in one reply. What a task printed is in them
  // once it has ended.
  [[nodiscard]] absl::StatusOr<v1::ListDiagnosticsReply> list(
      const v1::DiagnosticFilter& filter = {}, const CallOptions& options = {});
  // First the sets that are there, then each that changed, as it is by then. Resumable: after a
  // restart of the daemon a batch with `reset` begins anew with what is there.
  [[nodiscard]] absl::Status subscribe(const v1::DiagnosticFilter& filter,
                                       const BatchCallback& callback,
                                       const CallOptions& options = {});

 private:
  internal::Connection& connection_;
};

}  // namespace zsync::client
