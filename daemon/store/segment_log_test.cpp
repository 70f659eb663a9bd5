#include "daemon/store/segment_log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "daemon/store/segment_log_crc.hpp"

namespace zsync::daemon::segment_log {
namespace {

namespace fs = std::filesystem;

class SegmentLog : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "segment_log_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    dir_ = root_ + "/log";
  }
  void TearDown() override { fs::remove_all(root_); }

  Writer open(WriterOptions options = {}) {
    absl::StatusOr<Writer> writer = Writer::open(dir_, options);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return *std::move(writer);
  }

  static void append(Writer& writer, std::string_view payload, uint8_t stream = 1) {
    const Entry entry{1000, stream, payload};
    const Appended appended = writer.append({&entry, 1});
    ASSERT_TRUE(appended.status.ok()) << appended.status;
    ASSERT_EQ(appended.count, 1u);
  }

  struct Read {
    std::vector<Record> records;  // payload is empty, see payloads
    std::vector<std::string> payloads;
    absl::Status status;
  };
  Read read_all(uint64_t from = 1, size_t bytes_max = kBatchBytes) {
    Read out;
    absl::StatusOr<Reader> reader = Reader::open(dir_, from);
    EXPECT_TRUE(reader.ok()) << reader.status();
    while (true) {
      absl::StatusOr<Batch> batch = reader->read(bytes_max);
      if (!batch.ok()) {
        out.status = batch.status();
        return out;
      }
      for (Record record : batch->records) {
        out.payloads.emplace_back(record.payload);
        record.payload = {};
        out.records.push_back(record);
      }
      if (batch->at_end) return out;
    }
  }

  std::vector<std::string> segments() {
    std::vector<std::string> out;
    for (const auto& item : fs::directory_iterator(dir_)) out.push_back(item.path().string());
    std::sort(out.begin(), out.end());
    return out;
  }
  void flip(const std::string& path, uint64_t position) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(position));
    const char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(position));
    file.put(byte);
  }

  std::string root_;
  std::string dir_;
};

TEST(Crc32c, AgreesWithTheKnownAnswersByCpuAndByTable) {
  const std::string zeros(32, '\0');
  const std::string ones(32, '\xff');
  for (const auto crc : {crc32c, crc32c_by_table}) {
    EXPECT_EQ(crc(0, "123456789", 9), 0xe3069283u);
    EXPECT_EQ(crc(0, zeros.data(), 32), 0x8a9136aau);  // RFC 3720 B.4
    EXPECT_EQ(crc(0, ones.data(), 32), 0x62a8ab43u);
    EXPECT_EQ(crc(crc(0, "1234", 4), "56789", 5), 0xe3069283u);
  }
}

