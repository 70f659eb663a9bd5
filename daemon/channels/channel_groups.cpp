// The consumer groups of a NamedChannel.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/receivers.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

constexpr size_t kDyingAtOnce = 64;

absl::Status removed_while_used(const std::string& channel, const std::string& group) {
  return fault(
      absl::StatusCode::kNotFound,
      absl::StrCat("group \"", group, "\" of channel \"", channel, "\" was removed meanwhile"),
      {"group", "NOT_FOUND", "", "create it again", {}});
}

}  // namespace

absl::Status NamedChannel::check_new_group() {
  if (!durable_) {
    return fault(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat("channel \"", spec_.name, "\" is of the memory class"),
                 {"channel", "NOT_DURABLE", "", "groups need a durable channel: create one", {}});
  }
  rt::LockGuard guard(lock_);
  if (!receivers_.empty()) {
    return fault(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat("channel \"", spec_.name, "\" has ", receivers_.size(),
                              " receivers without a group"),
                 {"channel", "IN_USE", "", "end them, and receive as consumers of the group", {}});
  }
  if (groups_.size() >= kGroupsMax) {
    return fault(
        absl::StatusCode::kResourceExhausted,
        absl::StrCat("channel \"", spec_.name, "\" has ", groups_.size(), " groups"),
        {"spec.name", "LIMIT", absl::StrCat("groups_max = ", kGroupsMax), "remove some", {}});
  }
  return absl::OkStatus();
}

void NamedChannel::put_group(ConsumerGroup state, int64_t created_unix_nano) {
  rt::LockGuard guard(lock_);
  const std::string name = state.spec().name;
  groups_[name] = std::make_shared<ChannelGroup>(std::move(state), created_unix_nano);
  release();
}

void NamedChannel::drop_group(const std::string& name) {
  std::shared_ptr<ChannelGroup> group;
  {
    rt::LockGuard guard(lock_);
    auto found = groups_.find(name);
    if (found == groups_.end()) return;
    group = found->second;
    group->removed = true;
    groups_.erase(found);
  }
  group->saved.notify_all();
  after_settling();
}

bool NamedChannel::has_groups() {
  rt::LockGuard guard(lock_);
  return !groups_.empty();
}

std::shared_ptr<ChannelGroup> NamedChannel::group_named(const std::string& name) {
  auto found = groups_.find(name);
  return found == groups_.end() ? nullptr : found->second;
}

absl::Status NamedChannel::no_group(const std::string& name) {
  FaultDetail detail{"group",
                     "NOT_FOUND",
                     "",
                     absl::StrCat("create it: zsyncctl channels add-group ", spec_.name, " ", name),
                     {}};
  for (const auto& [known, group] : groups_) detail.closest.push_back(known);
  return fault(absl::StatusCode::kNotFound,
               absl::StrCat("channel \"", spec_.name, "\" has no group \"", name, "\""),
               std::move(detail));
}

absl::Status NamedChannel::no_such_group(const std::string& name) {
  rt::LockGuard guard(lock_);
  return no_group(name);
}

const Message* NamedChannel::body_of(const ChannelGroup& group, uint64_t seq) {
  const Message* message = queue_.find(seq);
  return message ? message : group.replayed_at(seq);
}

uint64_t NamedChannel::hand_out(ChannelGroup& group, ConsumerGroup::ConsumerId consumer, size_t max,
                                Delivery& delivery, std::deque<ConsumerGroup::Handed>& handed) {
  ConsumerGroup& state = group.state;
  const int64_t now = monotonic();
  if (state.expire(now)) group.changed();
  const size_t held = state.in_hand(consumer);
  const size_t limit = state.spec().in_flight_max;
  // One consumer takes no more than its share of what is there, so that the others have work too.
  const uint64_t there =
      queue_.next_seq() - std::min(queue_.next_seq(), state.head()) + state.counts().ready;
  const uint64_t consumers = std::max<uint64_t>(state.consumers(), 1);
  max = std::min<size_t>({max, kDeliveryMessagesMax, limit - std::min(limit, held),
                          (there + consumers - 1) / consumers});
  size_t bytes = 0;
  const auto key_of = [&](uint64_t seq) -> std::optional<std::string_view> {
    lock_.assert_held();
    const Message* message = body_of(group, seq);
    if (!message || (bytes > 0 && bytes + message->data.size() > kDeliveryBytesMax)) {
      return std::nullopt;
    }
    bytes += std::max<size_t>(message->data.size(), 1);
    return message->extra ? std::string_view(message->extra->key) : "";
  };
  const auto taken = state.take(consumer, max, now, queue_.next_seq(), key_of);
  for (const ConsumerGroup::Handed& one : taken) {
    delivery.messages.push_back(*body_of(group, one.seq));
    delivery.deliveries.push_back(one.delivery);
    handed.push_back(one);
  }
  if (!taken.empty()) group.changed();
  return state.missing();
}

