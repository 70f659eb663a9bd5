#include "daemon/events/events_service.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "daemon/events/event_log.hpp"
#include "daemon/rpc/bridge.hpp"
#include "zsync/v1/events.grpc.pb.h"

namespace zsync::daemon {
namespace {

bool wanted(const v1::FollowEventsRequest& request, const std::string& type) {
  return request.types().empty() ||
         std::any_of(request.types().begin(), request.types().end(),
                     [&type](const std::string& prefix) { return absl::StartsWith(type, prefix); });
}

void add_event(v1::EventBatch& batch, Event event) {
  v1::Event& proto = *batch.add_events();
  proto.set_seq(event.seq);
  proto.set_time_unix_nano(event.time_unix_nano);
  proto.set_type(std::move(event.type));
  proto.set_subject(std::move(event.subject));
  proto.set_trace(std::move(event.trace));
  proto.mutable_attributes()->insert(event.attributes.begin(), event.attributes.end());
}

Task<absl::Status> send_records(const v1::FollowEventsRequest& request,
                                const segment_log::Batch& records,
                                StreamWriter<v1::EventBatch>& out) {
  v1::EventBatch batch;
  for (const segment_log::Record& record : records.records) {
    if (record.gap) {
      if (batch.events_size() > 0) {
        if (absl::Status status = co_await out.write(std::move(batch)); !status.ok())
          co_return status;
        batch = v1::EventBatch();
      }
      batch.mutable_gap()->set_from(record.gap->from);
      batch.mutable_gap()->set_to(record.gap->to);
      batch.mutable_gap()->set_reason(
          std::string(segment_log::gap_reason_name(record.gap->reason)));
      batch.mutable_gap()->set_bytes(record.gap->bytes);
      if (absl::Status status = co_await out.write(std::move(batch)); !status.ok())
        co_return status;
      batch = v1::EventBatch();
      continue;
    }
    std::optional<Event> event = decode_event(record);
    if (event && wanted(request, event->type)) add_event(batch, std::move(*event));
  }
  if (batch.events_size() == 0) co_return absl::OkStatus();
  co_return co_await out.write(std::move(batch));
}

Task<absl::Status> follow(EventLog& log, v1::FollowEventsRequest request,
                          StreamWriter<v1::EventBatch>& out) {
  const uint64_t from = request.from_seq() ? request.from_seq() : log.last_seq() + 1;
  absl::StatusOr<segment_log::Reader> reader = segment_log::Reader::open(log.dir(), from);
  if (!reader.ok()) co_return reader.status();
  while (true) {
    const uint64_t seen = log.appended().epoch();
    absl::StatusOr<segment_log::Batch> batch = reader->read();
    if (!batch.ok()) co_return batch.status();
    if (absl::Status status = co_await send_records(request, *batch, out); !status.ok()) {
      co_return status;
    }
    if (!batch->at_end) continue;
    if (!request.follow()) co_return absl::OkStatus();
    co_await log.appended().changed(seen);
  }
}

class Service final : public v1::Events::CallbackService {
 public:
  Service(CallGate& gate, EventLog& events) : gate_(gate), events_(events) {}

  grpc::ServerWriteReactor<v1::EventBatch>* Follow(
      grpc::CallbackServerContext* context, const v1::FollowEventsRequest* request) override {
    return stream_call<v1::FollowEventsRequest, v1::EventBatch>(
        gate_, context, request,
        [this](CallContext, v1::FollowEventsRequest request, StreamWriter<v1::EventBatch>& out) {
          return follow(events_, std::move(request), out);
        });
  }

 private:
  CallGate& gate_;
  EventLog& events_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_events_service(CallGate& gate, EventLog& events) {
  return std::make_unique<Service>(gate, events);
}

}  // namespace zsync::daemon
