#include "daemon/store/segment_log.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/store/segment_log_crc.hpp"
#include "daemon/store/segment_log_format.hpp"

namespace zsync::daemon::segment_log {
namespace {

constexpr size_t kCopyBytesMax = 4u << 10;  // payloads up to here are copied beside their header
constexpr size_t kWriteBytes = 1u << 20;    // one write is about this long at most
constexpr size_t kWritePieces = 512;        // half of IOV_MAX
constexpr uint64_t kGapFileBytes = kHeaderBytes + kRecordHeaderBytes + kGapPayloadBytes;

// Salts need to differ, not to be secret: the file's inode and birth say enough.
uint32_t make_salt(int fd, uint64_t first_seq) {
  struct stat info = {};
  (void)::fstat(fd, &info);
  const uint64_t words[4] = {info.st_ino, static_cast<uint64_t>(info.st_ctim.tv_sec),
                             static_cast<uint64_t>(info.st_ctim.tv_nsec), first_seq};
  return crc32c(0, words, sizeof(words));
}

absl::Status write_whole(int fd, const char* bytes, size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t wrote = ::write(fd, bytes, size);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno_status(errno, "write", path);
    bytes += wrote;
    size -= static_cast<size_t>(wrote);
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view gap_reason_name(GapReason reason) {
  switch (reason) {
    case GapReason::kDroppedOldest:
      return "dropped_oldest";
    case GapReason::kDiskFull:
      return "disk_full";
    case GapReason::kOutputLimit:
      return "output_limit";
    case GapReason::kLagged:
      return "lagged";
    case GapReason::kExpired:
      return "expired";
    case GapReason::kPowerLoss:
      return "power_loss";
    case GapReason::kRetention:
      return "retention";
  }
  return "unknown";
}

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

int Fd::release() { return std::exchange(fd_, -1); }

// Entries encoded and not yet written. Small payloads lie in the staging string beside their
// headers.
struct Writer::Pending {
  struct Piece {
    const char* payload = nullptr;  // null: from the staging string
    size_t staged_at = 0;
    size_t size = 0;
  };
  struct End {  // the state once this entry is written
    uint64_t bytes = 0;
    uint64_t next_seq = 0;
    uint64_t end_offset = 0;
  };
  std::vector<Piece> pieces;
  std::vector<End> ends;
  uint64_t bytes = 0;

  bool full() const { return bytes >= kWriteBytes || pieces.size() + 2 >= kWritePieces; }
  void add_staged(size_t at, size_t size) {
    if (!pieces.empty() && pieces.back().payload == nullptr) {
      pieces.back().size += size;
    } else {
      pieces.push_back({nullptr, at, size});
    }
  }
};

absl::StatusOr<Writer> Writer::open(const std::string& dir, const WriterOptions& options) {
  Writer writer;
  writer.options_ = options;
  writer.options_.segment_bytes = std::max(options.segment_bytes, kSegmentBytesMin);
  writer.dir_ = dir;
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return errno_status(errno, "create", dir);
  writer.dir_fd_ = Fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!writer.dir_fd_.valid()) return errno_status(errno, "open", dir);
  if (::flock(writer.dir_fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("log \"", dir, "\" is open in another writer; end that one first"));
  }
  for (const char* leftover : {kNewSegmentName, kNewGapName}) {
    (void)::unlinkat(writer.dir_fd_.get(), leftover, 0);
  }
  if (absl::Status status = writer.load_segments(); !status.ok()) return status;
  if (absl::Status status = writer.open_newest(); !status.ok()) return status;
  return writer;
}

absl::Status Writer::load_segments() {
  absl::StatusOr<std::vector<uint64_t>> seqs = list_segments(dir_fd_.get(), dir_);
  if (!seqs.ok()) return seqs.status();
  uint64_t covered_to = 0;  // by a merged gap whose segments were not all unlinked before a crash
  for (size_t i = 0; i < seqs->size(); ++i) {
    const std::string path = path_of((*seqs)[i]);
    if ((*seqs)[i] <= covered_to) {
      if (::unlink(path.c_str()) != 0) return errno_status(errno, "remove", path);
      continue;
    }
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return errno_status(errno, "open", path);
    const bool newest = i + 1 == seqs->size();
    absl::StatusOr<SegmentHeader> header = read_header(fd.get(), path);
    if (absl::IsNotFound(header.status()) && newest) {  // a power cut took what was just created
      if (::unlink(path.c_str()) != 0) return errno_status(errno, "remove", path);
      break;
    }
    if (absl::IsNotFound(header.status())) return absl::DataLossError(header.status().message());
    if (!header.ok()) return header.status();
    struct stat info;
    if (::fstat(fd.get(), &info) != 0) return errno_status(errno, "stat", path);
    Segment segment{header->first_seq, header->first_offset, static_cast<uint64_t>(info.st_size)};
    if (segment.bytes == kGapFileBytes) {
      absl::StatusOr<Scan> scan = scan_segment(fd.get(), *header, path);
      if (!scan.ok()) return scan.status();
      segment.gap = scan->gap_to != 0;
      covered_to = std::max(covered_to, scan->gap_to);
    }
    segments_.push_back(segment);
  }
  return absl::OkStatus();
}

absl::Status Writer::open_newest() {
  if (segments_.empty()) {
    next_seq_ = std::max<uint64_t>(options_.first_seq, 1);
    return roll();
  }
  Segment& newest = segments_.back();
  const std::string path = path_of(newest.first_seq);
  fd_ = Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd_.valid()) return errno_status(errno, "open", path);
  absl::StatusOr<SegmentHeader> header = read_header(fd_.get(), path);
  if (!header.ok()) return header.status();
  absl::StatusOr<Scan> scan = scan_segment(fd_.get(), *header, path);
  if (!scan.ok()) return scan.status();
  if (scan->damage_inside && scan->next_seq <= options_.durable_seq) {
    return absl::DataLossError(absl::StrCat("segment \"", path, "\" is damaged at byte ",
                                            scan->good_bytes, " (record ", scan->next_seq,
                                            ") with whole records after it; restore the file or "
                                            "move the log away"));
  }
  cut_bytes_ = scan->file_bytes - scan->good_bytes;
  if (cut_bytes_ > 0 && ::ftruncate(fd_.get(), static_cast<off_t>(scan->good_bytes)) != 0) {
    return errno_status(errno, "cut the torn tail of", path);
  }
  newest.bytes = scan->good_bytes;
  salt_ = header->salt;
  next_seq_ = scan->next_seq;
  end_offset_ = scan->end_offset;
  // What an earlier process wrote may still be in the page cache alone, or have just been cut.
  return options_.durable ? sync() : absl::OkStatus();
}

absl::Status Writer::roll() {
  if (options_.durable && fd_.valid()) {
    if (absl::Status status = sync(); !status.ok()) return status;
  }
  const std::string path = dir_ + "/" + kNewSegmentName;
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_status(errno, "create", path);
  const uint32_t salt = make_salt(fd.get(), next_seq_);
  char header[kHeaderBytes];
  encode_header({next_seq_, end_offset_, salt}, header);
  absl::Status status = write_whole(fd.get(), header, sizeof(header), path);
  if (status.ok() && options_.durable && ::fdatasync(fd.get()) != 0) {
    status = errno_status(errno, "sync", path);
  }
  if (status.ok() && ::rename(path.c_str(), path_of(next_seq_).c_str()) != 0) {
    status = errno_status(errno, "rename", path);
  }
  if (status.ok() && options_.durable && ::fsync(dir_fd_.get()) != 0) {
    sync_failed_ = true;
    status = errno_status(errno, "sync", dir_);
  }
  if (!status.ok()) {
    (void)::unlink(path.c_str());
    return status;
  }
  fd_ = std::move(fd);
  salt_ = salt;
  segments_.push_back({next_seq_, end_offset_, kHeaderBytes});
  return absl::OkStatus();
}

absl::Status Writer::repair_tail() {
  if (!tail_dirty_) return absl::OkStatus();
  if (::ftruncate(fd_.get(), static_cast<off_t>(segments_.back().bytes)) != 0) {
    return errno_status(errno, "cut a half record from", path_of(segments_.back().first_seq));
  }
  tail_dirty_ = false;
  return absl::OkStatus();
}

absl::Status Writer::add(const Entry& entry, uint8_t stream, uint64_t covers, uint64_t source_bytes,
                         Pending& pending) {
  const Pending::End before =
      pending.ends.empty() ? Pending::End{0, next_seq_, end_offset_} : pending.ends.back();
  if (entry.seq != 0 && entry.seq != before.next_seq) {
    return absl::InvalidArgumentError(absl::StrCat("log \"", dir_, "\" expects record ",
                                                   before.next_seq, ", not ", entry.seq,
                                                   "; announce what is missing with a gap"));
  }
  const uint64_t seq = before.next_seq + covers - 1;
  const size_t at = staging_.size();
  const bool copied = entry.payload.size() <= kCopyBytesMax;
  staging_.resize(at + kRecordHeaderBytes + (copied ? entry.payload.size() : 0));
  encode_record_header(seq, entry.time_unix_nano, stream, entry.payload, salt_, &staging_[at]);
  if (copied && !entry.payload.empty()) {
    std::memcpy(&staging_[at + kRecordHeaderBytes], entry.payload.data(), entry.payload.size());
  }
  pending.add_staged(at, staging_.size() - at);
  if (!copied) pending.pieces.push_back({entry.payload.data(), 0, entry.payload.size()});
  pending.bytes += kRecordHeaderBytes + entry.payload.size();
  pending.ends.push_back({pending.bytes, seq + 1, before.end_offset + source_bytes});
  return absl::OkStatus();
}

absl::Status Writer::flush(Pending& pending, size_t& count) {
  std::vector<iovec> vectors;
  vectors.reserve(pending.pieces.size());
  for (const Pending::Piece& piece : pending.pieces) {
    const char* from = piece.payload != nullptr ? piece.payload : &staging_[piece.staged_at];
    vectors.push_back({const_cast<char*>(from), piece.size});
  }
  Segment& segment = segments_.back();
  absl::Status status = pending.bytes > 0 ? repair_tail() : absl::OkStatus();
  uint64_t written = 0;
  size_t next = 0;
  while (status.ok() && written < pending.bytes) {
    const ssize_t wrote =
        ::pwritev(fd_.get(), &vectors[next], static_cast<int>(vectors.size() - next),
                  static_cast<off_t>(segment.bytes + written));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      status = errno_status(errno, "append to", path_of(segment.first_seq));
      break;
    }
    written += static_cast<uint64_t>(wrote);
    size_t passed = static_cast<size_t>(wrote);
    while (next < vectors.size() && passed >= vectors[next].iov_len) {
      passed -= vectors[next++].iov_len;
    }
    if (passed > 0) {
      vectors[next].iov_base = static_cast<char*>(vectors[next].iov_base) + passed;
      vectors[next].iov_len -= passed;
    }
  }
  uint64_t whole = 0;
  for (const Pending::End& end : pending.ends) {
    if (end.bytes > written) break;
    whole = end.bytes;
    next_seq_ = end.next_seq;
    end_offset_ = end.end_offset;
    ++count;
  }
  segment.bytes += whole;
  tail_dirty_ = tail_dirty_ || written > whole;
  if (tail_dirty_) (void)repair_tail();  // tried again before the next append
  pending = Pending();
  staging_.clear();
  return status;
}

