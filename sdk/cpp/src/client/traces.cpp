#include "zsync/client/traces.hpp"

#include "connection.hpp"
#include "zsync/v1/traces.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Repeat;
using Stub = v1::Traces::Stub;

}  // namespace

absl::StatusOr<std::vector<v1::TraceSummary>> Traces::list(std::uint32_t limit,
                                                           const CallOptions& options) {
  v1::ListTracesRequest request;
  request.set_limit(limit);
  absl::StatusOr<v1::ListTracesReply> reply =
      unary(connection_, *v1::Traces::NewStub(connection_.channel()), &Stub::List, request, options,
            Repeat::kSafe);
  if (!reply.ok()) return reply.status();
  return std::vector<v1::TraceSummary>(reply->traces().begin(), reply->traces().end());
}

absl::StatusOr<v1::Trace> Traces::get(const std::string& id, const CallOptions& options) {
  v1::GetTraceRequest request;
  request.set_id(id);
  return unary(connection_, *v1::Traces::NewStub(connection_.channel()), &Stub::Get, request,
               options, Repeat::kSafe);
}

}  // namespace zsync::client
