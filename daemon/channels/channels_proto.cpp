#include "daemon/channels/channels_proto.hpp"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

void set_extra(const MessageExtra& extra, v1::Record& record) {
  record.set_key(extra.key);
  if (!extra.dead) {
    record.set_id(extra.id);
    return;
  }
  v1::DeadLetter& dead = *record.mutable_dead();
  dead.set_channel(extra.dead->channel);
  dead.set_group(extra.dead->group);
  dead.set_seq(extra.dead->seq);
  dead.set_time_unix_nano(extra.dead->time_unix_nano);
  dead.set_deliveries(extra.dead->deliveries);
  dead.set_reason(extra.dead->reason);
}

void set_policy(const ChannelPolicy& policy, ChannelClass kind, v1::ChannelPolicy& proto) {
  if (kind == ChannelClass::kDurable) {
    set_ns(policy.age_ns(), *proto.mutable_retention_age());
    proto.set_retention_bytes(policy.bytes());
    proto.set_retention_drops_unsettled(policy.drops_unsettled());
  }
  set_ns(policy.window_ns(), *proto.mutable_dedup_window());
  proto.set_dedup_ids_max(policy.ids_max());
}

void set_consumer(const ConsumerInfo& info, v1::ChannelConsumer& proto) {
  proto.set_id(info.id);
  proto.set_pid(info.pid);
  proto.set_state(static_cast<v1::ConsumerState>(info.state));
  proto.set_since_unix_nano(info.since_unix_nano);
  proto.set_connected_unix_nano(info.connected_unix_nano);
  proto.set_delivered(info.delivered);
  proto.set_in_hand(info.in_hand);
  proto.set_oldest_seq(info.oldest_seq);
  proto.set_oldest_unix_nano(info.oldest_unix_nano);
  proto.set_there(info.there);
  proto.set_waits_for(info.waits_for);
  proto.set_key(info.key);
  proto.set_held_by(info.held_by);
  proto.set_until_unix_nano(info.until_unix_nano);
  proto.set_why(info.why);
  proto.set_sources(info.sources);
}

void set_follower(const FollowerInfo& info, v1::ChannelFollower& proto) {
  proto.set_id(info.id);
  proto.set_pid(info.pid);
  proto.set_state(static_cast<v1::FollowerState>(info.state));
  proto.set_since_unix_nano(info.since_unix_nano);
  proto.set_connected_unix_nano(info.connected_unix_nano);
  proto.set_delivered(info.delivered);
  proto.set_position(info.position);
  proto.set_lag(info.lag);
  proto.set_gone(info.gone);
  proto.set_missed(info.missed);
  proto.set_why(info.why);
  proto.set_sources(info.sources);
}

void set_responder(const ResponderInfo& info, v1::ChannelResponder& proto) {
  proto.set_id(info.id);
  proto.set_pid(info.pid);
  proto.set_state(static_cast<v1::ResponderState>(info.state));
  proto.set_since_unix_nano(info.since_unix_nano);
  proto.set_connected_unix_nano(info.connected_unix_nano);
  proto.set_delivered(info.delivered);
  proto.set_answered(info.answered);
  proto.set_in_hand(info.in_hand);
  proto.set_abandoned(info.abandoned);
  proto.set_oldest_unix_nano(info.oldest_unix_nano);
  proto.set_why(info.why);
}

template <typename Request>
absl::StatusOr<Settling> messages_of(const Request& request, Settling::Kind kind) {
  if (request.messages().empty() ||
      static_cast<size_t>(request.messages_size()) > kAckMessagesMax) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat(request.messages_size(), " messages in one request"),
                 {"messages",
                  "LIMIT",
                  absl::StrCat("ack_messages_max = ", kAckMessagesMax),
                  "name 1 to 10000 messages",
                  {}});
  }
  Settling settling;
  settling.kind = kind;
  for (const v1::Delivered& one : request.messages()) {
    settling.messages.push_back({one.seq(), one.delivery()});
  }
  return settling;
}

}  // namespace

