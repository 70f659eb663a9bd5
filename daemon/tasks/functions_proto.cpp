#include "daemon/tasks/functions_proto.hpp"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

}  // namespace

FunctionCall from_proto(v1::FunctionCall proto) {
  FunctionCall call;
  call.name = std::move(*proto.mutable_name());
  call.payload = std::move(*proto.mutable_payload());
  call.content_type = std::move(*proto.mutable_content_type());
  call.wait_for_worker = proto.wait_for_worker();
  call.payload_bytes = call.payload.size();
  return call;
}

void to_proto(const FunctionCall& call, v1::FunctionCall& proto) {
  proto.set_name(call.name);
  proto.set_content_type(call.content_type);
  proto.set_wait_for_worker(call.wait_for_worker);
  proto.set_payload_bytes(call.payload_bytes);
}

FunctionResult from_proto(v1::CallAnswer proto) {
  FunctionResult result;
  result.failed = proto.has_error();
  if (result.failed) {
    result.error_code = std::move(*proto.mutable_error()->mutable_code());
    result.error_message = std::move(*proto.mutable_error()->mutable_message());
    result.permanent = proto.error().permanent();
    return result;
  }
  result.payload = std::move(*proto.mutable_payload());
  result.content_type = std::move(*proto.mutable_content_type());
  return result;
}

void to_proto(const FunctionResult& result, v1::FunctionResult& proto) {
  if (result.failed) {
    proto.mutable_error()->set_code(result.error_code);
    proto.mutable_error()->set_message(result.error_message);
    proto.mutable_error()->set_permanent(result.permanent);
    return;
  }
  proto.set_content_type(result.content_type);
  proto.set_payload(result.payload);
}

v1::Function to_proto(const FunctionRecord& record) {
  v1::Function proto;
  proto.set_name(record.name);
  proto.set_workers(record.counts.workers);
  proto.set_places(record.counts.places);
  proto.set_queued(record.queued);
  proto.set_running(record.counts.held);
  proto.set_waiting(record.waiting);
  proto.set_served_unix_nano(record.served_unix_nano);
  return proto;
}

v1::ServeReply to_proto(WorkerNews news) {
  v1::ServeReply reply;
  for (HandedCall& call : news.calls) {
    v1::HandedCall& proto = *reply.add_calls();
    proto.set_call(call.call);
    proto.set_task_id(std::move(call.task_id));
    proto.set_attempt(call.attempt);
    proto.set_payload(call.what->payload);
    proto.set_content_type(call.what->content_type);
    proto.set_deadline_unix_nano(call.deadline_unix_nano);
    proto.set_traceparent(std::move(call.traceparent));
  }
  for (uint64_t call : news.canceled) reply.add_canceled(call);
  for (RefusedAnswer& refused : news.refused) {
    v1::RefusedAnswer& proto = *reply.add_refused();
    proto.set_call(refused.call);
    proto.set_reason(std::move(refused.reason));
  }
  reply.set_drained(news.drained);
  return reply;
}

absl::StatusOr<int64_t> to_ns(const google::protobuf::Duration& duration, const char* field,
                              int64_t min_ns, int64_t max_ns) {
  const bool fits = duration.seconds() >= 0 && duration.nanos() >= 0 &&
                    duration.seconds() <= max_ns / kSecondNs && duration.nanos() < kSecondNs;
  const int64_t ns = fits ? duration.seconds() * kSecondNs + duration.nanos() : -1;
  if (ns >= min_ns && ns <= max_ns) return ns;
  return fault(absl::StatusCode::kInvalidArgument,
               absl::StrCat(field, " is not between ", min_ns, " and ", max_ns, " ns"),
               {field,
                "LIMIT",
                absl::StrCat(field, " = ", min_ns, "..", max_ns, " ns"),
                "give one within",
                {}});
}

}  // namespace zsync::daemon
