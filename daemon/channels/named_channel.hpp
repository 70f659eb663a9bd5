// NamedChannel: one channel with its waiting senders, receivers and followers.
//
// Accepted means: in memory, or for the durable class on disk. Durable sends share fsyncs: whoever
// comes while the disk is busy is written together with the others in the next round.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/channel.hpp"
#include "daemon/channels/message_queue.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr size_t kDeliveryBytesMax = 1 << 20;  // one batch to a receiver
inline constexpr size_t kDeliveryMessagesMax = 4096;

struct Accepted {
  uint64_t count = 0;     // the first `count` messages were accepted
  uint64_t last_seq = 0;  // of the last accepted one
  absl::Status status;    // why the rest was not
};

// Lifetime: shared by the engine's table and every call that uses it.
// Threads:  every member may be called from any thread.
class NamedChannel : public std::enable_shared_from_this<NamedChannel> {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch
  // Told the seq below which everything is received for good.
  using Confirmed = std::function<void(uint64_t floor)>;

  struct Durable {
    std::unique_ptr<segment_log::Writer> writer;
    Confirmed confirmed;
  };

  NamedChannel(std::string id, ChannelSpec spec, int64_t created_unix_nano, Clock clock,
               std::optional<Durable> durable = std::nullopt, uint64_t first_seq = 1);

  // Puts back what a durable channel held when the daemon ended.
  void restore(Message message, bool held);
  void restore_closed();

  ChannelInfo info();
  const ChannelSpec& spec() const { return spec_; }

  // Accepts what fits now. Not for the durable class.
  //
  // Errors: kFailedPrecondition CLOSED, kNotFound when removed, kResourceExhausted when full.
  Accepted try_send(std::vector<std::string> messages, const std::string& trace);
  // The same; a full channel with overflow `block` makes it wait, in the order of asking.
  //
  // Cancel: throws Cancelled; messages of the batch may have been accepted.
  Task<Accepted> send(std::vector<std::string> messages, std::string trace);

  // The same without waiting for room, of any class: accepts what fits.
  Task<Accepted> send_what_fits(std::vector<std::string> messages, std::string trace);

  // Later sends fail; receivers drain what is held, then see the end.
  void close();
  // Whoever waits gets kNotFound.
  void remove();

  // One receiver: competes for messages, and confirms them in order.
  // Threads: one may wait in next() while another confirms.
  class Receiver {
   public:
    explicit Receiver(std::shared_ptr<NamedChannel> channel) : channel_(std::move(channel)) {}
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;
    // Gives back what was not confirmed.
    ~Receiver() { give_back(); }

    // Waits for at least one message, a gap, or the end. Cancel: throws Cancelled, takes nothing.
    //
    // Errors: kNotFound when the channel is removed.
    Task<absl::StatusOr<Delivery>> next(size_t max);
    // The `count` oldest unconfirmed messages are received for good.
    void confirm(uint64_t count);
    // What is not confirmed goes back to the front, and nothing can be confirmed any more.
    void give_back();

   private:
    const std::shared_ptr<NamedChannel> channel_;
    std::set<uint64_t> in_hand_;  // guarded by the channel's lock
  };

  // Messages from `seq` on, which is moved forward; waits for one. Cancel: throws Cancelled.
  Task<absl::StatusOr<Delivery>> follow(uint64_t& seq);

 private:
  // A batch on its way to the disk; lives in its sender's frame, which waits until `done`.
  struct DurableSend {
    std::vector<std::string>& messages;
    const std::string& trace;
    uint64_t from = 0;  // messages before it were accepted earlier
    uint64_t accepted = 0;
    uint64_t last_seq = 0;
    absl::Status stop;  // a final refusal
    bool done = false;
  };

  absl::Status refusal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::Status full() const;
  // Accepts messages from `from` on while they fit -> how many; sets `stop` for a final refusal.
  uint64_t accept(std::vector<std::string>& messages, uint64_t from, const std::string& trace,
                  uint64_t& last_seq, absl::Status& stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  // Whether a message of that size may be pushed now; drops old ones where the overflow says so.
  bool make_room(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  Task<void> send_durable(DurableSend& send);
  Task<void> write_round(std::vector<DurableSend*> round);
  void tell_confirmed(uint64_t floor);

  const std::string id_;
  const ChannelSpec spec_;
  const int64_t created_unix_nano_;
  const Clock clock_;
  std::optional<Durable> durable_;

  Mutex send_turn_;  // held by the sender that waits for room, so that senders go in order
  Mutex recv_turn_;  // the same for receivers
  Mutex disk_turn_;  // held by the sender that writes for all
  Notify room_;
  Notify data_;

  rt::Lock lock_;
  MessageQueue queue_ ABSL_GUARDED_BY(lock_);
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool removed_ ABSL_GUARDED_BY(lock_) = false;
  uint64_t sent_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t received_ ABSL_GUARDED_BY(lock_) = 0;
  // Changed by Waiting, which takes the lock itself.
  uint32_t senders_waiting_ = 0;
  uint32_t receivers_waiting_ = 0;
  std::vector<DurableSend*> disk_queue_ ABSL_GUARDED_BY(lock_);
};

}  // namespace zsync::daemon
