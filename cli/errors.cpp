#include "cli/errors.hpp"

#include <algorithm>
#include <csignal>
#include <numeric>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/render/text.hpp"
#include "zsync/client/error.hpp"

namespace zsync::cli {
namespace {

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      diagonal = above;
    }
  }
  return row[b.size()];
}

int exec_failure_code(const v1::Task& task) {
  if (task.exit_code() == kExitCannotExecute || task.exit_code() == kExitCommandNotFound) {
    return task.exit_code();
  }
  const std::string reason = absl::AsciiStrToLower(task.reason());
  const bool missing =
      absl::StrContains(reason, "no such file") || absl::StrContains(reason, "not found");
  return missing ? kExitCommandNotFound : kExitCannotExecute;
}

}  // namespace

absl::Status usage_error(const std::string& message) { return absl::InvalidArgumentError(message); }

int exit_code_of(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitUsage;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kUnavailable: {
      const std::optional<v1::ErrorDetail> detail = client::error_detail(status);
      return detail.has_value() && detail->reason() == "CLOSED" ? kExitConflict : kExitUnreachable;
    }
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitDenied;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitDeadline;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
      return kExitConflict;
    default:
      return kExitFailed;
  }
}

int exit_code_of(const v1::Task& task) {
  switch (task.state()) {
    case v1::TASK_STATE_SUCCEEDED:
      return kExitOk;
    case v1::TASK_STATE_FAILED:
      if (absl::StartsWith(task.reason(), "exec:")) return exec_failure_code(task);
      return task.exit_code() != 0 ? task.exit_code() : kExitFailed;
    case v1::TASK_STATE_SIGNALED:
      return 128 + task.signal();
    case v1::TASK_STATE_TIMED_OUT:
      return kExitTimedOut;
    case v1::TASK_STATE_CANCELED:
      return 128 + (task.signal() != 0 ? task.signal() : SIGINT);
    default:
      return kExitRunFailed;
  }
}

std::string error_text(const absl::Status& status) {
  std::string message = printable(std::string(status.message()));
  if (message.empty()) message = absl::StatusCodeToString(status.code());
  std::string text = absl::StrCat("zsyncctl: ", message, "\n");
  const std::optional<v1::ErrorDetail> detail = client::error_detail(status);
  if (!detail.has_value()) return text;
  if (!detail->limit().empty())
    absl::StrAppend(&text, "  limit: ", printable(detail->limit()), "\n");
  if (!detail->hint().empty()) absl::StrAppend(&text, "  hint: ", printable(detail->hint()), "\n");
  if (detail->closest_size() > 0) {
    absl::StrAppend(&text, "  closest: ", printable(absl::StrJoin(detail->closest(), ", ")), "\n");
  }
  return text;
}

std::string closest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = word.size() <= 3 ? 2 : 3;  // one past what still counts as a slip
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace zsync::cli
