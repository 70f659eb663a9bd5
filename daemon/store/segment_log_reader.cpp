#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/store/segment_log.hpp"
#include "daemon/store/segment_log_format.hpp"

namespace zsync::daemon::segment_log {
namespace {

constexpr uint64_t kMarkBytes = 1u << 20;
constexpr int kRereads = 3;        // of a bad record, which a writer may be cutting away just now
constexpr int kListAttempts = 16;  // while retention removes what was just listed

}  // namespace

absl::StatusOr<Reader> Reader::open(const std::string& dir, uint64_t from_seq) {
  Reader reader;
  reader.dir_ = dir;
  reader.dir_fd_ = Fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!reader.dir_fd_.valid() && errno != ENOENT) return errno_status(errno, "open", dir);
  reader.seek(from_seq);
  return reader;
}

void Reader::seek(uint64_t seq) {
  next_seq_ = std::max<uint64_t>(seq, 1);
  next_offset_.reset();
  if (next_seq_ == 1) next_offset_ = 0;
  if (next_seq_ != scan_seq_) fd_ = Fd();
}

absl::StatusOr<Batch> Reader::read(size_t bytes_max) {
  Batch batch;
  while (true) {
    absl::StatusOr<Step> step = fd_.valid() ? fill(batch, bytes_max) : enter_segment(batch);
    if (!step.ok()) {
      if (!batch.records.empty()) return batch;  // the error comes again with the next call
      return step.status();
    }
    if (!batch.records.empty()) return batch;
    if (*step == Step::kEnd && fd_.valid()) {
      step = next_segment();
      if (!step.ok()) return step.status();
    }
    if (*step == Step::kEnd) {
      batch.at_end = true;
      return batch;
    }
  }
}

absl::StatusOr<Reader::Step> Reader::enter_segment(Batch& batch) {
  if (!dir_fd_.valid()) {
    dir_fd_ = Fd(::open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir_fd_.valid() && errno == ENOENT) return Step::kEnd;
    if (!dir_fd_.valid()) return errno_status(errno, "open", dir_);
  }
  for (int attempt = 0; attempt < kListAttempts; ++attempt) {
    absl::StatusOr<std::vector<uint64_t>> seqs = list_segments(dir_fd_.get(), dir_);
    if (!seqs.ok()) return seqs.status();
    if (seqs->empty()) return Step::kEnd;
    auto after = std::upper_bound(seqs->begin(), seqs->end(), next_seq_);
    const uint64_t first_seq = after == seqs->begin() ? *after : *(after - 1);
    absl::StatusOr<Step> step = open_segment(first_seq);
    if (absl::IsNotFound(step.status())) continue;
    if (step.ok() && *step == Step::kMore && first_seq > next_seq_) {
      take_expired(batch, first_seq, scan_offset_);
    }
    return step;
  }
  return absl::UnavailableError(
      absl::StrCat("log \"", dir_, "\" drops segments faster than they can be opened; try again"));
}

void Reader::take_expired(Batch& batch, uint64_t first_seq, uint64_t first_offset) {
  const uint64_t from_offset = next_offset_.value_or(first_offset);
  Record record;
  record.seq = first_seq - 1;
  record.offset = from_offset;
  record.gap = Gap{next_seq_, first_seq - 1, GapReason::kExpired, first_offset - from_offset};
  batch.records.push_back(record);
  next_seq_ = first_seq;
  next_offset_ = first_offset;
}

