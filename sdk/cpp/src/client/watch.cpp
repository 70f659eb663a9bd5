#include "zsync/client/watch.hpp"

#include "connection.hpp"
#include "zsync/v1/watch.grpc.pb.h"

namespace zsync::client {

using Stub = v1::Watch::Stub;

absl::Status Watch::subscribe(const v1::SubscribeWatchRequest& request,
                              const BatchCallback& callback, const CallOptions& options) {
  const internal::Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<Stub> stub = v1::Watch::NewStub(connection_.channel());
  v1::SubscribeWatchRequest next = request;
  return connection_.resuming(bounds, [&](bool& progressed) {
    internal::Try call(bounds);
    auto reader = stub->Subscribe(&call.context(), next);
    return internal::read_all<grpc::ClientReader<v1::WatchBatch>, v1::WatchBatch>(
        call, *reader, [&](const v1::WatchBatch& batch) {
          progressed = true;
          if (!batch.clock().empty()) next.set_since(batch.clock());
          return callback(batch);
        });
  });
}

absl::StatusOr<v1::WatchBatch> Watch::query(const v1::QueryWatchRequest& request,
                                            const CallOptions& options) {
  const internal::Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<Stub> stub = v1::Watch::NewStub(connection_.channel());
  v1::WatchBatch whole;
  absl::Status status = connection_.resuming(bounds, [&](bool&) {
    whole.Clear();
    internal::Try call(bounds);
    auto reader = stub->Query(&call.context(), request);
    return internal::read_all<grpc::ClientReader<v1::WatchBatch>, v1::WatchBatch>(
        call, *reader, [&](const v1::WatchBatch& part) {
          whole.MergeFrom(part);
          return true;
        });
  });
  if (!status.ok()) return status;
  return whole;
}

absl::Status Watch::leave_state(const std::string& hold, const CallOptions& options) {
  const std::unique_ptr<Stub> stub = v1::Watch::NewStub(connection_.channel());
  v1::LeaveStateRequest request;
  request.set_hold(hold);
  return internal::unary(connection_, *stub, &Stub::LeaveState, request, options,
                         internal::Repeat::kNever)
      .status();
}

absl::Status Watch::hold_state(const v1::HoldStateRequest& request, const HeldCallback& held,
                               const CallOptions& options) {
  const internal::Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<Stub> stub = v1::Watch::NewStub(connection_.channel());
  return connection_.resuming(bounds, [&](bool& progressed) {
    internal::Try call(bounds);
    auto reader = stub->HoldState(&call.context(), request);
    return internal::read_all<grpc::ClientReader<v1::HoldStateReply>, v1::HoldStateReply>(
        call, *reader, [&](const v1::HoldStateReply& reply) {
          progressed = true;
          return held(reply);
        });
  });
}

absl::StatusOr<v1::ListWatchesReply> Watch::list(const CallOptions& options) {
  const std::unique_ptr<Stub> stub = v1::Watch::NewStub(connection_.channel());
  return internal::unary(connection_, *stub, &Stub::List, v1::ListWatchesRequest(), options,
                         internal::Repeat::kSafe);
}

absl::StatusOr<v1::WatchUsageReply> Watch::usage(const CallOptions& options) {
  const std::unique_ptr<Stub> stub = v1::Watch::NewStub(connection_.channel());
  return internal::unary(connection_, *stub, &Stub::Usage, v1::WatchUsageRequest(), options,
                         internal::Repeat::kSafe);
}

}  // namespace zsync::client
