// What of a channel may be changed later, and its limits.
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "daemon/channels/channel.hpp"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

absl::Status refused(const char* field, std::string what, const char* reason, std::string limit,
                     std::string cure) {
  return fault(absl::StatusCode::kInvalidArgument, std::move(what),
               {field, reason, std::move(limit), std::move(cure), {}});
}

std::string time_of(int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

absl::Status check_retention(const ChannelPolicy& policy, ChannelClass kind) {
  const int64_t age = policy.age_ns();
  if (kind == ChannelClass::kMemory &&
      (age != 0 || policy.bytes() != 0 || policy.drops_unsettled())) {
    return refused("policy.retention_age", "a channel of the memory class keeps no log", "INVALID",
                   "", "leave retention out, or create a durable channel");
  }
  if (age != 0 && (age < kRetentionAgeNsMin || age > kRetentionAgeNsMax)) {
    return refused("policy.retention_age", absl::StrCat("a retention of ", time_of(age)), "LIMIT",
                   "retention_age is 1s to 10 years, or 0", "use one between them, or 0 for none");
  }
  if (policy.bytes() != 0 && policy.bytes() < kRetentionBytesMin) {
    return refused("policy.retention_bytes", absl::StrCat("a log of ", policy.bytes(), " bytes"),
                   "LIMIT", absl::StrCat("retention_bytes_min = ", kRetentionBytesMin),
                   "use more, or 0 for no limit");
  }
  return absl::OkStatus();
}

}  // namespace

void ChannelPolicy::apply(const ChannelPolicy& change) {
  if (change.retention_age_ns) retention_age_ns = change.retention_age_ns;
  if (change.retention_bytes) retention_bytes = change.retention_bytes;
  if (change.retention_drops_unsettled) {
    retention_drops_unsettled = change.retention_drops_unsettled;
  }
  if (change.dedup_window_ns) dedup_window_ns = change.dedup_window_ns;
  if (change.dedup_ids_max) dedup_ids_max = change.dedup_ids_max;
}

absl::StatusOr<ChannelPolicy> complete_policy(ChannelPolicy wanted, ChannelClass kind) {
  const bool durable = kind == ChannelClass::kDurable;
  ChannelPolicy policy{durable ? kRetentionAgeNs : 0, durable ? kRetentionBytes : 0, false,
                       kDedupWindowNs, kDedupIdsMax};
  policy.apply(wanted);
  if (absl::Status status = check_retention(policy, kind); !status.ok()) return status;
  const int64_t window = policy.window_ns();
  if (window < 0 || window > kDedupWindowNsMax) {
    return refused("policy.dedup_window", absl::StrCat("ids remembered for ", time_of(window)),
                   "LIMIT", "dedup_window_max = 24h", "use a shorter one");
  }
  if (policy.ids_max() == 0 || policy.ids_max() > kDedupIdsMaxMax) {
    return refused("policy.dedup_ids_max", absl::StrCat(policy.ids_max(), " ids remembered"),
                   "LIMIT", absl::StrCat("dedup_ids_max is 1 to ", kDedupIdsMaxMax),
                   "use one between them; a dedup_window of 0 remembers none");
  }
  if (policy.age_ns() != 0 && policy.age_ns() < window) {
    return refused("policy.dedup_window",
                   absl::StrCat("ids remembered for ", time_of(window), " of messages kept for ",
                                time_of(policy.age_ns())),
                   "INVALID", "dedup_window is at most retention_age",
                   "use a shorter dedup_window, or a longer retention_age");
  }
  return policy;
}

}  // namespace zsync::daemon