absl::StatusOr<int64_t> to_ns(const google::protobuf::Duration& duration, const char* field,
                              int64_t max_ns) {
  const bool fits = duration.seconds() >= 0 && duration.nanos() >= 0 &&
                    duration.seconds() <= max_ns / kSecondNs && duration.nanos() < kSecondNs;
  const int64_t ns = fits ? duration.seconds() * kSecondNs + duration.nanos() : -1;
  if (ns >= 0 && ns <= max_ns) return ns;
  return fault(absl::StatusCode::kInvalidArgument,
               absl::StrCat(field, " is negative or over ", max_ns / kSecondNs, " seconds"),
               {field,
                "LIMIT",
                absl::StrCat(field, " is at most ", max_ns / kSecondNs, " s"),
                "use a shorter one",
                {}});
}

void set_ns(int64_t ns, google::protobuf::Duration& duration) {
  duration.set_seconds(ns / kSecondNs);
  duration.set_nanos(static_cast<int32_t>(ns % kSecondNs));
}

absl::StatusOr<std::vector<MessageExtraPtr>> extras_of(const v1::SendRequest& request) {
  std::vector<MessageExtraPtr> extras;
  if (request.keys().empty() && request.ids().empty()) return extras;
  const auto refused = [](const char* field, std::string what, std::string limit,
                          const char* cure) {
    return fault(absl::StatusCode::kInvalidArgument, std::move(what),
                 {field, "INVALID", std::move(limit), cure, {}});
  };
  for (const auto& [field, values] :
       {std::pair{"keys", &request.keys()}, {"ids", &request.ids()}}) {
    if (!values->empty() && values->size() != request.messages_size()) {
      return refused(
          field,
          absl::StrCat(values->size(), " ", field, " for ", request.messages_size(), " messages"),
          "", "give none, or one for each message");
    }
    for (const std::string& value : *values) {
      if (value.size() <= kKeyBytesMax) continue;
      return refused(field, absl::StrCat("one of the ", field, " has ", value.size(), " bytes"),
                     absl::StrCat("key_bytes_max = ", kKeyBytesMax), "use a shorter one");
    }
  }
  for (int i = 0; i < request.messages_size(); ++i) {
    MessageExtra extra;
    if (!request.keys().empty()) extra.key = request.keys(i);
    if (!request.ids().empty()) extra.id = request.ids(i);
    const bool plain = extra.key.empty() && extra.id.empty();
    extras.push_back(plain ? nullptr : std::make_shared<const MessageExtra>(std::move(extra)));
  }
  return extras;
}

v1::SendReply to_proto(const Accepted& accepted) {
  v1::SendReply reply;
  reply.set_accepted(accepted.count);
  reply.set_last_seq(accepted.last_seq);
  reply.set_duplicates(accepted.duplicates);
  return reply;
}

v1::ChannelGroup to_proto(const GroupInfo& info, const std::string& channel) {
  v1::ChannelGroup proto;
  proto.set_channel(channel);
  v1::GroupSpec& spec = *proto.mutable_spec();
  spec.set_name(info.spec.name);
  set_ns(info.spec.ack_wait_ns, *spec.mutable_ack_wait());
  spec.set_max_deliveries(info.spec.max_deliveries);
  spec.set_in_flight_max(info.spec.in_flight_max);
  proto.set_lag(info.lag);
  proto.set_in_hand(info.counts.in_hand);
  proto.set_ready(info.counts.ready);
  proto.set_delayed(info.counts.delayed);
  proto.set_parked(info.counts.parked);
  proto.set_dying(info.counts.dying);
  proto.set_acked(info.counts.acked);
  proto.set_redelivered(info.counts.redelivered);
  proto.set_dead(info.counts.dead);
  proto.set_lost(info.counts.lost);
  proto.set_floor(info.floor);
  proto.set_next_seq(info.head);
  proto.set_oldest_unacked(info.oldest_unacked);
  proto.set_consumers(static_cast<uint32_t>(info.consumers));
  proto.set_created_unix_nano(info.created_unix_nano);
  proto.set_why(info.why);
  for (const ConsumerInfo& one : info.attending) set_consumer(one, *proto.add_attending());
  return proto;
}

absl::StatusOr<GroupSpec> from_proto(const v1::GroupSpec& proto) {
  absl::StatusOr<int64_t> ack_wait = to_ns(proto.ack_wait(), "spec.ack_wait", kAckWaitNsMax);
  if (!ack_wait.ok()) return ack_wait.status();
  return GroupSpec{proto.name(), *ack_wait, proto.max_deliveries(), proto.in_flight_max()};
}

