// Spill: the part of a channel's messages that is on disk because memory is full. Written and read
// in order, and gone with the channel, or with the daemon.
//
// Blocks on the disk: never used with a lock held, nor on gRPC's threads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/channel.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon {

inline constexpr uint64_t kSpillSegmentBytes = 16ull << 20;  // what goes at once when it was read

// Threads: one at a time.
class Spill {
 public:
  // Its files are DIR/1, DIR/2, ...; nothing is made before something is written.
  explicit Spill(std::string dir, uint64_t bytes_max)
      : dir_(std::move(dir)), bytes_max_(bytes_max) {}
  ~Spill() { remove(); }
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;

  // Appends messages; the first one has the number `seq`, behind the last one here if there is any.
  //
  // Errors: kResourceExhausted when the disk is full; what is before the failed one is kept.
  segment_log::Appended append(const std::vector<segment_log::Entry>& entries, uint64_t seq);
  // Some messages from `seq` on, at least one.
  //
  // Errors: kDataLoss; kUnavailable.
  absl::StatusOr<std::vector<Message>> read(uint64_t seq, size_t max, size_t bytes_max);
  // What is before `seq` was read for good; `empty`: and there is nothing else.
  absl::Status drop_before(uint64_t seq, bool empty);
  void remove();

  // What a message takes there, at most.
  static uint64_t bytes_of(const std::string& trace, const std::string& data,
                           const MessageExtra* extra) {
    const uint64_t extras = extra ? extra->key.size() + extra->id.size() + 2 * kSizeBytes : 0;
    return kRecordBytes + kSizeBytes + trace.size() + data.size() + extras;
  }
  uint64_t bytes_max() const { return bytes_max_; }
  uint64_t bytes() const { return writer_ ? writer_->disk_bytes() : 0; }

 private:
  static constexpr uint64_t kRecordBytes = 25;  // of a segment log, beside the payload
  static constexpr uint64_t kSizeBytes = 10;    // of a varint, at most

  absl::Status open(uint64_t seq);
  std::string log_dir() const;

  const std::string dir_;
  const uint64_t bytes_max_;
  uint64_t generation_ = 0;  // of the files that are written now
  std::optional<segment_log::Writer> writer_;
  std::optional<segment_log::Reader> reader_;
};

}  // namespace zsync::daemon
