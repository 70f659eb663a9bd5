#include "zsync/client/diagnostics.hpp"

#include <utility>

#include "connection.hpp"
#include "zsync/v1/diagnostics.grpc.pb.h"

namespace zsync::client {

using Stub = v1::Diagnostics::Stub;

absl::StatusOr<v1::ListDiagnosticsReply> Diagnostics::list(const v1::DiagnosticFilter& filter,
                                                           const CallOptions& options) {
  const std::unique_ptr<Stub> stub = v1::Diagnostics::NewStub(connection_.channel());
  v1::ListDiagnosticsRequest request;
  *request.mutable_filter() = filter;
  v1::ListDiagnosticsReply whole;
  while (true) {
    absl::StatusOr<v1::ListDiagnosticsReply> reply =
        internal::unary(connection_, *stub, &Stub::List, request, options, internal::Repeat::kSafe);
    if (!reply.ok()) return reply.status();
    for (v1::DiagnosticSet& set : *reply->mutable_sets()) *whole.add_sets() = std::move(set);
    whole.set_left_out(reply->left_out());
    if (reply->next_page_token().empty()) return whole;
    request.set_page_token(reply->next_page_token());
  }
}

absl::Status Diagnostics::subscribe(const v1::DiagnosticFilter& filter,
                                    const BatchCallback& callback, const CallOptions& options) {
  const internal::Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<Stub> stub = v1::Diagnostics::NewStub(connection_.channel());
  v1::SubscribeDiagnosticsRequest request;
  *request.mutable_filter() = filter;
  return connection_.resuming(bounds, [&](bool& progressed) {
    internal::Try call(bounds);
    auto reader = stub->Subscribe(&call.context(), request);
    return internal::read_all<grpc::ClientReader<v1::DiagnosticSetBatch>, v1::DiagnosticSetBatch>(
        call, *reader, [&](const v1::DiagnosticSetBatch& batch) {
          progressed = true;
          return callback(batch);
        });
  });
}

}  // namespace zsync::client
