// Who receives from a channel, follows it or replies to it, and why nothing comes to them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace zsync::daemon {

// What such a call is doing; what it waits for in the channel is known by the channel itself.
enum class Phase : uint8_t {
  kWaiting,   // for messages
  kNoCredit,  // until its client asks for more
  kSending,   // until its client has taken a batch
  kDisk,      // until messages were read, or their delivery was counted on disk
  kLast,      // it had its last message; until that is confirmed
};

// The numbers of zsync.v1.ConsumerState.
enum class ConsumerState : uint8_t {
  kReceiving = 1,
  kEmpty = 2,
  kDrained = 3,
  kInFlightMax = 4,
  kOutstanding = 5,
  kOthersHold = 6,
  kKeyHeld = 7,
  kDelayed = 8,
  kDying = 9,
  kOpenMax = 10,
  kNoCredit = 11,
  kNotReading = 12,
  kDisk = 13,
  kLast = 14,
};

struct ConsumerInfo {
  uint64_t id = 0;  // within the channel, or the group
  int64_t pid = 0;  // of its client; 0: not known
  ConsumerState state = ConsumerState::kReceiving;
  int64_t since_unix_nano = 0;  // its call has been in this phase
  int64_t connected_unix_nano = 0;
  uint64_t delivered = 0;
  uint64_t in_hand = 0;
  uint64_t oldest_seq = 0;       // of what is in its hands; 0: nothing
  int64_t oldest_unix_nano = 0;  // since when it has that one, or has extended it
  uint64_t there = 0;            // messages that it could be given
  uint64_t waits_for = 0;        // messages that are left and cannot be given to it now
  std::string key;               // kKeyHeld: of the oldest of those
  uint64_t held_by = 0;          // the consumer that has that key in hand; 0: nobody
  int64_t until_unix_nano = 0;   // when that changes at the latest; 0: not by time
  std::string why;               // all of it in words
  uint32_t sources = 0;          // of a selection; 0: it receives from this channel only
};

// The numbers of zsync.v1.FollowerState.
enum class FollowerState : uint8_t {
  kBehind = 1,
  kUpToDate = 2,
  kDrained = 3,
  kNotReading = 4,
  kDisk = 5,
};

struct FollowerInfo {
  uint64_t id = 0;  // within the channel
  int64_t pid = 0;  // of its client; 0: not known
  FollowerState state = FollowerState::kUpToDate;
  int64_t since_unix_nano = 0;  // its call has been in this phase
  int64_t connected_unix_nano = 0;
  uint64_t delivered = 0;
  uint64_t position = 0;  // seq of the message that it is given next; 0: it has not looked yet
  uint64_t lag = 0;       // messages from there on
  uint64_t gone = 0;      // of those, not kept any more; it will be told
  uint64_t missed = 0;    // messages that it was told are missing
  uint32_t sources = 0;   // of a selection; 0: it follows this channel only
  std::string why;
};

// The numbers of zsync.v1.ResponderState.
enum class ResponderState : uint8_t {
  kIdle = 1,
  kWorking = 2,
  kBusy = 3,
  kNoCredit = 4,
  kNotReading = 5,
  kLast = 6,
};

struct ResponderInfo {
  uint64_t id = 0;  // within the channel
  int64_t pid = 0;  // of its client; 0: not known
  ResponderState state = ResponderState::kIdle;
  int64_t since_unix_nano = 0;  // it has been in this state, or what came last
  int64_t connected_unix_nano = 0;
  uint64_t delivered = 0;        // requests that it was given
  uint64_t answered = 0;         // of those, before they had ended
  uint64_t in_hand = 0;          // given to it, not answered
  uint64_t abandoned = 0;        // of those, nobody waits for the answer any more
  int64_t oldest_unix_nano = 0;  // since when it has the first of them; 0: none
  std::string why;
};

// What such a call tells of itself.
//
// Threads: the call's; everybody may read.
class Attendance {
 public:
  Attendance(int64_t pid, int64_t now_unix_nano)
      : pid(pid), connected_unix_nano(now_unix_nano), since_(now_unix_nano) {}

  // Stays what it was, and since when, if that is what it does already.
  template <typename Clock>
  void wait(Phase phase, const Clock& clock) {
    if (phase_.load(std::memory_order_relaxed) == phase) return;
    enter(phase, clock());
  }
  void enter(Phase phase, int64_t now_unix_nano) {
    since_.store(now_unix_nano, std::memory_order_relaxed);
    phase_.store(phase, std::memory_order_relaxed);
  }
  void delivered(uint64_t count) {
    delivered_.store(delivered_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }

  Phase phase() const { return phase_.load(std::memory_order_relaxed); }
  int64_t since() const { return since_.load(std::memory_order_relaxed); }
  uint64_t delivered() const { return delivered_.load(std::memory_order_relaxed); }
  ConsumerInfo info() const {
    ConsumerInfo info;
    info.pid = pid;
    info.connected_unix_nano = connected_unix_nano;
    info.since_unix_nano = since();
    info.delivered = delivered();
    info.sources = sources;
    return info;
  }

  const int64_t pid;
  const int64_t connected_unix_nano;
  uint32_t sources = 0;  // set before anybody can see it

 private:
  std::atomic<Phase> phase_{Phase::kWaiting};
  std::atomic<int64_t> since_;
  std::atomic<uint64_t> delivered_{0};
};

}  // namespace zsync::daemon
