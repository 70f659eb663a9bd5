// Rings: channels whose messages go from one process to another through shared memory.
//
// A channel of the form ring has one sender and one receiver at a time, which map the same memory;
// the daemon passes it to them, and no message passes through the daemon. What was sent stays in
// the ring when its sender or its receiver goes or dies, until the next receiver takes it.
//
//   RingSender sender = *client.channels().ring_sender("frames");
//   sender.send("hello");
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"

namespace zsync::client {

// How an end of a ring waits.
struct RingOptions {
  // It looks for so long before it sleeps. Longer: answers within that time cost no wake-up, and
  // the core is busy meanwhile. With one CPU it sleeps at once.
  std::chrono::nanoseconds spin = std::chrono::microseconds(50);
};

// The sending end.
//
// Cancel:   the StopSource it was opened with ends waiting calls with kCancelled, and the timeout
//           with kDeadlineExceeded; both count from the opening.
// Threads:  one at a time.
// Lifetime: while it lives nobody else sends to the ring. What was sent stays there.
class RingSender {
 public:
  struct Impl;
  // Use Channels::ring_sender().
  explicit RingSender(std::unique_ptr<Impl> impl);
  RingSender(RingSender&&) noexcept;
  ~RingSender();

  // Puts a message into the ring; waits while it is full.
  //
  // Errors: kInvalidArgument for one over message_bytes_max, or larger than the ring;
  //         kFailedPrecondition once the channel is closed; kNotFound when it was removed;
  //         kUnavailable when the daemon is gone; kDataLoss when the receiver wrote nonsense.
  [[nodiscard]] absl::Status send(std::string_view message);
  // The same of several, which costs less. On an error the first sent() of this end are sent.
  [[nodiscard]] absl::Status send(const std::vector<std::string_view>& messages);
  // The same of one, which never waits: false when there is no room.
  [[nodiscard]] absl::StatusOr<bool> try_send(std::string_view message);
  // Messages that this end has sent.
  std::uint64_t sent() const;
  // Whether the daemon still keeps what was sent.
  //
  // Errors: as send().
  [[nodiscard]] absl::Status check();

 private:
  std::unique_ptr<Impl> impl_;
};

// Messages that were taken out of a ring together; they live until the callback returns.
struct RingBatch {
  std::uint64_t first_seq;                        // the first message of a ring is 1
  const std::vector<std::string_view>& messages;  // in the order they were sent; one at least
};

// The receiving end.
//
// Cancel, Threads, Lifetime: as RingSender.
class RingReceiver {
 public:
  struct Impl;
  // Called once a batch, in order; false ends the call well.
  using Callback = std::function<bool(const RingBatch&)>;

  // Use Channels::ring_receiver().
  explicit RingReceiver(std::unique_ptr<Impl> impl);
  RingReceiver(RingReceiver&&) noexcept;
  ~RingReceiver();

  // Takes messages until `callback` returns false, or `limit` of them came (0: no limit), or the
  // channel is closed and drained. A batch is received for good once `callback` has returned: if
  // this process dies before, the next receiver gets it again.
  //
  // Errors: kNotFound when the channel was removed; kUnavailable when the daemon is gone, after
  //         what was in the ring; kDataLoss when the sender wrote nonsense.
  [[nodiscard]] absl::Status recv(std::uint64_t limit, const Callback& callback);

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace zsync::client
