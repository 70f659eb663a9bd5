#include "daemon/channels/engine.hpp"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/channel_carry.hpp"
#include "daemon/config/closest.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/store/commit.hpp"

namespace zsync::daemon {

const char kChannelSchemaV2[] = R"sql(
  CREATE TABLE channel(
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, capacity INTEGER NOT NULL,
    unbounded INTEGER NOT NULL, bytes_max INTEGER NOT NULL, overflow INTEGER NOT NULL,
    closed INTEGER NOT NULL, created INTEGER NOT NULL, floor INTEGER NOT NULL) WITHOUT ROWID;
)sql";

const char kChannelSchemaV3[] = R"sql(
  CREATE TABLE channel_group(
    channel TEXT NOT NULL, name TEXT NOT NULL, ack_wait INTEGER NOT NULL,
    max_deliveries INTEGER NOT NULL, in_flight_max INTEGER NOT NULL, created INTEGER NOT NULL,
    state BLOB NOT NULL, PRIMARY KEY(channel, name)) WITHOUT ROWID;
)sql";

const char kChannelSchemaV7[] = R"sql(
  ALTER TABLE channel ADD COLUMN retention_age INTEGER NOT NULL DEFAULT 604800000000000;
  ALTER TABLE channel ADD COLUMN retention_bytes INTEGER NOT NULL DEFAULT 1073741824;
  ALTER TABLE channel ADD COLUMN retention_drops INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE channel ADD COLUMN dedup_window INTEGER NOT NULL DEFAULT 120000000000;
  ALTER TABLE channel ADD COLUMN dedup_ids INTEGER NOT NULL DEFAULT 262144;
)sql";

// How far a durable channel was received. Writes are not waited for and at most one is under way: a
// crash can only make messages come again that were confirmed in the last moment.
struct ChannelsEngine::Cursor : std::enable_shared_from_this<Cursor> {
  Cursor(Store& store, std::string id, uint64_t floor)
      : store(store), id(std::move(id)), wanted(floor), written(floor) {}

  void move_to(uint64_t floor) {
    wanted.store(floor);
    if (floor != written.load() && !busy.exchange(true)) write();
  }
  void write() {
    const uint64_t floor = wanted.load();
    store.commit(
        [self = shared_from_this(), floor](Database& db) {
          return db.run("UPDATE channel SET floor=? WHERE id=?", static_cast<int64_t>(floor),
                        self->id);
        },
        [self = shared_from_this(), floor](absl::Status status) {
          if (status.ok()) self->written.store(floor);
          self->busy.store(false);
          if (status.ok() && self->wanted.load() != floor && !self->busy.exchange(true)) {
            self->write();
          }
        });
  }

  Store& store;
  const std::string id;
  std::atomic<uint64_t> wanted;
  std::atomic<uint64_t> written;
  std::atomic<bool> busy{false};
};

namespace {

absl::Status forget(Database& db, const std::string& id) {
  absl::Status groups = db.run("DELETE FROM channel_group WHERE channel=?", id);
  return groups.ok() ? db.run("DELETE FROM channel WHERE id=?", id) : groups;
}

// And removes it, unless it is a disk of its own.
absl::Status empty_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::directory_iterator entries(path, error);
  if (error == std::errc::no_such_file_or_directory) return absl::OkStatus();
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::filesystem::remove_all(entries->path(), error);
    if (error) break;
  }
  if (!error) {
    std::filesystem::remove(path, error);
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("emptying \"", path, "\": ", error.message()));
}

int64_t monotonic_now() { return rt::TimePoint::clock::now().time_since_epoch().count(); }

}  // namespace

ChannelsEngine::ChannelsEngine(ChannelsOptions options, Store& store, EventLog& events,
                               UlidGenerator& ids, Clock clock)
    : options_(std::move(options)),
      store_(store),
      events_(events),
      ids_(ids),
      clock_(std::move(clock)) {}

