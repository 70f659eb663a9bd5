#include "daemon/channels/named_channel.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

absl::Status gone(const std::string& name) {
  return fault(absl::StatusCode::kNotFound, absl::StrCat("channel \"", name, "\" was removed"),
               {"channel", "NOT_FOUND", "", "create it again", {}});
}

}  // namespace

NamedChannel::NamedChannel(std::string id, ChannelSpec spec, int64_t created_unix_nano, Clock clock,
                           std::optional<Durable> durable, uint64_t first_seq)
    : id_(std::move(id)),
      spec_(std::move(spec)),
      created_unix_nano_(created_unix_nano),
      clock_(std::move(clock)),
      durable_(std::move(durable)),
      queue_(spec_.unbounded ? UINT64_MAX : spec_.capacity, spec_.bytes_max, first_seq) {}

void NamedChannel::restore(Message message, bool held) {
  rt::LockGuard guard(lock_);
  queue_.push(std::move(message));
  if (held) return;
  for (const Message& old : queue_.take(1, SIZE_MAX)) queue_.confirm(old.seq);
}

void NamedChannel::restore_closed() {
  rt::LockGuard guard(lock_);
  closed_ = true;
}

ChannelInfo NamedChannel::info() {
  rt::LockGuard guard(lock_);
  ChannelInfo info;
  info.id = id_;
  info.spec = spec_;
  info.closed = closed_;
  info.depth = queue_.held();
  info.bytes = queue_.held_bytes();
  info.next_seq = queue_.next_seq();
  info.sent = sent_;
  info.received = received_;
  info.dropped = queue_.dropped();
  info.senders_waiting = senders_waiting_;
  info.receivers_waiting = receivers_waiting_;
  info.created_unix_nano = created_unix_nano_;
  return info;
}

absl::Status NamedChannel::refusal() {
  if (removed_) return gone(spec_.name);
  if (!closed_) return absl::OkStatus();
  return fault(absl::StatusCode::kFailedPrecondition,
               absl::StrCat("channel \"", spec_.name, "\" is closed"),
               {"channel", "CLOSED", "", "create another one", {}});
}

absl::Status NamedChannel::full() const {
  return fault(absl::StatusCode::kResourceExhausted,
               absl::StrCat("channel \"", spec_.name, "\" is full"),
               {"channel",
                "FULL",
                spec_.unbounded ? absl::StrCat("bytes_max = ", spec_.bytes_max)
                                : absl::StrCat("capacity = ", spec_.capacity,
                                               " messages, bytes_max = ", spec_.bytes_max),
                "receive from it, or create it with another overflow",
                {}});
}

bool NamedChannel::make_room(size_t bytes) {
  while (!queue_.fits(bytes)) {
    const uint64_t oldest = queue_.floor();
    if (spec_.overflow != Overflow::kDropOldest || !queue_.drop_oldest()) return false;
    if (!groups_.empty()) lose(oldest, oldest, segment_log::GapReason::kDroppedOldest);
  }
  return true;
}

uint64_t NamedChannel::accept(std::vector<std::string>& messages, uint64_t from,
                              const std::string& trace, uint64_t& last_seq, absl::Status& stop) {
  stop = refusal();
  uint64_t accepted = 0;
  const int64_t now = clock_();
  for (uint64_t i = from; stop.ok() && i < messages.size(); ++i) {
    if (!make_room(messages[i].size())) {
      // A ceiling of bytes is a limit, not a place that somebody frees soon; a bounded channel may
      // make its senders wait.
      if (spec_.overflow != Overflow::kBlock || spec_.unbounded) stop = full();
      break;
    }
    last_seq = queue_.push({0, now, trace, std::move(messages[i]), nullptr});
    ++accepted;
    ++sent_;
  }
  return accepted;
}

Accepted NamedChannel::try_send(std::vector<std::string> messages, const std::string& trace) {
  Accepted result;
  {
    rt::LockGuard guard(lock_);
    result.count = accept(messages, 0, trace, result.last_seq, result.status);
  }
  if (result.count > 0) data_.notify_all();
  if (result.status.ok() && result.count < messages.size()) result.status = full();
  return result;
}

Task<Accepted> NamedChannel::send(std::vector<std::string> messages, std::string trace) {
  Accepted result;
  const Extras extras;
  DurableSend to_disk{messages, trace, extras, 0, 0, 0, {}, false};
  Permit turn = co_await send_turn_.lock();
  while (true) {
    const uint64_t seen = room_.epoch();
    uint64_t accepted = 0;
    if (durable_) {
      to_disk.from = result.count;
      if (spec_.overflow != Overflow::kBlock) turn.release();  // nobody waits for room
      co_await shield(send_durable(to_disk));
      accepted = to_disk.accepted;
      if (accepted > 0) result.last_seq = to_disk.last_seq;
      result.status = to_disk.stop;
    } else {
      rt::LockGuard guard(lock_);
      accepted = accept(messages, result.count, trace, result.last_seq, result.status);
    }
    result.count += accepted;
    if (accepted > 0) data_.notify_all();
    if (result.count == messages.size() || !result.status.ok()) co_return result;
    Waiting waiting(lock_, senders_waiting_);
    co_await room_.changed(seen);
  }
}

Task<Accepted> NamedChannel::send_what_fits(std::vector<std::string> messages, std::string trace,
                                            Extras extras) {
  if (!durable_) co_return try_send(std::move(messages), trace);
  DurableSend to_disk{messages, trace, extras, 0, 0, 0, {}, false};
  co_await shield(send_durable(to_disk));
  absl::Status status = std::move(to_disk.stop);
  if (status.ok() && to_disk.accepted < messages.size()) status = full();
  co_return Accepted{to_disk.accepted, to_disk.last_seq, std::move(status)};
}