Appended Writer::append(absl::Span<const Entry> entries) {
  Appended appended;
  Pending pending;
  for (const Entry& entry : entries) {
    if (entry.payload.size() > kPayloadBytesMax || entry.stream > kStreamMax) {
      appended.status = absl::InvalidArgumentError(
          absl::StrCat("a record of ", entry.payload.size(), " bytes in stream ", entry.stream,
                       " is over the limits payload_bytes_max = ", kPayloadBytesMax,
                       " and stream_max = ", kStreamMax));
      break;
    }
    const uint64_t used = segments_.back().bytes + pending.bytes;
    const bool rolls = used > kHeaderBytes &&
                       used + kRecordHeaderBytes + entry.payload.size() > options_.segment_bytes;
    if (rolls || pending.full()) appended.status = flush(pending, appended.count);
    if (appended.status.ok() && rolls) appended.status = roll();
    if (!appended.status.ok()) return appended;
    appended.status = add(entry, entry.stream, 1, entry.payload.size(), pending);
    if (!appended.status.ok()) break;
  }
  const absl::Status last = flush(pending, appended.count);
  if (!last.ok()) appended.status = last;
  return appended;
}

absl::Status Writer::append_gap(GapReason reason, uint64_t records, uint64_t bytes,
                                int64_t time_unix_nano) {
  if (records == 0) return absl::InvalidArgumentError("a gap stands for at least one record");
  const std::array<char, kGapPayloadBytes> payload = encode_gap(next_seq_, bytes, reason);
  Pending pending;
  absl::Status status = add({time_unix_nano, 0, {payload.data(), payload.size()}}, kGapStream,
                            records, bytes, pending);
  size_t count = 0;
  return status.ok() ? flush(pending, count) : status;
}