NamedChannel::Consumer::Consumer(std::shared_ptr<NamedChannel> channel, std::string group,
                                 int64_t pid, uint32_t sources)
    : channel_(std::move(channel)), name_(std::move(group)), attendance_(pid, channel_->clock_()) {
  attendance_.sources = sources;
  rt::LockGuard guard(channel_->lock_);
  group_ = channel_->group_named(name_);
  if (!group_) return;
  id_ = group_->state.join();
  group_->attendances[id_] = &attendance_;
}

Task<absl::StatusOr<Delivery>> NamedChannel::Consumer::look(size_t max) {
  NamedChannel& channel = *channel_;
  while (true) {
    Delivery delivery;
    uint64_t missing = 0;
    {
      rt::LockGuard guard(channel.lock_);
      if (!group_) co_return channel.no_group(name_);
      if (channel.removed_ || group_->removed) {
        co_return removed_while_used(channel.spec_.name, name_);
      }
      delivery.gap = std::exchange(group_->gap, std::nullopt);
      missing = channel.hand_out(*group_, id_, max, delivery, handed_);
      delivery.closed = channel.closed_ && group_->state.lag(channel.queue_.next_seq()) == 0;
    }
    if (!delivery.messages.empty()) {
      attendance_.delivered(delivery.messages.size());
      enter(Phase::kDisk);
      absl::Status saved = co_await shield(channel.save(group_));
      if (!saved.ok()) co_return saved;
      {
        rt::LockGuard guard(channel.lock_);
        channel.tell_due(group_->state.next_event());
      }
      co_return delivery;
    }
    if (missing == 0 || !delivery.empty()) co_return delivery;
    enter(Phase::kDisk);
    if (absl::Status loaded = co_await channel.load(group_, missing); !loaded.ok()) {
      co_return loaded;
    }
  }
}

Task<absl::StatusOr<Delivery>> NamedChannel::Consumer::next(size_t max) {
  NamedChannel& channel = *channel_;
  while (true) {
    const uint64_t seen = channel.data_.epoch();
    absl::StatusOr<Delivery> delivery = co_await look(max);
    if (!delivery.ok() || !delivery->empty()) co_return delivery;
    wait();
    WaitingReceiver waiting(channel);
    co_await channel.data_.changed(seen);
  }
}

void NamedChannel::Consumer::confirm(uint64_t count) {
  if (count == 0 || !group_) return;
  {
    rt::LockGuard guard(channel_->lock_);
    for (; count > 0 && !handed_.empty(); --count) {
      const ConsumerGroup::Handed one = handed_.front();
      handed_.pop_front();
      // What somebody else has by now is theirs.
      if (group_->state.ack(one.seq, one.delivery) == ConsumerGroup::Verdict::kDone) {
        ++channel_->received_;
        group_->replayed.erase(one.seq);
      }
    }
    group_->changed();
  }
  channel_->after_settling();
  channel_->save_later(group_);
}

Task<absl::Status> NamedChannel::Consumer::flush() {
  if (!group_) co_return absl::OkStatus();
  co_return co_await shield(channel_->save(group_));
}

void NamedChannel::Consumer::leave() {
  {
    rt::LockGuard guard(channel_->lock_);
    if (!group_ || id_ == 0) return;
    group_->state.leave(id_);
    group_->attendances.erase(id_);
    id_ = 0;
    if (!group_->state.dying(1).empty()) channel_->tell_due(0);
  }
  channel_->tell_data();
}

