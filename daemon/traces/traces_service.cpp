#include "daemon/traces/traces_service.hpp"

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/events/event_log.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/bridge.hpp"
#include "daemon/traces/traces.hpp"
#include "zsync/spawn.hpp"
#include "zsync/v1/traces.grpc.pb.h"

namespace zsync::daemon {
namespace {

constexpr uint32_t kListDefault = 20;
constexpr uint32_t kListMax = 1000;
constexpr int64_t kNanos = 1'000'000'000;

int64_t unix_nano_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

void set_duration(google::protobuf::Duration& proto, int64_t nanos) {
  proto.set_seconds(nanos / kNanos);
  proto.set_nanos(static_cast<int32_t>(nanos % kNanos));
}

void to_proto(const TraceSummary& summary, int64_t now, v1::TraceSummary& proto) {
  proto.set_id(summary.id.to_hex());
  proto.set_name(summary.name);
  proto.set_task(summary.task);
  proto.set_start_unix_nano(summary.start_unix_nano);
  const int64_t end = summary.open > 0 ? now : summary.end_unix_nano;
  set_duration(*proto.mutable_duration(), std::max<int64_t>(0, end - summary.start_unix_nano));
  proto.set_tasks(summary.tasks);
  proto.set_open(summary.open);
  proto.set_failed(summary.failed);
}

std::string text_of(const trace::AttributeValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<int64_t>(&value)) return absl::StrCat(*number);
  return absl::StrCat(std::get<double>(value));
}

void to_proto(const trace::SpanRecord& span, v1::Span& proto) {
  proto.set_id(span.context.span_id.to_hex());
  if (span.parent.valid()) proto.set_parent_id(span.parent.to_hex());
  proto.set_name(span.name);
  proto.set_start_unix_nano(span.start_unix_nanos);
  set_duration(*proto.mutable_duration(), span.duration.count());
  proto.set_failed(span.status == trace::SpanStatus::error);
  proto.set_message(span.status_message);
  for (const auto& [name, value] : span.attributes) {
    if (name == "open") {
      proto.set_open(true);
    } else {
      (*proto.mutable_attributes())[name] = text_of(value);
    }
  }
}

absl::StatusOr<v1::ListTracesReply> list(const EventLog& log, uint32_t limit) {
  TraceIndex index;
  absl::Status read = read_events(log.dir(), log.last_seq(), index);
  if (!read.ok()) return read;
  const int64_t now = unix_nano_now();
  v1::ListTracesReply reply;
  for (const TraceSummary& summary : index.latest(limit)) {
    to_proto(summary, now, *reply.add_traces());
  }
  return reply;
}

absl::StatusOr<v1::Trace> get(const EventLog& log, const std::string& word) {
  const uint64_t last_seq = log.last_seq();
  TraceIndex index;
  absl::Status read = read_events(log.dir(), last_seq, index);
  if (!read.ok()) return read;
  absl::StatusOr<TraceSummary> summary = index.find(word);
  if (!summary.ok()) return summary.status();
  TraceSpans spans(summary->id);
  read = read_events(log.dir(), last_seq, spans);
  if (!read.ok()) return read;
  const int64_t now = unix_nano_now();
  v1::Trace trace;
  to_proto(*summary, now, *trace.mutable_summary());
  for (const trace::SpanRecord& span : spans.spans(now)) to_proto(span, *trace.add_spans());
  return trace;
}

class Service final : public v1::Traces::CallbackService {
 public:
  Service(CallGate& gate, EventLog& events) : gate_(gate), events_(events) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListTracesRequest* request,
                                 v1::ListTracesReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::ListTracesRequest asked) {
                        return answer_list(events_, asked.limit());
                      });
  }

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context,
                                const v1::GetTraceRequest* request, v1::Trace* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::GetTraceRequest asked) {
                        return answer_get(events_, std::move(*asked.mutable_id()));
                      });
  }

 private:
  static Task<absl::StatusOr<v1::ListTracesReply>> answer_list(EventLog& log, uint32_t limit) {
    if (limit > kListMax) {
      co_return fault(absl::StatusCode::kInvalidArgument,
                      absl::StrCat("limit: ", limit, " is over ", kListMax),
                      {"limit",
                       "TOO_MANY",
                       absl::StrCat("traces_listed_max = ", kListMax),
                       "ask for fewer",
                       {}});
    }
    const uint32_t count = limit ? limit : kListDefault;
    co_return co_await rt::call_blocking([&log, count] { return list(log, count); });
  }

  static Task<absl::StatusOr<v1::Trace>> answer_get(EventLog& log, std::string word) {
    co_return co_await rt::call_blocking([&log, word] { return get(log, word); });
  }

  CallGate& gate_;
  EventLog& events_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_traces_service(CallGate& gate, EventLog& events) {
  return std::make_unique<Service>(gate, events);
}

}  // namespace zsync::daemon
