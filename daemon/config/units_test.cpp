#include "daemon/config/units.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;

TEST(Units, DurationsAreReadWithTheirUnit) {
  EXPECT_EQ(*parse_duration("50ms"), milliseconds(50));
  EXPECT_EQ(*parse_duration("1s"), milliseconds(1000));
  EXPECT_EQ(*parse_duration("10m"), milliseconds(600'000));
  EXPECT_EQ(*parse_duration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(*parse_duration("7d"), milliseconds(604'800'000));
  EXPECT_EQ(*parse_duration("1h30m"), milliseconds(5'400'000));
  EXPECT_EQ(*parse_duration("0"), milliseconds(0));
}

TEST(Units, WhatIsNoDurationIsRefused) {
  for (const char* text : {"", "10", "s", "-1s", "1.5s", "1 s", "1w", "10S", "1s ", "0x1s",
                           "99999999999999999999s", "9223372036854775807d"}) {
    EXPECT_EQ(parse_duration(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Units, SizesAreReadInBothSystems) {
  EXPECT_EQ(*parse_size("0"), 0);
  EXPECT_EQ(*parse_size("4096"), 4096);
  EXPECT_EQ(*parse_size("64KiB"), 65536);
  EXPECT_EQ(*parse_size("1MB"), 1'000'000);
  EXPECT_EQ(*parse_size("4GiB"), int64_t{4} << 30);
  EXPECT_EQ(*parse_size("2 TiB"), int64_t{2} << 40);
}

TEST(Units, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "KiB", "-1", "1.5GiB", "1kib", "1G", "9999999999TiB", "1KiB2"}) {
    EXPECT_EQ(parse_size(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Units, CountsAreWholeNumbers) {
  EXPECT_EQ(*parse_count("0"), 0);
  EXPECT_EQ(*parse_count("-5"), -5);
  for (const char* text : {"", "-", "1e3", "1.0", "ten", "99999999999999999999", "--1"}) {
    EXPECT_FALSE(parse_count(text).ok()) << text;
  }
}

TEST(Units, WhatIsWrittenIsReadBackAsTheSameValue) {
  for (const int64_t ms : {0, 1, 999, 1000, 1500, 60'000, 5'400'000, 604'800'000}) {
    EXPECT_EQ(*parse_duration(format_duration(milliseconds(ms))), milliseconds(ms));
  }
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{1000}, int64_t{1024}, int64_t{1500},
                              int64_t{4} << 30, int64_t{3'000'000}}) {
    EXPECT_EQ(*parse_size(format_size(bytes)), bytes);
  }
  EXPECT_EQ(format_duration(milliseconds(10'000)), "10s");
  EXPECT_EQ(format_size(int64_t{1} << 30), "1GiB");
}

}  // namespace
}  // namespace zsync::daemon
