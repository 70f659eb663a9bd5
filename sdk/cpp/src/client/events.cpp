#include "zsync/client/events.hpp"

#include "connection.hpp"
#include "zsync/client/daemon.hpp"
#include "zsync/v1/events.grpc.pb.h"

namespace zsync::client {

absl::Status Events::follow(const v1::FollowEventsRequest& request, const BatchCallback& callback,
                            const CallOptions& options) {
  const internal::Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<v1::Events::Stub> stub = v1::Events::NewStub(connection_.channel());
  v1::FollowEventsRequest next = request;
  if (next.from_seq() == 0 && connection_.options().resume) {
    // "From now on" must be a number, or what happens during a restart would be a silent hole.
    const absl::StatusOr<v1::DaemonStats> stats = Daemon(connection_).stats(options);
    if (!stats.ok()) return stats.status();
    next.set_from_seq(stats->event_seq() + 1);
  }
  return connection_.resuming(bounds, [&](bool& progressed) {
    internal::Try call(bounds);
    auto reader = stub->Follow(&call.context(), next);
    return internal::read_all<grpc::ClientReader<v1::EventBatch>, v1::EventBatch>(
        call, *reader, [&](const v1::EventBatch& batch) {
          progressed = true;
          if (batch.has_gap()) next.set_from_seq(batch.gap().to() + 1);
          if (batch.events_size() > 0) next.set_from_seq(batch.events().rbegin()->seq() + 1);
          return callback(batch);
        });
  });
}

}  // namespace zsync::client
