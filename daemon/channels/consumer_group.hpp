// ConsumerGroup: which consumer of a group has which message, and what is settled. Pure: no clock,
// no files, no threads, no waiting; the bodies of messages live elsewhere.
//
//   [1, floor)     settled: acknowledged, moved to the dead letters, or lost by a gap
//   [floor, head)  open, or settled one by one
//   [head, ...)    never looked at
//
// Invariants:
//   1. An open message is in one place: in one consumer's hands, ready, delayed, dying, or parked
//      behind an older one of its key.
//   2. Of one key (once it was looked at) at most the oldest open message is in hand, ready,
//      delayed or dying.
//   3. A message's number of deliveries only grows, and an acknowledgement of an earlier delivery
//      than the last one never settles it.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace zsync::daemon {

class VarintReader;

inline constexpr int64_t kNackDelayNsMax = 12ll * 3600 * 1'000'000'000;
inline constexpr size_t kGroupOpenMax = 100'000;  // messages handed out or parked, and not settled

struct GroupSpec {
  std::string name;
  int64_t ack_wait_ns = 0;
  uint32_t max_deliveries = 0;  // 0: no limit
  uint32_t in_flight_max = 0;   // unacknowledged messages of one consumer
  bool operator==(const GroupSpec&) const = default;
};

// A group's clock begins anew with every daemon, so its times are kept by the time of day.
struct GroupClocks {
  int64_t now = 0;
  int64_t wall = 0;  // ns since the Unix epoch, at `now`
};

class ConsumerGroup {
 public:
  using ConsumerId = uint64_t;
  using Nanos = int64_t;  // of a clock that never goes back
  // The key of a message ("": none); nullopt: its body is not at hand, and nothing is taken from
  // there on.
  using KeyOf = std::function<std::optional<std::string_view>(uint64_t seq)>;

  struct Handed {
    uint64_t seq = 0;
    uint32_t delivery = 0;  // 1: the first time
  };
  // What became of an acknowledgement. Only kDone changes anything.
  enum class Verdict {
    kDone,
    kFuture,       // never handed out
    kSettled,      // acknowledged already, moved to the dead letters, or lost
    kRedelivered,  // handed out again since that delivery
    kReturned,     // its ack wait is over or its consumer is gone; it waits to be handed out again
    kDying,        // delivered as often as allowed; on its way to the dead letters
  };
  struct Dead {
    uint64_t seq = 0;
    uint32_t deliveries = 0;
    std::string reason;
  };
  struct Counts {
    uint64_t in_hand = 0;
    uint64_t ready = 0;    // to be handed out again
    uint64_t delayed = 0;  // the same, later
    uint64_t parked = 0;   // behind an older message of their key
    uint64_t dying = 0;
    uint64_t acked = 0;  // since the group was made
    uint64_t dead = 0;
    uint64_t redelivered = 0;
    uint64_t lost = 0;
  };

  // Why a consumer that waits is given nothing.
  struct Standstill {
    enum Cause {
      kNone,         // `count` messages are there for it
      kSettled,      // all of them are
      kInFlightMax,  // it has as many as it may
      kOwnHands,     // all `count` that are left are in its hands
      kKeyHeld,      // `count` wait for older ones of their keys; one such key is in `line`
      kOthersHold,   // all that are left, `count` of them with other consumers
      kDelayed,      // `count` wait for the delay of a nack
      kDying,        // `count` are on their way to the dead letters
      kOpenMax,      // kGroupOpenMax are open
    };
    Cause cause = kNone;
    uint64_t count = 0;
    std::optional<Nanos> until;  // when that changes at the latest
  };
  // What a consumer has in its hands.
  struct Hands {
    uint64_t count = 0;
    uint64_t oldest = 0;  // seq; 0: nothing
    Nanos since = 0;      // it was handed that one, or has extended it
  };
  // A key with messages that wait behind an older one.
  struct Line {
    std::string key;
    uint64_t first = 0;                   // seq of the one that holds the others up
    ConsumerId holder = 0;                // who has it in hand; 0: nobody
    bool delayed = false, dying = false;  // where it is then
  };

  // Begins at `from_seq`.
  ConsumerGroup(GroupSpec spec, uint64_t from_seq);
  // What encode() wrote; whatever was in somebody's hands is to be handed out again, what was
  // delayed not before its time. nullopt: these are not such bytes.
  //
  static std::optional<ConsumerGroup> decode(GroupSpec spec, std::string_view bytes,
                                             GroupClocks clocks = {});
  std::string encode(GroupClocks clocks = {}) const;

