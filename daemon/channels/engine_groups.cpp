// The groups of ChannelsEngine: what is remembered of them, and what time brings.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/channels/engine.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"
#include "zsync/flow.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

constexpr int64_t kDeadLetterRetryNs = 1'000'000'000;  // after it could not be kept

int64_t monotonic_now() { return rt::TimePoint::clock::now().time_since_epoch().count(); }

BlobView blob_of(const std::string& bytes) { return std::as_bytes(std::span<const char>(bytes)); }

Task<void> changed_from(Notify& notify, uint64_t seen) { co_await notify.changed(seen); }

}  // namespace

absl::StatusOr<std::vector<ChannelsEngine::StoredGroup>> ChannelsEngine::load_groups(
    const Row& row) {
  std::vector<StoredGroup> groups;
  absl::Status loaded = store_.read([&](Database& db) -> absl::Status {
    absl::StatusOr<Statement> found = db.query(
        "SELECT name,ack_wait,max_deliveries,in_flight_max,created,state FROM channel_group "
        "WHERE channel=?",
        row.id);
    if (!found.ok()) return found.status();
    while (true) {
      absl::StatusOr<bool> more = found->step();
      if (!more.ok()) return more.status();
      if (!*more) return absl::OkStatus();
      GroupSpec spec{std::string(found->text_at(0)), found->int_at(1),
                     static_cast<uint32_t>(found->int_at(2)),
                     static_cast<uint32_t>(found->int_at(3))};
      const BlobView state = found->blob_at(5);
      std::optional<ConsumerGroup> group =
          ConsumerGroup::decode(spec, {reinterpret_cast<const char*>(state.data()), state.size()},
                                {monotonic_now(), clock_()});
      if (!group) {
        return absl::DataLossError(
            absl::StrCat("the store's state of its group \"", spec.name, "\" cannot be read"));
      }
      groups.push_back({std::move(*group), found->int_at(4)});
    }
  });
  if (!loaded.ok()) return loaded;
  return groups;
}

NamedChannel::SaveGroup ChannelsEngine::group_saver(std::string id) {
  return [this, id = std::move(id)](std::string group, std::function<std::string()> encode,
                                    std::function<void(absl::Status)> done) {
    store_.commit(
        [id, group = std::move(group), encode = std::move(encode)](Database& db) {
          const std::string state = encode();
          return db.run("UPDATE channel_group SET state=? WHERE channel=? AND name=?",
                        blob_of(state), id, group);
        },
        std::move(done));
  };
}

Task<absl::StatusOr<GroupInfo>> ChannelsEngine::create_group(std::string name, GroupSpec wanted,
                                                             NamedChannel::Start start) {
  absl::StatusOr<GroupSpec> spec = complete_group(std::move(wanted));
  if (!spec.ok()) co_return spec.status();
  Permit turn = co_await creating_.lock();
  absl::StatusOr<ChannelPtr> channel = find(name);
  if (!channel.ok()) co_return channel.status();
  if (std::optional<GroupInfo> known = (*channel)->group_info(spec->name)) {
    if (known->spec == *spec) co_return *known;
    co_return fault(absl::StatusCode::kAlreadyExists,
                    absl::StrCat("group \"", spec->name, "\" of channel \"", name,
                                 "\" exists with other settings"),
                    {"spec.name", "EXISTS", "", "use it, remove it, or choose another name", {}});
  }
  if (name.size() + sizeof(kDeadSuffix) - 1 > kChannelNameBytesMax) {
    co_return fault(absl::StatusCode::kInvalidArgument,
                    absl::StrCat("channel \"", name, "\" has no room for the name of its \"",
                                 kDeadSuffix, "\""),
                    {"channel",
                     "LIMIT",
                     absl::StrCat("channel_name_bytes_max = ", kChannelNameBytesMax),
                     "give channels with groups a name of at most 123 bytes",
                     {}});
  }
  if (absl::Status status = (*channel)->check_new_group(); !status.ok()) co_return status;
  absl::StatusOr<uint64_t> first = co_await (*channel)->resolve(start);
  if (!first.ok()) co_return first.status();
  ConsumerGroup group(*spec, *first != 0 ? *first : (*channel)->floor());
  const std::string id = (*channel)->info().id;
  const int64_t now = clock_();
  absl::Status committed =
      co_await commit(store_, [id, row = *spec, state = group.encode(), now](Database& db) {
        return db.run("INSERT INTO channel_group VALUES(?,?,?,?,?,?,?)", id, row.name,
                      row.ack_wait_ns, row.max_deliveries, row.in_flight_max, now, blob_of(state));
      });
  if (!committed.ok()) co_return committed;
  (*channel)->put_group(std::move(group), now);
  events_.append("channel.group_created", name, {{"group", spec->name}});
  co_return *(*channel)->group_info(spec->name);
}