absl::Status ChannelsEngine::start() {
  std::error_code error;
  std::filesystem::create_directories(options_.dir, error);
  if (error) {
    return absl::UnavailableError(absl::StrCat("making \"", options_.dir, "\": ", error.message()));
  }
  if (absl::Status emptied = empty_directory(spill_dir()); !emptied.ok()) return emptied;
  absl::StatusOr<std::vector<Row>> rows = load_rows();
  if (!rows.ok()) return rows.status();
  for (const Row& row : *rows) {
    absl::StatusOr<ChannelPtr> channel = restore(row);
    rt::LockGuard guard(lock_);
    if (channel.ok()) {
      (*channel)->set_policy(row.spec.policy);
      channels_[row.spec.name] = std::move(*channel);
      continue;
    }
    // One damaged channel does not stop the daemon; it is refused by name and left on disk.
    events_.append("channel.damaged", row.spec.name,
                   {{"error", std::string(channel.status().message())}});
    damaged_[row.spec.name] = {row.id, channel.status()};
  }
  (void)tending_.spawn(tend());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChannelsEngine::Row>> ChannelsEngine::load_rows() {
  std::vector<Row> rows;
  absl::Status loaded = store_.read([&rows](Database& db) -> absl::Status {
    absl::StatusOr<Statement> found = db.query(
        "SELECT id,name,capacity,unbounded,bytes_max,overflow,closed,created,floor,retention_age,"
        "retention_bytes,retention_drops,dedup_window,dedup_ids FROM channel");
    if (!found.ok()) return found.status();
    while (true) {
      absl::StatusOr<bool> more = found->step();
      if (!more.ok()) return more.status();
      if (!*more) return absl::OkStatus();
      rows.push_back({std::string(found->text_at(0)),
                      {std::string(found->text_at(1)), static_cast<uint64_t>(found->int_at(2)),
                       found->int_at(3) != 0, static_cast<uint64_t>(found->int_at(4)),
                       static_cast<Overflow>(found->int_at(5)), ChannelClass::kDurable,
                       ChannelPolicy{found->int_at(9), static_cast<uint64_t>(found->int_at(10)),
                                     found->int_at(11) != 0, found->int_at(12),
                                     static_cast<uint64_t>(found->int_at(13))}},
                      found->int_at(6) != 0,
                      found->int_at(7),
                      static_cast<uint64_t>(found->int_at(8))});
    }
  });
  if (!loaded.ok()) return loaded;
  return rows;
}

absl::StatusOr<ChannelsEngine::ChannelPtr> ChannelsEngine::restore(const Row& row) {
  absl::StatusOr<std::vector<StoredGroup>> groups = load_groups(row);
  if (!groups.ok()) return groups.status();
  uint64_t next_seq = row.floor;
  for (const StoredGroup& group : *groups) next_seq = std::max(next_seq, group.state.head());
  absl::StatusOr<ChannelPtr> channel =
      open_durable(row.id, row.spec, row.created, row.floor, next_seq);
  if (!channel.ok()) return channel.status();
  for (StoredGroup& group : *groups) (*channel)->put_group(std::move(group.state), group.created);
  if (row.closed) (*channel)->restore_closed();
  return channel;
}

absl::StatusOr<ChannelsEngine::ChannelPtr> ChannelsEngine::open_durable(const std::string& id,
                                                                        const ChannelSpec& spec,
                                                                        int64_t created,
                                                                        uint64_t floor,
                                                                        uint64_t next_seq) {
  segment_log::WriterOptions options;
  options.durable = true;
  absl::StatusOr<segment_log::Writer> writer = segment_log::Writer::open(dir_of(id), options);
  if (!writer.ok()) return writer.status();
  if (writer->cut_bytes() > 0) {
    events_.append("channel.tail_cut", spec.name,
                   {{"bytes", absl::StrCat(writer->cut_bytes())},
                    {"next_seq", absl::StrCat(writer->next_seq())}});
  }
  // What was received has a number that must not be given again: where the disk lost it, a gap
  // stands for it.
  if (writer->next_seq() < next_seq) {
    absl::Status gap = writer->append_gap(segment_log::GapReason::kPowerLoss,
                                          next_seq - writer->next_seq(), 0, clock_());
    if (gap.ok()) gap = writer->sync();
    if (!gap.ok()) return gap;
  }
  // Ids are remembered for a while after their messages were received.
  const int64_t remembered_from = clock_() - spec.policy.window_ns();
  absl::StatusOr<uint64_t> with_ids = writer->segment_at_time(remembered_from);
  if (!with_ids.ok()) return with_ids.status();
  absl::StatusOr<segment_log::Reader> reader =
      segment_log::Reader::open(dir_of(id), std::min(floor, *with_ids));
  if (!reader.ok()) return reader.status();
  std::vector<Message> held;
  std::vector<Message> identified;
  while (true) {
    absl::StatusOr<segment_log::Batch> batch = reader->read();
    if (!batch.ok()) return batch.status();
    for (const segment_log::Record& record : batch->records) {
      // The queue has no holes: what is before one is read from the log by the groups that need it.
      if (record.gap && record.seq >= floor) held.clear();
      std::optional<Message> message = decode_message(record);
      if (!message || record.gap) continue;
      if (message->extra && !message->extra->id.empty() &&
          message->time_unix_nano > remembered_from) {
        identified.push_back({record.seq, message->time_unix_nano, "", "", message->extra});
      }
      if (record.seq >= floor) held.push_back(std::move(*message));
    }
    if (batch->at_end) break;
  }
  auto cursor = std::make_shared<Cursor>(store_, id, floor);
  NamedChannel::Durable durable{std::make_unique<segment_log::Writer>(std::move(*writer)),
                                [cursor](uint64_t floor) { cursor->move_to(floor); },
                                dir_of(id),
                                group_saver(id),
                                [this](int64_t at) { due(at); },
                                monotonic_now};
  const uint64_t first = held.empty() ? durable.writer->next_seq() : held.front().seq;
  auto channel =
      std::make_shared<NamedChannel>(id, spec, created, clock_, std::move(durable), first);
  for (Message& message : held) channel->restore(std::move(message), /*held=*/true);
  for (const Message& one : identified) {
    channel->restore_id(one.extra->id, one.seq, one.time_unix_nano);
  }
  return channel;
}

Task<void> ChannelsEngine::stop() {
  tending_.cancel_all();
  co_await tending_.join_all();
  // Everything accepted is on disk already; a commit behind the cursors' own makes sure of those.
  (void)co_await commit(store_, [](Database&) { return absl::OkStatus(); });
}

absl::Status ChannelsEngine::carry_out(const std::string& dir) {
  std::error_code error;
  std::filesystem::remove_all(dir, error);
  absl::StatusOr<segment_log::Writer> log = segment_log::Writer::open(dir);
  if (!log.ok()) return log.status();
  rt::LockGuard guard(lock_);
  for (const auto& [name, channel] : channels_) {
    if (channel->spec().kind != ChannelClass::kMemory) continue;
    if (absl::Status status = ChannelCarry::write(*channel, *log); !status.ok()) return status;
  }
  return absl::OkStatus();
}

uint64_t ChannelsEngine::carried_bytes() {
  rt::LockGuard guard(lock_);
  uint64_t bytes = 0;
  for (const auto& [name, channel] : channels_) {
    if (channel->spec().kind == ChannelClass::kMemory) bytes += ChannelCarry::bytes_of(*channel);
  }
  return bytes;
}

absl::Status ChannelsEngine::carry_in(const std::string& dir) {
  const auto take = [this](std::string name, ChannelPtr channel) {
    rt::LockGuard guard(lock_);
    channels_.emplace(std::move(name), std::move(channel));
  };
  return ChannelCarry::read(dir, clock_, take, spill_dir());
}

void ChannelsEngine::keep_carried() {
  rt::LockGuard guard(lock_);
  for (const auto& [name, channel] : channels_) {
    if (!channel->ring()) continue;
    for (const Ring::Carried& one : channel->ring()->carried()) {
      UniqueFd connection(::fcntl(one.connection, F_DUPFD_CLOEXEC, 3));
      keep(keep_place(channel->ring(), one.end, std::move(connection)));
    }
  }
}

absl::Status ChannelsEngine::complete_spill(ChannelSpec& spec) const {
  const uint64_t wanted = spec.disk_bytes_max.value_or(0);
  if (!spec.may_spill()) {
    spec.disk_bytes_max.reset();
    if (wanted == 0) return absl::OkStatus();
    return fault(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("a channel that cannot go over its memory, and ", wanted, " bytes on disk"),
        {"spec.disk_bytes_max",
         "INVALID",
         "",
         "make it an unbounded queue of the memory class that does not drop, or leave it out",
         {}});
  }
  if (!spec.disk_bytes_max) spec.disk_bytes_max = options_.disk_bytes_max;
  if (wanted <= options_.disk_bytes_max) return absl::OkStatus();
  return fault(absl::StatusCode::kInvalidArgument, absl::StrCat(wanted, " bytes on disk"),
               {"spec.disk_bytes_max",
                "LIMIT",
                absl::StrCat("channels.disk_bytes_max = ", options_.disk_bytes_max),
                "use fewer, or raise channels.disk_bytes_max",
                {}});
}

absl::StatusOr<ChannelSpec> ChannelsEngine::complete(ChannelSpec spec) const {
  if (absl::Status status = validate_channel_name(spec.name); !status.ok()) return status;
  if (spec.capacity > kCapacityMax) {
    return fault(absl::StatusCode::kInvalidArgument, absl::StrCat("a capacity of ", spec.capacity),
                 {"spec.capacity",
                  "LIMIT",
                  absl::StrCat("capacity_max = ", kCapacityMax),
                  "use a smaller one, or an unbounded channel",
                  {}});
  }
  if (spec.bytes_max > options_.bytes_max) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("a ceiling of ", spec.bytes_max, " bytes"),
                 {"spec.bytes_max",
                  "LIMIT",
                  absl::StrCat("channels.bytes_max = ", options_.bytes_max),
                  "use a smaller one, or raise channels.bytes_max",
                  {}});
  }
  if (spec.capacity == 0 || spec.unbounded) spec.capacity = options_.capacity_default;
  if (spec.form == ChannelForm::kRing) {
    if (absl::Status status = complete_ring(spec); !status.ok()) return status;
  }
  if (spec.bytes_max == 0) spec.bytes_max = options_.bytes_max;
  if (spec.form != ChannelForm::kQueue && spec.kind == ChannelClass::kDurable) {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("a durable channel of the form ", form_word(spec.form)),
                 {"spec.form",
                  "INVALID",
                  "",
                  "make it of the memory class, or a durable queue that is followed",
                  {}});
  }
  if (absl::Status status = complete_spill(spec); !status.ok()) return status;
  absl::StatusOr<ChannelPolicy> policy = complete_policy(std::move(spec.policy), spec.kind);
  if (!policy.ok()) return policy.status();
  spec.policy = *policy;
  return spec;
}

