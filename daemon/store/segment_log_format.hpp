// The bytes of a segment file. Private to the segment log; everything is little endian.
//
//   segment  = header record*           named %020u.seg after the seq of its first record
//   header   = magic[8] version:u32 header_bytes:u32 first_seq:u64 first_offset:u64 salt:u32
//   crc:u32 record   = len:u32 crc:u32 seq:u64 time:i64 stream:u8 payload[len]     crc from the
//   salt, over all but itself gap      = a record of stream 255 whose seq is the last missing one:
//   from:u64 bytes:u64 reason:u8
//
// 1. seq grows by one from record to record; a gap record stands for [from, seq] and so keeps the
// chain whole.
// 2. first_offset and a record's offset count the payload bytes before it, those of gaps included.
// 3. The salt differs from segment to segment, so that a log inside a payload is never taken for
// records.
// 4. A segment appears under its name only with its whole header (written aside, then renamed).
#pragma once

#include <sys/types.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::segment_log {

static_assert(std::endian::native == std::endian::little, "the segment log is little endian");

inline constexpr char kMagic[8] = {'z', 's', 'y', 'n', 'c', 'l', 'o', 'g'};
inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kHeaderBytes = 40;
inline constexpr size_t kRecordHeaderBytes = 25;
inline constexpr size_t kGapPayloadBytes = 17;
inline constexpr uint8_t kGapStream = 255;
inline constexpr char kSegmentSuffix[] = ".seg";
inline constexpr char kNewSegmentName[] = "next.new";
inline constexpr char kNewGapName[] = "gap.new";

template <typename T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

template <typename T>
void store(char* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}

struct SegmentHeader {
  uint64_t first_seq = 0;
  uint64_t first_offset = 0;
  uint32_t salt = 0;
};

// A record as it lies in a buffer; payload still encoded when it is a gap.
struct RawRecord {
  uint64_t seq = 0;
  int64_t time_unix_nano = 0;
  uint8_t stream = 0;
  std::string_view payload;
  size_t size() const { return kRecordHeaderBytes + payload.size(); }
};

enum class Parse { kWhole, kShort, kBad };
struct Parsed {
  Parse result = Parse::kShort;
  RawRecord record;         // kWhole
  size_t bytes_needed = 0;  // kShort: how many bytes the record has in all
};

void encode_header(const SegmentHeader& header, char* out);
void encode_record_header(uint64_t seq, int64_t time_unix_nano, uint8_t stream,
                          std::string_view payload, uint32_t salt, char* out);
std::array<char, kGapPayloadBytes> encode_gap(uint64_t from, uint64_t bytes, GapReason reason);
std::optional<Gap> decode_gap(const RawRecord& record);
Parsed parse_record(std::string_view bytes, uint32_t salt);

// The first seq a record covers: its own, or a gap's `from`.
uint64_t first_seq_of(const RawRecord& record);
// The source bytes it accounts for: its payload, or a gap's missing bytes.
uint64_t source_bytes_of(const RawRecord& record);

// Whether a whole record that continues the chain at `seq` or later stands anywhere in `bytes`.
bool holds_later_record(std::string_view bytes, uint64_t seq, uint32_t salt);

std::string segment_name(uint64_t first_seq);
std::optional<uint64_t> parse_segment_name(std::string_view name);
absl::StatusOr<std::vector<uint64_t>> list_segments(int dir_fd, const std::string& dir);

// kNotFound: shorter than a header or all zero (never completed); kDataLoss: damaged;
// kFailedPrecondition: written by a newer version.
absl::StatusOr<SegmentHeader> read_header(int fd, const std::string& path);

// Reads up to `size` bytes at `offset`, fewer only at the end of the file; -1 with errno on error.
ssize_t read_at(int fd, char* out, size_t size, uint64_t offset);

absl::Status errno_status(int error, absl::string_view doing, absl::string_view path);

// Walks one segment from its header on, checking everything.
struct Scan {
  uint64_t next_seq = 0;
  uint64_t end_offset = 0;  // source bytes up to here
  uint64_t good_bytes = 0;  // file bytes that are whole records
  uint64_t file_bytes = 0;
  uint64_t gap_to = 0;         // last seq of the gap that opens the segment, 0: it opens with data
  bool damage_inside = false;  // a whole record stands behind the first bad byte
};
absl::StatusOr<Scan> scan_segment(int fd, const SegmentHeader& header, const std::string& path);

}  // namespace zsync::daemon::segment_log
