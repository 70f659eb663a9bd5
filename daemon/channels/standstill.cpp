// Why nothing comes to those who receive from a NamedChannel, in state and words.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/receivers.hpp"
#include "daemon/channels/words.hpp"

namespace zsync::daemon {
namespace {

std::string there(const ConsumerInfo& info) {
  return info.there > 0 ? absl::StrCat(are(info.there), " there for it")
                        : "nothing is there for it";
}

std::string oldest(const ConsumerInfo& info, int64_t now) {
  if (info.oldest_seq == 0) return "";
  return absl::StrCat("; the oldest is ", info.oldest_seq, ", for ",
                      length_of(now - info.oldest_unix_nano));
}

// What its call waits for, if not for the channel.
bool tell_phase(Phase phase, int64_t now, ConsumerInfo& info) {
  const std::string since = length_of(now - info.since_unix_nano);
  switch (phase) {
    case Phase::kWaiting:
      return false;
    case Phase::kNoCredit:
      info.state = ConsumerState::kNoCredit;
      info.why = absl::StrCat("its client has asked for no more for ", since, " and has ",
                              messages(info.in_hand), " in hand; ", there(info));
      return true;
    case Phase::kSending:
      info.state = ConsumerState::kNotReading;
      info.why = absl::StrCat("its client has not read what was sent to it for ", since, "; ",
                              there(info));
      return true;
    case Phase::kDisk:
      info.state = ConsumerState::kDisk;
      info.why = absl::StrCat("the disk is busy with what it is given next, for ", since);
      return true;
    case Phase::kLast:
      info.state = ConsumerState::kLast;
      info.why = absl::StrCat("it had the last message that it asked for ", since, " ago; ",
                              are(info.in_hand), " not confirmed");
      return true;
  }
  return false;
}

void tell_empty(bool closed, int64_t now, ConsumerInfo& info) {
  const std::string since = length_of(now - info.since_unix_nano);
  info.state = closed ? ConsumerState::kDrained : ConsumerState::kEmpty;
  info.why = closed ? "the channel is closed and nothing is left: its call ends"
                    : absl::StrCat("nothing is left to receive, for ", since);
}

void tell_ready(ConsumerInfo& info) {
  info.state = ConsumerState::kReceiving;
  info.why = absl::StrCat(are(info.there), " on the way to it");
}

std::string line_holder(const ConsumerGroup::Line& line, uint64_t self) {
  const std::string first = absl::StrCat("message ", line.first, " of key \"", line.key, "\" is ");
  if (line.holder == self) return first + "in its own hands";
  if (line.holder != 0) return absl::StrCat(first, "in the hands of consumer ", line.holder);
  if (line.delayed) return first + "waiting for its delay";
  if (line.dying) return first + "on its way to the dead letters";
  return first + "waiting for a consumer";
}

}  // namespace

void NamedChannel::fill_consumers(ChannelInfo& info) {
  const int64_t now = clock_();
  const uint64_t waiting = queue_.waiting();
  info.receivers_connected = receivers_.size();
  for (const auto& [id, receiver] : receivers_) {
    if (info.consumers.size() == kAttendingMax) break;
    ConsumerInfo& one = info.consumers.emplace_back(receiver->attendance_.info());
    one.id = id;
    one.in_hand = receiver->in_hand_.size();
    if (one.in_hand > 0) {
      one.oldest_seq = receiver->in_hand_.front();
      one.oldest_unix_nano = receiver->hand_since_;
    }
    one.there = waiting;
    if (tell_phase(receiver->attendance_.phase(), now, one)) continue;
    if (waiting > 0) {
      tell_ready(one);
    } else if (queue_.held() == 0 || (closed_ && queue_.held() == one.in_hand)) {
      tell_empty(closed_, now, one);
    } else if (queue_.held() == one.in_hand) {
      one.state = ConsumerState::kOutstanding;
      one.waits_for = one.in_hand;
      one.why = absl::StrCat("all that is left, ", messages(one.in_hand),
                             ", is in its own hands, and it has confirmed none for ",
                             length_of(now - one.oldest_unix_nano));
    } else {
      one.state = ConsumerState::kOthersHold;
      one.waits_for = queue_.held() - one.in_hand;
      one.why = absl::StrCat(messages(one.waits_for), " in the hands of other receivers",
                             closed_ ? " of the closed channel" : "",
                             ": what they do not confirm comes back");
    }
  }
  if (spec_.form != ChannelForm::kQueue || !groups_.empty()) return;
  if (queue_.held() == 0) {
    info.why = closed_ ? "closed, and everything was received" : "everything sent was received";
  } else if (receivers_.empty()) {
    info.why = absl::StrCat("no receiver is connected for ", messages(queue_.held()));
  } else {
    info.why = absl::StrCat(messages(waiting), " waiting, ", messages(queue_.held() - waiting),
                            " in receivers' hands");
  }
}

void NamedChannel::fill_consumers(const ChannelGroup& group, GroupInfo& info) {
  using Standstill = ConsumerGroup::Standstill;
  const int64_t now = clock_();
  const int64_t to_unix = now - monotonic();
  std::optional<ConsumerGroup::Line> line;
  if (info.counts.parked > 0) line = group.state.a_line();
  for (const auto& [id, attendance] : group.attendances) {
    if (info.attending.size() == kAttendingMax) break;
    ConsumerInfo& one = info.attending.emplace_back(attendance->info());
    one.id = id;
    const ConsumerGroup::Hands hands = group.state.hands(id);
    one.in_hand = hands.count;
    one.oldest_seq = hands.oldest;
    if (hands.count > 0) one.oldest_unix_nano = hands.since + to_unix;
    const Standstill still = group.state.standstill(id, queue_.next_seq());
    if (still.cause == Standstill::kNone || still.cause == Standstill::kInFlightMax) {
      one.there = info.counts.ready + queue_.next_seq() - std::min(queue_.next_seq(), info.head);
    }
    if (tell_phase(attendance->phase(), now, one)) continue;
    one.waits_for = still.cause == Standstill::kNone ? 0 : still.count;
    if (still.until) one.until_unix_nano = *still.until + to_unix;
    tell_standstill(still, line, now, one);
  }
}

void NamedChannel::tell_standstill(const ConsumerGroup::Standstill& still,
                                   const std::optional<ConsumerGroup::Line>& line, int64_t now,
                                   ConsumerInfo& info) {
  using Standstill = ConsumerGroup::Standstill;
  const std::string left = length_of(info.until_unix_nano - now);
  switch (still.cause) {
    case Standstill::kNone:
      return tell_ready(info);
    case Standstill::kSettled:
      return tell_empty(closed_, now, info);
    case Standstill::kInFlightMax:
      info.state = ConsumerState::kInFlightMax;
      info.why = absl::StrCat("it has in_flight_max = ", info.in_hand, " unacknowledged messages",
                              oldest(info, now), "; ", there(info));
      return;
    case Standstill::kOwnHands:
      info.state = ConsumerState::kOutstanding;
      info.why = absl::StrCat("all that is left, ", messages(still.count),
                              ", is in its own hands, unacknowledged", oldest(info, now));
      return;
    case Standstill::kKeyHeld:
      info.state = ConsumerState::kKeyHeld;
      info.why = absl::StrCat(messages(still.count), " behind older ones of their keys");
      if (!line) return;
      info.key = line->key;
      info.held_by = line->holder;
      absl::StrAppend(&info.why, ": ", line_holder(*line, info.id));
      return;
    case Standstill::kOthersHold:
      info.state = ConsumerState::kOthersHold;
      info.why = absl::StrCat(messages(still.count), " in the hands of other consumers; ",
                              "the next ack wait is over in ", left);
      return;
    case Standstill::kDelayed:
      info.state = ConsumerState::kDelayed;
      info.why = absl::StrCat(messages(still.count), " given back with a delay; the next is ",
                              "delivered again in ", left);
      return;
    case Standstill::kDying:
      info.state = ConsumerState::kDying;
      info.why =
          absl::StrCat(messages(still.count), " on the way to \"", spec_.name, kDeadSuffix, "\"");
      if (!dead_letters_blamed_.empty()) absl::StrAppend(&info.why, ": ", dead_letters_blamed_);
      return;
    case Standstill::kOpenMax:
      info.state = ConsumerState::kOpenMax;
      info.why = absl::StrCat("the group has group_open_max = ", kGroupOpenMax,
                              " messages handed out or waiting for their keys");
      return;
  }
}

}  // namespace zsync::daemon
