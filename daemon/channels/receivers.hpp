// Those who take messages out of a NamedChannel: receivers, and consumers of its groups.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "daemon/channels/attendance.hpp"
#include "daemon/channels/named_channel.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// One receiver: competes for messages, and confirms them in order.
// Threads: one may wait in next() while another confirms.
class NamedChannel::Receiver {
 public:
  // `sources`: of the selection that it is one of.
  explicit Receiver(std::shared_ptr<NamedChannel> channel, int64_t pid = 0, uint32_t sources = 0);
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;
  // Gives back what was not confirmed.
  ~Receiver();

  // Waits for at least one message, a gap, or the end. Cancel: throws Cancelled, takes nothing.
  //
  // Errors: kNotFound when the channel is removed; kFailedPrecondition when it has groups.
  Task<absl::StatusOr<Delivery>> next(size_t max);
  // The same without waiting for messages: an empty delivery when there is nothing.
  Task<absl::StatusOr<Delivery>> look(size_t max);
  // The `count` messages that next() gave first, of those that are not confirmed, are received for
  // good.
  void confirm(uint64_t count);
  // What is not confirmed goes back to the front, and nothing can be confirmed any more.
  void leave();
  // What its call does, for those who ask why nothing comes.
  void enter(Phase phase) { attendance_.enter(phase, channel_->clock_()); }
  void wait() { attendance_.wait(Phase::kWaiting, channel_->clock_); }

 private:
  friend class NamedChannel;
  // Of what is in memory.
  absl::StatusOr<Delivery> try_next(size_t max);

  const std::shared_ptr<NamedChannel> channel_;
  Attendance attendance_;
  uint64_t id_ = 0;               // the rest is guarded by the channel's lock
  std::deque<uint64_t> in_hand_;  // in the order of next()
  int64_t hand_since_ = 0;        // it has confirmed none of them
};

// One consumer of a group: like a Receiver, but every message has its own acknowledgement.
// Threads: one may wait in next() while another confirms.
class NamedChannel::Consumer {
 public:
  Consumer(std::shared_ptr<NamedChannel> channel, std::string group, int64_t pid = 0,
           uint32_t sources = 0);
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;
  ~Consumer() { leave(); }

  // Waits for messages, whose deliveries are counted on disk before it completes, for a gap, or
  // for the end: the channel is closed and the group has settled everything.
  //
  // Errors: kNotFound when channel or group is removed; kUnavailable; kDataLoss.
  // Cancel: throws Cancelled; what it took is handed out again.
  Task<absl::StatusOr<Delivery>> next(size_t max);
  // The same without waiting for messages: an empty delivery when there is nothing.
  Task<absl::StatusOr<Delivery>> look(size_t max);
  // Acknowledges the `count` oldest messages that next() gave and confirm() did not have yet.
  void confirm(uint64_t count);
  // Completes once what was confirmed is on disk.
  Task<absl::Status> flush();
  // What is not acknowledged goes to others at once.
  void leave();
  // As Receiver::enter().
  void enter(Phase phase) { attendance_.enter(phase, channel_->clock_()); }
  void wait() { attendance_.wait(Phase::kWaiting, channel_->clock_); }

 private:
  const std::shared_ptr<NamedChannel> channel_;
  const std::string name_;
  Attendance attendance_;
  std::shared_ptr<ChannelGroup> group_;  // null: there is none of that name
  ConsumerGroup::ConsumerId id_ = 0;     // the rest is guarded by the channel's lock
  std::deque<ConsumerGroup::Handed> handed_;
};

}  // namespace zsync::daemon
