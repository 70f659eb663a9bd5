#include "daemon/fault/fault.hpp"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace zsync::daemon {
namespace {

constexpr char kPayload[] = "zsync/fault";
constexpr char kSeparator = '\x1f';  // between fields; \x1e between closest names

}  // namespace

absl::Status fault(absl::StatusCode code, std::string message, FaultDetail detail) {
  absl::Status status(code, message);
  const std::string separator(1, kSeparator);
  const std::string payload =
      absl::StrCat(detail.field, separator, detail.reason, separator, detail.limit, separator,
                   detail.hint, separator, absl::StrJoin(detail.closest, "\x1e"));
  status.SetPayload(kPayload, absl::Cord(absl::string_view(payload)));
  return status;
}

std::optional<FaultDetail> fault_detail(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  if (!payload) return std::nullopt;
  std::vector<std::string> parts = absl::StrSplit(std::string(*payload), kSeparator);
  if (parts.size() != 5) return std::nullopt;
  FaultDetail detail{parts[0], parts[1], parts[2], parts[3], {}};
  detail.closest = absl::StrSplit(parts[4], '\x1e', absl::SkipEmpty());
  return detail;
}

}  // namespace zsync::daemon
