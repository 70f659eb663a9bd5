// What a named channel is: its specification, its figures, what goes through it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/channels/attendance.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon {

inline constexpr size_t kChannelNameBytesMax = 128;
inline constexpr uint64_t kCapacityMax = 1ull << 24;   // messages of a bounded channel
inline constexpr uint64_t kMessageOverheadBytes = 64;  // counted for each message held
inline constexpr size_t kKeyBytesMax = 256;            // of a key, and of an id
inline constexpr size_t kAttendingMax = 100;           // told of each kind; the rest is counted

// What a channel keeps unless it is told otherwise, and the limits of that.
inline constexpr int64_t kSecondNs = 1'000'000'000;
inline constexpr int64_t kDedupWindowNs = 120 * kSecondNs;
inline constexpr int64_t kDedupWindowNsMax = 24 * 3600 * kSecondNs;
inline constexpr uint64_t kDedupIdsMax = 262'144;
inline constexpr uint64_t kDedupIdsMaxMax = 4'194'304;
inline constexpr int64_t kRetentionAgeNs = 7 * 24 * 3600 * kSecondNs;
inline constexpr int64_t kRetentionAgeNsMin = kSecondNs;
inline constexpr int64_t kRetentionAgeNsMax = 3650ll * 24 * 3600 * kSecondNs;
inline constexpr uint64_t kRetentionBytes = 1ull << 30;
inline constexpr uint64_t kRetentionBytesMin = 64ull << 10;

// Stored as numbers: never renumbered.
enum class ChannelClass : uint8_t { kMemory = 1, kDurable = 2 };
enum class Overflow : uint8_t { kBlock = 1, kError = 2, kDropOldest = 3 };

// How long messages and their ids are kept; may be changed. Not set: the default, or as it was.
struct ChannelPolicy {
  std::optional<int64_t> retention_age_ns;  // 0: no limit; so in retention_bytes
  std::optional<uint64_t> retention_bytes;
  std::optional<bool> retention_drops_unsettled;
  std::optional<int64_t> dedup_window_ns;  // 0: ids are not remembered
  std::optional<uint64_t> dedup_ids_max;
  bool operator==(const ChannelPolicy&) const = default;

  // What is set in `change` replaces what is set here.
  void apply(const ChannelPolicy& change);
  int64_t age_ns() const { return retention_age_ns.value_or(0); }
  uint64_t bytes() const { return retention_bytes.value_or(0); }
  bool drops_unsettled() const { return retention_drops_unsettled.value_or(false); }
  int64_t window_ns() const { return dedup_window_ns.value_or(kDedupWindowNs); }
  uint64_t ids_max() const { return dedup_ids_max.value_or(kDedupIdsMax); }
};

// A queue gives each message to one receiver; what the others are for stands in channels.proto.
enum class ChannelForm : uint8_t {
  kQueue = 1,
  kLatest = 2,
  kBroadcast = 3,
  kRequest = 4,
  kRing = 5
};
const char* form_word(ChannelForm form);

struct ChannelSpec {
  std::string name;
  uint64_t capacity = 0;  // messages
  bool unbounded = false;
  uint64_t bytes_max = 0;
  Overflow overflow = Overflow::kBlock;
  ChannelClass kind = ChannelClass::kMemory;
  ChannelPolicy policy = {};
  ChannelForm form = ChannelForm::kQueue;
  std::optional<uint64_t> disk_bytes_max = {};  // 0: nothing is put on disk
  bool operator==(const ChannelSpec&) const = default;

  // Whether what is over bytes_max may go to the disk.
  bool may_spill() const {
    return unbounded && kind == ChannelClass::kMemory && form == ChannelForm::kQueue &&
           overflow != Overflow::kDropOldest;
  }
};

struct ExchangeCounts {
  uint64_t sent = 0;
  uint64_t answered = 0;
  uint64_t late = 0;     // replies that nobody waited for any more
  uint64_t waiting = 0;  // not taken by a responder yet
  uint64_t in_hand = 0;
  uint32_t responders = 0;
};

// Who has the two places of a ring; pid 0: nobody.
struct RingPlaces {
  int64_t sender_pid = 0;
  int64_t receiver_pid = 0;
  int64_t sender_since_unix_nano = 0;
  int64_t receiver_since_unix_nano = 0;
};

struct ChannelInfo {
  std::string id;
  ChannelSpec spec;
  bool closed = false;
  uint64_t depth = 0;  // messages held: not received, or not confirmed by their receiver
  uint64_t bytes = 0;
  uint64_t next_seq = 1;
  uint64_t sent = 0;
  uint64_t received = 0;
  uint64_t dropped = 0;
  uint32_t senders_waiting = 0;
  uint32_t receivers_waiting = 0;
  int64_t created_unix_nano = 0;
  uint64_t first_seq = 1;
  uint64_t log_bytes = 0;
  uint64_t disk_messages = 0;  // of the depth, on disk; `bytes` are those in memory
  uint64_t disk_bytes = 0;
  std::optional<ExchangeCounts> requests;  // of the form request
  std::optional<RingPlaces> ring;          // of the form ring
  // The rest where it was asked for: the first kAttendingMax of each kind, and how many there are.
  std::vector<ConsumerInfo> consumers;  // receivers without a group
  std::vector<FollowerInfo> followers;
  std::vector<ResponderInfo> responders;
  uint64_t receivers_connected = 0;
  uint64_t followers_connected = 0;
  std::string why;  // why nothing moves, or that all is well
};

// Where a dead letter comes from, and why.
struct DeadOrigin {
  std::string channel;
  std::string group;
  uint64_t seq = 0;
  int64_t time_unix_nano = 0;
  uint32_t deliveries = 0;
  std::string reason;
  bool operator==(const DeadOrigin&) const = default;
};

// What few messages have.
struct MessageExtra {
  std::string key;
  std::string id;
  std::optional<DeadOrigin> dead;
  bool operator==(const MessageExtra&) const = default;
};
using MessageExtraPtr = std::shared_ptr<const MessageExtra>;

struct Message {
  uint64_t seq = 0;
  int64_t time_unix_nano = 0;
  std::string trace;
  std::string data;
  MessageExtraPtr extra;  // null: none of it
};

// Which source of a selection a delivery is of.
struct DeliveryOrigin {
  std::string channel;
  uint32_t source = 0;
  uint32_t left = 0;  // sources that are not closed and drained
};

struct SharedRun;

// Some messages in order, or why there will be none.
struct Delivery {
  std::vector<Message> messages;
  std::vector<uint32_t> deliveries;     // of each message, to a consumer of a group
  std::optional<segment_log::Gap> gap;  // comes before the messages
  bool closed = false;                  // closed and drained: the last one
  std::optional<DeliveryOrigin> origin = {};
  std::shared_ptr<const SharedRun> run = nullptr;  // instead of messages: shared_runs.hpp

  bool empty() const { return messages.empty() && !run && !gap && !closed; }
};

// Errors: kInvalidArgument with field, limit and cure.
absl::Status validate_channel_name(const std::string& name, const char* field = "name");

// With the defaults of its class.
//
// Errors: kInvalidArgument with field, limit and cure.
absl::StatusOr<ChannelPolicy> complete_policy(ChannelPolicy policy, ChannelClass kind);

// A message as a record of a segment log. Stream 0: size of the trace, trace, data. Stream 1: the
// extra between trace and data, its size before it.
inline constexpr uint8_t kExtraStream = 1;
std::string encode_message(const std::string& trace, const std::string& data,
                           const MessageExtra* extra = nullptr);
std::optional<Message> decode_message(const segment_log::Record& record);

}  // namespace zsync::daemon
