// Ring: the memory of a channel of the form ring, and who has its two places.
//
// Messages go from the sender's process to the receiver's (sdk/cpp/src/ring); the daemon holds the
// memory, hands it out, and frees the place of an end whose connection is gone. It reads nothing
// but the indices, for its figures, and believes none of them.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ring/memory.hpp"
#include "zsync/fd.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

enum class RingEnd : uint8_t { kSender = 0, kReceiver = 1 };

struct RingFigures {
  uint64_t bytes = 0;              // of messages in it
  uint64_t sent = 0;               // messages, as the ends say
  uint64_t received = 0;           // the same
  std::array<pid_t, 2> pids{};     // of the ends; 0: nobody
  std::array<int64_t, 2> since{};  // ns since the Unix epoch
};

// Lifetime: shared by its channel and the connections of its ends.
// Threads:  every member may be called from any thread.
class Ring {
 public:
  // Descriptors in the order in which they are passed: memory, the sender's bell, the receiver's.
  using Descriptors = std::array<int, 3>;

  // Errors: kResourceExhausted when the system has no descriptors or no memory.
  static absl::StatusOr<std::shared_ptr<Ring>> make(std::string channel, uint64_t bytes);
  // Of the program before, in the same process; takes over the descriptors, also on failure.
  static absl::StatusOr<std::shared_ptr<Ring>> adopt(std::string channel, Descriptors descriptors);

  // Takes a place; `connection` is kept for what the daemon has to say to that end.
  //
  // Errors: kFailedPrecondition TAKEN naming who has it, CLOSED; kNotFound when removed; kDataLoss
  //         when the indices make no sense.
  absl::Status enter(RingEnd end, pid_t pid, int64_t now, int connection);
  // Frees it and wakes the other end; what was sent stays.
  void leave(RingEnd end);

  // Nothing is sent from now on; the receiver drains what is there and then sees the end.
  void close() { tell('C'); }
  void remove() { tell('R'); }

  RingFigures figures();
  uint64_t bytes() const { return memory_.bytes(); }
  Descriptors descriptors() const;

  // An end that was there when the program before stopped.
  struct Carried {
    RingEnd end;
    pid_t pid;
    int64_t since;
    int connection;
  };
  std::vector<Carried> carried();

 private:
  struct Place {
    pid_t pid = 0;
    int64_t since = 0;
    UniqueFd connection;
  };

  Ring(std::string channel, ring::Memory memory, UniqueFd sender_bell, UniqueFd receiver_bell);
  void tell(char word);

  const std::string channel_;
  const ring::Memory memory_;
  const std::array<UniqueFd, 2> bells_;

  rt::Lock lock_;
  std::array<Place, 2> places_ ABSL_GUARDED_BY(lock_);
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool removed_ ABSL_GUARDED_BY(lock_) = false;
};

// Frees a place once its end's connection is closed. Cancel: it stays taken, for the next program.
Task<void> keep_place(std::shared_ptr<Ring> ring, RingEnd end, UniqueFd connection);

}  // namespace zsync::daemon