absl::Status Writer::sync() {
  if (!options_.durable) {
    return absl::FailedPreconditionError(
        absl::StrCat("log \"", dir_, "\" was not opened as durable"));
  }
  if (sync_failed_) {
    return absl::DataLossError(absl::StrCat("an earlier sync of log \"", dir_,
                                            "\" failed; open it again to see what was kept"));
  }
  if (::fdatasync(fd_.get()) == 0) return absl::OkStatus();
  sync_failed_ = true;
  return absl::DataLossError(
      errno_status(errno, "sync", path_of(segments_.back().first_seq)).message());
}

absl::Status Writer::drop_before(uint64_t seq) {
  while (segments_.size() > 1 && segments_[1].first_seq <= seq) {
    absl::StatusOr<uint64_t> freed = drop_oldest();
    if (!freed.ok()) return freed.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Writer::drop_oldest() {
  if (segments_.size() < 2) return 0;
  const Segment oldest = segments_.front();
  const std::string path = path_of(oldest.first_seq);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_status(errno, "remove", path);
  // One at a time: a power cut that kept this one and lost the next would leave a hole.
  if (options_.durable && ::fsync(dir_fd_.get()) != 0) return errno_status(errno, "sync", dir_);
  segments_.erase(segments_.begin());
  return oldest.bytes;
}

absl::StatusOr<uint64_t> Writer::drop_middle(uint64_t head_bytes, GapReason reason,
                                             int64_t time_unix_nano) {
  size_t victim = 0;
  while (victim + 1 < segments_.size() &&
         (segments_[victim].gap || segments_[victim].first_offset < head_bytes)) {
    ++victim;
  }
  if (victim + 1 >= segments_.size()) return 0;
  const bool merges = victim > 0 && segments_[victim - 1].gap;
  const Segment dropped = segments_[victim];
  const Segment& after = segments_[victim + 1];
  Segment& from = segments_[merges ? victim - 1 : victim];
  absl::Status status = write_gap_file(
      from, after.first_seq - 1, after.first_offset - from.first_offset, reason, time_unix_nano);
  if (!status.ok()) return status;
  from.bytes = kGapFileBytes;
  from.gap = true;
  const uint64_t bytes = after.first_offset - dropped.first_offset;
  if (merges) {
    // If this fails the file stays behind, covered by the gap; the next open() removes it.
    (void)::unlink(path_of(dropped.first_seq).c_str());
    segments_.erase(segments_.begin() + static_cast<ptrdiff_t>(victim));
  }
  return bytes;
}

absl::Status Writer::write_gap_file(const Segment& from, uint64_t to, uint64_t bytes,
                                    GapReason reason, int64_t time_unix_nano) {
  const std::string path = dir_ + "/" + kNewGapName;
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_status(errno, "create", path);
  const uint32_t salt = make_salt(fd.get(), from.first_seq);
  const std::array<char, kGapPayloadBytes> gap = encode_gap(from.first_seq, bytes, reason);
  char file[kGapFileBytes];
  encode_header({from.first_seq, from.first_offset, salt}, file);
  encode_record_header(to, time_unix_nano, kGapStream, {gap.data(), gap.size()}, salt,
                       file + kHeaderBytes);
  std::memcpy(file + kHeaderBytes + kRecordHeaderBytes, gap.data(), gap.size());
  absl::Status status = write_whole(fd.get(), file, sizeof(file), path);
  if (status.ok() && options_.durable && ::fdatasync(fd.get()) != 0) {
    status = errno_status(errno, "sync", path);
  }
  if (status.ok() && ::rename(path.c_str(), path_of(from.first_seq).c_str()) != 0) {
    status = errno_status(errno, "rename", path);
  }
  if (status.ok() && options_.durable && ::fsync(dir_fd_.get()) != 0) {
    status = errno_status(errno, "sync", dir_);
  }
  if (!status.ok()) (void)::unlink(path.c_str());
  return status;
}

uint64_t Writer::disk_bytes() const {
  uint64_t sum = 0;
  for (const Segment& segment : segments_) sum += segment.bytes;
  return sum;
}

std::string Writer::path_of(uint64_t first_seq) const {
  return dir_ + "/" + segment_name(first_seq);
}

}  // namespace zsync::daemon::segment_log
