// NamedChannel: one channel with its waiting senders, receivers and followers.
//
// Accepted means: in memory, or for the durable class on disk. Durable sends share fsyncs: whoever
// comes while the disk is busy is written together with the others in the next round.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/accepted.hpp"
#include "daemon/channels/channel.hpp"
#include "daemon/channels/channel_group.hpp"
#include "daemon/channels/dedup_window.hpp"
#include "daemon/channels/durable_round.hpp"
#include "daemon/channels/exchange.hpp"
#include "daemon/channels/latest_values.hpp"
#include "daemon/channels/message_queue.hpp"
#include "daemon/channels/ring.hpp"
#include "daemon/channels/shared_runs.hpp"
#include "daemon/channels/spill.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr size_t kDeliveryBytesMax = 1 << 20;  // one batch to a receiver
inline constexpr size_t kDeliveryMessagesMax = 4096;

// Lifetime: shared by the engine's table and every call that uses it.
// Threads:  every member may be called from any thread.
class NamedChannel : public std::enable_shared_from_this<NamedChannel> {
 public:
  using Extras = zsync::daemon::Extras;
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch
  // Told the seq below which everything is received for good.
  using Confirmed = std::function<void(uint64_t floor)>;
  // Writes a group's state, which `encode` gives when it is written; `done` is told once it is on
  // disk. Neither is called with a lock held.
  using SaveGroup = std::function<void(std::string group, std::function<std::string()> encode,
                                       std::function<void(absl::Status)> done)>;

  struct Durable {
    std::unique_ptr<segment_log::Writer> writer;
    Confirmed confirmed;
    std::string dir = {};  // the writer's, to read what is not in memory any more
    SaveGroup save_group = {};
    std::function<void(int64_t)> due = {};    // told when tend() has something to do
    std::function<int64_t()> monotonic = {};  // ns
  };

  // `spill_dir`: where a channel that may spill puts what memory has no place for.
  NamedChannel(std::string id, ChannelSpec spec, int64_t created_unix_nano, Clock clock,
               std::optional<Durable> durable = std::nullopt, uint64_t first_seq = 1,
               const std::string& spill_dir = "");

  // Puts back what a durable channel held when the daemon ended.
  void restore(Message message, bool held);
  void restore_closed();
  // Ids that were accepted before, in the order of their times.
  void restore_id(const std::string& id, uint64_t seq, int64_t time_unix_nano);

  // `consumers`: with those who receive, follow or reply, and why nothing comes to each.
  ChannelInfo info(bool consumers = false);
  ChannelPolicy policy();
  // What is over a smaller limit goes with the next retire().
  void set_policy(ChannelPolicy policy);
  const ChannelSpec& spec() const { return spec_; }
  // Errors: kFailedPrecondition, naming what a channel of its form is for.
  absl::Status check_form(std::initializer_list<ChannelForm> forms) const;
  // Of the form request.
  const std::shared_ptr<Exchange>& exchange() const { return exchange_; }
  // Of the form ring, which is given its ring before anybody else knows of the channel.
  const std::shared_ptr<Ring>& ring() const { return ring_; }
  void set_ring(std::shared_ptr<Ring> ring) { ring_ = std::move(ring); }

  // Accepts what fits now. Not for the durable class.
  //
  // Errors: kFailedPrecondition CLOSED, kNotFound when removed, kResourceExhausted when full.
  Accepted try_send(std::vector<std::string> messages, const std::string& trace,
                    const Extras& extras = {});
  // The same of all of them, or none: nullopt when some would have to wait for the disk.
  std::optional<Accepted> try_send_all(std::vector<std::string>& messages, const std::string& trace,
                                       const Extras& extras);
  bool spills() const { return spill_.has_value(); }
  // The same; a full channel with overflow `block` makes it wait, in the order of asking.
  //
  // Cancel: throws Cancelled; messages of the batch may have been accepted.
  Task<Accepted> send(std::vector<std::string> messages, std::string trace, Extras extras = {});
  // The same of a durable channel for what one sender sends after each other: all that fits goes
  // with one sync, in order -> how many are done, one at least: accepted, or with a final refusal.
  Task<size_t> send_durable(std::span<SendBatch> batches);
  // The same without waiting for room, of any class: accepts what fits.
  Task<Accepted> send_what_fits(std::vector<std::string> messages, std::string trace,
                                Extras extras = {});

  // Later sends fail; receivers drain what is held, then see the end.
  void close();
  // Whoever waits gets kNotFound.
  void remove();
  // Removes what it has on disk only because memory was full.
  Task<void> remove_spill();

