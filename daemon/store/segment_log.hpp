// An append-only log of records on disk: one writer, any number of readers in any process.
//
// A log is a directory of segment files (segment_log_format.hpp has the bytes). Records are
// numbered from 1 without holes; where something was lost or dropped, a gap record stands in its
// place. Whatever happens to the writer (killed in the middle of a write, full disk), the records
// before stay readable, and a torn last record is cut at the next open.
//
// Threads: a Writer or a Reader belongs to one thread at a time; different objects share nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace zsync::daemon::segment_log {

inline constexpr uint64_t kSegmentBytes = 64ull << 20;  // default size of a segment
inline constexpr uint64_t kSegmentBytesMin = 4ull << 10;
inline constexpr uint32_t kPayloadBytesMax = 16u << 20;  // one record
inline constexpr size_t kBatchBytes = 256u << 10;        // default of Reader::read
inline constexpr uint8_t kStreamMax = 254;               // 255 marks gaps

enum class GapReason : uint8_t {
  kDroppedOldest = 1,
  kDiskFull = 2,
  kOutputLimit = 3,
  kLagged = 4,
  kExpired = 5,
  kPowerLoss = 6,
  kRetention = 7,
};
// The word of the wire contract: "dropped_oldest", "disk_full", ...
std::string_view gap_reason_name(GapReason reason);

// Records [from, to] will never be delivered.
struct Gap {
  uint64_t from = 0;
  uint64_t to = 0;
  GapReason reason = GapReason::kExpired;
  uint64_t bytes = 0;  // missing payload bytes
};

// What is appended.
struct Entry {
  int64_t time_unix_nano = 0;
  uint8_t stream = 0;
  std::string_view payload;
  uint64_t seq = 0;  // 0: the next one; otherwise it has to be the next one
};

// What is read.
struct Record {
  uint64_t seq = 0;  // of a gap: its `to`
  int64_t time_unix_nano = 0;
  uint8_t stream = 0;
  uint64_t offset = 0;       // payload bytes of the source before this record, missing ones counted
  std::string_view payload;  // lives as long as its Batch; empty for a gap
  std::optional<Gap> gap;
};

// A closed file descriptor when it goes away.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

struct WriterOptions {
  uint64_t segment_bytes = kSegmentBytes;
  uint64_t first_seq = 1;  // of a log that has no record yet
  // Keeps closed segments and the directory on disk as well, so that sync() covers every record
  // before it.
  bool durable = false;
  // Records after this one were never promised to anyone: damage there is cut even where whole
  // records follow it (a power cut may persist blocks in any order). Default: only a torn tail is
  // cut.
  uint64_t durable_seq = UINT64_MAX;
};

struct Appended {
  size_t count = 0;  // the first `count` entries are in the log
  absl::Status status;
};

class Writer {
 public:
  // Opens or creates the log in directory `dir` (its parent exists), cuts a torn tail and goes on
  // after the last whole record. Reads the newest segment once.
  //
  // Errors: kDataLoss when a record in the middle is damaged; kFailedPrecondition when another
  // writer has
  //         the log open or a newer version wrote it; the errno's code otherwise.
  static absl::StatusOr<Writer> open(const std::string& dir, const WriterOptions& options = {});

  Writer(Writer&&) = default;
  Writer& operator=(Writer&&) = default;

  // Appends the entries in order with as few writes as possible. Done means: in the page cache, so
  // the records survive the death of any process; see sync() for power cuts.
  //
  // Errors: kResourceExhausted when the disk is full, kInvalidArgument for an entry over the
  // limits. The
  //         entries before the failed one are in the log, nothing of the failed one is; the writer
  //         stays usable and the rest may be tried again at any time.
  Appended append(absl::Span<const Entry> entries);

  // Appends a gap record for `records` (at least 1) lost records of together `bytes` bytes.
  absl::Status append_gap(GapReason reason, uint64_t records, uint64_t bytes,
                          int64_t time_unix_nano);

  // Returns once every record appended so far survives a power cut.
  //
  // Errors: kFailedPrecondition without WriterOptions::durable; kDataLoss when the disk failed:
  // what was
  //         not synced before is in doubt, and so every later call of sync() fails too.
  absl::Status sync();

  // Drops whole segments that hold nothing at or after `seq`; never the one being written.
  absl::Status drop_before(uint64_t seq);

  // Drops the oldest segment; returns the file bytes freed, 0 when only the one being written is
  // left.
  absl::StatusOr<uint64_t> drop_oldest();

  // Replaces the oldest segment that begins at or after source byte `head_bytes` by a gap, merged
  // with the one before it. Returns the source bytes dropped, 0 when nothing can go.
  absl::StatusOr<uint64_t> drop_middle(uint64_t head_bytes, GapReason reason,
                                       int64_t time_unix_nano);

  // What may be dropped: whole segments, oldest first.
  struct Retention {
    int64_t older_than = INT64_MIN;   // whose newest record is older
    uint64_t bytes_max = UINT64_MAX;  // or while the files together are larger
    uint64_t keep_from = UINT64_MAX;  // but nothing at or after this record
  };
  struct Retired {
    bool dropped = false;
    std::optional<uint64_t> held_until;  // goes when keep_from reaches this record
    std::optional<int64_t> newest;       // time of the newest record of the oldest closed segment
  };
  // Drops what `retention` says. The segment being written is never dropped.
  absl::StatusOr<Retired> retire(const Retention& retention);
  // Begins a new segment if the one being written begins with a record older than `time_unix_nano`.
  absl::Status roll_if_older(int64_t time_unix_nano);
  // Of the segments that begin from now on.
  void set_segment_bytes(uint64_t bytes);

