#include "daemon/channels/message_queue.hpp"

#include <algorithm>
#include <utility>

namespace zsync::daemon {

MessageQueue::MessageQueue(uint64_t capacity, uint64_t bytes_max, uint64_t first_seq)
    : capacity_(capacity), bytes_max_(bytes_max), next_(first_seq), head_(first_seq) {}

bool MessageQueue::fits(size_t data_bytes, const Reservation& reserved) const {
  if (on_disk_ > 0 || spilling_) [[unlikely]]
    return false;
  const uint64_t messages = waiting() + reserved.messages;
  if (messages == 0 && in_hand_.empty()) return true;
  return messages < capacity_ && held_bytes_ + reserved.bytes + cost(data_bytes) <= bytes_max_;
}

uint64_t MessageQueue::push(Message message) {
  message.seq = next_++;
  ++held_;
  held_bytes_ += cost(message.data.size());
  bytes_ += cost(message.data.size());
  messages_.push_back(std::move(message));
  trim();
  return next_ - 1;
}

void MessageQueue::restore(Message message, bool held) {
  const uint64_t seq = push(std::move(message));
  if (held) return;
  for (; head_ < seq; ++head_) returned_.insert(head_);
  ++head_;
  settle(seq);
  trim();
}

void MessageQueue::restore_dropped(uint64_t dropped, std::optional<segment_log::Gap> gap) {
  dropped_ = dropped;
  gap_ = gap;
  if (gap_) newest_dropped_ = gap_->to;
}

void MessageQueue::each(const std::function<void(const Message&, bool held)>& see) const {
  for (const Message& message : messages_) {
    see(message,
        message.seq >= head_ || in_hand_.contains(message.seq) || returned_.contains(message.seq));
  }
}

uint64_t MessageQueue::push_on_disk() {
  ++on_disk_;
  ++held_;
  return next_++;
}

void MessageQueue::load(Message message) {
  held_bytes_ += cost(message.data.size());
  bytes_ += cost(message.data.size());
  messages_.push_back(std::move(message));
  --on_disk_;
  trim();
}

uint64_t MessageQueue::floor() const {
  uint64_t floor = head_;
  if (!in_hand_.empty()) floor = std::min(floor, *in_hand_.begin());
  if (!returned_.empty()) floor = std::min(floor, *returned_.begin());
  return floor;
}

// A held message is held no more.
void MessageQueue::settle(uint64_t seq) {
  --held_;
  held_bytes_ -= cost(at(seq).data.size());
}

// History goes as soon as history and held messages together are over the limits.
void MessageQueue::trim() {
  const uint64_t keep = floor();
  while (!messages_.empty() && first_seq() < keep &&
         (messages_.size() > capacity_ || bytes_ > bytes_max_)) {
    bytes_ -= cost(messages_.front().data.size());
    messages_.pop_front();
  }
}

bool MessageQueue::drop_oldest(segment_log::GapReason reason) {
  uint64_t seq = head_;
  if (!returned_.empty()) {
    seq = *returned_.begin();
    returned_.erase(returned_.begin());
  } else if (head_ < disk_from()) {
    ++head_;
  } else {
    return false;
  }
  const uint64_t size = at(seq).data.size();
  settle(seq);
  ++dropped_;
  newest_dropped_ = std::max(newest_dropped_, seq);
  if (!gap_) gap_ = segment_log::Gap{seq, seq, reason, 0};
  gap_->from = std::min(gap_->from, seq);
  gap_->to = std::max(gap_->to, seq);
  gap_->bytes += size;
  trim();
  return true;
}

std::vector<Message> MessageQueue::take(size_t max, size_t bytes_max) {
  std::vector<Message> taken;
  size_t bytes = 0;
  while (taken.size() < max && has_waiting()) {
    const uint64_t seq = returned_.empty() ? head_ : *returned_.begin();
    const Message& message = at(seq);
    if (!taken.empty() && bytes + message.data.size() > bytes_max) break;
    bytes += message.data.size();
    taken.push_back(message);
    if (returned_.empty()) {
      ++head_;
    } else {
      returned_.erase(returned_.begin());
    }
    in_hand_.insert(in_hand_.end(), seq);
  }
  return taken;
}

void MessageQueue::confirm(uint64_t seq) {
  if (in_hand_.erase(seq) == 0) return;
  settle(seq);
  trim();
}

void MessageQueue::give_back(uint64_t seq) {
  if (in_hand_.erase(seq) == 1) returned_.insert(seq);
}

void MessageQueue::settle_before(uint64_t seq) {
  while (!returned_.empty() && *returned_.begin() < seq) {
    settle(*returned_.begin());
    returned_.erase(returned_.begin());
  }
  for (; head_ < std::min(seq, next_); ++head_) settle(head_);
  trim();
}

void MessageQueue::forget_before(uint64_t seq) {
  const uint64_t end = std::min(seq, floor());
  while (!messages_.empty() && first_seq() < end) {
    bytes_ -= cost(messages_.front().data.size());
    messages_.pop_front();
  }
}

void MessageQueue::drop_before(uint64_t seq, segment_log::GapReason reason) {
  while ((!returned_.empty() && *returned_.begin() < seq) ||
         (returned_.empty() && head_ < std::min(seq, next_))) {
    drop_oldest(reason);
  }
}

uint64_t MessageQueue::seq_at_time(int64_t time_unix_nano) const {
  const auto found = std::partition_point(
      messages_.begin(), messages_.end(),
      [&](const Message& message) { return message.time_unix_nano < time_unix_nano; });
  return first_seq() + static_cast<uint64_t>(found - messages_.begin());
}

std::vector<Message> MessageQueue::look(uint64_t seq, size_t max, size_t bytes_max,
                                        std::optional<segment_log::Gap>& gap) const {
  if (seq < first_seq()) {
    const auto reason = newest_dropped_ >= seq ? segment_log::GapReason::kDroppedOldest
                                               : segment_log::GapReason::kLagged;
    gap = segment_log::Gap{seq, first_seq() - 1, reason, 0};
    seq = first_seq();
  }
  std::vector<Message> seen;
  size_t bytes = 0;
  for (; seq < disk_from() && seen.size() < max; ++seq) {
    const Message& message = at(seq);
    if (!seen.empty() && bytes + message.data.size() > bytes_max) break;
    bytes += message.data.size();
    seen.push_back(message);
  }
  return seen;
}

std::optional<segment_log::Gap> MessageQueue::take_gap() {
  return std::exchange(gap_, std::nullopt);
}

}  // namespace zsync::daemon
