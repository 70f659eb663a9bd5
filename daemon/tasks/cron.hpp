// Cron expressions: which local times they name, and when the next one comes. Pure.
//
//   minute hour day-of-month month day-of-week      0-59 0-23 1-31 1-12|jan-dec 0-7|sun-sat
//   *  a  a-b  */n  a-b/n  and lists of these; @hourly @daily @weekly @monthly @yearly
//
// Where both days are restricted, either of them suffices, as crontab(5) has it.
//
// Daylight saving time. With `*` as its hour an expression follows the time that passes: it fires
// in both hours of the autumn that have one name, and in none that spring leaves out. With hours of
// its own it fires once for each time that it names: a time that does not exist comes at the
// instant of the change, a time that comes twice counts the first time.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace zsync::daemon {

inline constexpr size_t kCronBytesMax = 1024;

class Cron {
 public:
  // Errors: kInvalidArgument that names the field and what it may hold, also for one that never
  // fires.
  static absl::StatusOr<Cron> parse(absl::string_view text);

  // The first time after `after`. nullopt: none within eight years, which parse() refuses.
  std::optional<absl::Time> next(absl::Time after, const absl::TimeZone& zone) const;

 private:
  bool matches_day(absl::CivilDay day) const;
  std::optional<absl::Time> next_elapsed(absl::Time after, const absl::TimeZone& zone) const;
  std::optional<absl::Time> next_named(absl::Time after, const absl::TimeZone& zone) const;
  absl::Status check_fires() const;

  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;      // of the month, from 1
  std::bitset<13> months_;    // from 1
  std::bitset<7> weekdays_;   // from Sunday
  bool any_day_ = false;      // the day of the month is *
  bool any_weekday_ = false;  // the day of the week is *
};

}  // namespace zsync::daemon
