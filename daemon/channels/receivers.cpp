#include "daemon/channels/receivers.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {

NamedChannel::Receiver::Receiver(std::shared_ptr<NamedChannel> channel, int64_t pid)
    : channel_(std::move(channel)), attendance_(pid, channel_->clock_()) {
  rt::LockGuard guard(channel_->lock_);
  id_ = channel_->next_receiver_++;
  channel_->receivers_[id_] = this;
}

NamedChannel::Receiver::~Receiver() {
  give_back();
  rt::LockGuard guard(channel_->lock_);
  channel_->receivers_.erase(id_);
}

Task<absl::StatusOr<Delivery>> NamedChannel::Receiver::next(size_t max) {
  NamedChannel& channel = *channel_;
  attendance_.wait(Phase::kWaiting, channel.clock_);
  Permit turn = co_await channel.recv_turn_.lock();
  while (true) {
    const uint64_t seen = channel.data_.epoch();
    Delivery delivery;
    {
      rt::LockGuard guard(channel.lock_);
      if (channel.removed_) co_return channel.gone();
      if (!channel.groups_.empty()) {
        co_return fault(absl::StatusCode::kFailedPrecondition,
                        absl::StrCat("channel \"", channel.spec_.name, "\" is received by groups"),
                        {"group",
                         "HAS_GROUPS",
                         "",
                         absl::StrCat("receive as a consumer of one, for example \"",
                                      channel.groups_.begin()->first, "\""),
                         {}});
      }
      delivery.gap = channel.queue_.take_gap();
      delivery.messages =
          channel.queue_.take(std::min(max, kDeliveryMessagesMax), kDeliveryBytesMax);
      if (!delivery.messages.empty() && in_hand_.empty()) hand_since_ = channel.clock_();
      for (const Message& message : delivery.messages) in_hand_.push_back(message.seq);
      // Others may still give back what they have in hand; this one has seen its own.
      delivery.closed = channel.closed_ && channel.queue_.held() == in_hand_.size();
    }
    if (!delivery.messages.empty() || delivery.gap || delivery.closed) {
      attendance_.delivered(delivery.messages.size());
      channel.room_.notify_all();
      co_return delivery;
    }
    Waiting waiting(channel.lock_, channel.receivers_waiting_);
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
  if (drained) channel_->data_.notify_all();
  channel_->tell_confirmed(floor);
}

void NamedChannel::Receiver::give_back() {
  {
    rt::LockGuard guard(channel_->lock_);
    if (in_hand_.empty()) return;
    for (uint64_t seq : in_hand_) channel_->queue_.give_back(seq);
    in_hand_.clear();
  }
  channel_->data_.notify_all();
}

}  // namespace zsync::daemon
