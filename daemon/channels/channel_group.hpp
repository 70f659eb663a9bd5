// ChannelGroup: a consumer group of one channel, with the bodies that it needs and how far its
// state was written.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/channels/attendance.hpp"
#include "daemon/channels/channel.hpp"
#include "daemon/channels/consumer_group.hpp"
#include "zsync/notify.hpp"
#include "zsync/sync.hpp"

namespace zsync::daemon {

inline constexpr size_t kGroupsMax = 64;  // of one channel
inline constexpr int64_t kAckWaitNs = 30'000'000'000;
inline constexpr int64_t kAckWaitNsMin = 10'000'000;
inline constexpr int64_t kAckWaitNsMax = kNackDelayNsMax;
inline constexpr uint32_t kMaxDeliveries = 5;
inline constexpr uint32_t kMaxDeliveriesMax = 1000;
inline constexpr uint32_t kInFlight = 1000;
inline constexpr uint32_t kInFlightMax = 10'000;
inline constexpr size_t kAckMessagesMax = 10'000;  // of one request
inline constexpr size_t kNackReasonBytesMax = 512;
inline constexpr char kDeadSuffix[] = ".dead";

struct GroupInfo {
  GroupSpec spec;
  int64_t created_unix_nano = 0;
  ConsumerGroup::Counts counts;
  uint64_t lag = 0;
  uint64_t floor = 0;
  uint64_t head = 0;
  uint64_t oldest_unacked = 0;
  size_t consumers = 0;
  std::string why;
  std::vector<ConsumerInfo> attending;  // where it was asked for
};

// A request to acknowledge, give back or extend.
struct Settling {
  enum Kind { kAck, kNack, kExtend };
  Kind kind = kAck;
  std::vector<ConsumerGroup::Handed> messages;  // delivery 0: the last one
  int64_t delay_ns = 0;
  std::string reason;
};
struct Settled {
  struct Refusal {
    uint64_t seq = 0;
    absl::Status status;
  };
  uint64_t done = 0;
  std::vector<Refusal> refused;
};

struct DeadLetter {
  Message message;
  DeadOrigin origin;
};

// Lifetime: shared by its channel, its consumers and the writes under way.
// Threads:  everything but `loading`, `saved` and what each of them guards belongs to the channel's
//           lock.
struct ChannelGroup {
  ChannelGroup(ConsumerGroup group, int64_t created_unix_nano)
      : state(std::move(group)), created_unix_nano(created_unix_nano) {}

  // Messages in memory only because this group still needs them.
  const Message* replayed_at(uint64_t seq) const {
    auto found = replayed.find(seq);
    return found == replayed.end() ? nullptr : &found->second;
  }
  void changed() { ++version; }

  ConsumerGroup state;
  const int64_t created_unix_nano;
  bool removed = false;
  std::map<uint64_t, Message> replayed;
  std::optional<segment_log::Gap> gap;                                 // for the next consumer
  std::map<ConsumerGroup::ConsumerId, const Attendance*> attendances;  // of its consumers

  // The state's versions: now, on disk, being written, and the last one that could not be.
  uint64_t version = 0;
  uint64_t written = 0;
  uint64_t writing = 0;
  uint64_t failed = 0;
  bool saving = false;
  absl::Status save_error;
  Notify saved;

  Mutex loading;
  std::optional<segment_log::Reader> reader;  // guarded by `loading`
};

// What to answer to a refused acknowledgement of message `seq`.
absl::Status refusal_of(ConsumerGroup::Verdict verdict, const std::string& channel,
                        const ConsumerGroup& group, ConsumerGroup::Handed meant);

// Errors: kInvalidArgument naming field and limit.
absl::StatusOr<GroupSpec> complete_group(GroupSpec spec);

}  // namespace zsync::daemon