  // Those who take messages (receivers.hpp), and those who only look (follower.hpp).
  class Receiver;
  class Consumer;
  class Follower;
  // Counts somebody who waits for messages.
  struct WaitingReceiver : Waiting {
    explicit WaitingReceiver(NamedChannel& channel)
        : Waiting(channel.lock_, channel.receivers_waiting_) {}
  };

  // From now on told whenever a reader may find something new, until unlisten().
  void listen(std::shared_ptr<Notify> listener);
  void unlisten(const std::shared_ptr<Notify>& listener);

  // Where a reader begins: at most one of these.
  struct Start {
    uint64_t seq = 0;
    bool now = false;
    bool oldest = false;
    int64_t time_unix_nano = 0;
  };
  // The message to begin with; 0: nothing was said.
  //
  // Errors: kInvalidArgument for more than one, and for a message that is not there yet.
  Task<absl::StatusOr<uint64_t>> resolve(Start start);

  // Retention, of the durable class (channel_retention.cpp).

  // Drops what the policy gives up.
  Task<absl::Status> retire();
  // When it should be called again, by the monotonic clock.
  int64_t retires_at();

  // Consumer groups, of the durable class (channel_groups.cpp).

  // Errors: kFailedPrecondition for the memory class, and while receivers without a group are
  //         connected; kResourceExhausted (groups_max).
  absl::Status check_new_group();
  // The oldest message that is not received.
  uint64_t floor();
  void put_group(ConsumerGroup state, int64_t created_unix_nano);
  void drop_group(const std::string& name);
  std::optional<GroupInfo> group_info(const std::string& name);
  absl::Status no_such_group(const std::string& name);
  std::vector<GroupInfo> groups_info(bool consumers = false);
  bool has_groups();

  // Errors: kNotFound for a group that is not there; kUnavailable when it could not be written.
  // Cancel: what was settled stays settled.
  Task<absl::StatusOr<Settled>> settle(std::string group, Settling settling);

  // Takes back what was not acknowledged in time -> when there is something to do again.
  std::optional<int64_t> tend();
  // Messages that are to be moved to the dead letters, some at a time.
  Task<absl::StatusOr<std::vector<DeadLetter>>> dying();
  // They were.
  Task<void> bury(std::vector<DeadLetter> letters);
  // Why they could not be, for the groups' `why`; "": they can.
  void blame_dead_letters(std::string why);

