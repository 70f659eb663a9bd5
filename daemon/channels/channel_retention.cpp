// What a NamedChannel keeps, for how long, and from where it can be read.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/named_channel.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

// The log is cut into so many parts that what goes at once is a small part of what is kept.
constexpr int64_t kParts = 8;
constexpr int64_t kLookAgainNsMin = 250'000'000;
constexpr int64_t kAfterFailureNs = 10'000'000'000;

uint64_t segment_bytes_of(const ChannelPolicy& policy) {
  if (policy.bytes() == 0) return segment_log::kSegmentBytes;
  return std::clamp(policy.bytes() / kParts, segment_log::kSegmentBytesMin,
                    segment_log::kSegmentBytes);
}

}  // namespace

ChannelPolicy NamedChannel::policy() {
  rt::LockGuard guard(lock_);
  return policy_;
}

void NamedChannel::set_policy(ChannelPolicy policy) {
  {
    rt::LockGuard guard(lock_);
    policy_ = std::move(policy);
    dedup_.set_limits(policy_.window_ns(), policy_.ids_max());
  }
  if (durable_) retire_at(0);
}

uint64_t NamedChannel::floor() {
  rt::LockGuard guard(lock_);
  return queue_.floor();
}

int64_t NamedChannel::retires_at() {
  rt::LockGuard guard(lock_);
  return durable_ && !removed_ ? retires_at_ : INT64_MAX;
}

void NamedChannel::retire_at(int64_t at) {
  {
    rt::LockGuard guard(lock_);
    if (at >= retires_at_) return;
    retires_at_ = at;
  }
  tell_due(at);
}

void NamedChannel::note_log(uint64_t bytes) {
  int64_t at = INT64_MAX;
  {
    rt::LockGuard guard(lock_);
    log_bytes_ = bytes;
    const bool over = policy_.bytes() != 0 && bytes > policy_.bytes();
    if (over && held_until_ == UINT64_MAX) {
      at = 0;
    } else if (policy_.age_ns() != 0) {
      at = monotonic() + std::max(policy_.age_ns() / kParts, kLookAgainNsMin);
    }
  }
  if (at != INT64_MAX) retire_at(at);
}

uint64_t NamedChannel::settled_floor() {
  uint64_t floor = queue_.floor();
  for (const auto& [name, group] : groups_) floor = std::min(floor, group->state.floor());
  return floor;
}

Task<absl::Status> NamedChannel::retire() {
  Permit turn = co_await disk_turn_.lock();
  const int64_t now = clock_();
  ChannelPolicy policy;
  segment_log::Writer::Retention retention;
  {
    rt::LockGuard guard(lock_);
    retires_at_ = INT64_MAX;
    held_until_ = UINT64_MAX;
    if (removed_) co_return absl::OkStatus();
    policy = policy_;
    if (!policy.drops_unsettled()) retention.keep_from = settled_floor();
  }
  if (policy.age_ns() != 0) retention.older_than = now - policy.age_ns();
  if (policy.bytes() != 0) retention.bytes_max = policy.bytes();
  segment_log::Writer& writer = *durable_->writer;
  using Retired = segment_log::Writer::Retired;
  absl::StatusOr<Retired> retired = co_await rt::call_blocking([&]() -> absl::StatusOr<Retired> {
    writer.set_segment_bytes(segment_bytes_of(policy));
    // A quiet log is cut by time, or its last segment would stay for ever.
    if (policy.age_ns() != 0) {
      absl::Status rolled = writer.roll_if_older(now - policy.age_ns() / kParts);
      if (!rolled.ok()) return rolled;
    }
    return writer.retire(retention);
  });
  if (!retired.ok()) {
    retire_at(monotonic() + kAfterFailureNs);
    co_return retired.status();
  }
  bool again = false;
  {
    rt::LockGuard guard(lock_);
    forget_retired(writer.first_seq(), policy.drops_unsettled());
    log_bytes_ = writer.disk_bytes();
    held_until_ = retired->held_until.value_or(UINT64_MAX);
    again = held_until_ <= settled_floor();  // it moved meanwhile
  }
  const bool empty = writer.first_seq() == writer.next_seq();
  turn.release();
  if (retired->dropped) after_settling();
  if (again) {
    retire_at(0);
  } else if (policy.age_ns() != 0 && !empty) {
    retire_at(monotonic() + std::max(policy.age_ns() / kParts, kLookAgainNsMin));
  }
  co_return absl::OkStatus();
}

void NamedChannel::forget_retired(uint64_t first, bool drops_unsettled) {
  log_first_ = first;
  runs_.clear();
  if (drops_unsettled) {
    for (auto& [name, group] : groups_) {
      const uint64_t from = group->state.floor();
      if (from >= first || group->state.lose(from, first - 1) == 0) continue;
      if (!group->gap) {
        group->gap = segment_log::Gap{from, first - 1, segment_log::GapReason::kRetention, 0};
      }
      group->gap->to = std::max(group->gap->to, first - 1);
      group->changed();
    }
    if (groups_.empty()) queue_.drop_before(first, segment_log::GapReason::kRetention);
    release();
  }
  queue_.forget_before(first);
}

Task<absl::StatusOr<uint64_t>> NamedChannel::first_at_time(int64_t time_unix_nano) {
  uint64_t found = 0;
  {
    rt::LockGuard guard(lock_);
    found = latest_ ? latest_->seq_at_time(time_unix_nano) : queue_.seq_at_time(time_unix_nano);
    const bool disk = queue_.on_disk() > 0 && found == queue_.disk_from();
    if (!durable_ && !disk) co_return found;
    if (durable_ && found > queue_.first_seq()) co_return found;
  }
  if (spill_) co_return co_await first_on_disk(found, time_unix_nano);
  // What is in memory is not older; what came before it may not be either.
  absl::StatusOr<uint64_t> on_disk = co_await rt::call_blocking(
      [this, time_unix_nano] { return segment_log::seq_at_time(durable_->dir, time_unix_nano); });
  if (!on_disk.ok()) co_return on_disk.status();
  co_return std::min(found, *on_disk);
}

Task<absl::StatusOr<uint64_t>> NamedChannel::resolve(Start start) {
  const int said = (start.seq != 0) + start.now + start.oldest + (start.time_unix_nano != 0);
  if (said > 1) {
    co_return fault(absl::StatusCode::kInvalidArgument, "more than one place to begin at",
                    {"from_seq",
                     "INVALID",
                     "",
                     "give one of from_seq, from_now, from_start and from_time_unix_nano",
                     {}});
  }
  if (start.time_unix_nano != 0) co_return co_await first_at_time(start.time_unix_nano);
  rt::LockGuard guard(lock_);
  if (start.now) co_return next_seq();
  if (start.oldest && latest_) co_return latest_->first_seq();
  if (start.oldest) co_return durable_ ? log_first_ : queue_.first_seq();
  if (start.seq > next_seq()) {
    co_return fault(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("message ", start.seq, " of channel \"", spec_.name,
                     "\" is not there yet; the next one will be ", next_seq()),
        {"from_seq", "OUT_OF_RANGE", "", "begin with an earlier one, or from now on", {}});
  }
  co_return start.seq;
}

}  // namespace zsync::daemon
