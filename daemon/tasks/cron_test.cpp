#include "daemon/tasks/cron.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::TimeZone zone_of(const char* name) {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone(name, &zone)) << name;
  return zone;
}

absl::Time time_of(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << error;
  return time;
}

// The next `count` times after `after`, as the local clock and its offset show them.
std::vector<std::string> fires(const char* text, const std::string& after, int count,
                               const char* zone_name = "UTC") {
  const absl::TimeZone zone = zone_of(zone_name);
  const absl::StatusOr<Cron> cron = Cron::parse(text);
  EXPECT_TRUE(cron.ok()) << cron.status();
  std::vector<std::string> times;
  absl::Time at = time_of(after);
  for (int i = 0; i < count; ++i) {
    const std::optional<absl::Time> next = cron->next(at, zone);
    if (!next) break;
    EXPECT_GT(*next, at);
    at = *next;
    times.push_back(absl::FormatTime("%m-%d %H:%M%Ez", at, zone));
  }
  return times;
}

std::string refusal(const char* text) { return std::string(Cron::parse(text).status().message()); }

TEST(Cron, FieldsAreNumbersNamesRangesStepsAndLists) {
  EXPECT_THAT(fires("30 2 * * *", "2026-01-01T02:30:00Z", 2),
              ElementsAre("01-02 02:30+00:00", "01-03 02:30+00:00"));
  EXPECT_THAT(fires("*/20 9-10 * * *", "2026-01-01T09:21:30Z", 5),
              ElementsAre("01-01 09:40+00:00", "01-01 10:00+00:00", "01-01 10:20+00:00",
                          "01-01 10:40+00:00", "01-02 09:00+00:00"));
  EXPECT_THAT(fires("0 0 1,15 jan-feb *", "2026-01-01T00:00:00Z", 4),
              ElementsAre("01-15 00:00+00:00", "02-01 00:00+00:00", "02-15 00:00+00:00",
                          "01-01 00:00+00:00"));
  EXPECT_THAT(fires("5/30 * * * *", "2026-01-01T00:00:00Z", 3),
              ElementsAre("01-01 00:05+00:00", "01-01 00:35+00:00", "01-01 01:05+00:00"));
  EXPECT_THAT(fires("@weekly", "2026-01-01T00:00:00Z", 2),
              ElementsAre("01-04 00:00+00:00", "01-11 00:00+00:00"));
}

TEST(Cron, SundayIsBothZeroAndSevenAndOfTwoRestrictedDaysOneSuffices) {
  EXPECT_EQ(fires("0 0 * * 0", "2026-01-01T00:00:00Z", 3),
            fires("0 0 * * 7", "2026-01-01T00:00:00Z", 3));
  EXPECT_THAT(fires("0 0 * * fri-7", "2026-01-01T00:00:00Z", 4),
              ElementsAre("01-02 00:00+00:00", "01-03 00:00+00:00", "01-04 00:00+00:00",
                          "01-09 00:00+00:00"));
  EXPECT_THAT(fires("0 0 13 * fri", "2026-01-01T00:00:00Z", 4),
              ElementsAre("01-02 00:00+00:00", "01-09 00:00+00:00", "01-13 00:00+00:00",
                          "01-16 00:00+00:00"));
}

TEST(Cron, TheTwentyNinthOfFebruaryIsFoundOverACenturyWithoutLeapYear) {
  const absl::StatusOr<Cron> cron = Cron::parse("0 0 29 2 *");
  ASSERT_TRUE(cron.ok());
  EXPECT_EQ(cron->next(time_of("2096-03-01T00:00:00Z"), absl::UTCTimeZone()),
            time_of("2104-02-29T00:00:00Z"));
}

TEST(Cron, OneThatNeverFiresIsRefusedWithTheReason) {
  EXPECT_THAT(refusal("0 0 30 2 *"), HasSubstr("it never fires: feb has at most 29 days"));
  EXPECT_THAT(refusal("0 0 31 2,4,jun *"), HasSubstr("feb, apr, jun has at most 30 days"));
  EXPECT_EQ(refusal("0 0 31 2,3 *"), "");
  EXPECT_EQ(refusal("0 0 30 2 mon"), "") << "every Monday of February";
}

