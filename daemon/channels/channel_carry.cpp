#include "daemon/channels/channel_carry.hpp"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/store/varint.hpp"

namespace zsync::daemon {
namespace {

// Kinds of records.
constexpr uint8_t kHeader = 0;
constexpr uint8_t kId = 1;
constexpr uint8_t kMessage = 2;
constexpr uint8_t kEnd = 3;
constexpr size_t kAppendBytes = 1 << 20;  // at once

template <typename T>
void put_optional(std::string& out, const std::optional<T>& value) {
  out.push_back(value ? 1 : 0);
  put_varint(out, value ? static_cast<uint64_t>(*value) : 0);
}

template <typename T>
void take_optional(VarintReader& in, std::optional<T>& value) {
  const bool there = in.next() != 0;
  const uint64_t number = in.next();
  if (there) value = static_cast<T>(number);
}

// Gathers records and appends them some at a time.
class Appender {
 public:
  explicit Appender(segment_log::Writer& log) : log_(log) {}
  absl::Status add(uint8_t kind, std::string payload) {
    bytes_ += payload.size();
    records_.push_back({kind, std::move(payload)});
    return bytes_ >= kAppendBytes ? flush() : absl::OkStatus();
  }
  absl::Status flush() {
    std::vector<segment_log::Entry> entries;
    for (const auto& [kind, payload] : records_) entries.push_back({0, kind, payload, 0});
    absl::Status status = log_.append(entries).status;
    records_.clear();
    bytes_ = 0;
    return status;
  }

