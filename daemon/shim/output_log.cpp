#include "daemon/shim/output_log.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace zsync::daemon::shim {
namespace {

using segment_log::GapReason;

constexpr uint64_t kSegmentsOfLimit = 8;  // the rolling tail moves in eighths of the limit or finer

uint64_t segment_bytes_of(const Spec& spec) {
  const uint64_t fine =
      std::max(spec.output_bytes_max / kSegmentsOfLimit, segment_log::kSegmentBytesMin);
  return std::min(std::max(spec.segment_bytes, segment_log::kSegmentBytesMin), fine);
}

}  // namespace

OutputLog::OutputLog(const Spec& spec)
    : bytes_max_(spec.output_bytes_max),
      head_bytes_(std::min(spec.output_head_bytes, spec.output_bytes_max / 2)) {
  options_.segment_bytes = segment_bytes_of(spec);
}

bool OutputLog::open() {
  if (writer_) return true;
  absl::StatusOr<segment_log::Writer> writer = segment_log::Writer::open(kLogDir, options_);
  if (writer.ok()) writer_.emplace(*std::move(writer));
  return writer_.has_value();
}

void OutputLog::append(uint8_t stream, std::string_view bytes, int64_t now_unix_nano) {
  bytes_ += bytes.size();
  std::vector<segment_log::Entry> entries;
  uint64_t total = bytes.size();
  while (!bytes.empty()) {
    const std::string_view part = bytes.substr(0, kRecordBytesMax);
    entries.push_back({now_unix_nano, stream, part});
    bytes.remove_prefix(part.size());
  }
  size_t written = 0;
  if (pay_gap(now_unix_nano, false)) {
    const segment_log::Appended appended = writer_->append(entries);
    written = appended.count;
    for (size_t i = 0; i < written; ++i) total -= entries[i].payload.size();
    if (!appended.status.ok()) retry_at_ = now_unix_nano + kGapRetryNs;
  }
  owed_records_ += entries.size() - written;
  owed_bytes_ += total;
  disk_lost_bytes_ += total;
  keep_limit(now_unix_nano);
}

// True when the log is open and nothing is owed, or the gap record was written just now.
bool OutputLog::pay_gap(int64_t now_unix_nano, bool last) {
  if (writer_ && owed_records_ == 0) return true;
  if (!last && now_unix_nano < retry_at_) return false;
  retry_at_ = now_unix_nano + kGapRetryNs;
  if (!open()) return false;
  if (owed_records_ == 0) return true;
  if (!writer_->append_gap(GapReason::kDiskFull, owed_records_, owed_bytes_, now_unix_nano).ok()) {
    return false;
  }
  owed_records_ = 0;
  owed_bytes_ = 0;
  return true;
}

void OutputLog::keep_limit(int64_t now_unix_nano) {
  while (writer_ && writer_->end_offset() - dropped_bytes_ > bytes_max_) {
    const absl::StatusOr<uint64_t> dropped =
        writer_->drop_middle(head_bytes_, GapReason::kOutputLimit, now_unix_nano);
    if (!dropped.ok() || *dropped == 0) return;
    dropped_bytes_ += *dropped;
  }
}

void OutputLog::finish(int64_t now_unix_nano) {
  if (owed_records_ > 0) (void)pay_gap(now_unix_nano, true);
}

}  // namespace zsync::daemon::shim
