#include "daemon/channels/consumer_group.hpp"

#include <algorithm>

#include "daemon/store/varint.hpp"

namespace zsync::daemon {
namespace {

constexpr uint64_t kStateVersion = 2;  // 1: without what is delayed
constexpr char kCutOff[] = "its consumer was cut off when the daemon ended";

}  // namespace

ConsumerGroup::ConsumerGroup(GroupSpec spec, uint64_t from_seq)
    : spec_(std::move(spec)), floor_(from_seq), head_(from_seq) {}

ConsumerGroup::ConsumerId ConsumerGroup::join() {
  consumers_[next_consumer_];
  return next_consumer_++;
}

void ConsumerGroup::leave(ConsumerId consumer) {
  auto found = consumers_.find(consumer);
  if (found == consumers_.end()) return;
  const std::set<uint64_t> held = std::move(found->second);
  consumers_.erase(found);
  for (uint64_t seq : held) fail(seq, open_.at(seq), 0, "its consumer went away");
}

std::vector<ConsumerGroup::Handed> ConsumerGroup::take(ConsumerId consumer, size_t max, Nanos now,
                                                       uint64_t next_seq, const KeyOf& key_of) {
  expire(now);
  missing_ = 0;
  std::vector<Handed> handed;
  auto hands = consumers_.find(consumer);
  if (hands == consumers_.end()) return handed;
  while (handed.size() < max) {
    const bool fresh = ready_.empty();
    if (fresh && (head_ >= next_seq || open_.size() >= kGroupOpenMax)) break;
    const uint64_t seq = fresh ? head_ : *ready_.begin();
    const std::optional<std::string_view> key = key_of(seq);
    if (!key) {
      missing_ = seq;
      break;
    }
    if (fresh) ++head_;
    Open& open = open_[seq];
    if (!fresh) withdraw(seq, open);
    if (!open.key_known && !stand_in_line(seq, open, *key)) {
      open.place = Place::kParked;
      continue;
    }
    open.place = Place::kInHand;
    open.consumer = consumer;
    open.until = now + spec_.ack_wait_ns;
    if (++open.deliveries > 1) ++redelivered_;
    deadlines_.insert({open.until, seq});
    hands->second.insert(seq);
    handed.push_back({seq, open.deliveries});
  }
  return handed;
}

bool ConsumerGroup::stand_in_line(uint64_t seq, Open& open, std::string_view key) {
  open.key_known = true;
  if (key.empty()) return true;
  open.key = key;
  std::deque<uint64_t>& line = lines_[open.key];
  line.push_back(seq);
  return line.front() == seq;
}

bool ConsumerGroup::is_settled(uint64_t seq) const {
  if (seq < floor_) return true;
  auto after = settled_.upper_bound(seq);
  return after != settled_.begin() && seq < std::prev(after)->second;
}

ConsumerGroup::Verdict ConsumerGroup::check(uint64_t seq, uint32_t delivery) const {
  if (is_settled(seq)) return Verdict::kSettled;
  auto found = open_.find(seq);
  if (found == open_.end()) return Verdict::kFuture;
  const Open& open = found->second;
  if (open.deliveries == 0 || delivery > open.deliveries) return Verdict::kFuture;
  if (open.place == Place::kDying) return Verdict::kDying;
  if (delivery != 0 && delivery != open.deliveries) return Verdict::kRedelivered;
  return Verdict::kDone;
}

ConsumerGroup::Verdict ConsumerGroup::check_in_hand(uint64_t seq, uint32_t delivery) const {
  const Verdict verdict = check(seq, delivery);
  if (verdict != Verdict::kDone) return verdict;
  return open_.at(seq).place == Place::kInHand ? Verdict::kDone : Verdict::kReturned;
}

// Also what came back and was not handed out again: the work is done, whoever did it.
ConsumerGroup::Verdict ConsumerGroup::ack(uint64_t seq, uint32_t delivery) {
  const Verdict verdict = check(seq, delivery);
  if (verdict != Verdict::kDone) return verdict;
  settle(seq);
  ++acked_;
  return verdict;
}

ConsumerGroup::Verdict ConsumerGroup::nack(uint64_t seq, uint32_t delivery, Nanos now, Nanos delay,
                                           std::string reason) {
  const Verdict verdict = check_in_hand(seq, delivery);
  if (verdict != Verdict::kDone) return verdict;
  fail(seq, open_.at(seq), delay > 0 ? now + delay : 0, std::move(reason));
  return verdict;
}

ConsumerGroup::Verdict ConsumerGroup::extend(uint64_t seq, uint32_t delivery, Nanos now) {
  const Verdict verdict = check_in_hand(seq, delivery);
  if (verdict != Verdict::kDone) return verdict;
  Open& open = open_.at(seq);
  deadlines_.erase({open.until, seq});
  open.until = now + spec_.ack_wait_ns;
  deadlines_.insert({open.until, seq});
  return verdict;
}

bool ConsumerGroup::expire(Nanos now) {
  bool changed = false;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const uint64_t seq = deadlines_.begin()->second;
    fail(seq, open_.at(seq), 0, "it was not acknowledged within the ack wait");
    changed = true;
  }
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const uint64_t seq = delayed_.begin()->second;
    Open& open = open_.at(seq);
    withdraw(seq, open);
    make_ready(seq, open);
    changed = true;
  }
  return changed;
}

