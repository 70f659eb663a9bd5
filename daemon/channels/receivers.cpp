#include "daemon/channels/receivers.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {

NamedChannel::Receiver::Receiver(std::shared_ptr<NamedChannel> channel, int64_t pid,
                                 uint32_t sources)
    : channel_(std::move(channel)), attendance_(pid, channel_->clock_()) {
  attendance_.sources = sources;
  rt::LockGuard guard(channel_->lock_);
  id_ = channel_->next_receiver_++;
  channel_->receivers_[id_] = this;
}

NamedChannel::Receiver::~Receiver() {
  leave();
  rt::LockGuard guard(channel_->lock_);
  channel_->receivers_.erase(id_);
}

absl::Status NamedChannel::received_by_groups() const {
  return fault(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("channel \"", spec_.name, "\" is received by groups"),
      {"group",
       "HAS_GROUPS",
       "",
       absl::StrCat("receive as a consumer of one, for example \"", groups_.begin()->first, "\""),
       {}});
}

absl::StatusOr<Delivery> NamedChannel::Receiver::try_next(size_t max) {
  NamedChannel& channel = *channel_;
  Delivery delivery;
  {
    rt::LockGuard guard(channel.lock_);
    if (channel.removed_) return channel.gone();
    if (!channel.groups_.empty()) return channel.received_by_groups();
    delivery.gap = channel.queue_.take_gap();
    delivery.messages = channel.queue_.take(std::min(max, kDeliveryMessagesMax), kDeliveryBytesMax);
    if (!delivery.messages.empty() && in_hand_.empty()) hand_since_ = channel.clock_();
    for (const Message& message : delivery.messages) in_hand_.push_back(message.seq);
    // Others may still give back what they have in hand; this one has seen its own.
    delivery.closed = channel.closed_ && channel.queue_.held() == in_hand_.size();
  }
  if (delivery.empty()) return delivery;
  attendance_.delivered(delivery.messages.size());
  channel.room_.notify_all();
  return delivery;
}

Task<absl::StatusOr<Delivery>> NamedChannel::Receiver::look(size_t max) {
  while (true) {
    absl::StatusOr<Delivery> delivery = try_next(max);
    if (!delivery.ok() || !delivery->empty() || !channel_->only_on_disk()) co_return delivery;
    enter(Phase::kDisk);
    if (absl::Status loaded = co_await shield(channel_->load_from_disk()); !loaded.ok())
      co_return loaded;
  }
}

Task<absl::StatusOr<Delivery>> NamedChannel::Receiver::next(size_t max) {
  NamedChannel& channel = *channel_;
  wait();
  Permit turn = co_await channel.recv_turn_.lock();
  while (true) {
    const uint64_t seen = channel.data_.epoch();
    absl::StatusOr<Delivery> delivery = try_next(max);
    if (!delivery.ok() || !delivery->empty()) co_return delivery;
    if (channel.only_on_disk()) [[unlikely]] {
      delivery = co_await look(max);
      if (!delivery.ok() || !delivery->empty()) co_return delivery;
    }
    wait();
    WaitingReceiver waiting(channel);
    co_await channel.data_.changed(seen);
  }
}

void NamedChannel::Receiver::confirm(uint64_t count) {
  uint64_t floor = 0;
  bool drained = false;
  {
    rt::LockGuard guard(channel_->lock_);
    if (count > 0) hand_since_ = channel_->clock_();
    for (; count > 0 && !in_hand_.empty(); --count) {
      channel_->queue_.confirm(in_hand_.front());
      in_hand_.pop_front();
      ++channel_->received_;
    }
    floor = channel_->queue_.floor();
    drained = channel_->closed_;
  }
  channel_->room_.notify_all();
  if (drained) channel_->tell_data();
  channel_->tell_confirmed(floor);
}

void NamedChannel::Receiver::leave() {
  {
    rt::LockGuard guard(channel_->lock_);
    if (in_hand_.empty()) return;
    for (uint64_t seq : in_hand_) channel_->queue_.give_back(seq);
    in_hand_.clear();
  }
  channel_->tell_data();
}

}  // namespace zsync::daemon
