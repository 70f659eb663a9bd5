// A NamedChannel whose memory is full: the way to the disk and back.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/named_channel.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {

std::optional<Accepted> NamedChannel::try_send_all(std::vector<std::string>& messages,
                                                   const std::string& trace, const Extras& extras) {
  Accepted result;
  {
    rt::LockGuard guard(lock_);
    MessageQueue::Reservation reserved;
    for (const std::string& message : messages) {
      if (!queue_.fits(message.size(), reserved)) return std::nullopt;
      reserved.add(message.size());
    }
    result.count = accept(messages, 0, trace, extras, result);
  }
  if (result.count > 0) tell_data();
  return result;
}

absl::Status NamedChannel::full_disk(const absl::Status& why) const {
  if (!absl::IsResourceExhausted(why)) {
    return absl::Status(why.code(), absl::StrCat("channel \"", spec_.name,
                                                 "\" cannot write to the disk: ", why.message()));
  }
  return fault(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("channel \"", spec_.name, "\" is full: its memory is, and so is the disk"),
      {"channel",
       "DISK_FULL",
       absl::StrCat("bytes_max = ", spec_.bytes_max, " in memory; ", why.message()),
       "receive from it, or make room on the disk",
       {}});
}

Task<void> NamedChannel::send_to_disk(SendBatch& batch) {
  Permit turn = co_await disk_turn_.lock();
  Accepted& result = batch.result;
  DurableSend send{batch};
  Round round;
  round.sends.push_back(&send);
  uint64_t seq = 0;
  {
    rt::LockGuard guard(lock_);
    // Memory may have room again; a duplicate needs none.
    result.count += accept(batch.messages, result.count, batch.trace, batch.extras, result);
    if (result.status.ok() && result.count < batch.messages.size()) {
      plan_round(round);
      // Nothing overtakes these.
      queue_.begin_spill();
      seq = queue_.next_seq();
    }
  }
  if (seq == 0) {
    tell_data();
    co_return;
  }
  std::vector<segment_log::Entry> entries;
  for (size_t i = 0; i < round.messages.size(); ++i) {
    const uint8_t stream = round.messages[i].extra ? kExtraStream : 0;
    entries.push_back({round.messages[i].time_unix_nano, stream, round.encoded[i], 0});
  }
  segment_log::Appended written;
  if (!entries.empty()) {
    written = co_await rt::call_blocking([&] { return spill_->append(entries, seq); });
  }
  {
    rt::LockGuard guard(lock_);
    queue_.end_spill();
    disk_bytes_ = spill_->bytes();
    const bool refused = !send.stop.ok();
    accept_round(round, written);
    if (!written.status.ok() && !refused) send.stop = full_disk(written.status);
  }
  result.status = std::move(send.stop);
  tell_data();
}

bool NamedChannel::only_on_disk() {
  if (!spill_) [[likely]]
    return false;
  rt::LockGuard guard(lock_);
  return !removed_ && queue_.on_disk() > 0 && !queue_.has_waiting();
}

Task<absl::Status> NamedChannel::load_from_disk() {
  Permit turn = co_await disk_turn_.lock();
  if (!only_on_disk()) co_return absl::OkStatus();
  uint64_t from = 0;
  {
    rt::LockGuard guard(lock_);
    from = queue_.disk_from();
  }
  absl::StatusOr<std::vector<Message>> messages =
      co_await rt::call_blocking([&] { return spill_->read(from, SIZE_MAX, kDeliveryBytesMax); });
  if (!messages.ok()) co_return messages.status();
  bool empty = false;
  {
    rt::LockGuard guard(lock_);
    for (Message& message : *messages) queue_.load(std::move(message));
    from = queue_.disk_from();
    empty = queue_.on_disk() == 0;
  }
  // What was read is in memory, and a file that cannot be dropped now is tried again with the next.
  const uint64_t bytes = co_await rt::call_blocking([&] {
    (void)spill_->drop_before(from, empty);
    return spill_->bytes();
  });
  {
    rt::LockGuard guard(lock_);
    disk_bytes_ = bytes;
  }
  tell_data();
  co_return absl::OkStatus();
}

Task<void> NamedChannel::remove_spill() {
  if (!spill_) co_return;
  Permit turn = co_await disk_turn_.lock();
  co_await rt::call_blocking([this] { spill_->remove(); });
}

Task<absl::StatusOr<Delivery>> NamedChannel::look_on_disk(uint64_t& seq, size_t max,
                                                          Attendance* attendance) {
  const auto there = [this, &seq] {
    rt::LockGuard guard(lock_);
    return !removed_ && seq != 0 && seq >= queue_.disk_from() && seq < queue_.next_seq();
  };
  if (!there()) co_return Delivery();
  if (attendance) attendance->wait(Phase::kDisk, clock_);
  // Nobody brings them into memory, and drops their file, meanwhile.
  Permit turn = co_await disk_turn_.lock();
  if (!there()) co_return Delivery();
  absl::StatusOr<std::vector<Message>> messages = co_await rt::call_blocking(
      [&] { return spill_->read(seq, std::min(max, kDeliveryMessagesMax), kDeliveryBytesMax); });
  if (!messages.ok()) co_return messages.status();
  Delivery delivery;
  delivery.messages = std::move(*messages);
  seq = delivery.messages.back().seq + 1;
  rt::LockGuard guard(lock_);
  delivery.closed = closed_ && seq >= queue_.next_seq();
  co_return delivery;
}

Task<absl::StatusOr<uint64_t>> NamedChannel::first_on_disk(uint64_t seq, int64_t time_unix_nano) {
  while (true) {
    const uint64_t from = seq;
    absl::StatusOr<Delivery> some = co_await look_on_disk(seq, kDeliveryMessagesMax);
    if (!some.ok()) co_return some.status();
    if (some->messages.empty()) co_return from;
    for (const Message& message : some->messages) {
      if (message.time_unix_nano >= time_unix_nano) co_return message.seq;
    }
  }
}

}  // namespace zsync::daemon
