#include "daemon/store/segment_log_format.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/str_cat.h"
#include "daemon/store/segment_log_crc.hpp"

namespace zsync::daemon::segment_log {
namespace {

constexpr size_t kScanBytes = 1u << 20;
constexpr size_t kSegmentNameDigits = 20;

uint32_t record_crc(const char* header, std::string_view payload, uint32_t salt) {
  uint32_t crc = crc32c(salt, header, 4);
  crc = crc32c(crc, header + 8, kRecordHeaderBytes - 8);
  return crc32c(crc, payload.data(), payload.size());
}

}  // namespace

void encode_header(const SegmentHeader& header, char* out) {
  std::memcpy(out, kMagic, sizeof(kMagic));
  store<uint32_t>(out + 8, kVersion);
  store<uint32_t>(out + 12, kHeaderBytes);
  store(out + 16, header.first_seq);
  store(out + 24, header.first_offset);
  store(out + 32, header.salt);
  store(out + 36, crc32c(0, out, kHeaderBytes - 4));
}

void encode_record_header(uint64_t seq, int64_t time_unix_nano, uint8_t stream,
                          std::string_view payload, uint32_t salt, char* out) {
  store(out, static_cast<uint32_t>(payload.size()));
  store(out + 8, seq);
  store(out + 16, time_unix_nano);
  out[24] = static_cast<char>(stream);
  store(out + 4, record_crc(out, payload, salt));
}

std::array<char, kGapPayloadBytes> encode_gap(uint64_t from, uint64_t bytes, GapReason reason) {
  std::array<char, kGapPayloadBytes> out;
  store(out.data(), from);
  store(out.data() + 8, bytes);
  out[16] = static_cast<char>(reason);
  return out;
}

std::optional<Gap> decode_gap(const RawRecord& record) {
  if (record.stream != kGapStream || record.payload.size() < kGapPayloadBytes) return std::nullopt;
  const char* at = record.payload.data();
  return Gap{load<uint64_t>(at), record.seq, static_cast<GapReason>(at[16]),
             load<uint64_t>(at + 8)};
}

Parsed parse_record(std::string_view bytes, uint32_t salt) {
  if (bytes.size() < kRecordHeaderBytes) return {Parse::kShort, {}, kRecordHeaderBytes};
  const char* at = bytes.data();
  const uint32_t length = load<uint32_t>(at);
  if (length > kPayloadBytesMax) return {Parse::kBad, {}, 0};
  const size_t whole = kRecordHeaderBytes + length;
  if (bytes.size() < whole) return {Parse::kShort, {}, whole};
  RawRecord record{load<uint64_t>(at + 8), load<int64_t>(at + 16), static_cast<uint8_t>(at[24]),
                   bytes.substr(kRecordHeaderBytes, length)};
  if (load<uint32_t>(at + 4) != record_crc(at, record.payload, salt)) return {Parse::kBad, {}, 0};
  if (record.stream == kGapStream && !decode_gap(record)) return {Parse::kBad, {}, 0};
  return {Parse::kWhole, record, whole};
}

uint64_t first_seq_of(const RawRecord& record) {
  const std::optional<Gap> gap = decode_gap(record);
  return gap ? gap->from : record.seq;
}

uint64_t source_bytes_of(const RawRecord& record) {
  const std::optional<Gap> gap = decode_gap(record);
  return gap ? gap->bytes : record.payload.size();
}

bool holds_later_record(std::string_view bytes, uint64_t seq, uint32_t salt) {
  const uint64_t seq_max = seq + bytes.size() / kRecordHeaderBytes;
  for (size_t i = 0; i + kRecordHeaderBytes <= bytes.size(); ++i) {
    const char* at = bytes.data() + i;
    const uint32_t length = load<uint32_t>(at);
    if (length > bytes.size() - i - kRecordHeaderBytes) continue;
    const uint64_t found = load<uint64_t>(at + 8);
    const bool gap = static_cast<uint8_t>(at[24]) == kGapStream;
    if (found < seq || (found > seq_max && !gap)) continue;
    if (parse_record(bytes.substr(i), salt).result == Parse::kWhole) return true;
  }
  return false;
}

std::string segment_name(uint64_t first_seq) {
  std::string digits = std::to_string(first_seq);
  return std::string(kSegmentNameDigits - digits.size(), '0') + digits + kSegmentSuffix;
}

std::optional<uint64_t> parse_segment_name(std::string_view name) {
  if (name.size() != kSegmentNameDigits + sizeof(kSegmentSuffix) - 1) return std::nullopt;
  if (name.substr(kSegmentNameDigits) != kSegmentSuffix) return std::nullopt;
  uint64_t seq = 0;
  for (const char digit : name.substr(0, kSegmentNameDigits)) {
    if (digit < '0' || digit > '9') return std::nullopt;
    seq = seq * 10 + static_cast<uint64_t>(digit - '0');
  }
  return seq;
}

absl::StatusOr<std::vector<uint64_t>> list_segments(int dir_fd, const std::string& dir) {
  const int own = ::openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (own < 0) return errno_status(errno, "list", dir);
  DIR* listing = ::fdopendir(own);
  if (listing == nullptr) {
    const int error = errno;
    ::close(own);
    return errno_status(error, "list", dir);
  }
  std::vector<uint64_t> seqs;
  while (const dirent* item = ::readdir(listing)) {
    if (const std::optional<uint64_t> seq = parse_segment_name(item->d_name)) seqs.push_back(*seq);
  }
  ::closedir(listing);
  std::sort(seqs.begin(), seqs.end());
  return seqs;
}

absl::StatusOr<SegmentHeader> read_header(int fd, const std::string& path) {
  char bytes[kHeaderBytes] = {};
  const ssize_t got = read_at(fd, bytes, sizeof(bytes), 0);
  if (got < 0) return errno_status(errno, "read", path);
  const bool blank = std::all_of(bytes, bytes + sizeof(bytes), [](char c) { return c == 0; });
  if (got < static_cast<ssize_t>(kHeaderBytes) || blank) {
    return absl::NotFoundError(absl::StrCat("segment \"", path, "\" has no header yet"));
  }
  if (std::memcmp(bytes, kMagic, sizeof(kMagic)) != 0) {
    return absl::DataLossError(absl::StrCat("\"", path, "\" is not a segment of a log"));
  }
  const uint32_t version = load<uint32_t>(bytes + 8);
  if (version > kVersion) {
    return absl::FailedPreconditionError(absl::StrCat("segment \"", path, "\" has format version ",
                                                      version, "; this zsync reads up to ",
                                                      kVersion, ": start the newer one"));
  }
  if (load<uint32_t>(bytes + 36) != crc32c(0, bytes, kHeaderBytes - 4)) {
    return absl::DataLossError(absl::StrCat("segment \"", path, "\" has a damaged header"));
  }
  return SegmentHeader{load<uint64_t>(bytes + 16), load<uint64_t>(bytes + 24),
                       load<uint32_t>(bytes + 32)};
}

ssize_t read_at(int fd, char* out, size_t size, uint64_t offset) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, out + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

absl::Status errno_status(int error, absl::string_view doing, absl::string_view path) {
  return absl::ErrnoToStatus(error, absl::StrCat(doing, " \"", path, "\""));
}

absl::StatusOr<Scan> scan_segment(int fd, const SegmentHeader& header, const std::string& path) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return errno_status(errno, "stat", path);
  Scan scan{header.first_seq, header.first_offset, kHeaderBytes,
            static_cast<uint64_t>(info.st_size)};
  std::string buffer;
  size_t want = kScanBytes;
  while (true) {
    buffer.resize(want);
    const ssize_t got = read_at(fd, buffer.data(), want, scan.good_bytes);
    if (got < 0) return errno_status(errno, "read", path);
    std::string_view rest(buffer.data(), static_cast<size_t>(got));
    Parsed parsed;
    while (!rest.empty()) {
      parsed = parse_record(rest, header.salt);
      if (parsed.result != Parse::kWhole || first_seq_of(parsed.record) != scan.next_seq) break;
      if (scan.good_bytes == kHeaderBytes && parsed.record.stream == kGapStream) {
        scan.gap_to = parsed.record.seq;
      }
      scan.next_seq = parsed.record.seq + 1;
      scan.end_offset += source_bytes_of(parsed.record);
      scan.good_bytes += parsed.record.size();
      rest.remove_prefix(parsed.record.size());
    }
    const bool file_ended = static_cast<size_t>(got) < want;
    if (rest.empty() && file_ended) {
      scan.file_bytes = std::max(scan.file_bytes, scan.good_bytes);
      return scan;
    }
    if (rest.empty()) continue;
    if (parsed.result == Parse::kShort && !file_ended) {
      want = std::max(kScanBytes, parsed.bytes_needed);
      continue;
    }
    break;
  }
  scan.file_bytes = std::max(scan.file_bytes, scan.good_bytes);  // a live writer went on meanwhile
  buffer.resize(scan.file_bytes - scan.good_bytes);
  const ssize_t got = read_at(fd, buffer.data(), buffer.size(), scan.good_bytes);
  if (got < 0) return errno_status(errno, "read", path);
  // From its second byte on: the first is where the bad record begins.
  const std::string_view bad(buffer.data(), static_cast<size_t>(got));
  scan.damage_inside =
      holds_later_record(bad.substr(std::min<size_t>(1, bad.size())), scan.next_seq, header.salt);
  return scan;
}

}  // namespace zsync::daemon::segment_log