  // The first seq of a segment before which every record is older than `time_unix_nano`, as far as
  // the first record of each segment tells. Reads one record of some segments.
  absl::StatusOr<uint64_t> segment_at_time(int64_t time_unix_nano) const;

  uint64_t first_seq() const { return segments_.front().first_seq; }
  uint64_t next_seq() const { return next_seq_; }
  uint64_t end_offset() const { return end_offset_; }  // source bytes so far, missing ones counted
  uint64_t cut_bytes() const { return cut_bytes_; }    // what open() cut away
  uint64_t disk_bytes() const;
  size_t segment_count() const { return segments_.size(); }

 private:
  struct Segment {
    uint64_t first_seq = 0;
    uint64_t first_offset = 0;
    uint64_t bytes = 0;                  // of the file
    bool gap = false;                    // holds one gap record and nothing else
    std::optional<int64_t> newest = {};  // time of its last record, once known
  };
  struct Pending;  // encoded entries not written yet

  Writer() = default;
  absl::Status load_segments();
  absl::Status open_newest();
  absl::Status roll();
  absl::StatusOr<std::optional<int64_t>> first_time(size_t segment) const;
  // At most the time of the first record behind it, if that is cheaper to know.
  absl::StatusOr<int64_t> newest_time(size_t segment);
  absl::Status repair_tail();
  absl::Status add(const Entry& entry, uint8_t stream, uint64_t covers, uint64_t source_bytes,
                   Pending& pending);
  absl::Status flush(Pending& pending, size_t& count);
  absl::Status write_gap_file(const Segment& from, uint64_t to, uint64_t bytes, GapReason reason,
                              int64_t time_unix_nano);
  std::string path_of(uint64_t first_seq) const;

  WriterOptions options_;
  std::string dir_;
  Fd dir_fd_;
  Fd fd_;
  std::vector<Segment> segments_;  // oldest first; the last one is being written
  std::string staging_;
  uint32_t salt_ = 0;  // of the segment being written
  uint64_t next_seq_ = 0;
  uint64_t end_offset_ = 0;
  uint64_t cut_bytes_ = 0;
  bool tail_dirty_ = false;  // bytes of a failed write may stand behind the last record
  bool sync_failed_ = false;
};

struct Batch {
  std::vector<Record> records;  // payloads point into `storage`
  bool at_end = false;          // nothing more for now
  std::unique_ptr<char[]> storage;
};

class Reader {
 public:
  // A reader of the log in `dir` whose first record will be `from_seq` (0 and 1: the beginning).
  // The log may be written meanwhile, or may not exist yet: then it reads as empty.
  static absl::StatusOr<Reader> open(const std::string& dir, uint64_t from_seq = 1);

  Reader(Reader&&) = default;
  Reader& operator=(Reader&&) = default;

  // The next records: about `bytes_max` bytes of them, at least one unless at_end. Never waits.
  // Half a record at the end of the log is not there yet. What retention dropped comes as a gap.
  //
  // Errors: kDataLoss when a record is damaged and others follow it, naming file and position.
  absl::StatusOr<Batch> read(size_t bytes_max = kBatchBytes);

  // Goes to `seq`; places passed before are found without reading the segment again.
  void seek(uint64_t seq);

  uint64_t next_seq() const { return next_seq_; }

 private:
  struct Mark {
    uint64_t seq = 0;
    uint64_t position = 0;
    uint64_t offset = 0;
  };
  enum class Step { kMore, kEnd };

  Reader() = default;
  absl::StatusOr<Step> enter_segment(Batch& batch);
  absl::StatusOr<Step> open_segment(uint64_t first_seq);
  absl::StatusOr<Step> next_segment();
  absl::StatusOr<Step> fill(Batch& batch, size_t bytes_max);
  void take_expired(Batch& batch, uint64_t first_seq, uint64_t first_offset);
  absl::StatusOr<Step> at_damage();
  size_t parse(Batch& batch, std::string_view bytes, bool& bad, size_t& needed);
  void take(Batch& batch, Record record);
  void mark();

  std::string dir_;
  Fd dir_fd_;
  Fd fd_;
  uint64_t segment_ = 0;   // first seq of the open segment
  uint64_t position_ = 0;  // next byte in it
  uint64_t scan_seq_ = 0;  // seq of the record at position_
  uint64_t scan_offset_ = 0;
  uint64_t next_seq_ = 1;                        // what the caller gets next
  std::optional<uint64_t> next_offset_;          // where next_seq_ begins, when known
  uint32_t salt_ = 0;                            // of the open segment
  uint64_t checked_position_ = 0;                // at_damage found nothing behind it in a file of
  uint64_t checked_bytes_ = 0;                   //   this size
  uint64_t mark_at_ = 0;                         // position of the next mark
  std::map<uint64_t, std::vector<Mark>> marks_;  // by segment, one about every kMarkBytes
};

// The first record at or after `time_unix_nano`: the segment is found by the first record of some
// of them, the record by reading it. The record behind the last one when all are older; where the
// clock went back, one of those that fit.
//
// Errors: kDataLoss.
absl::StatusOr<uint64_t> seq_at_time(const std::string& dir, int64_t time_unix_nano);

// What a log holds, without opening it for writing. Reads the newest segment once.
struct Summary {
  uint64_t first_seq = 0;
  uint64_t next_seq = 0;
  uint64_t end_offset = 0;
  uint64_t disk_bytes = 0;
  uint64_t torn_bytes = 0;  // of the half record at the end
};
// Errors: kNotFound when there is no log or it has no segment; kDataLoss.
absl::StatusOr<Summary> summarize(const std::string& dir);

}  // namespace zsync::daemon::segment_log
