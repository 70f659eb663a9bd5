// Why nothing comes to those who follow a NamedChannel or reply to its requests.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/exchange.hpp"
#include "daemon/channels/follower.hpp"
#include "daemon/channels/words.hpp"

namespace zsync::daemon {
namespace {

void tell_follower(Phase phase, bool closed, int64_t now, FollowerInfo& info) {
  const std::string since = length_of(now - info.since_unix_nano);
  if (phase == Phase::kSending) {
    info.state = FollowerState::kNotReading;
    info.why = absl::StrCat("its client has not read what was sent to it for ", since, "; ",
                            messages(info.lag), " behind");
  } else if (phase == Phase::kDisk) {
    info.state = FollowerState::kDisk;
    info.why = absl::StrCat("what it is given next is read from the disk, for ", since, "; ",
                            messages(info.lag), " behind");
  } else if (info.lag > 0) {
    info.state = FollowerState::kBehind;
    info.why = absl::StrCat(are(info.lag), " on the way to it");
  } else {
    info.state = closed ? FollowerState::kDrained : FollowerState::kUpToDate;
    info.why = closed ? "the channel is closed and it has seen everything: its call ends"
                      : absl::StrCat("it has seen everything; nothing was sent for ", since);
  }
  if (info.gone > 0) absl::StrAppend(&info.why, ", of which ", info.gone, " are not kept any more");
}

std::string in_hand_of(const ResponderInfo& info, int64_t now) {
  std::string words = absl::StrCat(are(info.in_hand, "request"), " in its hands; the oldest for ",
                                   length_of(now - info.oldest_unix_nano));
  if (info.abandoned > 0) {
    absl::StrAppend(&words, "; for ", info.abandoned, " of them nobody waits any more");
  }
  return words;
}

void tell_responder(Phase phase, int64_t now, ResponderInfo& info) {
  const std::string since = length_of(now - info.since_unix_nano);
  const std::string hands = info.in_hand > 0 ? in_hand_of(info, now) : "";
  switch (phase) {
    case Phase::kWaiting:
    case Phase::kDisk:
      info.state = info.in_hand > 0 ? ResponderState::kWorking : ResponderState::kIdle;
      info.why = info.in_hand > 0
                     ? absl::StrCat(hands, "; it would take more")
                     : absl::StrCat("it is idle: no request has come to it for ", since);
      return;
    case Phase::kNoCredit:
      info.state = info.in_hand > 0 ? ResponderState::kBusy : ResponderState::kNoCredit;
      info.why = info.in_hand > 0 ? absl::StrCat(hands, "; it takes no more until it has answered")
                                  : absl::StrCat("its client has asked for no request for ", since);
      return;
    case Phase::kSending:
      info.state = ResponderState::kNotReading;
      info.why = absl::StrCat("its client has not read what was sent to it for ", since);
      return;
    case Phase::kLast:
      info.state = ResponderState::kLast;
      info.why = info.in_hand > 0 ? absl::StrCat("the channel is closed; ", hands)
                                  : "the channel is closed and nothing is left: its call ends";
      return;
  }
}

}  // namespace

void NamedChannel::fill_followers(ChannelInfo& info) {
  const int64_t now = clock_();
  const uint64_t next = next_seq();
  const uint64_t first = latest_ ? 0 : durable_ ? log_first_ : queue_.first_seq();
  const FollowerInfo* last = nullptr;
  info.followers_connected = followers_.size();
  info.followers.reserve(std::min(followers_.size(), kAttendingMax));
  for (const auto& [id, follower] : followers_) {
    if (info.followers.size() == kAttendingMax) break;
    const Attendance& attendance = follower->attendance_;
    FollowerInfo& one = info.followers.emplace_back();
    one.id = id;
    one.pid = attendance.pid;
    one.connected_unix_nano = attendance.connected_unix_nano;
    one.sources = attendance.sources;
    one.since_unix_nano = attendance.since();
    one.delivered = attendance.delivered();
    one.position = follower->position();
    one.missed = follower->missed_.load(std::memory_order_relaxed);
    const uint64_t place = one.position == 0 ? next : one.position;
    one.lag = next - std::min(next, place);
    if (latest_) one.lag = std::min(one.lag, latest_->size());
    one.gone = std::min(one.lag, first - std::min(first, place));
    tell_follower(attendance.phase(), closed_, now, one);
    if (!last || one.lag > last->lag) last = &one;
  }
  if (spec_.form != ChannelForm::kBroadcast && spec_.form != ChannelForm::kLatest) return;
  if (!last) {
    info.why = "no follower is connected";
  } else if (last->lag == 0) {
    info.why = absl::StrCat("followers have seen everything: ", followers_.size());
  } else {
    info.why = absl::StrCat("follower ", last->id, " is ", messages(last->lag), " behind");
  }
}

std::vector<ResponderInfo> Exchange::responders(size_t max, std::string& why) {
  const int64_t now = clock_();
  std::vector<ResponderInfo> infos;
  rt::LockGuard guard(lock_);
  for (const auto& [id, responder] : responders_) {
    if (infos.size() == max) break;
    const Attendance& attendance = responder->attendance_;
    ResponderInfo& one = infos.emplace_back();
    one.id = id;
    one.pid = attendance.pid;
    one.connected_unix_nano = attendance.connected_unix_nano;
    one.delivered = attendance.delivered();
    one.answered = responder->answered_;
    one.in_hand = responder->in_hand_.size();
    one.since_unix_nano =
        std::max(attendance.since(), one.in_hand > 0 ? 0 : responder->free_since_);
    if (one.in_hand > 0) one.oldest_unix_nano = responder->in_hand_.begin()->second;
    for (const auto& [request, since] : responder->in_hand_) {
      if (!pending_.contains(request)) ++one.abandoned;
    }
    tell_responder(attendance.phase(), now, one);
  }
  if (responders_.empty()) {
    why = closed_ ? "closed" : "nobody replies: a request fails at once";
  } else if (waiting_.empty()) {
    why = pending_.empty() ? "every request was answered"
                           : absl::StrCat(are(pending_.size(), "request"), " in responders' hands");
  } else {
    why = absl::StrCat(count_of(waiting_.size(), "request"), " waiting: no responder takes ",
                       waiting_.size() == 1 ? "it" : "them", " before it has answered others");
  }
  return infos;
}

}  // namespace zsync::daemon
