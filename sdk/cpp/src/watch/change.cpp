#include "watch/change.hpp"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace zsync::watching {

std::string_view gap_name(Gap gap) {
  switch (gap) {
    case Gap::none:
      return "";
    case Gap::overflow:
      return "overflow";
    case Gap::rescan:
      return "rescan";
  }
  return "";
}

std::string format_clock(std::string_view instance, uint64_t counter) {
  return absl::StrCat("c:", absl::string_view(instance.data(), instance.size()), ":", counter);
}

std::optional<Clock> parse_clock(std::string_view text) {
  if (!text.starts_with("c:")) return std::nullopt;
  text.remove_prefix(2);
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const std::string_view instance = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  const auto in_instance = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_';
  };
  if (!std::all_of(instance.begin(), instance.end(), in_instance)) return std::nullopt;
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit))
    return std::nullopt;
  Clock clock{std::string(instance), 0};
  if (!absl::SimpleAtoi(absl::string_view(digits.data(), digits.size()), &clock.counter))
    return std::nullopt;
  return clock;
}

}  // namespace zsync::watching