 private:
  segment_log::Writer& log_;
  std::vector<std::pair<uint8_t, std::string>> records_;
  size_t bytes_ = 0;
};

// Where a message was.
constexpr uint8_t kReceived = 0;
constexpr uint8_t kHeld = 1;
constexpr uint8_t kOnDisk = 2;  // held, because memory was full

std::string encode_carried(const Message& message, uint8_t place) {
  std::string out;
  put_varint(out, message.seq);
  put_varint(out, static_cast<uint64_t>(message.time_unix_nano));
  out.push_back(static_cast<char>(place));
  out.push_back(message.extra ? static_cast<char>(kExtraStream) : 0);
  out.append(encode_message(message.trace, message.data, message.extra.get()));
  return out;
}

// The next program is executed in this process: a descriptor is its number there.
void put_descriptor(std::string& out, int fd) {
  const int kept = ::fcntl(fd, F_DUPFD, 3);
  put_varint(out, static_cast<uint64_t>(std::max(kept, 0)));
}

void put_ring(std::string& out, Ring& ring) {
  for (int fd : ring.descriptors()) put_descriptor(out, fd);
  const std::vector<Ring::Carried> ends = ring.carried();
  put_varint(out, ends.size());
  for (const Ring::Carried& one : ends) {
    put_varint(out, static_cast<uint64_t>(one.end));
    put_varint(out, static_cast<uint64_t>(one.pid));
    put_varint(out, static_cast<uint64_t>(one.since));
    put_descriptor(out, one.connection);
  }
}

// 0, for one that could not be kept, is nobody's.
int take_descriptor(VarintReader& in) {
  const auto fd = static_cast<int>(in.next());
  if (fd < 3) return -1;
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

absl::StatusOr<std::shared_ptr<Ring>> take_ring(VarintReader& in, const std::string& channel) {
  Ring::Descriptors descriptors;
  for (int& fd : descriptors) fd = take_descriptor(in);
  absl::StatusOr<std::shared_ptr<Ring>> ring = Ring::adopt(channel, descriptors);
  for (uint64_t ends = in.next(); in.ok() && ends > 0; --ends) {
    const auto end = static_cast<RingEnd>(in.next() & 1);
    const auto pid = static_cast<pid_t>(in.next());
    const auto since = static_cast<int64_t>(in.next());
    const UniqueFd connection(take_descriptor(in));
    if (ring.ok() && connection) (void)(*ring)->enter(end, pid, since, connection.get());
  }
  return ring;
}

absl::Status damaged() {
  return absl::DataLossError("what was kept of the memory channels is damaged");
}

}  // namespace

std::string ChannelCarry::header_of(NamedChannel& channel) {
  const ChannelSpec& spec = channel.spec_;
  const ChannelPolicy policy = channel.policy_;
  std::string out;
  put_text(out, channel.id_);
  put_text(out, spec.name);
  for (uint64_t number :
       {spec.capacity, uint64_t{spec.unbounded}, spec.bytes_max,
        static_cast<uint64_t>(spec.overflow), static_cast<uint64_t>(spec.form),
        static_cast<uint64_t>(channel.created_unix_nano_), uint64_t{channel.closed_}, channel.sent_,
        channel.received_, channel.queue_.first_seq(),
        channel.latest_ ? channel.latest_->next_seq() : 0, channel.queue_.dropped()}) {
    put_varint(out, number);
  }
  put_optional(out, policy.retention_age_ns);
  put_optional(out, policy.retention_bytes);
  put_optional(out, policy.retention_drops_unsettled);
  put_optional(out, policy.dedup_window_ns);
  put_optional(out, policy.dedup_ids_max);
  const std::optional<segment_log::Gap> gap = channel.queue_.take_gap();
  out.push_back(gap ? 1 : 0);
  if (gap) {
    for (uint64_t number : {gap->from, gap->to, static_cast<uint64_t>(gap->reason), gap->bytes}) {
      put_varint(out, number);
    }
  }
  put_optional(out, spec.disk_bytes_max);
  if (channel.ring_) put_ring(out, *channel.ring_);
  return out;
}

absl::Status ChannelCarry::write(NamedChannel& channel, segment_log::Writer& log) {
  Appender out(log);
  rt::LockGuard guard(channel.lock_);
  absl::Status status = out.add(kHeader, header_of(channel));
  channel.dedup_.each([&](const std::string& id, uint64_t seq, int64_t time) {
    std::string payload;
    put_varint(payload, seq);
    put_varint(payload, static_cast<uint64_t>(time));
    payload.append(id);
    status.Update(out.add(kId, std::move(payload)));
  });
  auto add = [&](const Message& message, bool held) {
    status.Update(out.add(kMessage, encode_carried(message, held ? kHeld : kReceived)));
  };
  channel.queue_.each(add);
  for (uint64_t seq = channel.queue_.disk_from(); seq < channel.queue_.next_seq();) {
    absl::StatusOr<std::vector<Message>> some = channel.spill_->read(seq, SIZE_MAX, kAppendBytes);
    if (!some.ok()) return some.status();
    for (const Message& message : *some) {
      status.Update(out.add(kMessage, encode_carried(message, kOnDisk)));
    }
    seq += some->size();
  }
  if (channel.latest_) {
    channel.latest_->each([&](const Message& message) { add(message, true); });
  }
  status.Update(out.add(kEnd, ""));
  status.Update(out.flush());
  return status;
}

uint64_t ChannelCarry::bytes_of(NamedChannel& channel) {
  rt::LockGuard guard(channel.lock_);
  const uint64_t latest = channel.latest_ ? channel.latest_->bytes() : 0;
  return channel.queue_.memory_bytes() + latest + 2 * channel.disk_bytes_ +
         channel.dedup_.size() * kKeyBytesMax;
}

absl::StatusOr<ChannelCarry::ChannelPtr> ChannelCarry::made_of(const segment_log::Record& header,
                                                               const NamedChannel::Clock& clock,
                                                               const std::string& spill_dir) {
  VarintReader in(header.payload);
  const std::string id(in.take(in.next()));
  ChannelSpec spec;
  spec.name = in.take(in.next());
  spec.capacity = in.next();
  spec.unbounded = in.next() != 0;
  spec.bytes_max = in.next();
  spec.overflow = static_cast<Overflow>(in.next());
  spec.form = static_cast<ChannelForm>(in.next());
  const auto created = static_cast<int64_t>(in.next());
  const bool closed = in.next() != 0;
  const uint64_t sent = in.next();
  const uint64_t received = in.next();
  const uint64_t first_seq = in.next();
  const uint64_t next_latest = in.next();
  const uint64_t dropped = in.next();
  take_optional(in, spec.policy.retention_age_ns);
  take_optional(in, spec.policy.retention_bytes);
  take_optional(in, spec.policy.retention_drops_unsettled);
  take_optional(in, spec.policy.dedup_window_ns);
  take_optional(in, spec.policy.dedup_ids_max);
  std::optional<segment_log::Gap> gap;
  if (in.next() != 0) {
    gap.emplace();
    gap->from = in.next();
    gap->to = in.next();
    gap->reason = static_cast<segment_log::GapReason>(in.next());
    gap->bytes = in.next();
  }
  // A daemon that could not put anything on disk did not say this.
  if (!in.at_end()) take_optional(in, spec.disk_bytes_max);
  std::shared_ptr<Ring> ring;
  if (spec.form == ChannelForm::kRing) {
    absl::StatusOr<std::shared_ptr<Ring>> kept = take_ring(in, spec.name);
    if (!kept.ok()) return kept.status();
    ring = std::move(*kept);
  }
  if (!in.ok() || !in.at_end() || !validate_channel_name(spec.name).ok()) return damaged();
  auto channel =
      std::make_shared<NamedChannel>(id, spec, created, clock, std::nullopt, first_seq,
                                     spill_dir.empty() ? "" : absl::StrCat(spill_dir, "/", id));
  channel->set_ring(std::move(ring));
  rt::LockGuard guard(channel->lock_);
  channel->closed_ = closed;
  channel->sent_ = sent;
  channel->received_ = received;
  channel->queue_.restore_dropped(dropped, gap);
  if (channel->latest_) channel->latest_->skip_to(next_latest);
  return channel;
}

absl::Status ChannelCarry::add(NamedChannel& channel, const segment_log::Record& record) {
  VarintReader in(record.payload);
  const uint64_t seq = in.next();
  const auto time = static_cast<int64_t>(in.next());
  rt::LockGuard guard(channel.lock_);
  if (record.stream == kId) {
    if (!in.ok()) return damaged();
    channel.dedup_.add(std::string(in.rest()), seq, time);
    return absl::OkStatus();
  }
  const uint64_t place = in.next();
  segment_log::Record body;
  body.seq = seq;
  body.time_unix_nano = time;
  body.stream = static_cast<uint8_t>(in.next());
  body.payload = in.rest();
  std::optional<Message> message = decode_message(body);
  if (!in.ok() || !message) return damaged();
  if (channel.latest_) {
    channel.latest_->restore(std::move(*message));
  } else if (channel.queue_.next_seq() != seq) {
    return damaged();
  } else if (place == kOnDisk && channel.spill_) {
    segment_log::Entry entry{time, body.stream, body.payload, 0};
    absl::Status written = channel.spill_->append({entry}, seq).status;
    if (!written.ok()) return written;
    channel.queue_.push_on_disk();
    channel.disk_bytes_ = channel.spill_->bytes();
  } else {
    channel.queue_.restore(std::move(*message), place != kReceived);
  }
  return absl::OkStatus();
}

absl::Status ChannelCarry::read(const std::string& dir, const NamedChannel::Clock& clock,
                                const std::function<void(std::string, ChannelPtr)>& take,
                                const std::string& spill_dir) {
  absl::StatusOr<segment_log::Reader> reader = segment_log::Reader::open(dir);
  if (!reader.ok()) return reader.status();
  ChannelPtr channel;
  while (true) {
    absl::StatusOr<segment_log::Batch> batch = reader->read();
    if (!batch.ok()) return batch.status();
    for (const segment_log::Record& record : batch->records) {
      if (record.gap || (record.stream != kHeader && !channel)) return damaged();
      if (record.stream == kHeader) {
        absl::StatusOr<ChannelPtr> made = made_of(record, clock, spill_dir);
        if (!made.ok()) return made.status();
        channel = std::move(*made);
      } else if (record.stream == kEnd) {
        std::string name = channel->spec().name;
        take(std::move(name), std::move(channel));
        channel = nullptr;
      } else if (absl::Status status = add(*channel, record); !status.ok()) {
        return status;
      }
    }
    if (batch->at_end) return channel ? damaged() : absl::OkStatus();
  }
}

}  // namespace zsync::daemon