TEST_F(SegmentLog, GivesBackWhatWasAppendedWithSeqTimeStreamAndOffset) {
  Writer writer = open();
  const std::string big(100'000, 'b');
  const std::vector<Entry> entries = {
      {11, 1, "one"}, {12, 2, ""}, {13, 1, big}, {14, 0, "four", 4}};
  const Appended appended = writer.append(entries);
  ASSERT_TRUE(appended.status.ok()) << appended.status;
  EXPECT_EQ(appended.count, 4u);
  const Read read = read_all();
  ASSERT_EQ(read.payloads, (std::vector<std::string>{"one", "", big, "four"}));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(read.records[i].seq, i + 1);
    EXPECT_EQ(read.records[i].time_unix_nano, static_cast<int64_t>(11 + i));
    EXPECT_EQ(read.records[i].stream, entries[i].stream);
  }
  EXPECT_EQ(read.records[3].offset, 100'003u);
  EXPECT_EQ(writer.end_offset(), 100'007u);
  EXPECT_EQ(read_all(3).payloads, (std::vector<std::string>{big, "four"}));
  EXPECT_EQ(read_all(3).records[0].offset, 3u);
}

TEST_F(SegmentLog, GoesOnWhereItWasAfterAReopen) {
  {
    Writer writer = open();
    append(writer, "a");
  }
  Writer writer = open();
  EXPECT_EQ(writer.next_seq(), 2u);
  append(writer, "b");
  EXPECT_EQ(read_all().payloads, (std::vector<std::string>{"a", "b"}));
}

TEST_F(SegmentLog, ATornTailIsCutAndEverythingBeforeItIsKept) {
  {
    Writer writer = open();
    append(writer, "first");
    append(writer, "second");
    append(writer, "the last record");
  }
  const std::string path = segments()[0];
  const uint64_t whole = fs::file_size(path);
  const uint64_t last = 25 + 15;
  for (uint64_t cut = 1; cut <= last; ++cut) {
    const std::string copy = root_ + "/copy";
    fs::copy(dir_, copy);
    const std::string kept = dir_;
    dir_ = copy;
    fs::resize_file(segments()[0], whole - cut);
    EXPECT_EQ(read_all().payloads, (std::vector<std::string>{"first", "second"})) << cut;
    {
      Writer writer = open();
      EXPECT_EQ(writer.next_seq(), 3u);
      EXPECT_EQ(writer.cut_bytes(), last - cut);
      EXPECT_EQ(fs::file_size(segments()[0]), whole - last);
      append(writer, "again");
    }
    EXPECT_EQ(read_all().payloads, (std::vector<std::string>{"first", "second", "again"})) << cut;
    fs::remove_all(copy);
    dir_ = kept;
  }
}

TEST_F(SegmentLog, AFlippedBitInTheLastRecordCutsItAndInTheMiddleIsRefused) {
  {
    Writer writer = open();
    for (int i = 0; i < 3; ++i) append(writer, "0123456789");
  }
  const std::string path = segments()[0];
  const uint64_t record = 35;
  for (uint64_t at = 40 + record; at < 40 + 3 * record; ++at) {
    flip(path, at);
    const bool middle = at < 40 + 2 * record;
    const Read read = read_all();
    EXPECT_EQ(read.payloads.size(), middle ? 1u : 2u) << at;
    EXPECT_EQ(read.status.code(), middle ? absl::StatusCode::kDataLoss : absl::StatusCode::kOk)
        << at;
    if (middle) {
      const absl::Status refused = Writer::open(dir_).status();
      EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << at;
      EXPECT_NE(refused.message().find("damaged at byte 75 (record 2)"), std::string::npos)
          << refused;
    }
    flip(path, at);
  }
  flip(path, 40 + 2 * record + 30);
  Writer writer = open();
  EXPECT_EQ(writer.next_seq(), 3u);
  EXPECT_EQ(writer.cut_bytes(), record);
}

TEST_F(SegmentLog, DamageAfterTheLastPromisedRecordIsCutWhenThatRecordIsNamed) {
  {
    Writer writer = open();
    for (int i = 0; i < 4; ++i) append(writer, "0123456789");
  }
  flip(segments()[0], 40 + 2 * 35 + 3);  // record 3
  WriterOptions promised;
  promised.durable_seq = 3;
  EXPECT_EQ(Writer::open(dir_, promised).status().code(), absl::StatusCode::kDataLoss);
  promised.durable_seq = 2;
  Writer writer = open(promised);
  EXPECT_EQ(writer.next_seq(), 3u);
}

TEST_F(SegmentLog, ALogInsideATornPayloadIsNotTakenForRecords) {
  {
    Writer inner = open();
    for (int i = 0; i < 5; ++i) append(inner, "0123456789");
  }
  std::ifstream file(segments()[0], std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  dir_ = root_ + "/outer";
  {
    Writer outer = open();
    append(outer, bytes + "tail");
  }
  fs::resize_file(segments()[0], fs::file_size(segments()[0]) - 1);
  EXPECT_TRUE(read_all().status.ok());
  EXPECT_EQ(open().next_seq(), 1u);
}

TEST_F(SegmentLog, ADamagedHeaderOrANewerVersionIsRefused) {
  {
    Writer writer = open();
    append(writer, "a");
  }
  flip(segments()[0], 20);
  EXPECT_EQ(Writer::open(dir_).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(read_all().status.code(), absl::StatusCode::kDataLoss);
  flip(segments()[0], 20);
  flip(segments()[0], 8);
  EXPECT_EQ(Writer::open(dir_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SegmentLog, ANewestSegmentWithoutHeaderIsRemoved) {
  {
    Writer writer = open();
    append(writer, "a");
  }
  std::ofstream(dir_ + "/00000000000000000002.seg") << "";
  EXPECT_EQ(read_all().payloads.size(), 1u);
  Writer writer = open();
  EXPECT_EQ(writer.next_seq(), 2u);
  append(writer, "b");
  EXPECT_EQ(read_all().payloads, (std::vector<std::string>{"a", "b"}));
}

TEST_F(SegmentLog, OneLogHasOneWriter) {
  Writer writer = open();
  EXPECT_EQ(Writer::open(dir_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SegmentLog, RollsIntoSegmentsAndReadsOverTheirBorders) {
  WriterOptions options;
  options.segment_bytes = kSegmentBytesMin;
  Writer writer = open(options);
  std::vector<std::string> payloads;
  std::vector<Entry> entries;
  for (int i = 0; i < 1000; ++i) payloads.push_back("payload " + std::to_string(i));
  for (const std::string& payload : payloads) entries.push_back({1, 1, payload});
  ASSERT_EQ(writer.append(entries).count, 1000u);
  EXPECT_GT(writer.segment_count(), 5u);
  EXPECT_EQ(read_all(1, 100).payloads, payloads);
  EXPECT_EQ(read_all(1).payloads, payloads);
  for (uint64_t seq = 1; seq <= 1000; seq += 37) {
    const Read read = read_all(seq);
    ASSERT_FALSE(read.payloads.empty());
    EXPECT_EQ(read.payloads[0], payloads[seq - 1]);
  }
  const absl::StatusOr<Summary> summary = summarize(dir_);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->next_seq, 1001u);
  EXPECT_EQ(summary->end_offset, writer.end_offset());
  EXPECT_EQ(summary->disk_bytes, writer.disk_bytes());
}

TEST_F(SegmentLog, ARecordOverTheLimitIsRefusedAndTheOnesBeforeItAreKept) {
  Writer writer = open();
  const std::string big(kPayloadBytesMax + 1, 'x');
  const std::vector<Entry> entries = {{1, 1, "ok"}, {1, 1, big}, {1, 1, "after"}};
  const Appended appended = writer.append(entries);
  EXPECT_EQ(appended.count, 1u);
  EXPECT_EQ(appended.status.code(), absl::StatusCode::kInvalidArgument);
  const Entry hole{1, 1, "x", 9};
  EXPECT_EQ(writer.append({&hole, 1}).status.code(), absl::StatusCode::kInvalidArgument);
  append(writer, "after");
  EXPECT_EQ(read_all().payloads, (std::vector<std::string>{"ok", "after"}));
}

TEST_F(SegmentLog, AGapStandsForTheRecordsThatAreMissing) {
  Writer writer = open();
  append(writer, "abc");
  ASSERT_TRUE(writer.append_gap(GapReason::kDiskFull, 5, 500, 77).ok());
  append(writer, "def");
  EXPECT_EQ(writer.next_seq(), 8u);
  const Read read = read_all();
  ASSERT_EQ(read.records.size(), 3u);
  ASSERT_TRUE(read.records[1].gap.has_value());
  EXPECT_EQ(read.records[1].gap->from, 2u);
  EXPECT_EQ(read.records[1].gap->to, 6u);
  EXPECT_EQ(read.records[1].gap->bytes, 500u);
  EXPECT_EQ(read.records[1].gap->reason, GapReason::kDiskFull);
  EXPECT_EQ(read.records[2].seq, 7u);
  EXPECT_EQ(read.records[2].offset, 503u);
  EXPECT_EQ(read_all(4).records[0].gap->from, 4u);
  EXPECT_EQ(gap_reason_name(GapReason::kDiskFull), "disk_full");
}

TEST_F(SegmentLog, WhatRetentionDroppedIsAnnouncedAsExpired) {
  WriterOptions options;
  options.segment_bytes = kSegmentBytesMin;
  Writer writer = open(options);
  const std::string payload(1000, 'p');
  for (int i = 0; i < 100; ++i) append(writer, payload);
  absl::StatusOr<Reader> slow = Reader::open(dir_);
  ASSERT_TRUE(slow->read(2100).ok());
  ASSERT_TRUE(writer.drop_before(50).ok());
  EXPECT_LE(writer.first_seq(), 50u);
  EXPECT_GT(writer.first_seq(), 40u);
  const Read read = read_all();
  ASSERT_TRUE(read.records[0].gap.has_value());
  EXPECT_EQ(read.records[0].gap->from, 1u);
  EXPECT_EQ(read.records[0].gap->to, writer.first_seq() - 1);
  EXPECT_EQ(read.records[0].gap->bytes, 1000 * (writer.first_seq() - 1));
  EXPECT_EQ(read.records[0].gap->reason, GapReason::kExpired);
  uint64_t expected = slow->next_seq();
  uint64_t gaps = 0;
  while (true) {
    const absl::StatusOr<Batch> batch = slow->read();
    ASSERT_TRUE(batch.ok()) << batch.status();
    for (const Record& record : batch->records) {
      EXPECT_EQ(record.gap ? record.gap->from : record.seq, expected);
      expected = record.seq + 1;
      gaps += record.gap.has_value();
    }
    if (batch->at_end) break;
  }
  EXPECT_EQ(expected, 101u);
  EXPECT_EQ(gaps, 1u);
  ASSERT_TRUE(writer.drop_before(1'000'000).ok());
  EXPECT_EQ(writer.segment_count(), 1u);
  EXPECT_EQ(*writer.drop_oldest(), 0u);
}

TEST_F(SegmentLog, ADroppedMiddleBecomesOneGapThatGrows) {
  WriterOptions options;
  options.segment_bytes = kSegmentBytesMin;
  std::string head;
  {
    Writer writer = open(options);
    const std::string payload(1000, 'p');
    for (int i = 0; i < 100; ++i) append(writer, payload);
    for (int i = 0; i < 10; ++i) {
      const absl::StatusOr<uint64_t> dropped = writer.drop_middle(4000, GapReason::kOutputLimit, 5);
      ASSERT_TRUE(dropped.ok()) << dropped.status();
      EXPECT_EQ(*dropped, 3000u);
    }
  }
  const Read read = read_all();
  size_t gaps = 0;
  uint64_t expected = 1;
  for (const Record& record : read.records) {
    EXPECT_EQ(record.gap ? record.gap->from : record.seq, expected);
    EXPECT_EQ(record.offset, 1000 * (expected - 1));
    expected = record.seq + 1;
    if (record.gap) {
      ++gaps;
      EXPECT_EQ(record.gap->bytes, 30'000u);
      EXPECT_EQ(record.gap->from, 7u);
    }
  }
  EXPECT_EQ(gaps, 1u);
  EXPECT_EQ(expected, 101u);
  Writer writer = open(options);
  while (*writer.drop_middle(4000, GapReason::kOutputLimit, 5) > 0) {
  }
  EXPECT_EQ(read_all(20).records[0].gap->from, 20u);
  EXPECT_EQ(read_all(101).records.size(), 0u);
}

TEST_F(SegmentLog, SegmentsThatAMergedGapCoversAreRemovedAtTheNextOpen) {
  WriterOptions options;
  options.segment_bytes = kSegmentBytesMin;
  std::string kept;
  {
    Writer writer = open(options);
    const std::string payload(1000, 'p');
    for (int i = 0; i < 30; ++i) append(writer, payload);
    ASSERT_GT(*writer.drop_middle(3000, GapReason::kOutputLimit, 5), 0u);
    kept = segments()[2];
    fs::copy(kept, root_ + "/kept");
    ASSERT_GT(*writer.drop_middle(3000, GapReason::kOutputLimit, 5), 0u);
  }
  fs::copy(root_ + "/kept", kept);  // as after a crash between rename and unlink
  const Read before = read_all();
  {
    Writer writer = open(options);
  }
  EXPECT_FALSE(fs::exists(kept));
  EXPECT_EQ(read_all().records.size(), before.records.size());
}

TEST_F(SegmentLog, AReaderOfALogThatDoesNotExistYetSeesItAppear) {
  absl::StatusOr<Reader> reader = Reader::open(dir_);
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->read()->at_end);
  Writer writer = open();
  EXPECT_TRUE(reader->read()->at_end);
  append(writer, "now");
  EXPECT_EQ(reader->read()->records.size(), 1u);
}

TEST_F(SegmentLog, ASoughtReaderFindsItsPlaceByItsMarks) {
  Writer writer = open();
  const std::string payload(10'000, 'p');
  for (int i = 0; i < 1000; ++i) append(writer, payload);
  absl::StatusOr<Reader> reader = Reader::open(dir_);
  while (!reader->read()->at_end) {
  }
  for (const uint64_t seq : {999u, 1u, 500u, 317u, 1000u}) {
    reader->seek(seq);
    const absl::StatusOr<Batch> batch = reader->read(1);
    ASSERT_EQ(batch->records.size(), 1u);
    EXPECT_EQ(batch->records[0].seq, seq);
    EXPECT_EQ(batch->records[0].offset, (seq - 1) * 10'000);
  }
}

TEST_F(SegmentLog, SyncNeedsADurableLog) {
  {
    Writer writer = open();
    EXPECT_EQ(writer.sync().code(), absl::StatusCode::kFailedPrecondition);
  }
  WriterOptions options;
  options.durable = true;
  options.segment_bytes = kSegmentBytesMin;
  Writer writer = open(options);
  const std::string payload(3000, 'p');
  for (int i = 0; i < 4; ++i) append(writer, payload);
  EXPECT_TRUE(writer.sync().ok());
}

TEST_F(SegmentLog, ReadersInAnotherThreadSeeOnlyWholeRecordsInOrder) {
  constexpr uint64_t kRecords = 200'000;
  WriterOptions options;
  options.segment_bytes = 256 << 10;
  Writer writer = open(options);
  std::vector<std::thread> readers;
  std::atomic<int> right = 0;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      absl::StatusOr<Reader> reader = Reader::open(dir_);
      while (reader->next_seq() <= kRecords) {
        const uint64_t before = reader->next_seq();
        absl::StatusOr<Batch> batch = reader->read();
        if (!batch.ok()) return (void)(std::cerr << batch.status() << "\n");
        uint64_t seq = before;
        for (const Record& record : batch->records) {
          if (record.seq != seq++ || record.payload.find(std::to_string(record.seq)) != 0) return;
        }
        if (batch->at_end) std::this_thread::yield();
      }
      ++right;
    });
  }
  uint64_t seq = 1;
  while (seq <= kRecords) {
    std::vector<std::string> payloads;
    std::vector<Entry> entries;
    for (int i = 0; i < 100; ++i, ++seq) {
      payloads.push_back(std::to_string(seq) + std::string(seq % 97, '.'));
    }
    for (const std::string& payload : payloads) entries.push_back({1, 1, payload});
    ASSERT_EQ(writer.append(entries).count, 100u);
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(right, 2);
}

TEST_F(SegmentLog, AWriterKilledWhileAppendingHurtsNothing) {
  uint64_t last = 1;
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      absl::StatusOr<Writer> writer = Writer::open(dir_);
      if (!writer.ok()) ::_exit(1);
      const std::string payload(50'000, 'k');
      const std::vector<Entry> entries(8, Entry{1, 1, payload});
      while (writer->end_offset() < (1ull << 40)) (void)writer->append(entries);
      ::_exit(0);
    }
    while (true) {  // at least one batch was written
      const absl::StatusOr<Summary> summary = summarize(dir_);
      if (summary.ok() && summary->next_seq > last + 8) break;
      ASSERT_EQ(::waitpid(child, nullptr, WNOHANG), 0);
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    Writer writer = open();
    EXPECT_GT(writer.next_seq(), last);
    last = writer.next_seq();
    ASSERT_TRUE(writer.drop_before(last).ok());
  }
  EXPECT_TRUE(read_all().status.ok());
}

TEST_F(SegmentLog, AFullDiskLosesNothingThatWasAppendedAndTheWriterGoesOnLater) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small tmpfs";
  if (::mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "cannot mount";
  {
    std::ofstream(root_ + "/ballast") << std::string(300 << 10, 'b');
    Writer writer = open();
    const std::string payload(10'000, 'p');
    const std::vector<Entry> entries(200, Entry{1, 1, payload});
    const Appended appended = writer.append(entries);
    EXPECT_EQ(appended.status.code(), absl::StatusCode::kResourceExhausted) << appended.status;
    EXPECT_GT(appended.count, 50u);
    EXPECT_EQ(writer.next_seq(), appended.count + 1);
    EXPECT_EQ(read_all().records.size(), appended.count);
    EXPECT_EQ(summarize(dir_)->torn_bytes, 0u);
    fs::remove(root_ + "/ballast");
    ASSERT_TRUE(writer.append_gap(GapReason::kDiskFull, 1, 42, 9).ok());
    append(writer, payload);
    EXPECT_EQ(read_all().records.size(), appended.count + 2);
  }
  EXPECT_EQ(::umount(root_.c_str()), 0);
}

TEST_F(SegmentLog, AppendsAndReadsAtTheSpeedOfThePageCache) {
  const auto rate = [](double amount, std::chrono::steady_clock::time_point from) {
    return amount / std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
  };
  Writer writer = open();
  const std::string large(64 << 10, 'l');
  const std::vector<Entry> larges(16, Entry{1, 1, large});
  auto from = std::chrono::steady_clock::now();
  for (int i = 0; i < 256; ++i) ASSERT_EQ(writer.append(larges).count, 16u);
  const double bytes_rate = rate(256.0 * 16 * (64 << 10), from);
  const std::string small(64, 's');
  const std::vector<Entry> smalls(1000, Entry{1, 1, small});
  from = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(writer.append(smalls).count, 1000u);
  const double record_rate = rate(1e6, from);
  absl::StatusOr<Reader> reader = Reader::open(dir_);
  from = std::chrono::steady_clock::now();
  uint64_t records = 0;
  while (true) {
    absl::StatusOr<Batch> batch = reader->read();
    ASSERT_TRUE(batch.ok()) << batch.status();
    records += batch->records.size();
    if (batch->at_end) break;
  }
  EXPECT_EQ(records, 256u * 16 + 1'000'000);
  std::cout << "append 64 KiB: " << bytes_rate / 1e6 << " MB/s; append 64 B: " << record_rate / 1e6
            << " M records/s; read all: "
            << rate(static_cast<double>(writer.end_offset()), from) / 1e6 << " MB/s\n";
}

}  // namespace
}  // namespace zsync::daemon::segment_log