absl::Status ChannelsEngine::complete_ring(ChannelSpec& spec) const {
  if (spec.unbounded || spec.overflow != Overflow::kBlock) {
    const bool bounds = spec.unbounded;
    return fault(absl::StatusCode::kInvalidArgument,
                 bounds ? "an unbounded ring" : "a ring that does not hold its sender back",
                 {bounds ? "spec.unbounded" : "spec.overflow",
                  "INVALID",
                  absl::StrCat("ring_bytes_max = ", ring::kRingBytesMax),
                  "give it bytes_max and the overflow block, or use a queue",
                  {}});
  }
  if (spec.bytes_max == 0) spec.bytes_max = ring::kRingBytesDefault;
  uint64_t bytes = ring::kRingBytesMin;
  while (bytes < spec.bytes_max && bytes < ring::kRingBytesMax) bytes *= 2;
  spec.bytes_max = bytes;
  return absl::OkStatus();
}

Task<absl::StatusOr<ChannelInfo>> ChannelsEngine::create(ChannelSpec wanted, bool if_absent) {
  absl::StatusOr<ChannelSpec> spec = complete(std::move(wanted));
  if (!spec.ok()) co_return spec.status();
  Permit turn = co_await creating_.lock();
  {
    rt::LockGuard guard(lock_);
    if (auto known = channels_.find(spec->name); known != channels_.end()) {
      ChannelInfo info = known->second->info();
      if (if_absent && info.spec == *spec) co_return info;
      co_return fault(absl::StatusCode::kAlreadyExists,
                      absl::StrCat("channel \"", spec->name, "\" exists",
                                   if_absent ? " with another specification" : ""),
                      {"spec.name", "EXISTS", "", "use it, remove it, or choose another name", {}});
    }
    if (damaged_.contains(spec->name)) co_return damage(spec->name);
    if (channels_.size() >= options_.channels_max) {
      co_return fault(absl::StatusCode::kResourceExhausted,
                      absl::StrCat("there are ", channels_.size(), " channels"),
                      {"spec",
                       "LIMIT",
                       absl::StrCat("channels.max = ", options_.channels_max),
                       "remove some",
                       {}});
    }
  }
  const std::string id = "chan_" + ids_.next();
  const int64_t now = clock_();
  ChannelPtr channel;
  if (spec->kind == ChannelClass::kDurable) {
    const ChannelSpec row = *spec;
    absl::Status committed = co_await commit(store_, [row, id, now](Database& db) {
      return db.run("INSERT INTO channel VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)", id, row.name,
                    static_cast<int64_t>(row.capacity), row.unbounded,
                    static_cast<int64_t>(row.bytes_max), static_cast<int>(row.overflow), false, now,
                    1, row.policy.age_ns(), static_cast<int64_t>(row.policy.bytes()),
                    row.policy.drops_unsettled(), row.policy.window_ns(),
                    static_cast<int64_t>(row.policy.ids_max()));
    });
    if (!committed.ok()) co_return committed;
    absl::StatusOr<ChannelPtr> opened = open_durable(id, *spec, now, 1, 1);
    if (!opened.ok()) co_return opened.status();
    channel = std::move(*opened);
  } else {
    channel = std::make_shared<NamedChannel>(id, *spec, now, clock_, std::nullopt, 1,
                                             absl::StrCat(spill_dir(), "/", id));
    if (spec->form == ChannelForm::kRing) {
      absl::StatusOr<std::shared_ptr<Ring>> ring = Ring::make(spec->name, spec->bytes_max);
      if (!ring.ok()) co_return ring.status();
      channel->set_ring(std::move(*ring));
    }
  }
  {
    rt::LockGuard guard(lock_);
    channels_[spec->name] = channel;
  }
  channel->set_policy(spec->policy);
  events_.append("channel.created", spec->name,
                 {{"class", spec->kind == ChannelClass::kDurable ? "durable" : "memory"}});
  co_return channel->info();
}