Task<absl::Status> ChannelsEngine::remove_group(std::string name, std::string group) {
  Permit turn = co_await creating_.lock();
  absl::StatusOr<ChannelPtr> channel = find(name);
  if (!channel.ok()) co_return channel.status();
  if (!(*channel)->group_info(group)) co_return (*channel)->no_such_group(group);
  absl::Status committed =
      co_await commit(store_, [id = (*channel)->info().id, group](Database& db) {
        return db.run("DELETE FROM channel_group WHERE channel=? AND name=?", id, group);
      });
  if (!committed.ok()) co_return committed;
  (*channel)->drop_group(group);
  events_.append("channel.group_removed", name, {{"group", group}});
  co_return absl::OkStatus();
}

void ChannelsEngine::due(int64_t at) {
  if (at < tends_at_.load()) due_.notify_all();
}

Task<void> ChannelsEngine::tend() {
  while (true) {
    // Whoever becomes due from here on is heard: either seen below, or by the epoch.
    const uint64_t seen = due_.epoch();
    tends_at_.store(INT64_MAX);
    std::vector<ChannelPtr> channels;
    {
      rt::LockGuard guard(lock_);
      for (const auto& [name, channel] : channels_) {
        if (channel->spec().kind == ChannelClass::kDurable) channels.push_back(channel);
      }
    }
    int64_t next = INT64_MAX;
    for (const ChannelPtr& channel : channels) {
      if (channel->retires_at() <= monotonic_now()) {
        if (absl::Status retired = co_await channel->retire(); !retired.ok()) {
          events_.append("channel.retention_failed", channel->spec().name,
                         {{"error", std::string(retired.message())}});
        }
      }
      next = std::min(next, channel->retires_at());
      if (!channel->has_groups()) continue;
      next = std::min(next, channel->tend().value_or(INT64_MAX));
      if (absl::Status moved = co_await move_dead_letters(channel); !moved.ok()) {
        channel->blame_dead_letters(std::string(moved.message()));
        next = std::min(next, monotonic_now() + kDeadLetterRetryNs);
      }
    }
    tends_at_.store(next);
    if (next == INT64_MAX) {
      co_await due_.changed(seen);
    } else {
      const int64_t left = std::max<int64_t>(next - monotonic_now(), 0);
      const absl::Status slept =
          co_await timeout(changed_from(due_, seen), std::chrono::nanoseconds(left));
      if (absl::IsCancelled(slept)) co_return;
    }
  }
}

Task<absl::StatusOr<ChannelsEngine::ChannelPtr>> ChannelsEngine::open_grave(std::string name) {
  ChannelSpec spec;
  spec.name = name + kDeadSuffix;
  spec.unbounded = true;
  spec.kind = ChannelClass::kDurable;
  absl::StatusOr<ChannelPtr> grave = find(spec.name);
  if (!absl::IsNotFound(grave.status())) co_return grave;
  absl::StatusOr<ChannelInfo> made = co_await create(spec, /*if_absent=*/true);
  if (!made.ok()) co_return made.status();
  co_return find(spec.name);
}

Task<absl::StatusOr<ChannelsEngine::ChannelPtr>> ChannelsEngine::find_to_read(std::string name) {
  absl::StatusOr<ChannelPtr> found = find(name);
  absl::string_view living = name;
  if (!absl::IsNotFound(found.status()) || !absl::ConsumeSuffix(&living, kDeadSuffix)) {
    co_return found;
  }
  const absl::StatusOr<ChannelPtr> channel = find(std::string(living));
  if (!channel.ok() || !(*channel)->has_groups()) co_return found;
  co_return co_await open_grave(std::string(living));
}

Task<absl::Status> ChannelsEngine::move_dead_letters(ChannelPtr channel) {
  while (true) {
    absl::StatusOr<std::vector<DeadLetter>> letters = co_await channel->dying();
    if (!letters.ok()) co_return letters.status();
    if (letters->empty()) co_return absl::OkStatus();
    // One send has one trace.
    const std::string trace = letters->front().message.trace;
    letters->erase(std::find_if(letters->begin(), letters->end(),
                                [&](const DeadLetter& one) { return one.message.trace != trace; }),
                   letters->end());
    absl::StatusOr<ChannelPtr> grave = co_await open_grave(channel->spec().name);
    if (!grave.ok()) co_return grave.status();
    std::vector<std::string> messages;
    NamedChannel::Extras extras;
    for (const DeadLetter& letter : *letters) {
      messages.push_back(letter.message.data);
      MessageExtra extra = letter.message.extra ? *letter.message.extra : MessageExtra();
      extra.dead = letter.origin;
      // Once, also when the daemon is killed before the group knows that it is kept.
      extra.id = absl::StrCat("dead/", letter.origin.channel, "/", letter.origin.group, "/",
                              letter.origin.seq);
      extras.push_back(std::make_shared<const MessageExtra>(std::move(extra)));
    }
    Accepted accepted =
        co_await (*grave)->send_what_fits(std::move(messages), trace, std::move(extras));
    letters->resize(accepted.count);
    for (const DeadLetter& letter : *letters) {
      events_.append("channel.dead_letter", letter.origin.channel,
                     {{"group", letter.origin.group},
                      {"seq", absl::StrCat(letter.origin.seq)},
                      {"reason", letter.origin.reason}});
    }
    co_await channel->bury(std::move(*letters));
    if (!accepted.status.ok()) co_return accepted.status;
  }
}

}  // namespace zsync::daemon
