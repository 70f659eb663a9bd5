#include "daemon/channels/channel_group.hpp"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "daemon/channels/named_channel.hpp"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

absl::Status over_limit(const char* field, std::string what, std::string limit, std::string cure) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(what),
               {field, "LIMIT", std::move(limit), std::move(cure), {}});
}

std::string plural(uint64_t count, const char* noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

absl::StatusOr<GroupSpec> complete_group(GroupSpec spec) {
  if (absl::Status named = validate_channel_name(spec.name, "spec.name"); !named.ok()) return named;
  if (spec.ack_wait_ns == 0) spec.ack_wait_ns = kAckWaitNs;
  if (spec.max_deliveries == 0) spec.max_deliveries = kMaxDeliveries;
  if (spec.in_flight_max == 0) spec.in_flight_max = kInFlight;
  if (spec.ack_wait_ns < kAckWaitNsMin || spec.ack_wait_ns > kAckWaitNsMax) {
    return over_limit(
        "spec.ack_wait",
        absl::StrCat("an ack wait of ", absl::FormatDuration(absl::Nanoseconds(spec.ack_wait_ns))),
        "ack_wait is 10ms to 12h", "use one between them, and extend longer work");
  }
  if (spec.max_deliveries > kMaxDeliveriesMax) {
    return over_limit("spec.max_deliveries",
                      absl::StrCat(spec.max_deliveries, " deliveries of a message"),
                      absl::StrCat("max_deliveries_max = ", kMaxDeliveriesMax), "use fewer");
  }
  if (spec.in_flight_max > kInFlightMax) {
    return over_limit("spec.in_flight_max",
                      absl::StrCat(spec.in_flight_max, " messages in flight to one consumer"),
                      absl::StrCat("in_flight_max_max = ", kInFlightMax),
                      "use fewer, or more consumers");
  }
  return spec;
}

absl::Status refusal_of(ConsumerGroup::Verdict verdict, const std::string& channel,
                        const ConsumerGroup& group, ConsumerGroup::Handed meant) {
  const std::string which = absl::StrCat("message ", meant.seq, " of channel \"", channel,
                                         "\", group \"", group.spec().name, "\", ");
  const auto refused = [&](std::string what, const char* reason, std::string hint) {
    return fault(absl::StatusCode::kFailedPrecondition, which + std::move(what),
                 {"messages", reason, "", std::move(hint), {}});
  };
  switch (verdict) {
    case ConsumerGroup::Verdict::kDone:
      break;
    case ConsumerGroup::Verdict::kFuture:
      return fault(
          absl::StatusCode::kInvalidArgument,
          which + (meant.delivery ? absl::StrCat("was not delivered for time ", meant.delivery)
                                  : std::string("was not delivered yet")),
          {"messages",
           "NOT_DELIVERED",
           "",
           "acknowledge what was received, with its delivery",
           {}});
    case ConsumerGroup::Verdict::kSettled:
      return refused(absl::StrCat("is settled already: acknowledged, moved to \"", channel,
                                  kDeadSuffix, "\", or lost"),
                     "SETTLED", "nothing is left to do");
    case ConsumerGroup::Verdict::kRedelivered:
      return refused(absl::StrCat("was delivered again since delivery ", meant.delivery),
                     "REDELIVERED", "leave it to the other one; extend what takes longer");
    case ConsumerGroup::Verdict::kReturned:
      return refused("is in nobody's hands: its ack wait is over, or its consumer has gone",
                     "RETURNED", "it will be delivered again; extend what takes longer");
    case ConsumerGroup::Verdict::kDying:
      return refused(absl::StrCat("was delivered as often as allowed and goes to \"", channel,
                                  kDeadSuffix, "\""),
                     "DEAD", "find it there");
  }
  return absl::OkStatus();
}

std::string NamedChannel::why(const ChannelGroup& group, const GroupInfo& info) {
  const ConsumerGroup::Counts& counts = info.counts;
  if (counts.dying > 0 && !dead_letters_blamed_.empty()) {
    return absl::StrCat(plural(counts.dying, "message"), " cannot be moved to \"", spec_.name,
                        kDeadSuffix, "\": ", dead_letters_blamed_);
  }
  if (info.lag == 0) {
    return closed_ ? "the channel is closed and everything is settled"
                   : "everything sent so far is settled";
  }
  if (info.consumers == 0) {
    return absl::StrCat("no consumer is connected for ", plural(info.lag, "unsettled message"));
  }
  const uint64_t unseen = queue_.next_seq() - std::min(queue_.next_seq(), info.head);
  if (unseen + counts.ready > 0) {
    const auto at_limit = [&](const auto& one) {
      return group.state.in_hand(one.first) >= info.spec.in_flight_max;
    };
    const bool all_at_limit =
        std::all_of(group.attendances.begin(), group.attendances.end(), at_limit);
    if (all_at_limit) {
      return absl::StrCat("every consumer has in_flight_max = ", info.spec.in_flight_max,
                          " unacknowledged messages; the oldest is ", info.oldest_unacked);
    }
    return absl::StrCat("consumers are being given ", plural(unseen + counts.ready, "message"),
                        ", or ask for none");
  }
  if (counts.in_hand > 0) {
    return absl::StrCat(plural(counts.in_hand, "message"),
                        " in consumers' hands without an acknowledgement; the oldest is ",
                        info.oldest_unacked);
  }
  return absl::StrCat(plural(counts.delayed, "message"), " will be delivered again after a delay");
}

GroupInfo NamedChannel::info_of(const ChannelGroup& group) {
  GroupInfo info;
  info.spec = group.state.spec();
  info.created_unix_nano = group.created_unix_nano;
  info.counts = group.state.counts();
  info.lag = group.state.lag(queue_.next_seq());
  info.floor = group.state.floor();
  info.head = group.state.head();
  info.oldest_unacked = group.state.oldest_unacked();
  info.consumers = group.state.consumers();
  info.why = why(group, info);
  return info;
}

std::optional<GroupInfo> NamedChannel::group_info(const std::string& name) {
  rt::LockGuard guard(lock_);
  std::shared_ptr<ChannelGroup> group = group_named(name);
  if (!group) return std::nullopt;
  return info_of(*group);
}

std::vector<GroupInfo> NamedChannel::groups_info(bool consumers) {
  rt::LockGuard guard(lock_);
  std::vector<GroupInfo> infos;
  for (const auto& [name, group] : groups_) {
    infos.push_back(info_of(*group));
    if (consumers) fill_consumers(*group, infos.back());
  }
  return infos;
}

}  // namespace zsync::daemon