Task<absl::StatusOr<Settled>> NamedChannel::settle(std::string name, Settling settling) {
  Settled settled;
  std::shared_ptr<ChannelGroup> group;
  {
    rt::LockGuard guard(lock_);
    group = group_named(name);
    if (!group) co_return no_group(name);
    ConsumerGroup& state = group->state;
    const int64_t now = monotonic();
    if (state.expire(now)) group->changed();
    for (const ConsumerGroup::Handed& meant : settling.messages) {
      ConsumerGroup::Verdict verdict;
      if (settling.kind == Settling::kAck) {
        verdict = state.ack(meant.seq, meant.delivery);
        if (verdict == ConsumerGroup::Verdict::kDone) {
          ++received_;
          group->replayed.erase(meant.seq);
        }
      } else if (settling.kind == Settling::kNack) {
        verdict = state.nack(meant.seq, meant.delivery, now, settling.delay_ns, settling.reason);
      } else {
        verdict = state.extend(meant.seq, meant.delivery, now);
      }
      if (verdict == ConsumerGroup::Verdict::kDone) {
        ++settled.done;
      } else {
        settled.refused.push_back({meant.seq, refusal_of(verdict, spec_.name, state, meant)});
      }
    }
    if (settled.done > 0) group->changed();
    tell_due(state.dying(1).empty() ? state.next_event() : 0);
  }
  after_settling();
  // Also what was settled earlier is answered only once it is on disk.
  if (settling.kind == Settling::kAck ||
      (settling.kind == Settling::kNack && settling.delay_ns > 0)) {
    if (absl::Status saved = co_await shield(save(group)); !saved.ok()) co_return saved;
  }
  co_return settled;
}

Task<absl::Status> NamedChannel::load(std::shared_ptr<ChannelGroup> group, uint64_t seq) {
  Permit turn = co_await group->loading.lock();
  {
    rt::LockGuard guard(lock_);
    if (body_of(*group, seq)) co_return absl::OkStatus();
  }
  absl::StatusOr<segment_log::Batch> batch =
      co_await rt::call_blocking([this, &group, seq]() -> absl::StatusOr<segment_log::Batch> {
        if (!group->reader) {
          absl::StatusOr<segment_log::Reader> opened =
              segment_log::Reader::open(durable_->dir, seq);
          if (!opened.ok()) return opened.status();
          group->reader.emplace(std::move(*opened));
        }
        if (group->reader->next_seq() != seq) group->reader->seek(seq);
        return group->reader->read(kDeliveryBytesMax);
      });
  if (!batch.ok()) {
    group->reader.reset();
    co_return batch.status();
  }
  bool found = false;
  {
    rt::LockGuard guard(lock_);
    for (const segment_log::Record& record : batch->records) {
      found = found || record.seq >= seq;
      std::optional<Message> message = record.gap ? std::nullopt : decode_message(record);
      if (message) {
        const bool wanted = record.seq >= group->state.head() || group->state.is_open(record.seq);
        if (wanted && !queue_.find(record.seq)) {
          group->replayed[record.seq] = std::move(*message);
        }
        continue;
      }
      segment_log::Gap gap = record.gap.value_or(
          segment_log::Gap{record.seq, record.seq, segment_log::GapReason::kPowerLoss, 0});
      if (gap.reason == segment_log::GapReason::kExpired) {
        gap.reason = segment_log::GapReason::kRetention;
      }
      if (group->state.lose(gap.from, gap.to) == 0) continue;
      if (!group->gap) group->gap = gap;
      group->gap->to = std::max(group->gap->to, gap.to);
      group->changed();
    }
  }
  if (found) co_return absl::OkStatus();
  co_return absl::DataLossError(absl::StrCat("message ", seq, " of channel \"", spec_.name,
                                             "\" is not in its log \"", durable_->dir, "\""));
}

uint64_t NamedChannel::release() {
  uint64_t floor = queue_.next_seq();
  for (auto& [name, group] : groups_) {
    floor = std::min(floor, group->state.floor());
    group->replayed.erase(group->replayed.begin(),
                          group->replayed.lower_bound(group->state.floor()));
  }
  if (!groups_.empty()) queue_.settle_before(floor);
  return queue_.floor();
}

void NamedChannel::after_settling() {
  uint64_t floor = 0;
  {
    rt::LockGuard guard(lock_);
    floor = release();
  }
  room_.notify_all();
  tell_data();
  tell_confirmed(floor);
}

void NamedChannel::lose(uint64_t from, uint64_t to, segment_log::GapReason reason) {
  for (auto& [name, group] : groups_) {
    if (group->state.lose(from, to) == 0) continue;
    if (!group->gap) group->gap = segment_log::Gap{from, to, reason, 0};
    group->gap->to = std::max(group->gap->to, to);
    group->changed();
  }
}