std::optional<ConsumerGroup::Nanos> ConsumerGroup::next_event() const {
  std::optional<Nanos> next;
  if (!deadlines_.empty()) next = deadlines_.begin()->first;
  if (!delayed_.empty()) next = std::min(next.value_or(INT64_MAX), delayed_.begin()->first);
  return next;
}

void ConsumerGroup::withdraw(uint64_t seq, Open& open) {
  switch (open.place) {
    case Place::kInHand: {
      deadlines_.erase({open.until, seq});
      auto hands = consumers_.find(open.consumer);
      if (hands != consumers_.end()) hands->second.erase(seq);
      break;
    }
    case Place::kReady:
      ready_.erase(seq);
      break;
    case Place::kDelayed:
      delayed_.erase({open.until, seq});
      break;
    case Place::kDying:
      dying_.erase(seq);
      break;
    case Place::kParked:
      break;
  }
}

void ConsumerGroup::make_ready(uint64_t seq, Open& open) {
  open.place = Place::kReady;
  ready_.insert(seq);
}

void ConsumerGroup::make_delayed(uint64_t seq, Open& open, Nanos until) {
  open.place = Place::kDelayed;
  open.until = until;
  delayed_.insert({until, seq});
}

void ConsumerGroup::fail(uint64_t seq, Open& open, Nanos ready_at, std::string reason) {
  withdraw(seq, open);
  open.reason = std::move(reason);
  if (spec_.max_deliveries != 0 && open.deliveries >= spec_.max_deliveries) {
    open.place = Place::kDying;
    dying_.insert(seq);
  } else if (ready_at != 0) {
    make_delayed(seq, open, ready_at);
  } else {
    make_ready(seq, open);
  }
}

void ConsumerGroup::settle(uint64_t seq) {
  auto found = open_.find(seq);
  withdraw(seq, found->second);
  const std::string key = std::move(found->second.key);
  open_.erase(found);
  settle_range(seq, seq);
  if (key.empty()) return;
  auto line = lines_.find(key);
  std::deque<uint64_t>& waiting = line->second;
  const bool was_first = waiting.front() == seq;
  waiting.erase(std::find(waiting.begin(), waiting.end(), seq));
  if (waiting.empty()) {
    lines_.erase(line);
  } else if (was_first) {
    make_ready(waiting.front(), open_.at(waiting.front()));
  }
}

void ConsumerGroup::settle_range(uint64_t from, uint64_t to) {
  uint64_t end = to + 1;
  auto at = settled_.lower_bound(from);
  if (at != settled_.begin() && std::prev(at)->second >= from) {
    --at;
    from = at->first;
  }
  while (at != settled_.end() && at->first <= end) {
    end = std::max(end, at->second);
    settled_count_ -= at->second - at->first;
    at = settled_.erase(at);
  }
  if (from <= floor_) {
    floor_ = std::max(floor_, end);
  } else {
    settled_[from] = end;
    settled_count_ += end - from;
  }
  head_ = std::max(head_, floor_);
}

