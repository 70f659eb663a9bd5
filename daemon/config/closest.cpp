#include "daemon/config/closest.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

std::string lowered(std::string_view word) {
  std::string result(word);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the table of optimal string alignment: two back for swaps, the last, the one
  // being filled.
  std::vector<size_t> before(b.size() + 1);
  std::vector<size_t> last(b.size() + 1);
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replace, last[j] + 1, row[j - 1] + 1});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::optional<std::string> closest_match(std::string_view word,
                                         std::span<const std::string> candidates) {
  if (word.empty() || word.size() > kClosestWordBytesMax) return std::nullopt;
  const std::string wanted = lowered(word);
  const std::string* best = nullptr;
  size_t best_distance = 0;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > kClosestWordBytesMax) continue;
    const size_t longer = std::max(wanted.size(), candidate.size());
    const size_t shorter = std::min(wanted.size(), candidate.size());
    const size_t allowed = std::max<size_t>(1, longer / 3);
    if (longer - shorter > allowed) continue;
    const size_t distance = edit_distance(wanted, lowered(candidate));
    // A word in which every letter changed was not meant.
    if (distance > allowed || distance >= longer) continue;
    if (best != nullptr && distance >= best_distance) continue;
    best = &candidate;
    best_distance = distance;
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

absl::Status unknown_name(std::string_view kind, std::string_view name,
                          const std::vector<std::string>& names, std::string_view list) {
  FaultDetail detail{
      "name", "NOT_FOUND", "", absl::StrCat("`", std::string(list), "` shows them"), {}};
  if (const std::optional<std::string> closest = closest_match(name, names)) {
    detail.hint = absl::StrCat("did you mean ", *closest, "?");
    detail.closest.push_back(*closest);
  }
  return fault(absl::StatusCode::kNotFound,
               absl::StrCat("no ", std::string(kind), " \"", std::string(name), "\""),
               std::move(detail));
}

}  // namespace zsync::daemon