// kNotFound when there is no such file; kEnd when it has no header yet.
absl::StatusOr<Reader::Step> Reader::open_segment(uint64_t first_seq) {
  const std::string path = dir_ + "/" + segment_name(first_seq);
  Fd fd(::openat(dir_fd_.get(), segment_name(first_seq).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_status(errno, "open", path);
  absl::StatusOr<SegmentHeader> header = read_header(fd.get(), path);
  if (absl::IsNotFound(header.status())) return Step::kEnd;
  if (!header.ok()) return header.status();
  if (header->first_seq != first_seq) {
    return absl::DataLossError(absl::StrCat("segment \"", path, "\" says that it begins at record ",
                                            header->first_seq, "; it was renamed"));
  }
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "stat", path);
  fd_ = std::move(fd);
  segment_ = first_seq;
  salt_ = header->salt;
  position_ = kHeaderBytes;
  scan_seq_ = first_seq;
  scan_offset_ = header->first_offset;
  mark_at_ = kMarkBytes;
  for (const Mark& mark : marks_[first_seq]) {
    // A segment that became a gap is shorter than its first mark.
    if (mark.position > static_cast<uint64_t>(info.st_size)) break;
    mark_at_ = mark.position + kMarkBytes;
    if (mark.seq > next_seq_) continue;
    position_ = mark.position;
    scan_seq_ = mark.seq;
    scan_offset_ = mark.offset;
  }
  return Step::kMore;
}

absl::StatusOr<Reader::Step> Reader::next_segment() {
  if (scan_seq_ != segment_) {
    absl::StatusOr<Step> step = open_segment(scan_seq_);
    if (!absl::IsNotFound(step.status())) return step;
  }
  struct stat info;
  if (::fstat(fd_.get(), &info) != 0) return errno_status(errno, "stat", dir_);
  if (info.st_nlink > 0) return Step::kEnd;
  fd_ = Fd();  // dropped behind us: look again where next_seq_ is now
  return Step::kMore;
}

absl::StatusOr<Reader::Step> Reader::fill(Batch& batch, size_t bytes_max) {
  size_t want = std::max(bytes_max, kRecordHeaderBytes);
  for (int reread = 0;; ++reread) {
    batch.storage = std::make_unique_for_overwrite<char[]>(want);
    const ssize_t got = read_at(fd_.get(), batch.storage.get(), want, position_);
    if (got < 0) return errno_status(errno, "read", dir_ + "/" + segment_name(segment_));
    if (got == 0) return Step::kEnd;
    bool bad = false;
    size_t needed = 0;
    if (parse(batch, {batch.storage.get(), static_cast<size_t>(got)}, bad, needed) > 0) {
      return Step::kMore;
    }
    if (!bad && needed > want) {
      want = needed;
      continue;
    }
    if (bad && reread < kRereads) continue;
    return at_damage();
  }
}

// Takes the whole records at the front of `bytes`; returns how many bytes they have.
size_t Reader::parse(Batch& batch, std::string_view bytes, bool& bad, size_t& needed) {
  size_t used = 0;
  while (used < bytes.size()) {
    const Parsed parsed = parse_record(bytes.substr(used), salt_);
    needed = parsed.bytes_needed;
    bad = parsed.result == Parse::kBad ||
          (parsed.result == Parse::kWhole && first_seq_of(parsed.record) != scan_seq_);
    if (bad || parsed.result == Parse::kShort) break;
    Record record{parsed.record.seq, parsed.record.time_unix_nano, parsed.record.stream,
                  scan_offset_,      parsed.record.payload,        decode_gap(parsed.record)};
    used += parsed.record.size();
    position_ += parsed.record.size();
    scan_seq_ = record.seq + 1;
    scan_offset_ += source_bytes_of(parsed.record);
    mark();
    if (record.seq >= next_seq_) take(batch, std::move(record));
  }
  return used;
}

void Reader::take(Batch& batch, Record record) {
  if (record.gap) {
    record.payload = {};
    record.stream = 0;
    if (record.gap->from < next_seq_) {  // the first part of it was delivered before it was dropped
      record.gap->from = next_seq_;
      if (next_offset_ && *next_offset_ <= scan_offset_) {
        record.offset = *next_offset_;
        record.gap->bytes = scan_offset_ - *next_offset_;
      }
    }
  }
  next_seq_ = record.seq + 1;
  next_offset_ = scan_offset_;
  batch.records.push_back(std::move(record));
}

void Reader::mark() {
  if (position_ < mark_at_) return;
  marks_[segment_].push_back({scan_seq_, position_, scan_offset_});
  mark_at_ = position_ + kMarkBytes;
}

// Something that is no whole record stands at position_: half of the newest one, or damage?
absl::StatusOr<Reader::Step> Reader::at_damage() {
  struct stat info;
  if (::fstat(fd_.get(), &info) != 0) return errno_status(errno, "stat", dir_);
  const uint64_t file_bytes = static_cast<uint64_t>(info.st_size);
  if (file_bytes <= position_ || info.st_nlink == 0) return Step::kEnd;
  if (checked_position_ == position_ && checked_bytes_ == file_bytes) return Step::kEnd;
  std::string rest(file_bytes - position_, '\0');
  const ssize_t got = read_at(fd_.get(), rest.data(), rest.size(), position_);
  if (got < 0) return errno_status(errno, "read", dir_);
  rest.resize(static_cast<size_t>(got));
  const Parsed again = parse_record(rest, salt_);
  if (again.result == Parse::kWhole && first_seq_of(again.record) == scan_seq_) {
    return Step::kMore;  // the writer finished it meanwhile
  }
  bool damaged =
      holds_later_record(std::string_view(rest).substr(rest.empty() ? 0 : 1), scan_seq_, salt_);
  if (!damaged) {
    absl::StatusOr<std::vector<uint64_t>> seqs = list_segments(dir_fd_.get(), dir_);
    if (!seqs.ok()) return seqs.status();
    damaged = !seqs->empty() && seqs->back() > segment_ &&
              !std::binary_search(seqs->begin(), seqs->end(), scan_seq_);
  }
  if (!damaged) {
    checked_position_ = position_;
    checked_bytes_ = file_bytes;
    return Step::kEnd;
  }
  return absl::DataLossError(absl::StrCat("segment \"", dir_, "/", segment_name(segment_),
                                          "\" is damaged at byte ", position_, " (record ",
                                          scan_seq_, ") with whole records after it"));
}

absl::StatusOr<Summary> summarize(const std::string& dir) {
  Fd dir_fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir_fd.valid()) return errno_status(errno, "open", dir);
  absl::StatusOr<std::vector<uint64_t>> seqs = list_segments(dir_fd.get(), dir);
  if (!seqs.ok()) return seqs.status();
  Summary summary;
  std::vector<Fd> files;
  for (const uint64_t seq : *seqs) {
    Fd fd(::openat(dir_fd.get(), segment_name(seq).c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info;
    if (!fd.valid() || ::fstat(fd.get(), &info) != 0) continue;  // dropped meanwhile
    summary.disk_bytes += static_cast<uint64_t>(info.st_size);
    files.clear();
    files.push_back(std::move(fd));
    if (summary.first_seq == 0) summary.first_seq = seq;
  }
  if (files.empty()) return absl::NotFoundError(absl::StrCat("log \"", dir, "\" has no segment"));
  const std::string path = dir + "/" + segment_name(seqs->back());
  absl::StatusOr<SegmentHeader> header = read_header(files.back().get(), path);
  if (!header.ok()) return header.status();
  absl::StatusOr<Scan> scan = scan_segment(files.back().get(), *header, path);
  if (!scan.ok()) return scan.status();
  if (scan->damage_inside) {
    return absl::DataLossError(
        absl::StrCat("segment \"", path, "\" is damaged at byte ", scan->good_bytes));
  }
  summary.next_seq = scan->next_seq;
  summary.end_offset = scan->end_offset;
  summary.torn_bytes = scan->file_bytes - scan->good_bytes;
  return summary;
}

}  // namespace zsync::daemon::segment_log