uint64_t ConsumerGroup::lose(uint64_t from, uint64_t to) {
  from = std::max(from, floor_);
  if (from > to) return 0;
  std::vector<uint64_t> kept;
  std::vector<uint64_t> gone;
  for (auto it = open_.lower_bound(from); it != open_.end() && it->first <= to; ++it) {
    (it->second.place == Place::kInHand ? kept : gone).push_back(it->first);
  }
  const uint64_t before = lag(std::max(head_, to + 1));
  for (uint64_t seq : gone) settle(seq);
  for (uint64_t seq : kept) {
    if (from < seq) settle_range(from, seq - 1);
    from = seq + 1;
  }
  if (from <= to) settle_range(from, to);
  head_ = std::max(head_, to + 1);
  const uint64_t count = before - lag(head_);
  lost_ += count;
  return count;
}

std::vector<ConsumerGroup::Dead> ConsumerGroup::dying(size_t max) const {
  std::vector<Dead> dead;
  for (uint64_t seq : dying_) {
    if (dead.size() == max) break;
    const Open& open = open_.at(seq);
    dead.push_back({seq, open.deliveries, open.reason});
  }
  return dead;
}

void ConsumerGroup::bury(uint64_t seq) {
  if (!dying_.contains(seq)) return;
  settle(seq);
  ++dead_;
}

ConsumerGroup::Counts ConsumerGroup::counts() const {
  Counts counts;
  counts.in_hand = deadlines_.size();
  counts.ready = ready_.size();
  counts.delayed = delayed_.size();
  counts.dying = dying_.size();
  counts.parked = open_.size() - counts.in_hand - counts.ready - counts.delayed - counts.dying;
  counts.acked = acked_;
  counts.dead = dead_;
  counts.redelivered = redelivered_;
  counts.lost = lost_;
  return counts;
}

uint64_t ConsumerGroup::lag(uint64_t next_seq) const {
  return next_seq <= floor_ ? 0 : next_seq - floor_ - settled_count_;
}

uint64_t ConsumerGroup::oldest_unacked() const {
  for (const auto& [seq, open] : open_) {
    if (open.deliveries > 0) return seq;
  }
  return 0;
}

size_t ConsumerGroup::in_hand(ConsumerId consumer) const {
  auto found = consumers_.find(consumer);
  return found == consumers_.end() ? 0 : found->second.size();
}

ConsumerGroup::Hands ConsumerGroup::hands(ConsumerId consumer) const {
  auto found = consumers_.find(consumer);
  if (found == consumers_.end() || found->second.empty()) return {};
  const uint64_t oldest = *found->second.begin();
  return {found->second.size(), oldest, open_.at(oldest).until - spec_.ack_wait_ns};
}

ConsumerGroup::Standstill ConsumerGroup::standstill(ConsumerId consumer, uint64_t next_seq) const {
  const uint64_t left = lag(next_seq);
  const uint64_t own = in_hand(consumer);
  const uint64_t unseen = next_seq - std::min(next_seq, head_);
  const Counts all = counts();
  const auto first_of = [](const auto& times) { return times.begin()->first; };
  if (left == 0) return {Standstill::kSettled, 0, {}};
  if (own >= spec_.in_flight_max) {
    return {Standstill::kInFlightMax, left - own, first_of(deadlines_)};
  }
  if (all.ready > 0) return {Standstill::kNone, all.ready + unseen, {}};
  if (unseen > 0 && open_.size() < kGroupOpenMax) return {Standstill::kNone, unseen, {}};
  if (unseen > 0) return {Standstill::kOpenMax, unseen, next_event()};
  if (own == left) return {Standstill::kOwnHands, own, first_of(deadlines_)};
  if (all.parked > 0) return {Standstill::kKeyHeld, all.parked, next_event()};
  if (all.in_hand > own) return {Standstill::kOthersHold, all.in_hand - own, first_of(deadlines_)};
  if (all.delayed > 0) return {Standstill::kDelayed, all.delayed, first_of(delayed_)};
  return {Standstill::kDying, all.dying, {}};
}

std::optional<ConsumerGroup::Line> ConsumerGroup::a_line() const {
  for (const auto& [key, waiting] : lines_) {
    if (waiting.size() < 2) continue;
    const Open& first = open_.at(waiting.front());
    const bool held = first.place == Place::kInHand;
    return Line{key, waiting.front(), held ? first.consumer : 0, first.place == Place::kDelayed,
                first.place == Place::kDying};
  }
  return std::nullopt;
}