  ConsumerId join();
  // What it has in hand comes back at once.
  void leave(ConsumerId consumer);

  // Hands out up to `max` messages of those before `next_seq`.
  std::vector<Handed> take(ConsumerId consumer, size_t max, Nanos now, uint64_t next_seq,
                           const KeyOf& key_of);
  // Whose body the last take() missed; 0: none.
  uint64_t missing() const { return missing_; }

  // `delivery` 0: whichever is the last one.
  Verdict check(uint64_t seq, uint32_t delivery) const;
  Verdict ack(uint64_t seq, uint32_t delivery);
  // To be handed out again after `delay`; the reason is that of a dead letter.
  Verdict nack(uint64_t seq, uint32_t delivery, Nanos now, Nanos delay, std::string reason);
  // The whole ack wait again from now on.
  Verdict extend(uint64_t seq, uint32_t delivery, Nanos now);
  // Takes back what was not acknowledged in time -> whether anything changed.
  bool expire(Nanos now);
  // When expire() has something to do; nullopt: never as things are.
  std::optional<Nanos> next_event() const;

  // Messages that were delivered as often as allowed, until bury() says that they are kept
  // elsewhere.
  std::vector<Dead> dying(size_t max) const;
  void bury(uint64_t seq);
  // [from, to] are gone. What somebody has in hand stays open -> how many were unsettled.
  uint64_t lose(uint64_t from, uint64_t to);

  const GroupSpec& spec() const { return spec_; }
  uint64_t floor() const { return floor_; }
  uint64_t head() const { return head_; }
  Counts counts() const;
  // Messages before `next_seq` that are not settled.
  uint64_t lag(uint64_t next_seq) const;
  // The oldest message that was handed out and is not settled; 0: none.
  uint64_t oldest_unacked() const;
  size_t in_hand(ConsumerId consumer) const;
  Standstill standstill(ConsumerId consumer, uint64_t next_seq) const;
  Hands hands(ConsumerId consumer) const;
  // nullopt: there is none. Looks at every key.
  std::optional<Line> a_line() const;
  size_t consumers() const { return consumers_.size(); }
  bool is_open(uint64_t seq) const { return open_.contains(seq); }

 private:
  enum class Place : uint8_t { kParked, kReady, kDelayed, kInHand, kDying };
  struct Open {
    Place place = Place::kParked;
    bool key_known = false;
    uint32_t deliveries = 0;
    ConsumerId consumer = 0;
    Nanos until = 0;  // in hand: the end of its ack wait; delayed: when it is ready
    std::string key;
    std::string reason;  // of its last failure
  };

  Verdict check_in_hand(uint64_t seq, uint32_t delivery) const;
  bool is_settled(uint64_t seq) const;
  // Out of its place, into none.
  void withdraw(uint64_t seq, Open& open);
  void make_ready(uint64_t seq, Open& open);
  void make_delayed(uint64_t seq, Open& open, Nanos until);
  void encode_delayed(std::string& bytes, GroupClocks clocks) const;
  bool decode_delayed(VarintReader& in, GroupClocks clocks);
  // A delivery ended without an acknowledgement.
  void fail(uint64_t seq, Open& open, Nanos ready_at, std::string reason);
  void settle(uint64_t seq);
  void settle_range(uint64_t from, uint64_t to);
  // False: an older message of its key is open.
  bool stand_in_line(uint64_t seq, Open& open, std::string_view key);

  GroupSpec spec_;
  uint64_t floor_;
  uint64_t head_;
  std::map<uint64_t, uint64_t> settled_;  // above floor: first -> behind the last
  uint64_t settled_count_ = 0;
  std::map<uint64_t, Open> open_;
  std::set<uint64_t> ready_;
  std::set<std::pair<Nanos, uint64_t>> delayed_;
  std::set<std::pair<Nanos, uint64_t>> deadlines_;  // of what is in hand
  std::set<uint64_t> dying_;
  std::unordered_map<std::string, std::deque<uint64_t>> lines_;  // open messages of each key
  std::map<ConsumerId, std::set<uint64_t>> consumers_;           // and what they have in hand
  ConsumerId next_consumer_ = 1;
  uint64_t missing_ = 0;
  uint64_t acked_ = 0;
  uint64_t dead_ = 0;
  uint64_t redelivered_ = 0;
  uint64_t lost_ = 0;
};

}  // namespace zsync::daemon