// Whoever gets the turn writes for everybody who waits for it.
Task<void> NamedChannel::send_durable(DurableSend& send) {
  send.done = false;
  {
    rt::LockGuard guard(lock_);
    disk_queue_.push_back(&send);
  }
  Permit turn = co_await disk_turn_.lock();
  std::vector<DurableSend*> round;
  {
    rt::LockGuard guard(lock_);
    if (send.done) co_return;
    round.swap(disk_queue_);
  }
  co_await write_round(std::move(round));
}

Task<void> NamedChannel::write_round(std::vector<DurableSend*> round) {
  // 1. What may be accepted takes its place in the queue's limits before it is written, so that two
  //    rounds cannot overfill it; it is shown to receivers only after the sync.
  std::vector<std::string> encoded;
  std::vector<Message> fresh;
  {
    rt::LockGuard guard(lock_);
    MessageQueue::Reservation reserved;
    for (DurableSend* send : round) {
      send->accepted = 0;
      send->stop = refusal();
      for (uint64_t i = send->from; send->stop.ok() && i < send->messages.size(); ++i) {
        const std::string& data = send->messages[i];
        if (spec_.overflow != Overflow::kDropOldest && !queue_.fits(data.size(), reserved)) {
          if (spec_.overflow == Overflow::kError || spec_.unbounded) send->stop = full();
          break;
        }
        reserved.add(data.size());
        const MessageExtraPtr extra = send->extras.empty() ? nullptr : send->extras[i];
        encoded.push_back(encode_message(send->trace, data, extra.get()));
        fresh.push_back({0, clock_(), send->trace, data, extra});
        ++send->accepted;
      }
    }
  }
  // 2. One write and one sync for all.
  std::vector<segment_log::Entry> entries;
  for (size_t i = 0; i < encoded.size(); ++i) {
    const uint8_t stream = fresh[i].extra ? kExtraStream : 0;
    entries.push_back({fresh[i].time_unix_nano, stream, encoded[i], 0});
  }
  segment_log::Appended written;
  if (!entries.empty()) {
    written = co_await rt::call_blocking([this, &entries] {
      segment_log::Appended appended = durable_->writer->append(entries);
      if (appended.count == 0) return appended;
      // In doubt once a sync has failed: nothing is accepted from then on.
      absl::Status synced = durable_->writer->sync();
      return synced.ok() ? appended : segment_log::Appended{0, std::move(synced)};
    });
  }
  // 3. The news: what is on disk is accepted, in the order of the log.
  {
    rt::LockGuard guard(lock_);
    size_t next = 0;
    for (DurableSend* send : round) {
      const uint64_t wanted = std::exchange(send->accepted, 0);
      for (; send->accepted < wanted && next < written.count; ++send->accepted, ++next) {
        (void)make_room(fresh[next].data.size());
        send->last_seq = queue_.push(std::move(fresh[next]));
        ++sent_;
      }
      if (send->accepted < wanted) send->stop = written.status;
      send->done = true;
    }
  }
  data_.notify_all();
}

void NamedChannel::close() {
  {
    rt::LockGuard guard(lock_);
    closed_ = true;
  }
  room_.notify_all();
  data_.notify_all();
}

void NamedChannel::remove() {
  {
    rt::LockGuard guard(lock_);
    closed_ = removed_ = true;
  }
  room_.notify_all();
  data_.notify_all();
}

NamedChannel::Receiver::Receiver(std::shared_ptr<NamedChannel> channel)
    : channel_(std::move(channel)) {
  rt::LockGuard guard(channel_->lock_);
  ++channel_->receivers_;
}

NamedChannel::Receiver::~Receiver() {
  give_back();
  rt::LockGuard guard(channel_->lock_);
  --channel_->receivers_;
}

Task<absl::StatusOr<Delivery>> NamedChannel::Receiver::next(size_t max) {
  NamedChannel& channel = *channel_;
  Permit turn = co_await channel.recv_turn_.lock();
  while (true) {
    const uint64_t seen = channel.data_.epoch();
    Delivery delivery;
    {
      rt::LockGuard guard(channel.lock_);
      if (channel.removed_) co_return gone(channel.spec_.name);
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
      for (const Message& message : delivery.messages) in_hand_.insert(message.seq);
      // Others may still give back what they have in hand; this one has seen its own.
      delivery.closed = channel.closed_ && channel.queue_.held() == in_hand_.size();
    }
    if (!delivery.messages.empty() || delivery.gap || delivery.closed) {
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
    for (; count > 0 && !in_hand_.empty(); --count) {
      channel_->queue_.confirm(*in_hand_.begin());
      in_hand_.erase(in_hand_.begin());
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

void NamedChannel::tell_confirmed(uint64_t floor) {
  if (durable_ && durable_->confirmed) durable_->confirmed(floor);
}

Task<absl::StatusOr<Delivery>> NamedChannel::follow(uint64_t& seq) {
  while (true) {
    const uint64_t seen = data_.epoch();
    Delivery delivery;
    {
      rt::LockGuard guard(lock_);
      if (removed_) co_return gone(spec_.name);
      if (seq == 0) seq = queue_.next_seq();
      delivery.messages = queue_.look(seq, kDeliveryMessagesMax, kDeliveryBytesMax, delivery.gap);
      if (!delivery.messages.empty()) seq = delivery.messages.back().seq + 1;
      delivery.closed = closed_ && seq >= queue_.next_seq();
    }
    if (!delivery.messages.empty() || delivery.closed) co_return delivery;
    co_await data_.changed(seen);
  }
}

}  // namespace zsync::daemon
