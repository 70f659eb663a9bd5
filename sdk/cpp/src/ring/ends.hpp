// The two ends of a ring: how messages are put into its memory and taken out of it. No end waits
// here (bell.hpp).
//
// Lifetime: of the memory that they stand on.
// Threads:  one sender and one receiver a ring; each is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "memory.hpp"

namespace zsync::ring {

// One copy out of the shared memory; stays in the cache of a core.
inline constexpr std::uint64_t kTakeBytes = 64ull << 10;

class Sender {
 public:
  enum class Result { kDone, kClosed, kDamaged };

  // Goes on behind what is in the ring.
  //
  // Errors: kDataLoss when its indices make no sense.
  static absl::StatusOr<Sender> attach(const Memory& memory);

  // Whether a message of that size can ever be put.
  bool can_hold(std::size_t bytes) const { return record_bytes(bytes) <= capacity_; }
  // Puts a message behind the others; nobody sees it before publish(). False: there is no room.
  bool put(std::string_view message);
  // Lets the receiver see what was put; all of it is withdrawn when the ring is closed.
  //
  // Done: whoever then finds Header::receiver_sleeps set has to ring.
  Result publish();
  // Whether the receiver has made room since put() said there was none. A sender that is about to
  // sleep asks this once more.
  bool has_room(std::size_t bytes);
  // An index of the receiver makes no sense.
  bool damaged() const { return damaged_; }
  bool closed() const;
  // Messages that were put and not published.
  std::uint64_t unpublished() const { return unpublished_; }
  // Messages published since the ring was made.
  std::uint64_t sent() const { return sent_; }

 private:
  Sender(const Memory& memory, std::uint64_t tail, std::uint64_t head, std::uint64_t sent);

  Header* header_;
  unsigned char* data_;
  std::uint64_t capacity_;
  std::uint64_t tail_;     // published
  std::uint64_t written_;  // the end of what was put
  std::uint64_t head_;     // the receiver's, as it was last seen
  std::uint64_t sent_;
  std::uint64_t unpublished_ = 0;
  bool damaged_ = false;
};

class Receiver {
 public:
  // Goes on where the receiver before it came to.
  //
  // Errors: as Sender::attach().
  static absl::StatusOr<Receiver> attach(const Memory& memory);

  // Takes messages, at most `max`, as far as they fit into kTakeBytes or it is a single one -> how
  // many; they stay as they are until the next call. None: the ring is empty.
  //
  // Errors: kDataLoss when the sender wrote something that makes no sense.
  absl::StatusOr<std::size_t> take(std::size_t max, std::vector<std::string_view>& messages);
  // What was taken is received for good. Whoever then finds Header::sender_sleeps set has to ring.
  void release();
  bool empty() const;
  // Closed and drained.
  bool ended() const;
  // The number of the next message that is taken; the first one of the ring is 1.
  std::uint64_t next_seq() const { return taken_ + 1; }

 private:
  Receiver(const Memory& memory, std::uint64_t head, std::uint64_t received);

  Header* header_;
  const unsigned char* data_;
  std::uint64_t capacity_;
  std::uint64_t next_;   // the end of what was taken
  std::uint64_t taken_;  // messages
  std::vector<unsigned char> copy_;
};

}  // namespace zsync::ring