absl::StatusOr<Settling> from_proto(const v1::AckRequest& request, Settling::Kind kind) {
  return messages_of(request, kind);
}

absl::StatusOr<Settling> from_proto(const v1::ExtendRequest& request, Settling::Kind kind) {
  return messages_of(request, kind);
}

absl::StatusOr<Settling> from_proto(const v1::NackRequest& request, Settling::Kind kind) {
  absl::StatusOr<Settling> settling = messages_of(request, kind);
  if (!settling.ok()) return settling;
  absl::StatusOr<int64_t> delay = to_ns(request.delay(), "delay", kAckWaitNsMax);
  if (!delay.ok()) return delay.status();
  if (request.reason().size() > kNackReasonBytesMax) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("a reason of ", request.reason().size(), " bytes"),
                 {"reason",
                  "LIMIT",
                  absl::StrCat("nack_reason_bytes_max = ", kNackReasonBytesMax),
                  "say it in fewer words",
                  {}});
  }
  settling->delay_ns = *delay;
  settling->reason = request.reason().empty() ? "it was given back" : request.reason();
  return settling;
}

v1::AckReply to_proto(const Settled& settled) {
  v1::AckReply reply;
  reply.set_done(settled.done);
  for (const Settled::Refusal& refusal : settled.refused) {
    v1::AckRefusal& one = *reply.add_refused();
    one.set_seq(refusal.seq);
    one.set_reason(fault_detail(refusal.status)->reason);
    one.set_message(std::string(refusal.status.message()));
  }
  return reply;
}

v1::Channel to_proto(const ChannelInfo& info, const std::vector<GroupInfo>& groups) {
  v1::Channel proto;
  proto.set_id(info.id);
  v1::ChannelSpec& spec = *proto.mutable_spec();
  spec.set_name(info.spec.name);
  spec.set_capacity(info.spec.unbounded ? 0 : info.spec.capacity);
  spec.set_unbounded(info.spec.unbounded);
  spec.set_bytes_max(info.spec.bytes_max);
  spec.set_overflow(static_cast<v1::Overflow>(info.spec.overflow));
  spec.set_class_(static_cast<v1::ChannelClass>(info.spec.kind));
  spec.set_form(static_cast<v1::ChannelForm>(info.spec.form));
  if (info.spec.disk_bytes_max) spec.set_disk_bytes_max(*info.spec.disk_bytes_max);
  set_policy(info.spec.policy, info.spec.kind, *spec.mutable_policy());
  proto.set_closed(info.closed);
  proto.set_depth(info.depth);
  proto.set_bytes(info.bytes);
  proto.set_next_seq(info.next_seq);
  proto.set_sent(info.sent);
  proto.set_received(info.received);
  proto.set_dropped(info.dropped);
  proto.set_senders_waiting(info.senders_waiting);
  proto.set_receivers_waiting(info.receivers_waiting);
  proto.set_created_unix_nano(info.created_unix_nano);
  proto.set_first_seq(info.first_seq);
  proto.set_log_bytes(info.log_bytes);
  proto.set_disk_messages(info.disk_messages);
  proto.set_disk_bytes(info.disk_bytes);
  if (info.requests) {
    v1::RequestFigures& requests = *proto.mutable_requests();
    requests.set_responders(info.requests->responders);
    requests.set_waiting(info.requests->waiting);
    requests.set_in_hand(info.requests->in_hand);
    requests.set_answered(info.requests->answered);
    requests.set_late(info.requests->late);
  }
  proto.set_why(info.why);
  if (info.ring) {
    v1::RingFigures& ring = *proto.mutable_ring();
    ring.set_sender_pid(info.ring->sender_pid);
    ring.set_receiver_pid(info.ring->receiver_pid);
    ring.set_sender_since_unix_nano(info.ring->sender_since_unix_nano);
    ring.set_receiver_since_unix_nano(info.ring->receiver_since_unix_nano);
  }
  for (const ConsumerInfo& one : info.consumers) set_consumer(one, *proto.add_consumers());
  for (const FollowerInfo& one : info.followers) set_follower(one, *proto.add_followers());
  for (const ResponderInfo& one : info.responders) set_responder(one, *proto.add_responders());
  proto.set_receivers_connected(static_cast<uint32_t>(info.receivers_connected));
  proto.set_followers_connected(static_cast<uint32_t>(info.followers_connected));
  for (const GroupInfo& group : groups) *proto.add_groups() = to_proto(group, info.spec.name);
  return proto;
}

