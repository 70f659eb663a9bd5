// What goes from a log as time and bytes pass, and where a time is in it.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "daemon/store/segment_log.hpp"
#include "daemon/store/segment_log_format.hpp"

namespace zsync::daemon::segment_log {
namespace {

absl::StatusOr<std::optional<int64_t>> time_of_first(const std::string& dir, uint64_t seq) {
  absl::StatusOr<Reader> reader = Reader::open(dir, seq);
  if (!reader.ok()) return reader.status();
  absl::StatusOr<Batch> batch = reader->read(1);
  if (!batch.ok()) return batch.status();
  if (batch->records.empty()) return std::nullopt;
  return batch->records.front().time_unix_nano;
}

}  // namespace

void Writer::set_segment_bytes(uint64_t bytes) {
  options_.segment_bytes = std::max(bytes, kSegmentBytesMin);
}

absl::StatusOr<std::optional<int64_t>> Writer::first_time(size_t segment) const {
  if (segments_[segment].first_seq >= next_seq_) return std::nullopt;
  return time_of_first(dir_, segments_[segment].first_seq);
}

absl::StatusOr<int64_t> Writer::newest_time(size_t segment) {
  std::optional<int64_t>& newest = segments_[segment].newest;
  if (newest) return *newest;
  absl::StatusOr<std::optional<int64_t>> behind = first_time(segment + 1);
  if (!behind.ok()) return behind.status();
  if (*behind) {
    newest = *behind;
    return *newest;
  }
  absl::StatusOr<Reader> reader = Reader::open(dir_, segments_[segment].first_seq);
  if (!reader.ok()) return reader.status();
  int64_t last = INT64_MIN;
  while (true) {
    absl::StatusOr<Batch> batch = reader->read();
    if (!batch.ok()) return batch.status();
    for (const Record& record : batch->records) last = record.time_unix_nano;
    if (batch->at_end) break;
  }
  newest = last;
  return last;
}

absl::StatusOr<Writer::Retired> Writer::retire(const Retention& retention) {
  Retired retired;
  while (segments_.size() > 1) {
    absl::StatusOr<int64_t> newest = newest_time(0);
    if (!newest.ok()) return newest.status();
    retired.newest = *newest;
    if (*newest >= retention.older_than && disk_bytes() <= retention.bytes_max) return retired;
    if (segments_[1].first_seq > retention.keep_from) {
      retired.held_until = segments_[1].first_seq;
      return retired;
    }
    absl::StatusOr<uint64_t> freed = drop_oldest();
    if (!freed.ok()) return freed.status();
    retired.dropped = true;
  }
  retired.newest.reset();
  return retired;
}

absl::Status Writer::roll_if_older(int64_t time_unix_nano) {
  absl::StatusOr<std::optional<int64_t>> first = first_time(segments_.size() - 1);
  if (!first.ok()) return first.status();
  if (!*first || **first >= time_unix_nano) return absl::OkStatus();
  return roll();
}

absl::StatusOr<uint64_t> Writer::segment_at_time(int64_t time_unix_nano) const {
  for (size_t i = segments_.size(); i > 0; --i) {
    absl::StatusOr<std::optional<int64_t>> first = first_time(i - 1);
    if (!first.ok()) return first.status();
    if (i == 1 || (*first && **first < time_unix_nano)) return segments_[i - 1].first_seq;
  }
  return next_seq_;
}

absl::StatusOr<uint64_t> seq_at_time(const std::string& dir, int64_t time_unix_nano) {
  Fd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir_fd.valid()) return errno_status(errno, "open", dir);
  absl::StatusOr<std::vector<uint64_t>> seqs = list_segments(dir_fd.get(), dir);
  if (!seqs.ok()) return seqs.status();
  absl::Status failed;
  const auto behind = std::partition_point(seqs->begin(), seqs->end(), [&](uint64_t seq) {
    absl::StatusOr<std::optional<int64_t>> first = time_of_first(dir, seq);
    if (!first.ok()) failed = first.status();
    return first.ok() && *first && **first < time_unix_nano;
  });
  if (!failed.ok()) return failed;
  const uint64_t from = behind == seqs->begin() ? 1 : *(behind - 1);
  absl::StatusOr<Reader> reader = Reader::open(dir, from);
  if (!reader.ok()) return reader.status();
  while (true) {
    absl::StatusOr<Batch> batch = reader->read();
    if (!batch.ok()) return batch.status();
    for (const Record& record : batch->records) {
      if (!record.gap && record.time_unix_nano >= time_unix_nano) return record.seq;
    }
    if (batch->at_end) return reader->next_seq();
  }
}

}  // namespace zsync::daemon::segment_log
