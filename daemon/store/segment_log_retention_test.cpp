#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::segment_log {
namespace {

// Four records of 1000 bytes a segment; record N is of time 10 * N.
class LogRetention : public ::testing::Test {
 protected:
  LogRetention() {
    char name[] = "/tmp/zsync-retention-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~LogRetention() override { std::filesystem::remove_all(root_); }

  Writer open() {
    WriterOptions options;
    options.segment_bytes = kSegmentBytesMin;
    options.durable = true;
    absl::StatusOr<Writer> writer = Writer::open(dir(), options);
    EXPECT_TRUE(writer.ok()) << writer.status();
    return *std::move(writer);
  }
  static void append(Writer& writer, uint64_t count) {
    const std::string payload(970, 'p');
    for (uint64_t i = 0; i < count; ++i) {
      const Entry entry{static_cast<int64_t>(10 * writer.next_seq()), 0, payload};
      ASSERT_TRUE(writer.append({&entry, 1}).status.ok());
    }
  }
  std::string dir() const { return root_ + "/log"; }

  std::string root_;
};

TEST_F(LogRetention, SegmentsGoOldestFirstUntilTheLogIsSmallEnough) {
  Writer writer = open();
  append(writer, 40);
  const uint64_t before = writer.disk_bytes();
  auto retired = writer.retire({.bytes_max = before / 2});
  ASSERT_TRUE(retired.ok()) << retired.status();
  EXPECT_TRUE(retired->dropped);
  EXPECT_LE(writer.disk_bytes(), before / 2);
  EXPECT_GT(writer.disk_bytes(), before / 2 - 2 * kSegmentBytesMin);
  EXPECT_GT(writer.first_seq(), 1u);
  EXPECT_FALSE(writer.retire({.bytes_max = before / 2})->dropped);
  // The segment being written stays, whatever its size.
  EXPECT_TRUE(writer.retire({.bytes_max = 1})->dropped);
  EXPECT_EQ(writer.segment_count(), 1u);
}

TEST_F(LogRetention, ASegmentGoesWhenItsNewestRecordIsTooOldAlsoAfterItWasOpenedAgain) {
  {
    Writer writer = open();
    append(writer, 40);
  }
  Writer writer = open();
  auto retired = writer.retire({.older_than = 200});
  ASSERT_TRUE(retired.ok()) << retired.status();
  EXPECT_LE(writer.first_seq(), 20u);
  EXPECT_GT(writer.first_seq(), 12u);
  ASSERT_TRUE(retired->newest);
  EXPECT_GE(*retired->newest, 200);
}

TEST_F(LogRetention, NothingIsDroppedThatIsStillNeededAndItSaysFromWhereItWouldBe) {
  Writer writer = open();
  append(writer, 40);
  auto retired = writer.retire({.bytes_max = 1, .keep_from = 10});
  ASSERT_TRUE(retired.ok()) << retired.status();
  EXPECT_LE(writer.first_seq(), 10u);
  ASSERT_TRUE(retired->held_until);
  const uint64_t until = *retired->held_until;
  EXPECT_GT(until, 10u);
  EXPECT_FALSE(writer.retire({.bytes_max = 1, .keep_from = until - 1})->dropped);
  EXPECT_TRUE(writer.retire({.bytes_max = 1, .keep_from = until})->dropped);
  EXPECT_EQ(writer.first_seq(), until);
}

TEST_F(LogRetention, AQuietLogIsCutByTimeSoThatItsLastRecordsGrowOldToo) {
  {
    Writer writer = open();
    append(writer, 2);
    ASSERT_TRUE(writer.roll_if_older(10).ok());
    EXPECT_EQ(writer.segment_count(), 1u);
    ASSERT_TRUE(writer.roll_if_older(11).ok());
    EXPECT_EQ(writer.segment_count(), 2u);
    ASSERT_TRUE(writer.roll_if_older(1000).ok()) << "nothing is in it";
    EXPECT_EQ(writer.segment_count(), 2u);
  }
  Writer writer = open();
  EXPECT_FALSE(writer.retire({.older_than = 20})->dropped);
  EXPECT_TRUE(writer.retire({.older_than = 21})->dropped);
  EXPECT_EQ(writer.first_seq(), 3u);
  EXPECT_EQ(writer.next_seq(), 3u);
}

TEST_F(LogRetention, ATimeIsFoundInWhateverSegmentItLies) {
  Writer writer = open();
  EXPECT_EQ(*seq_at_time(dir(), 5), 1u);
  append(writer, 40);
  ASSERT_TRUE(writer.drop_before(10).ok());
  const uint64_t first = writer.first_seq();
  EXPECT_GT(first, 1u);
  EXPECT_EQ(*seq_at_time(dir(), 0), first);
  for (uint64_t seq = first; seq <= 40; ++seq) {
    EXPECT_EQ(*seq_at_time(dir(), static_cast<int64_t>(10 * seq)), seq);
    EXPECT_EQ(*seq_at_time(dir(), static_cast<int64_t>(10 * seq + 1)), seq + 1);
  }
}

}  // namespace
}  // namespace zsync::daemon::segment_log
