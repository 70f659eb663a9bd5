// Those who observe a NamedChannel: they take nothing away, and each has its own place in what is
// kept.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "daemon/channels/attendance.hpp"
#include "daemon/channels/named_channel.hpp"
#include "daemon/channels/shared_runs.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// Threads: one may wait in next() or look(); its place is told to everybody who asks the channel.
class NamedChannel::Follower {
 public:
  // From `seq` on; 0: what comes from its first look on, of the form latest the values of then.
  // `sources`: of the selection that it is one of.
  Follower(std::shared_ptr<NamedChannel> channel, uint64_t seq, int64_t pid = 0,
           uint32_t sources = 0);
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower();

  // The next messages in order; waits for one. A durable channel's come from its log when they are
  // not in memory any more.
  //
  // Errors: kNotFound when the channel is removed; kDataLoss for a damaged log.
  // Cancel: throws Cancelled; it stays where it was.
  Task<absl::StatusOr<Delivery>> next();
  // As next(), with messages that are in memory as a run, which `encode` makes once for all
  // followers. Threads: `encode` is called in this task.
  Task<absl::StatusOr<Delivery>> next_encoded(const EncodeMessages& encode);
  // The same without waiting for one: then there is none in it.
  Task<absl::StatusOr<Delivery>> look(size_t max = kDeliveryMessagesMax);
  // What its call does, for those who ask why nothing comes.
  void enter(Phase phase) { attendance_.enter(phase, channel_->clock_()); }
  void wait() { attendance_.wait(Phase::kWaiting, channel_->clock_); }

  // The message that it is given next; 0: it has not looked yet.
  uint64_t position() const { return position_.load(std::memory_order_relaxed); }

 private:
  friend class NamedChannel;

  bool take_run(Delivery& delivery);
  void share_run(Delivery& delivery, const EncodeMessages& encode);

  const std::shared_ptr<NamedChannel> channel_;
  Attendance attendance_;
  Replay replay_;
  std::atomic<uint64_t> position_;
  std::atomic<uint64_t> missed_{0};  // messages that it was told are missing
  uint64_t id_ = 0;                  // guarded by the channel's lock
};

}  // namespace zsync::daemon
