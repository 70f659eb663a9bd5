#include "daemon/channels/named_channel.hpp"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "daemon/fault/fault.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

int64_t since_ns(std::chrono::steady_clock::time_point start) {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

NamedChannel::NamedChannel(std::string id, ChannelSpec spec, int64_t created_unix_nano, Clock clock,
                           std::optional<Durable> durable, uint64_t first_seq,
                           const std::string& spill_dir)
    : id_(std::move(id)),
      spec_(std::move(spec)),
      created_unix_nano_(created_unix_nano),
      clock_(std::move(clock)),
      durable_(std::move(durable)),
      exchange_(spec_.form == ChannelForm::kRequest
                    ? std::make_shared<Exchange>(spec_.name, spec_.capacity, clock_)
                    : nullptr),
      queue_(spec_.unbounded ? UINT64_MAX : spec_.capacity, spec_.bytes_max, first_seq),
      policy_(spec_.policy),
      dedup_(policy_.window_ns(), policy_.ids_max()) {
  if (spec_.form == ChannelForm::kLatest) {
    latest_.emplace(spec_.unbounded ? UINT64_MAX : spec_.capacity, spec_.bytes_max);
  }
  const uint64_t disk_bytes_max = spec_.disk_bytes_max.value_or(0);
  if (!spill_dir.empty() && spec_.may_spill() && disk_bytes_max > 0) {
    spill_.emplace(spill_dir, disk_bytes_max);
  }
  if (!durable_) return;
  log_first_ = durable_->writer->first_seq();
  log_bytes_ = durable_->writer->disk_bytes();
}

void NamedChannel::restore(Message message, bool held) {
  rt::LockGuard guard(lock_);
  queue_.restore(std::move(message), held);
}

void NamedChannel::restore_closed() {
  rt::LockGuard guard(lock_);
  closed_ = true;
}

void NamedChannel::restore_id(const std::string& id, uint64_t seq, int64_t time_unix_nano) {
  rt::LockGuard guard(lock_);
  dedup_.add(id, seq, time_unix_nano);
}

ChannelInfo NamedChannel::info(bool consumers) {
  rt::LockGuard guard(lock_);
  ChannelInfo info;
  info.id = id_;
  info.spec = spec_;
  info.spec.policy = policy_;
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
  info.first_seq = durable_ ? log_first_ : queue_.first_seq();
  info.log_bytes = log_bytes_;
  info.disk_messages = queue_.on_disk();
  info.disk_bytes = disk_bytes_;
  fill_form(info);
  if (!consumers) return info;
  fill_consumers(info);
  fill_followers(info);
  if (exchange_) info.responders = exchange_->responders(kAttendingMax, info.why);
  return info;
}

absl::Status NamedChannel::gone() const {
  return fault(absl::StatusCode::kNotFound,
               absl::StrCat("channel \"", spec_.name, "\" was removed"),
               {"channel", "NOT_FOUND", "", "create it again", {}});
}

absl::Status NamedChannel::refusal() {
  if (removed_) return gone();
  if (!closed_) return absl::OkStatus();
  return fault(absl::StatusCode::kFailedPrecondition,
               absl::StrCat("channel \"", spec_.name, "\" is closed"),
               {"channel", "CLOSED", "", "create another one", {}});
}

absl::Status NamedChannel::full() const {
  return fault(
      absl::StatusCode::kResourceExhausted, absl::StrCat("channel \"", spec_.name, "\" is full"),
      {"channel",
       "FULL",
       spec_.form == ChannelForm::kLatest && !spec_.unbounded
           ? absl::StrCat("capacity = ", spec_.capacity, " keys, bytes_max = ", spec_.bytes_max)
       : spill_          ? absl::StrCat("bytes_max = ", spec_.bytes_max,
                                        " in memory, disk_bytes_max = ", spill_->bytes_max(), " on disk")
       : spec_.unbounded ? absl::StrCat("bytes_max = ", spec_.bytes_max)
                         : absl::StrCat("capacity = ", spec_.capacity,
                                        " messages, bytes_max = ", spec_.bytes_max),
       spec_.form == ChannelForm::kLatest
           ? "replace a key that is there, or create it with another capacity or overflow"
           : "receive from it, or create it with another overflow",
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

absl::Status NamedChannel::too_many_ids() {
  return fault(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("channel \"", spec_.name, "\" remembers the ids of ", policy_.ids_max(),
                   " messages"),
      {"ids",
       "LIMIT",
       absl::StrCat("dedup_ids_max = ", policy_.ids_max(), " within ",
                    absl::FormatDuration(absl::Nanoseconds(policy_.window_ns()))),
       "send fewer messages with ids, wait until some are forgotten, or raise it: channels set",
       {}});
}

uint64_t NamedChannel::accept(std::vector<std::string>& messages, uint64_t from,
                              const std::string& trace, const Extras& extras, Accepted& result) {
  absl::Status& stop = result.status;
  stop = refusal();
  uint64_t accepted = 0;
  const int64_t now = clock_();
  for (uint64_t i = from; stop.ok() && i < messages.size(); ++i) {
    const MessageExtraPtr extra = extras.empty() ? nullptr : extras[i];
    const bool has_id = extra && !extra->id.empty();
    if (const auto known = has_id ? dedup_.find(extra->id, now) : std::nullopt) {
      result.last_seq = *known;
      ++result.duplicates;
      ++accepted;
      continue;
    }
    if (has_id && dedup_.full(now)) {
      stop = too_many_ids();
      break;
    }
    if (spec_.form != ChannelForm::kQueue) [[unlikely]] {
      const auto seq = push_form({0, now, trace, std::move(messages[i]), extra});
      if (!seq) {
        stop = full();
        break;
      }
      result.last_seq = *seq;
      if (has_id) dedup_.add(extra->id, result.last_seq, now);
      ++accepted;
      ++sent_;
      continue;
    }
    if (!make_room(messages[i].size())) {
      // A ceiling of bytes is a limit, not a place that somebody frees soon; a bounded channel may
      // make its senders wait.
      if (spill_) break;
      if (spec_.overflow != Overflow::kBlock || spec_.unbounded) stop = full();
      break;
    }
    result.last_seq = queue_.push({0, now, trace, std::move(messages[i]), extra});
    if (has_id) dedup_.add(extra->id, result.last_seq, now);
    ++accepted;
    ++sent_;
  }
  return accepted;
}

Accepted NamedChannel::try_send(std::vector<std::string> messages, const std::string& trace,
                                const Extras& extras) {
  Accepted result;
  {
    rt::LockGuard guard(lock_);
    result.count = accept(messages, 0, trace, extras, result);
  }
  if (result.count > 0) tell_data();
  if (result.status.ok() && result.count < messages.size()) result.status = full();
  return result;
}

Task<Accepted> NamedChannel::send(std::vector<std::string> messages, std::string trace,
                                  Extras extras) {
  SendBatch batch{std::move(messages), std::move(trace), std::move(extras)};
  if (durable_) {
    (void)co_await send_durable({&batch, 1});
    co_return std::move(batch.result);
  }
  Accepted& result = batch.result;
  Permit turn = co_await send_turn_.lock();
  while (true) {
    const uint64_t seen = room_.epoch();
    uint64_t accepted = 0;
    {
      rt::LockGuard guard(lock_);
      accepted = accept(batch.messages, result.count, batch.trace, batch.extras, result);
    }
    result.count += accepted;
    if (accepted > 0) tell_data();
    if (result.count == batch.messages.size() || !result.status.ok()) co_return std::move(result);
    if (spill_) {
      co_await shield(send_to_disk(batch));
      co_return std::move(result);
    }
    Waiting waiting(lock_, senders_waiting_);
    const auto began = std::chrono::steady_clock::now();
    co_await room_.changed(seen);
    result.room_wait_ns += since_ns(began);
  }
}

Task<size_t> NamedChannel::send_durable(std::span<SendBatch> batches) {
  const bool waits = spec_.overflow == Overflow::kBlock && !spec_.unbounded;  // for room
  std::vector<DurableSend> sends;
  sends.reserve(batches.size());
  for (SendBatch& batch : batches)
    sends.push_back({batch, sends.empty() ? nullptr : &sends.back()});
  Permit turn = co_await send_turn_.lock();
  while (true) {
    const uint64_t seen = room_.epoch();
    if (!waits) turn.release();  // who comes next is written together with these
    co_await shield(write_together(sends));
    size_t done = 0;
    while (done < sends.size() && sends[done].whole && sends[done].stop.ok()) ++done;
    if (done < sends.size() && !sends[done].stop.ok()) {
      batches[done].result.status = std::move(sends[done].stop);
      ++done;
    }
    if (done > 0) co_return done;
    Waiting waiting(lock_, senders_waiting_);
    const auto began = std::chrono::steady_clock::now();
    co_await room_.changed(seen);
    batches.front().result.room_wait_ns += since_ns(began);
  }
}

Task<Accepted> NamedChannel::send_what_fits(std::vector<std::string> messages, std::string trace,
                                            Extras extras) {
  if (!durable_ && !spill_) co_return try_send(std::move(messages), trace, extras);
  SendBatch batch{std::move(messages), std::move(trace), std::move(extras)};
  if (spill_) {
    co_await shield(send_to_disk(batch));
    co_return std::move(batch.result);
  }
  DurableSend send{batch};
  co_await shield(write_together({&send, 1}));
  batch.result.status = std::move(send.stop);
  if (batch.result.status.ok() && !send.whole) batch.result.status = full();
  co_return std::move(batch.result);
}

// Whoever gets the turn writes for everybody who waits for it.
Task<void> NamedChannel::write_together(std::span<DurableSend> sends) {
  {
    rt::LockGuard guard(lock_);
    for (DurableSend& send : sends) {
      send.done = false;
      disk_queue_.push_back(&send);
    }
  }
  Permit turn = co_await disk_turn_.lock();
  std::vector<DurableSend*> round;
  {
    rt::LockGuard guard(lock_);
    if (sends.back().done) co_return;  // they are of one round
    round.swap(disk_queue_);
  }
  co_await write_round(std::move(round));
}

Task<void> NamedChannel::write_round(std::vector<DurableSend*> sends) {
  // 1. What may be accepted takes its place in the queue's limits before it is written, so that two
  //    rounds cannot overfill it; it is shown to receivers only after the sync.
  Round round;
  round.sends = std::move(sends);
  {
    rt::LockGuard guard(lock_);
    plan_round(round);
  }
  // 2. One write and one sync for all.
  std::vector<segment_log::Entry> entries;
  for (size_t i = 0; i < round.messages.size(); ++i) {
    const uint8_t stream = round.messages[i].extra ? kExtraStream : 0;
    entries.push_back({round.messages[i].time_unix_nano, stream, round.encoded[i], 0});
  }
  segment_log::Appended written;
  uint64_t log_bytes = 0;
  if (!entries.empty()) {
    written = co_await rt::call_blocking([this, &entries, &log_bytes] {
      segment_log::Appended appended = durable_->writer->append(entries);
      log_bytes = durable_->writer->disk_bytes();
      if (appended.count == 0) return appended;
      // In doubt once a sync has failed: nothing is accepted from then on.
      absl::Status synced = durable_->writer->sync();
      return synced.ok() ? appended : segment_log::Appended{0, std::move(synced)};
    });
  }
  // 3. The news: what is on disk is accepted, in the order of the log.
  {
    rt::LockGuard guard(lock_);
    accept_round(round, written);
  }
  if (!entries.empty()) note_log(log_bytes);
  tell_data();
}

void NamedChannel::plan_round(Round& round) {
  MessageQueue::Reservation reserved;
  uint64_t disk_reserved = 0;                        // of spill_
  std::unordered_map<std::string_view, size_t> ids;  // of this round
  const int64_t now = clock_();
  for (DurableSend* send : round.sends) {
    std::vector<Planned>& plan = round.plans.emplace_back();
    send->stop = refusal();
    send->whole = false;
    if (send->before && !send->before->whole) continue;
    const SendBatch& batch = send->batch;
    uint64_t i = batch.result.count;
    for (; send->stop.ok() && i < batch.messages.size(); ++i) {
      const std::string& data = batch.messages[i];
      const MessageExtraPtr extra = batch.extras.empty() ? nullptr : batch.extras[i];
      const bool has_id = extra && !extra->id.empty();
      if (has_id) {
        if (const auto known = dedup_.find(extra->id, now)) {
          plan.push_back({false, 0, *known});
          continue;
        }
        if (auto twin = ids.find(extra->id); twin != ids.end()) {
          plan.push_back({false, twin->second, 0});
          continue;
        }
        if (dedup_.full(now)) {
          send->stop = too_many_ids();
          break;
        }
      }
      if (spill_) {
        const uint64_t bytes = Spill::bytes_of(batch.trace, data, extra.get());
        if (disk_bytes_ + disk_reserved + bytes > spill_->bytes_max()) {
          send->stop = full();
          break;
        }
        disk_reserved += bytes;
      } else if (spec_.overflow != Overflow::kDropOldest && !queue_.fits(data.size(), reserved)) {
        if (spec_.overflow == Overflow::kError || spec_.unbounded) send->stop = full();
        break;
      }
      reserved.add(data.size());
      if (has_id) ids.emplace(extra->id, round.messages.size());
      plan.push_back({true, round.messages.size(), 0});
      round.encoded.push_back(encode_message(batch.trace, data, extra.get()));
      round.messages.push_back({0, now, batch.trace, data, extra});
    }
    send->whole = send->stop.ok() && i == batch.messages.size();
  }
}

void NamedChannel::accept_round(Round& round, const segment_log::Appended& written) {
  std::vector<uint64_t> seqs(round.messages.size());
  for (size_t at = 0; at < round.sends.size(); ++at) {
    DurableSend& send = *round.sends[at];
    Accepted& result = send.batch.result;
    for (const Planned& planned : round.plans[at]) {
      if (planned.duplicates != 0) {
        result.last_seq = planned.duplicates;
      } else if (planned.index >= written.count) {
        send.stop = written.status;
        break;
      } else if (planned.fresh) {
        Message& message = round.messages[planned.index];
        const MessageExtraPtr extra = message.extra;
        const int64_t time = message.time_unix_nano;
        if (spill_) {
          result.last_seq = seqs[planned.index] = queue_.push_on_disk();
        } else {
          (void)make_room(message.data.size());
          result.last_seq = seqs[planned.index] = queue_.push(std::move(message));
        }
        if (extra && !extra->id.empty()) dedup_.add(extra->id, result.last_seq, time);
        ++sent_;
      } else {
        result.last_seq = seqs[planned.index];
      }
      if (!planned.fresh) ++result.duplicates;
      ++result.count;
    }
    send.done = true;
  }
}

void NamedChannel::close() {
  {
    rt::LockGuard guard(lock_);
    closed_ = true;
  }
  if (exchange_) exchange_->close();
  if (ring_) ring_->close();
  room_.notify_all();
  tell_data();
}

void NamedChannel::remove() {
  {
    rt::LockGuard guard(lock_);
    closed_ = removed_ = true;
  }
  if (exchange_) exchange_->remove();
  if (ring_) ring_->remove();
  room_.notify_all();
  tell_data();
}

void NamedChannel::tell_confirmed(uint64_t floor) {
  if (!durable_) return;
  if (durable_->confirmed) durable_->confirmed(floor);
  bool more = false;
  {
    rt::LockGuard guard(lock_);
    more = held_until_ <= settled_floor();
    if (more) held_until_ = UINT64_MAX;
  }
  if (more) retire_at(0);
}

void NamedChannel::tell_data() {
  data_.notify_all();
  if (!listened_.load(std::memory_order_relaxed)) [[likely]]
    return;
  std::vector<std::shared_ptr<Notify>> listeners;
  {
    rt::LockGuard guard(lock_);
    listeners = listeners_;
  }
  for (const std::shared_ptr<Notify>& listener : listeners) listener->notify_all();
}

// What is sent before is found by the listener's next look; who sends later takes the lock after
// this and sees the flag.
void NamedChannel::listen(std::shared_ptr<Notify> listener) {
  rt::LockGuard guard(lock_);
  listeners_.push_back(std::move(listener));
  listened_.store(true, std::memory_order_relaxed);
}

void NamedChannel::unlisten(const std::shared_ptr<Notify>& listener) {
  rt::LockGuard guard(lock_);
  const auto found = std::find(listeners_.begin(), listeners_.end(), listener);
  if (found != listeners_.end()) listeners_.erase(found);
  listened_.store(!listeners_.empty(), std::memory_order_relaxed);
}

}  // namespace zsync::daemon