absl::Status ChannelsEngine::damage(const std::string& name) {
  return fault(
      absl::StatusCode::kDataLoss,
      absl::StrCat("channel \"", name, "\" is damaged: ", damaged_.at(name).status.message()),
      {"channel",
       "DAMAGED",
       "",
       absl::StrCat(
           "restore its files and restart zsyncd, or give it up: zsyncctl channels remove ", name),
       {}});
}

absl::Status ChannelsEngine::not_found(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, channel] : channels_) names.push_back(known);
  FaultDetail detail{
      "channel", "NOT_FOUND", "", absl::StrCat("create it: zsyncctl channels create ", name), {}};
  if (std::optional<std::string> closest = closest_match(name, names)) {
    detail.hint = absl::StrCat("did you mean ", *closest, "?");
    detail.closest.push_back(*closest);
  }
  return fault(absl::StatusCode::kNotFound, absl::StrCat("no channel \"", name, "\""),
               std::move(detail));
}

absl::StatusOr<ChannelsEngine::ChannelPtr> ChannelsEngine::find(const std::string& name) {
  if (absl::Status status = validate_channel_name(name); !status.ok()) return status;
  rt::LockGuard guard(lock_);
  auto found = channels_.find(name);
  if (damaged_.contains(name)) return damage(name);
  if (found == channels_.end()) return not_found(name);
  return found->second;
}

