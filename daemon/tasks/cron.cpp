#include "daemon/tasks/cron.hpp"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"

namespace zsync::daemon {
namespace {

constexpr int kSearchedDays = 8 * 366;  // from one 29 February to the next, over a year without one

struct Field {
  const char* name;
  int min;
  int max;
  std::vector<absl::string_view> names;  // of min, min + 1, ...
};

const Field kFields[] = {
    {"minute", 0, 59, {}},
    {"hour", 0, 23, {}},
    {"day of the month", 1, 31, {}},
    {"month",
     1,
     12,
     {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
    {"day of the week", 0, 7, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
};

absl::Status wrong(const Field& field, absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("the ", field.name, " \"", text, "\" is none: write ", field.min, " to ",
                   field.max, field.names.empty() ? "" : " or a name such as ",
                   field.names.empty() ? "" : field.names[0], ", *, a-b, */n or a list of these"));
}

absl::StatusOr<int> number_in(const Field& field, absl::string_view text) {
  for (size_t i = 0; i < field.names.size(); ++i) {
    if (absl::AsciiStrToLower(text) == field.names[i]) return field.min + static_cast<int>(i);
  }
  int value = 0;
  const bool digits = !text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0]));
  if (!digits || !absl::SimpleAtoi(text, &value) || value < field.min || value > field.max) {
    return wrong(field, text);
  }
  return value;
}

// One of a list: *, a, a-b, each with /n.
template <size_t kSize>
absl::Status add_part(const Field& field, absl::string_view part, std::bitset<kSize>& bits) {
  const std::vector<absl::string_view> step = absl::StrSplit(part, '/');
  int every = 1;
  if (step.size() > 2 || (step.size() == 2 && (!absl::SimpleAtoi(step[1], &every) || every < 1))) {
    return wrong(field, part);
  }
  int from = field.min;
  int to = field.max;
  if (step[0] != "*") {
    const std::vector<absl::string_view> ends = absl::StrSplit(step[0], '-');
    if (ends.size() > 2) return wrong(field, part);
    absl::StatusOr<int> first = number_in(field, ends[0]);
    absl::StatusOr<int> last = number_in(field, ends.back());
    if (!first.ok()) return first.status();
    if (!last.ok()) return last.status();
    from = *first;
    if (ends.size() == 2 || step.size() == 1) to = *last;
    if (from > to) return wrong(field, part);
  }
  for (int value = from; value <= to; value += every) {
    bits.set(static_cast<size_t>(value % static_cast<int>(kSize)));
  }
  return absl::OkStatus();
}

template <size_t kSize>
absl::Status fill(const Field& field, absl::string_view text, std::bitset<kSize>& bits) {
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    if (absl::Status status = add_part(field, part, bits); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// A time that a change leaves out comes when the change does, one that comes twice the first time.
absl::Time instant_of(absl::CivilSecond local, const absl::TimeZone& zone) {
  const absl::TimeZone::TimeInfo info = zone.At(local);
  return info.kind == absl::TimeZone::TimeInfo::SKIPPED ? info.trans : info.pre;
}

absl::string_view nickname(absl::string_view text) {
  if (text == "@hourly") return "0 * * * *";
  if (text == "@daily" || text == "@midnight") return "0 0 * * *";
  if (text == "@weekly") return "0 0 * * 0";
  if (text == "@monthly") return "0 0 1 * *";
  if (text == "@yearly" || text == "@annually") return "0 0 1 1 *";
  return text;
}

}  // namespace

absl::StatusOr<Cron> Cron::parse(absl::string_view text) {
  if (text.size() > kCronBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the expression has ", text.size(), " bytes, the limit is ", kCronBytesMax));
  }
  const std::vector<std::string> parts = absl::StrSplit(nickname(absl::StripAsciiWhitespace(text)),
                                                        absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (parts.size() != 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" has ", parts.size(),
                     " fields: write five, minute hour day-of-month month day-of-week, as in "
                     "\"30 2 * * mon-fri\", or @hourly, @daily, @weekly, @monthly, @yearly"));
  }
  Cron cron;
  absl::Status status = fill(kFields[0], parts[0], cron.minutes_);
  if (status.ok()) status = fill(kFields[1], parts[1], cron.hours_);
  if (status.ok()) status = fill(kFields[2], parts[2], cron.days_);
  if (status.ok()) status = fill(kFields[3], parts[3], cron.months_);
  if (status.ok()) status = fill(kFields[4], parts[4], cron.weekdays_);
  cron.any_day_ = parts[2][0] == '*';
  cron.any_weekday_ = parts[4][0] == '*';
  if (status.ok()) status = cron.check_fires();
  if (!status.ok()) return status;
  return cron;
}

// Days of the week are in every month; else one month is enough that has the day.
absl::Status Cron::check_fires() const {
  if (!any_weekday_) return absl::OkStatus();
  std::string names;
  int longest = 0;
  for (int month = 1; month <= 12; ++month) {
    if (!months_.test(static_cast<size_t>(month))) continue;
    const absl::CivilDay last = absl::CivilDay(absl::CivilMonth(2000, month) + 1) - 1;
    for (int day = 1; day <= last.day(); ++day) {
      if (days_.test(static_cast<size_t>(day))) return absl::OkStatus();
    }
    absl::StrAppend(&names, names.empty() ? "" : ", ",
                    kFields[3].names[static_cast<size_t>(month - 1)]);
    longest = std::max(longest, last.day());
  }
  return absl::InvalidArgumentError(absl::StrCat("it never fires: ", names, " has at most ",
                                                 longest,
                                                 " days, and the day of the month is a later one"));
}

bool Cron::matches_day(absl::CivilDay day) const {
  if (!months_.test(static_cast<size_t>(day.month()))) return false;
  const bool of_month = days_.test(static_cast<size_t>(day.day()));
  // absl counts from Monday.
  const size_t weekday = (static_cast<size_t>(absl::GetWeekday(day)) + 1) % 7;
  const bool of_week = weekdays_.test(weekday);
  if (any_day_ || any_weekday_) return of_month && of_week;
  return of_month || of_week;
}

std::optional<absl::Time> Cron::next(absl::Time after, const absl::TimeZone& zone) const {
  return hours_.all() ? next_elapsed(after, zone) : next_named(after, zone);
}

// Minute by minute of the time that passes; a day that does not match is skipped whole.
std::optional<absl::Time> Cron::next_elapsed(absl::Time after, const absl::TimeZone& zone) const {
  absl::Time at = absl::FromUnixSeconds((absl::ToUnixSeconds(after) / 60 + 1) * 60);
  const absl::Time until = after + absl::Hours(24 * kSearchedDays);
  while (at < until) {
    const absl::CivilSecond local = absl::ToCivilSecond(at, zone);
    const absl::CivilDay day(local);
    if (!matches_day(day)) {
      at = std::max(at + absl::Minutes(1), instant_of(absl::CivilSecond(day + 1), zone));
      continue;
    }
    if (minutes_.test(static_cast<size_t>(local.minute()))) return at;
    at += absl::Minutes(1);
  }
  return std::nullopt;
}

// Local time by local time; what each of them comes to grows with them.
std::optional<absl::Time> Cron::next_named(absl::Time after, const absl::TimeZone& zone) const {
  absl::CivilDay day = absl::ToCivilDay(after, zone);
  for (int searched = 0; searched < kSearchedDays; ++searched, ++day) {
    if (!matches_day(day)) continue;
    for (int hour = 0; hour < 24; ++hour) {
      if (!hours_.test(static_cast<size_t>(hour))) continue;
      for (int minute = 0; minute < 60; ++minute) {
        if (!minutes_.test(static_cast<size_t>(minute))) continue;
        const absl::CivilSecond local(day.year(), day.month(), day.day(), hour, minute);
        const absl::Time at = instant_of(local, zone);
        if (at > after) return at;
      }
    }
  }
  return std::nullopt;
}

}  // namespace zsync::daemon