std::string ConsumerGroup::encode(GroupClocks clocks) const {
  std::string bytes;
  put_varint(bytes, kStateVersion);
  for (uint64_t number : {floor_, head_, acked_, dead_, redelivered_, lost_}) {
    put_varint(bytes, number);
  }
  put_varint(bytes, settled_.size());
  uint64_t last = floor_;
  for (const auto& [from, end] : settled_) {
    put_varint(bytes, from - last);
    put_varint(bytes, end - from);
    last = end;
  }
  uint64_t delivered = 0;
  for (const auto& [seq, open] : open_) delivered += open.deliveries > 0;
  put_varint(bytes, delivered);
  last = floor_;
  for (const auto& [seq, open] : open_) {
    if (open.deliveries == 0) continue;
    put_varint(bytes, seq - last);
    put_varint(bytes, open.deliveries);
    last = seq;
  }
  encode_delayed(bytes, clocks);
  return bytes;
}

// With their keys: what is behind one of them in its line has to stay there.
void ConsumerGroup::encode_delayed(std::string& bytes, GroupClocks clocks) const {
  put_varint(bytes, delayed_.size());
  for (const auto& [until, seq] : delayed_) {
    const std::string& key = open_.at(seq).key;
    put_varint(bytes, seq);
    put_varint(bytes, static_cast<uint64_t>(until - clocks.now + clocks.wall));
    put_varint(bytes, key.size());
    bytes.append(key);
  }
}

bool ConsumerGroup::decode_delayed(VarintReader& in, GroupClocks clocks) {
  for (uint64_t left = in.next(); left > 0 && in.ok(); --left) {
    const uint64_t seq = in.next();
    const Nanos until = static_cast<Nanos>(in.next());
    const std::string_view key = in.take(in.next());
    auto found = open_.find(seq);
    if (!in.ok() || found == open_.end()) return false;
    Open& open = found->second;
    if (open.place != Place::kReady || !stand_in_line(seq, open, key)) return false;
    withdraw(seq, open);
    // A clock that was set back meanwhile holds nothing longer than a nack may.
    const Nanos wait = until < clocks.wall ? 0 : std::min(until - clocks.wall, kNackDelayNsMax);
    make_delayed(seq, open, clocks.now + wait);
  }
  return true;
}

std::optional<ConsumerGroup> ConsumerGroup::decode(GroupSpec spec, std::string_view bytes,
                                                   GroupClocks clocks) {
  VarintReader in(bytes);
  const uint64_t version = in.next();
  if (version == 0 || version > kStateVersion) return std::nullopt;
  const uint64_t floor = in.next();
  const uint64_t head = in.next();
  if (floor == 0 || head < floor) return std::nullopt;
  ConsumerGroup group(std::move(spec), floor);
  group.head_ = head;
  for (uint64_t* count : {&group.acked_, &group.dead_, &group.redelivered_, &group.lost_}) {
    *count = in.next();
  }
  uint64_t last = floor;
  for (uint64_t left = in.next(); left > 0 && in.ok(); --left) {
    const uint64_t gap = in.next();
    const uint64_t size = in.next();
    if (gap == 0 || size == 0 || gap > head - last || size > head - last - gap) return std::nullopt;
    group.settled_[last + gap] = last + gap + size;
    group.settled_count_ += size;
    last += gap + size;
  }
  if (!in.ok() || group.lag(head) > 2 * kGroupOpenMax) return std::nullopt;
  // Whatever is not settled was handed out, or parked behind something that was.
  uint64_t at = floor;
  for (auto range = group.settled_.begin();; ++range) {
    const bool behind = range == group.settled_.end();
    for (const uint64_t end = behind ? head : range->first; at < end; ++at) {
      group.make_ready(at, group.open_[at]);
    }
    if (behind) break;
    at = range->second;
  }
  last = floor;
  for (uint64_t left = in.next(); left > 0 && in.ok(); --left) {
    last += in.next();
    auto found = group.open_.find(last);
    const uint64_t deliveries = in.next();
    if (found == group.open_.end() || deliveries == 0 || deliveries > UINT32_MAX) {
      return std::nullopt;
    }
    found->second.deliveries = static_cast<uint32_t>(deliveries);
    group.fail(last, found->second, 0, kCutOff);
  }
  if (version >= 2 && !group.decode_delayed(in, clocks)) return std::nullopt;
  if (!in.ok() || !in.at_end()) return std::nullopt;
  return group;
}

}  // namespace zsync::daemon
