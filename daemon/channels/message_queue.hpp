// MessageQueue: the messages of one channel. Pure: no clock, no files, no threads, no waiting.
//
//   [first, floor)   history: received and confirmed, kept for followers while there is room
//   [floor, next)    held: waiting to be received, or handed out and not confirmed yet
//
// A message that was handed out and given back is handed out again before newer ones. The newest
// held ones may be on disk: [disk_from, next). They are counted here and are elsewhere until
// load().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/channels/channel.hpp"

namespace zsync::daemon {

class MessageQueue {
 public:
  MessageQueue(uint64_t capacity, uint64_t bytes_max, uint64_t first_seq = 1);

  // Messages that are on their way to the disk and will be pushed soon.
  struct Reservation {
    uint64_t messages = 0;
    uint64_t bytes = 0;
    void add(size_t data_bytes) {
      ++messages;
      bytes += data_bytes + kMessageOverheadBytes;
    }
  };
  // Capacity counts messages that wait, the ceiling of bytes everything held. One message always
  // fits into an empty channel, whatever its size.
  bool fits(size_t data_bytes) const { return fits(data_bytes, Reservation()); }
  bool fits(size_t data_bytes, const Reservation& reserved) const;
  // Appends; its seq.
  uint64_t push(Message message);
  // The same of a message that an earlier queue had; not `held`: it was received there.
  void restore(Message message, bool held);
  void restore_dropped(uint64_t dropped, std::optional<segment_log::Gap> gap);
  // Every message in memory, in order; `held`: it is not received for good.
  void each(const std::function<void(const Message&, bool held)>& see) const;
  // Drops the oldest message that nobody has in hand; false: there is none.
  bool drop_oldest(segment_log::GapReason reason = segment_log::GapReason::kDroppedOldest);
  // Handing out up to `max` messages of together about `bytes_max` (at least one if any).
  std::vector<Message> take(size_t max, size_t bytes_max);
  // What was handed out is received for good, or comes back.
  void confirm(uint64_t seq);
  void give_back(uint64_t seq);
  // What waits before `seq` was received elsewhere.
  void settle_before(uint64_t seq);
  // What was received before `seq` is not kept for followers any more.
  void forget_before(uint64_t seq);
  // Drops what waits before `seq`; what somebody has in hand stays.
  void drop_before(uint64_t seq, segment_log::GapReason reason);
  // The first message in memory at or after that time; next_seq() when there is none.
  uint64_t seq_at_time(int64_t time_unix_nano) const;
  // A message that is in memory, held or history; null: it is not.
  const Message* find(uint64_t seq) const {
    return seq >= first_seq() && seq < disk_from() ? &at(seq) : nullptr;
  }
  // Messages from `seq` on, without taking them; sets `gap` when older ones are gone.
  std::vector<Message> look(uint64_t seq, size_t max, size_t bytes_max,
                            std::optional<segment_log::Gap>& gap) const;
  // From now on, until end_spill(), nothing goes into memory: what comes is on its way to the disk.
  void begin_spill() { spilling_ = true; }
  void end_spill() { spilling_ = false; }
  // Appends a message that is on disk; its seq.
  uint64_t push_on_disk();
  // The next one on disk comes into memory.
  void load(Message message);

  // Messages dropped since the last call, for the next receiver.
  std::optional<segment_log::Gap> take_gap();

  // In memory.
  bool has_waiting() const { return head_ < disk_from() || !returned_.empty(); }
  uint64_t on_disk() const { return on_disk_; }
  uint64_t disk_from() const { return next_ - on_disk_; }
  // Not handed out. The capacity counts these: what is in hand is bounded by its receiver's credit.
  uint64_t waiting() const { return held_ - in_hand_.size(); }
  uint64_t held() const { return held_; }  // on disk, too
  uint64_t held_bytes() const { return held_bytes_; }
  uint64_t memory_bytes() const { return bytes_; }  // history, too
  uint64_t next_seq() const { return next_; }
  uint64_t first_seq() const { return disk_from() - messages_.size(); }
  // Everything below is received for good.
  uint64_t floor() const;
  uint64_t dropped() const { return dropped_; }

 private:
  const Message& at(uint64_t seq) const { return messages_[seq - first_seq()]; }
  static uint64_t cost(size_t data_bytes) { return data_bytes + kMessageOverheadBytes; }
  void settle(uint64_t seq);
  void trim();

  const uint64_t capacity_;
  const uint64_t bytes_max_;
  std::deque<Message> messages_;  // seqs [first_seq, disk_from)
  uint64_t next_;
  uint64_t head_;  // next seq that was never handed out
  std::set<uint64_t> in_hand_;
  std::set<uint64_t> returned_;
  uint64_t on_disk_ = 0;
  bool spilling_ = false;
  uint64_t held_ = 0;
  uint64_t held_bytes_ = 0;
  uint64_t bytes_ = 0;  // history too
  uint64_t dropped_ = 0;
  uint64_t newest_dropped_ = 0;
  std::optional<segment_log::Gap> gap_;
};

}  // namespace zsync::daemon