std::optional<int64_t> NamedChannel::tend() {
  std::optional<int64_t> next;
  bool changed = false;
  {
    rt::LockGuard guard(lock_);
    if (groups_.empty()) return std::nullopt;
    const int64_t now = monotonic();
    for (auto& [name, group] : groups_) {
      if (group->state.expire(now)) {
        group->changed();
        changed = true;
      }
      const std::optional<int64_t> event = group->state.next_event();
      if (event) next = std::min(next.value_or(INT64_MAX), *event);
    }
  }
  if (changed) tell_data();
  return next;
}

Task<absl::StatusOr<std::vector<DeadLetter>>> NamedChannel::dying() {
  std::vector<DeadLetter> letters;
  while (true) {
    uint64_t missing = 0;
    std::shared_ptr<ChannelGroup> from;
    letters.clear();
    {
      rt::LockGuard guard(lock_);
      for (auto& [name, group] : groups_) {
        for (ConsumerGroup::Dead& dead : group->state.dying(kDyingAtOnce)) {
          const Message* message = body_of(*group, dead.seq);
          if (!message) {
            missing = dead.seq;
            from = group;
            break;
          }
          letters.push_back({*message,
                             {spec_.name, name, dead.seq, message->time_unix_nano, dead.deliveries,
                              std::move(dead.reason)}});
        }
      }
    }
    if (missing == 0) co_return letters;
    if (absl::Status loaded = co_await load(from, missing); !loaded.ok()) co_return loaded;
  }
}

Task<void> NamedChannel::bury(std::vector<DeadLetter> letters) {
  std::vector<std::shared_ptr<ChannelGroup>> groups;
  {
    rt::LockGuard guard(lock_);
    dead_letters_blamed_.clear();
    for (const DeadLetter& letter : letters) {
      std::shared_ptr<ChannelGroup> group = group_named(letter.origin.group);
      if (!group) continue;
      group->state.bury(letter.origin.seq);
      group->replayed.erase(letter.origin.seq);
      group->changed();
      if (groups.empty() || groups.back() != group) groups.push_back(std::move(group));
    }
  }
  after_settling();
  // Not written means that the letter comes once more after a crash: a second copy, never none.
  for (auto& group : groups) (void)co_await shield(save(group));
}

void NamedChannel::blame_dead_letters(std::string why) {
  rt::LockGuard guard(lock_);
  dead_letters_blamed_ = std::move(why);
}

void NamedChannel::tell_due(std::optional<int64_t> due) {
  if (due && durable_->due) durable_->due(*due);
}

void NamedChannel::save_later(std::shared_ptr<ChannelGroup> group) {
  {
    rt::LockGuard guard(lock_);
    if (group->saving || group->written == group->version || group->removed) return;
    group->saving = true;
  }
  const std::string name = group->state.spec().name;
  durable_->save_group(
      name,
      [self = shared_from_this(), group] {
        rt::LockGuard guard(self->lock_);
        group->writing = group->version;
        return group->state.encode({self->monotonic(), self->clock_()});
      },
      [self = shared_from_this(), group](absl::Status status) {
        const bool ok = status.ok();
        {
          rt::LockGuard guard(self->lock_);
          group->saving = false;
          if (ok) {
            group->written = std::max(group->written, group->writing);
          } else {
            group->failed = group->version;
            group->save_error = std::move(status);
          }
        }
        group->saved.notify_all();
        if (ok) self->save_later(group);
      });
}

Task<absl::Status> NamedChannel::save(std::shared_ptr<ChannelGroup> group) {
  uint64_t wanted = 0;
  {
    rt::LockGuard guard(lock_);
    wanted = group->version;
    if (group->failed >= wanted) group->failed = 0;
  }
  while (true) {
    const uint64_t seen = group->saved.epoch();
    {
      rt::LockGuard guard(lock_);
      if (group->written >= wanted) co_return absl::OkStatus();
      if (group->failed >= wanted) co_return group->save_error;
      if (group->removed) co_return removed_while_used(spec_.name, group->state.spec().name);
    }
    save_later(group);
    co_await group->saved.changed(seen);
  }
}

}  // namespace zsync::daemon