std::vector<ChannelInfo> ChannelsEngine::list(const std::string& after, size_t limit) {
  std::vector<ChannelPtr> page;
  {
    rt::LockGuard guard(lock_);
    for (auto it = channels_.upper_bound(after); it != channels_.end() && page.size() < limit;
         ++it) {
      page.push_back(it->second);
    }
  }
  std::vector<ChannelInfo> infos;
  for (const ChannelPtr& channel : page) infos.push_back(channel->info());
  return infos;
}

Task<absl::StatusOr<ChannelInfo>> ChannelsEngine::close(std::string name) {
  absl::StatusOr<ChannelPtr> channel = find(name);
  if (!channel.ok()) co_return channel.status();
  if ((*channel)->spec().kind == ChannelClass::kDurable) {
    absl::Status committed = co_await commit(store_, [name](Database& db) {
      return db.run("UPDATE channel SET closed=1 WHERE name=?", name);
    });
    if (!committed.ok()) co_return committed;
  }
  (*channel)->close();
  events_.append("channel.closed", name);
  co_return (*channel)->info();
}

Task<absl::StatusOr<ChannelInfo>> ChannelsEngine::update(std::string name, ChannelPolicy change) {
  Permit turn = co_await creating_.lock();
  absl::StatusOr<ChannelPtr> channel = find(name);
  if (!channel.ok()) co_return channel.status();
  const ChannelInfo info = (*channel)->info();
  ChannelPolicy policy = info.spec.policy;
  policy.apply(change);
  absl::StatusOr<ChannelPolicy> complete = complete_policy(policy, info.spec.kind);
  if (!complete.ok()) co_return complete.status();
  if (info.spec.kind == ChannelClass::kDurable) {
    absl::Status committed = co_await commit(store_, [policy, id = info.id](Database& db) {
      return db.run(
          "UPDATE channel SET retention_age=?,retention_bytes=?,retention_drops=?,dedup_window=?,"
          "dedup_ids=? WHERE id=?",
          policy.age_ns(), static_cast<int64_t>(policy.bytes()), policy.drops_unsettled(),
          policy.window_ns(), static_cast<int64_t>(policy.ids_max()), id);
    });
    if (!committed.ok()) co_return committed;
  }
  (*channel)->set_policy(std::move(policy));
  events_.append("channel.updated", name);
  // What cannot go now is tried again later.
  if (info.spec.kind == ChannelClass::kDurable) (void)co_await (*channel)->retire();
  co_return (*channel)->info();
}