absl::StatusOr<ChannelPolicy> from_proto(const v1::ChannelPolicy& proto) {
  ChannelPolicy policy;
  if (proto.has_retention_age()) {
    absl::StatusOr<int64_t> age =
        to_ns(proto.retention_age(), "policy.retention_age", kRetentionAgeNsMax);
    if (!age.ok()) return age.status();
    policy.retention_age_ns = *age;
  }
  if (proto.has_retention_bytes()) policy.retention_bytes = proto.retention_bytes();
  if (proto.has_retention_drops_unsettled()) {
    policy.retention_drops_unsettled = proto.retention_drops_unsettled();
  }
  if (proto.has_dedup_window()) {
    absl::StatusOr<int64_t> window =
        to_ns(proto.dedup_window(), "policy.dedup_window", kDedupWindowNsMax);
    if (!window.ok()) return window.status();
    policy.dedup_window_ns = *window;
  }
  if (proto.has_dedup_ids_max()) policy.dedup_ids_max = proto.dedup_ids_max();
  return policy;
}

absl::StatusOr<ChannelSpec> from_proto(const v1::ChannelSpec& proto) {
  ChannelSpec spec;
  spec.name = proto.name();
  spec.capacity = proto.capacity();
  spec.unbounded = proto.unbounded();
  spec.bytes_max = proto.bytes_max();
  if (proto.has_disk_bytes_max()) spec.disk_bytes_max = proto.disk_bytes_max();
  if (proto.overflow() != v1::OVERFLOW_UNSPECIFIED) {
    if (!v1::Overflow_IsValid(proto.overflow())) {
      return fault(absl::StatusCode::kInvalidArgument, "this overflow is not known",
                   {"spec.overflow", "INVALID", "", "use block, error or drop_oldest", {}});
    }
    spec.overflow = static_cast<Overflow>(proto.overflow());
  }
  if (proto.class_() != v1::CHANNEL_CLASS_UNSPECIFIED) {
    if (!v1::ChannelClass_IsValid(proto.class_())) {
      return fault(absl::StatusCode::kInvalidArgument, "this class is not known",
                   {"spec.class", "INVALID", "", "use memory or durable", {}});
    }
    spec.kind = static_cast<ChannelClass>(proto.class_());
  }
  if (proto.form() != v1::CHANNEL_FORM_UNSPECIFIED) {
    if (!v1::ChannelForm_IsValid(proto.form())) {
      return fault(
          absl::StatusCode::kInvalidArgument, "this form is not known",
          {"spec.form", "INVALID", "", "use queue, latest, broadcast, request or ring", {}});
    }
    spec.form = static_cast<ChannelForm>(proto.form());
  }
  absl::StatusOr<ChannelPolicy> policy = from_proto(proto.policy());
  if (!policy.ok()) return policy.status();
  spec.policy = *policy;
  return spec;
}

v1::RecvBatch to_proto(Delivery delivery) {
  v1::RecvBatch batch;
  for (size_t i = 0; i < delivery.messages.size(); ++i) {
    Message& message = delivery.messages[i];
    v1::Record& record = *batch.add_records();
    if (!delivery.deliveries.empty()) record.set_delivery(delivery.deliveries[i]);
    if (message.extra) set_extra(*message.extra, record);
    record.set_seq(message.seq);
    record.set_time_unix_nano(message.time_unix_nano);
    record.set_data(std::move(message.data));
    record.set_trace(std::move(message.trace));
  }
  if (delivery.gap) {
    batch.mutable_gap()->set_from(delivery.gap->from);
    batch.mutable_gap()->set_to(delivery.gap->to);
    batch.mutable_gap()->set_reason(
        std::string(segment_log::gap_reason_name(delivery.gap->reason)));
    batch.mutable_gap()->set_bytes(delivery.gap->bytes);
  }
  batch.set_closed(delivery.closed);
  if (delivery.origin) {
    batch.set_channel(std::move(delivery.origin->channel));
    batch.set_source(delivery.origin->source);
    batch.set_sources_left(delivery.origin->left);
  }
  return batch;
}

}  // namespace zsync::daemon