 private:
  friend class ChannelCarry;
  absl::Status gone() const;
  absl::Status received_by_groups() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Wakes those who wait for messages.
  void tell_data();
  absl::Status refusal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::Status full() const;
  void fill_form(ChannelInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void look_at_latest(uint64_t& seq, Delivery& delivery, size_t max)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Accepts messages from `from` on while they fit -> how many; sets `stop` for a final refusal.
  uint64_t accept(std::vector<std::string>& messages, uint64_t from, const std::string& trace,
                  const Extras& extras, Accepted& result) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Whether a message of that size may be pushed now; drops old ones where the overflow says so.
  bool make_room(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // The same of any form but a queue: its seq, or nullopt.
  std::optional<uint64_t> push_form(Message message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  uint64_t next_seq() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return latest_ ? latest_->next_seq() : queue_.next_seq();
  }
  Task<void> write_together(std::span<DurableSend> sends);
  Task<void> write_round(std::vector<DurableSend*> sends);
  // Messages from `seq` on, which is moved forward; none: there are none now. What is not in memory
  // any more is read from the log.
  using Replay = std::optional<segment_log::Reader>;
  Task<absl::StatusOr<Delivery>> look(uint64_t& seq, Replay& replay, size_t max,
                                      Attendance& attendance);
  // What the log has in [seq, end), from the front on. What is not before `end` may not be synced.
  Task<absl::StatusOr<Delivery>> read_log(uint64_t& seq, uint64_t end, Replay& replay, size_t max);
  // Memory is full: the rest of the batch goes to the disk (spilling.cpp).
  Task<void> send_to_disk(SendBatch& batch);
  // Whether what is to be received is on disk; load_from_disk() brings some of it into memory.
  bool only_on_disk();
  Task<absl::Status> load_from_disk();
  // Messages on disk, without taking them; empty: they are in memory by now.
  Task<absl::StatusOr<Delivery>> look_on_disk(uint64_t& seq, size_t max,
                                              Attendance* attendance = nullptr);
  absl::Status full_disk(const absl::Status& why) const;
  void plan_round(Round& round) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void accept_round(Round& round, const segment_log::Appended& written)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::Status too_many_ids() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void tell_confirmed(uint64_t floor);
  // Everything before it may go.
  uint64_t settled_floor() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void forget_retired(uint64_t first, bool drops_unsettled) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // After a write: whether there is more than the policy keeps, now or soon.
  void note_log(uint64_t bytes);
  void retire_at(int64_t at);
  Task<absl::StatusOr<uint64_t>> first_at_time(int64_t time_unix_nano);
  // The same of messages from `seq` on that are on disk because memory was full.
  Task<absl::StatusOr<uint64_t>> first_on_disk(uint64_t seq, int64_t time_unix_nano);

  int64_t monotonic() const { return durable_->monotonic ? durable_->monotonic() : 0; }
  std::shared_ptr<ChannelGroup> group_named(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::Status no_group(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  const Message* body_of(const ChannelGroup& group, uint64_t seq)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Hands out -> the seq whose body has to be loaded first; 0: none.
  uint64_t hand_out(ChannelGroup& group, ConsumerGroup::ConsumerId consumer, size_t max,
                    Delivery& delivery, std::deque<ConsumerGroup::Handed>& handed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Reads messages from `seq` on from the log.
  Task<absl::Status> load(std::shared_ptr<ChannelGroup> group, uint64_t seq);
  // Whatever all groups have settled is received for good -> everything below is.
  uint64_t release() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void after_settling();
  GroupInfo info_of(const ChannelGroup& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Why nothing comes to them (standstill.cpp).
  void fill_consumers(ChannelInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void fill_followers(ChannelInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void fill_consumers(const ChannelGroup& group, GroupInfo& info)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void tell_standstill(const ConsumerGroup::Standstill& still,
                       const std::optional<ConsumerGroup::Line>& line, int64_t now,
                       ConsumerInfo& info) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  std::string why(const ChannelGroup& group, const GroupInfo& info)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void lose(uint64_t from, uint64_t to, segment_log::GapReason reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void save_later(std::shared_ptr<ChannelGroup> group);
  // Completes once the group's state of now is on disk.
  Task<absl::Status> save(std::shared_ptr<ChannelGroup> group);
  void tell_due(std::optional<int64_t> due);

  const std::string id_;
  const ChannelSpec spec_;
  const int64_t created_unix_nano_;
  const Clock clock_;
  std::optional<Durable> durable_;
  const std::shared_ptr<Exchange> exchange_;  // of the form request
  std::shared_ptr<Ring> ring_;                // of the form ring

  Mutex send_turn_;  // held by the sender that waits for room, so that senders go in order
  Mutex recv_turn_;  // the same for receivers
  Mutex disk_turn_;  // held by the sender that writes for all, and by whoever uses spill_
  std::optional<Spill> spill_;
  Notify room_;
  Notify data_;
  std::atomic<bool> listened_{false};  // whether listeners_ may hold anybody

  rt::Lock lock_;
  MessageQueue queue_ ABSL_GUARDED_BY(lock_);
  std::optional<LatestValues> latest_ ABSL_GUARDED_BY(lock_);  // of the form latest
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool removed_ ABSL_GUARDED_BY(lock_) = false;
  uint64_t sent_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t received_ ABSL_GUARDED_BY(lock_) = 0;
  // Changed by Waiting, which takes the lock itself.
  uint32_t senders_waiting_ = 0;
  uint32_t receivers_waiting_ = 0;
  std::vector<DurableSend*> disk_queue_ ABSL_GUARDED_BY(lock_);
  ChannelPolicy policy_ ABSL_GUARDED_BY(lock_);
  DedupWindow dedup_ ABSL_GUARDED_BY(lock_);
  uint64_t log_first_ ABSL_GUARDED_BY(lock_) = 1;  // the next four: of the durable class
  uint64_t log_bytes_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t disk_bytes_ ABSL_GUARDED_BY(lock_) = 0;           // of spill_
  uint64_t held_until_ ABSL_GUARDED_BY(lock_) = UINT64_MAX;  // more may go from this floor on
  int64_t retires_at_ ABSL_GUARDED_BY(lock_) = INT64_MAX;
  std::map<uint64_t, Receiver*> receivers_ ABSL_GUARDED_BY(lock_);  // connected, without a group
  uint64_t next_receiver_ ABSL_GUARDED_BY(lock_) = 1;
  std::map<uint64_t, Follower*> followers_ ABSL_GUARDED_BY(lock_);
  uint64_t next_follower_ ABSL_GUARDED_BY(lock_) = 1;
  SharedRuns runs_ ABSL_GUARDED_BY(lock_);  // of followers
  std::vector<std::shared_ptr<Notify>> listeners_ ABSL_GUARDED_BY(lock_);
  std::map<std::string, std::shared_ptr<ChannelGroup>> groups_ ABSL_GUARDED_BY(lock_);
  std::string dead_letters_blamed_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::daemon