Task<absl::Status> ChannelsEngine::remove_damaged(std::string name, std::string id) {
  absl::Status committed = co_await commit(store_, [id](Database& db) { return forget(db, id); });
  if (!committed.ok()) co_return committed;
  {
    rt::LockGuard guard(lock_);
    damaged_.erase(name);
  }
  std::error_code error;
  std::filesystem::remove_all(dir_of(id), error);
  events_.append("channel.removed", name);
  co_return absl::OkStatus();
}

Task<absl::Status> ChannelsEngine::remove(std::string name) {
  std::optional<std::string> damaged;
  {
    rt::LockGuard guard(lock_);
    if (auto found = damaged_.find(name); found != damaged_.end()) damaged = found->second.id;
  }
  if (damaged) co_return co_await remove_damaged(name, *damaged);
  absl::StatusOr<ChannelPtr> channel = find(name);
  if (!channel.ok()) co_return channel.status();
  const std::string id = (*channel)->info().id;
  if ((*channel)->spec().kind == ChannelClass::kDurable) {
    absl::Status committed = co_await commit(store_, [id](Database& db) { return forget(db, id); });
    if (!committed.ok()) co_return committed;
  }
  {
    rt::LockGuard guard(lock_);
    auto found = channels_.find(name);
    if (found != channels_.end() && found->second == *channel) channels_.erase(found);
  }
  (*channel)->remove();
  if ((*channel)->spec().kind == ChannelClass::kDurable) {
    std::error_code error;
    std::filesystem::remove_all(dir_of(id), error);
  }
  co_await (*channel)->remove_spill();
  events_.append("channel.removed", name);
  co_return absl::OkStatus();
}

absl::Status ChannelsEngine::check_messages(const std::vector<std::string>& messages) const {
  for (const std::string& message : messages) {
    if (message.size() <= options_.message_bytes_max) continue;
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("a message has ", message.size(), " bytes"),
                 {"messages",
                  "LIMIT",
                  absl::StrCat("channels.message_bytes_max = ", options_.message_bytes_max),
                  "send it in parts, or put it in a file and send its name",
                  {}});
  }
  return absl::OkStatus();
}

size_t ChannelsEngine::size() {
  rt::LockGuard guard(lock_);
  return channels_.size();
}

}  // namespace zsync::daemon