TEST(Cron, AMistakeIsToldWithItsField) {
  EXPECT_THAT(refusal("* * * *"), HasSubstr("has 4 fields: write five"));
  EXPECT_THAT(refusal("@often"), HasSubstr("has 1 fields"));
  EXPECT_THAT(refusal("60 * * * *"), HasSubstr("the minute \"60\" is none: write 0 to 59"));
  EXPECT_THAT(refusal("* 5-3 * * *"), HasSubstr("the hour \"5-3\""));
  EXPECT_THAT(refusal("* * 0 * *"), HasSubstr("the day of the month \"0\""));
  EXPECT_THAT(refusal("* * * foo *"), HasSubstr("the month \"foo\""));
  EXPECT_THAT(refusal("* * * * 8"), HasSubstr("the day of the week \"8\""));
  for (const char* text : {"*/0 * * * *", "1-2-3 * * * *", "1/2/3 * * * *", ", * * * *",
                           "-1 * * * *", "+1 * * * *", "1- * * * *", ""}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(Cron, ATimeThatSpringLeavesOutComesWhenTheClockIsChanged) {
  // 2026-03-29: after 01:59 comes 03:00.
  EXPECT_THAT(fires("30 2 * * *", "2026-03-27T12:00:00Z", 3, "Europe/Berlin"),
              ElementsAre("03-28 02:30+01:00", "03-29 03:00+02:00", "03-30 02:30+02:00"));
  EXPECT_THAT(fires("0,30 2,3 * * *", "2026-03-28T23:00:00Z", 3, "Europe/Berlin"),
              ElementsAre("03-29 03:00+02:00", "03-29 03:30+02:00", "03-30 02:00+02:00"))
      << "once, though three of its times are that instant";
}

TEST(Cron, ATimeThatAutumnRepeatsCountsTheFirstTime) {
  // 2026-10-25: after 02:59 comes 02:00 again.
  EXPECT_THAT(fires("30 2 * * *", "2026-10-24T12:00:00Z", 2, "Europe/Berlin"),
              ElementsAre("10-25 02:30+02:00", "10-26 02:30+01:00"));
  EXPECT_THAT(fires("30 2 * * *", "2026-10-25T01:10:00Z", 1, "Europe/Berlin"),
              ElementsAre("10-26 02:30+01:00"))
      << "asked within the second of the two hours";
}

TEST(Cron, EveryHourFollowsTheTimeThatPasses) {
  EXPECT_THAT(fires("30 * * * *", "2026-03-29T00:00:00Z", 3, "Europe/Berlin"),
              ElementsAre("03-29 01:30+01:00", "03-29 03:30+02:00", "03-29 04:30+02:00"));
  EXPECT_THAT(fires("30 * * * *", "2026-10-25T00:00:00Z", 3, "Europe/Berlin"),
              ElementsAre("10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"));
  EXPECT_THAT(fires("0 * * * *", "2026-04-04T14:00:00Z", 3, "Australia/Lord_Howe"),
              ElementsAre("04-05 02:00+10:30", "04-05 03:00+10:30", "04-05 04:00+10:30"))
      << "a change of half an hour";
}

TEST(Cron, ADayThatAZoneLeftOutIsNoHindrance) {
  // Samoa had no 2011-12-30.
  EXPECT_THAT(fires("0 12 * * *", "2011-12-29T23:00:00Z", 2, "Pacific/Apia"),
              ElementsAre("12-31 00:00+14:00", "12-31 12:00+14:00"));
  EXPECT_THAT(fires("0 * 30 12 *", "2011-12-30T00:00:00Z", 1, "Pacific/Apia").size(), 1u);
}

// Every time of ten years against a plain look at each minute, where no change disturbs.
TEST(Cron, TheNextTimeIsTheFirstMinuteThatMatches) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  for (const char* text : {"7 3 * * *", "*/25 */7 1-7 * *", "0 12 * 2 mon", "59 23 31 * *"}) {
    const absl::StatusOr<Cron> cron = Cron::parse(text);
    ASSERT_TRUE(cron.ok());
    absl::Time at = time_of("2024-01-01T00:00:00Z");
    for (int i = 0; i < 300; ++i) {
      const std::optional<absl::Time> next = cron->next(at, utc);
      ASSERT_TRUE(next);
      const std::optional<absl::Time> just_before = cron->next(*next - absl::Seconds(1), utc);
      EXPECT_EQ(just_before, next) << text;
      at = *next;
    }
  }
}

}  // namespace
}  // namespace zsync::daemon
