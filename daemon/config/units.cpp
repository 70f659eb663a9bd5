#include "daemon/config/units.hpp"

#include <absl/strings/str_cat.h>

#include <array>
#include <charconv>
#include <optional>

namespace zsync::daemon {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

// Largest first, as they are written.
constexpr std::array<Unit, 5> kDurations = {
    {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::array<Unit, 10> kSizes = {{{"TiB", int64_t{1} << 40},
                                          {"GiB", int64_t{1} << 30},
                                          {"MiB", int64_t{1} << 20},
                                          {"KiB", int64_t{1} << 10},
                                          {"TB", 1'000'000'000'000},
                                          {"GB", 1'000'000'000},
                                          {"MB", 1'000'000},
                                          {"KB", 1000},
                                          {"B", 1},
                                          {"", 1}}};

absl::Status wrong(std::string_view text, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("\"", std::string(text), "\" ", reason));
}

// Cuts the digits at the front of `rest`; none when there are none or they do not fit.
std::optional<int64_t> take_number(std::string_view& rest) {
  int64_t value = 0;
  if (rest.empty() || rest.front() < '0' || rest.front() > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc()) return std::nullopt;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  return value;
}

std::string_view take_letters(std::string_view& rest) {
  size_t length = 0;
  while (length < rest.size() && (rest[length] < '0' || rest[length] > '9')) ++length;
  const std::string_view letters = rest.substr(0, length);
  rest.remove_prefix(length);
  return letters;
}

template <size_t kCount>
std::optional<int64_t> factor_of(const std::array<Unit, kCount>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<std::chrono::milliseconds> parse_duration(std::string_view text) {
  if (text == "0") return std::chrono::milliseconds(0);
  std::string_view rest = text;
  int64_t total = 0;
  do {
    const std::optional<int64_t> number = take_number(rest);
    if (!number) return wrong(text, "is no duration: write it like 50ms, 10s, 5m, 2h or 7d");
    const std::string_view unit = take_letters(rest);
    if (unit.empty()) return wrong(text, "has no unit: write it like 50ms, 10s, 5m, 2h or 7d");
    const std::optional<int64_t> factor = factor_of(kDurations, unit);
    if (!factor) return wrong(text, "has an unknown unit: use ms, s, m, h or d");
    int64_t part = 0;
    if (__builtin_mul_overflow(*number, *factor, &part) ||
        __builtin_add_overflow(total, part, &total)) {
      return wrong(text, "is too long");
    }
  } while (!rest.empty());
  return std::chrono::milliseconds(total);
}

absl::StatusOr<int64_t> parse_size(std::string_view text) {
  std::string_view rest = text;
  const std::optional<int64_t> number = take_number(rest);
  if (!number) return wrong(text, "is no size: write it like 4096, 64KiB, 256MiB or 1GB");
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  const std::optional<int64_t> factor = factor_of(kSizes, rest);
  if (!factor) {
    return wrong(text,
                 "has an unknown unit: use KiB, MiB, GiB, TiB, KB, MB, GB, TB or none for bytes");
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(*number, *factor, &bytes)) return wrong(text, "is too large");
  return bytes;
}

absl::StatusOr<int64_t> parse_count(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  std::string_view rest = text.substr(negative ? 1 : 0);
  const std::optional<int64_t> number = take_number(rest);
  if (!number || !rest.empty()) return wrong(text, "is no whole number");
  return negative ? -*number : *number;
}

std::string format_duration(std::chrono::milliseconds value) {
  for (const Unit& unit : kDurations) {
    if (value.count() != 0 && value.count() % unit.factor == 0) {
      return absl::StrCat(value.count() / unit.factor, std::string(unit.name));
    }
  }
  return "0";
}

std::string format_size(int64_t bytes) {
  for (const Unit& unit : kSizes) {
    if (bytes != 0 && bytes % unit.factor == 0) {
      return absl::StrCat(bytes / unit.factor, std::string(unit.name));
    }
  }
  return "0";
}

}  // namespace zsync::daemon
