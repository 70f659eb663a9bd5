#include "daemon/channels/follower.hpp"

#include <algorithm>
#include <utility>

#include "zsync/runtime.hpp"

namespace zsync::daemon {

NamedChannel::Follower::Follower(std::shared_ptr<NamedChannel> channel, uint64_t seq, int64_t pid,
                                 uint32_t sources)
    : channel_(std::move(channel)), attendance_(pid, channel_->clock_()), position_(seq) {
  attendance_.sources = sources;
  rt::LockGuard guard(channel_->lock_);
  id_ = channel_->next_follower_++;
  channel_->followers_[id_] = this;
}

NamedChannel::Follower::~Follower() {
  rt::LockGuard guard(channel_->lock_);
  channel_->followers_.erase(id_);
  if (channel_->followers_.size() < 2) channel_->runs_.clear();
}

Task<absl::StatusOr<Delivery>> NamedChannel::Follower::look(size_t max) {
  uint64_t seq = position();
  absl::StatusOr<Delivery> delivery = co_await channel_->look(seq, replay_, max, attendance_);
  position_.store(seq, std::memory_order_relaxed);
  if (!delivery.ok()) co_return delivery;
  attendance_.delivered(delivery->messages.size());
  if (delivery->gap) {
    const uint64_t missed = delivery->gap->to - delivery->gap->from + 1;
    missed_.store(missed_.load(std::memory_order_relaxed) + missed, std::memory_order_relaxed);
  }
  co_return delivery;
}

Task<absl::StatusOr<Delivery>> NamedChannel::Follower::next() {
  while (true) {
    const uint64_t seen = channel_->data_.epoch();
    absl::StatusOr<Delivery> delivery = co_await look();
    if (!delivery.ok() || !delivery->empty()) co_return delivery;
    wait();
    co_await channel_->data_.changed(seen);
  }
}

Task<absl::StatusOr<Delivery>> NamedChannel::Follower::next_encoded(const EncodeMessages& encode) {
  while (true) {
    const uint64_t seen = channel_->data_.epoch();
    Delivery shared;
    if (take_run(shared)) co_return shared;
    absl::StatusOr<Delivery> delivery = co_await look();
    if (delivery.ok() && !delivery->messages.empty()) share_run(*delivery, encode);
    if (!delivery.ok() || !delivery->empty()) co_return delivery;
    wait();
    co_await channel_->data_.changed(seen);
  }
}

// What another follower was given from here on.
bool NamedChannel::Follower::take_run(Delivery& delivery) {
  const uint64_t seq = position();
  {
    rt::LockGuard guard(channel_->lock_);
    if (channel_->removed_) return false;
    delivery.run = channel_->runs_.find(seq);
  }
  if (!delivery.run) return false;
  position_.store(delivery.run->last + 1, std::memory_order_relaxed);
  attendance_.delivered(delivery.run->count);
  return true;
}

// Only what comes straight behind one another: the next one who is there finds all of it.
void NamedChannel::Follower::share_run(Delivery& delivery, const EncodeMessages& encode) {
  const uint64_t first = delivery.messages.front().seq;
  const uint64_t last = delivery.messages.back().seq;
  const size_t count = delivery.messages.size();
  if (delivery.gap || delivery.closed || last - first + 1 != count) return;
  {
    rt::LockGuard guard(channel_->lock_);
    if (channel_->latest_ || channel_->followers_.size() < 2) return;
  }
  auto run = std::make_shared<SharedRun>(first, last, count, "");
  run->bytes = encode(std::exchange(delivery.messages, {}));
  delivery.run = run;
  rt::LockGuard guard(channel_->lock_);
  channel_->runs_.keep(std::move(run));
}

Task<absl::StatusOr<Delivery>> NamedChannel::read_log(uint64_t& seq, uint64_t end, Replay& replay,
                                                      size_t max) {
  absl::StatusOr<segment_log::Batch> batch =
      co_await rt::call_blocking([this, &seq, &replay]() -> absl::StatusOr<segment_log::Batch> {
        if (!replay) {
          absl::StatusOr<segment_log::Reader> opened =
              segment_log::Reader::open(durable_->dir, seq);
          if (!opened.ok()) return opened.status();
          replay.emplace(std::move(*opened));
        }
        if (replay->next_seq() != seq) replay->seek(seq);
        return replay->read(kDeliveryBytesMax);
      });
  if (!batch.ok()) co_return batch.status();
  Delivery delivery;
  for (const segment_log::Record& record : batch->records) {
    if (record.seq >= end || delivery.messages.size() >= max) break;
    if (record.gap) {
      if (!delivery.messages.empty() || delivery.gap) break;  // the next call begins with it
      delivery.gap = record.gap;
      if (delivery.gap->reason == segment_log::GapReason::kExpired) {
        delivery.gap->reason = segment_log::GapReason::kRetention;
      }
    } else if (std::optional<Message> message = decode_message(record)) {
      delivery.messages.push_back(std::move(*message));
    }
    seq = record.seq + 1;
  }
  co_return delivery;
}

Task<absl::StatusOr<Delivery>> NamedChannel::look(uint64_t& seq, Replay& replay, size_t max,
                                                  Attendance& attendance) {
  uint64_t end = 0;
  {
    rt::LockGuard guard(lock_);
    if (durable_ && !removed_ && seq != 0) end = queue_.first_seq();
  }
  if (seq < end) {
    attendance.wait(Phase::kDisk, clock_);
    absl::StatusOr<Delivery> old = co_await read_log(seq, end, replay, max);
    if (!old.ok() || !old->messages.empty() || old->gap) co_return old;
  }
  if (spill_) {
    absl::StatusOr<Delivery> old = co_await look_on_disk(seq, max, &attendance);
    if (!old.ok() || !old->empty()) co_return old;
  }
  Delivery delivery;
  rt::LockGuard guard(lock_);
  if (removed_) co_return gone();
  if (latest_) {
    look_at_latest(seq, delivery, max);
    co_return delivery;
  }
  if (seq == 0) seq = queue_.next_seq();
  delivery.messages = queue_.look(seq, max, kDeliveryBytesMax, delivery.gap);
  // What is missing is told with what comes behind it.
  if (delivery.messages.empty()) delivery.gap.reset();
  if (!delivery.messages.empty()) seq = delivery.messages.back().seq + 1;
  delivery.closed = closed_ && seq >= queue_.next_seq();
  co_return delivery;
}

}  // namespace zsync::daemon
