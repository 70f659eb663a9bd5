// ChannelsEngine: the named channels of this daemon.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/channel.hpp"
#include "daemon/channels/channel_spans.hpp"
#include "daemon/channels/named_channel.hpp"
#include "daemon/events/event_log.hpp"
#include "daemon/store/store.hpp"
#include "daemon/store/ulid.hpp"
#include "zsync/executor.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

struct ChannelsOptions {
  std::string dir;  // durable channels live in DIR/ID
  uint64_t capacity_default = 1024;
  uint64_t bytes_max = 256ull << 20;  // one channel
  uint64_t message_bytes_max = 1ull << 20;
  uint64_t channels_max = 10'000;
  uint64_t disk_bytes_max = 1ull << 30;  // of one unbounded channel, beyond bytes_max in memory
};

// The channels' part of the schema.
extern const char kChannelSchemaV2[];
extern const char kChannelSchemaV3[];
extern const char kChannelSchemaV7[];

class ChannelsEngine {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch
  using ChannelPtr = std::shared_ptr<NamedChannel>;

  ChannelsEngine(ChannelsOptions options, Store& store, EventLog& events, UlidGenerator& ids,
                 Clock clock);

  // Brings durable channels back with what they held.
  absl::Status start();
  // Writes how far each durable channel was received. The calls have ended before.
  Task<void> stop();
  // After stop(): writes the channels of the memory class to `dir`, which is made anew. Blocks.
  absl::Status carry_out(const std::string& dir);
  // What that would take of the disk now, at most.
  uint64_t carried_bytes();
  // After start(): brings them back, and leaves `dir` as it is. Blocks.
  absl::Status carry_in(const std::string& dir);
  // Then: the ends of rings that were carried keep their places.
  void keep_carried();

  // With `if_absent` an equal channel that exists already is a success.
  //
  // Errors: kInvalidArgument; kAlreadyExists; kResourceExhausted (channels_max).
  Task<absl::StatusOr<ChannelInfo>> create(ChannelSpec spec, bool if_absent);
  // Errors: kNotFound with the closest name; kDataLoss for a channel that could not be read.
  absl::StatusOr<ChannelPtr> find(const std::string& name);
  // The same for a reader, who may come before the first dead letter: the channel of those of a
  // channel with groups is made then.
  Task<absl::StatusOr<ChannelPtr>> find_to_read(std::string name);
  // In the order of names, after `after`.
  std::vector<ChannelInfo> list(const std::string& after, size_t limit);
  Task<absl::StatusOr<ChannelInfo>> close(std::string name);
  Task<absl::Status> remove(std::string name);
  // What `change` leaves out stays.
  //
  // Errors: kNotFound; kInvalidArgument naming field, limit and cure.
  Task<absl::StatusOr<ChannelInfo>> update(std::string name, ChannelPolicy change);

  // A group of the same settings that exists already is a success.
  //
  // Errors: kInvalidArgument; kNotFound; kAlreadyExists; those of NamedChannel::check_new_group.
  Task<absl::StatusOr<GroupInfo>> create_group(std::string channel, GroupSpec spec,
                                               NamedChannel::Start start);
  // Errors: kNotFound.
  Task<absl::Status> remove_group(std::string channel, std::string group);

  // Runs `left`, which frees the place of a ring's end, until stop().
  void keep(Task<void> left) { (void)tending_.spawn(std::move(left)); }
  int64_t now() const { return clock_(); }
  uint64_t message_bytes_max() const { return options_.message_bytes_max; }

  // Errors: kInvalidArgument naming the limit.
  absl::Status check_messages(const std::vector<std::string>& messages) const;
  size_t size();
  ChannelSpans& spans() { return spans_; }

 private:
  struct Cursor;
  // A durable channel as the store has it.
  struct Row {
    std::string id;
    ChannelSpec spec;
    bool closed = false;
    int64_t created = 0;
    uint64_t floor = 1;
  };
  struct StoredGroup {
    ConsumerGroup state;
    int64_t created = 0;
  };
  struct Damaged {
    std::string id;
    absl::Status status;
  };

  absl::StatusOr<ChannelSpec> complete(ChannelSpec spec) const;
  absl::StatusOr<std::vector<Row>> load_rows();
  absl::StatusOr<ChannelPtr> restore(const Row& row);
  // `next_seq`: the least that its next message may have.
  absl::StatusOr<ChannelPtr> open_durable(const std::string& id, const ChannelSpec& spec,
                                          int64_t created, uint64_t floor, uint64_t next_seq);
  absl::StatusOr<std::vector<StoredGroup>> load_groups(const Row& row);
  NamedChannel::SaveGroup group_saver(std::string id);
  // Takes back what was not acknowledged in time, moves dead letters and drops what is not kept any
  // more, until cancelled.
  Task<void> tend();
  Task<absl::Status> move_dead_letters(ChannelPtr channel);
  // Where dead letters of the channel of that name go; it is made if it is not there.
  Task<absl::StatusOr<ChannelPtr>> open_grave(std::string name);
  void due(int64_t at);
  absl::Status damage(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Task<absl::Status> remove_damaged(std::string name, std::string id);
  absl::Status not_found(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::Status complete_spill(ChannelSpec& spec) const;
  absl::Status complete_ring(ChannelSpec& spec) const;
  // What memory had no place for; does not outlive the daemon.
  std::string spill_dir() const { return options_.dir + "/spill"; }
  std::string dir_of(const std::string& id) const { return options_.dir + "/" + id; }

  const ChannelsOptions options_;
  Store& store_;
  EventLog& events_;
  ChannelSpans spans_{events_};
  UlidGenerator& ids_;
  const Clock clock_;
  Mutex creating_;  // one creation at a time, so that a name is looked up and taken in one step

  Notify due_;
  std::atomic<int64_t> tends_at_{INT64_MAX};  // when tend() looks again by itself
  Executor tending_;

  rt::Lock lock_;
  std::map<std::string, ChannelPtr> channels_ ABSL_GUARDED_BY(lock_);
  std::map<std::string, Damaged> damaged_ ABSL_GUARDED_BY(lock_);  // by name; only remove() helps
};

}  // namespace zsync::daemon
