// The command's output on its way into out.log, whatever the disk and the limits say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/shim/shim_protocol.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

inline constexpr size_t kRecordBytesMax = 64u << 10;  // one record of out.log
inline constexpr int64_t kGapRetryNs = 100'000'000;   // between two tries on a full disk

// The log is made with the first output: a silent command leaves no files.
class OutputLog {
 public:
  explicit OutputLog(const Spec& spec);

  // Takes bytes of stream 1 or 2. Never fails: what cannot be written is counted, and a gap record
  // says so as soon as there is space again. Over output_bytes_max the middle is dropped, a gap
  // record says so too.
  void append(uint8_t stream, std::string_view bytes, int64_t now_unix_nano);

  // Last try to write a gap that is still owed.
  void finish(int64_t now_unix_nano);

  uint64_t last_seq() const { return writer_ ? writer_->next_seq() - 1 : 0; }
  uint64_t bytes() const { return bytes_; }
  uint64_t lost_bytes() const { return dropped_bytes_ + disk_lost_bytes_; }

 private:
  bool open();
  bool pay_gap(int64_t now_unix_nano, bool last);
  void keep_limit(int64_t now_unix_nano);

  segment_log::WriterOptions options_;
  std::optional<segment_log::Writer> writer_;  // empty: nothing to write so far, or no space for it
  uint64_t bytes_max_;
  uint64_t head_bytes_;
  uint64_t bytes_ = 0;
  uint64_t dropped_bytes_ = 0;    // by the limit
  uint64_t disk_lost_bytes_ = 0;  // by the disk, all together
  uint64_t owed_records_ = 0;     // lost and not yet announced by a gap record
  uint64_t owed_bytes_ = 0;
  int64_t retry_at_ = 0;
};

}  // namespace zsync::daemon::shim
