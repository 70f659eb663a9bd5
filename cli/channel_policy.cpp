#include "cli/channel_policy.hpp"

#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/durations.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

constexpr const char* kNone = "none";

absl::Status set_limit(const std::string& text, const char* flag,
                       google::protobuf::Duration& limit) {
  if (text == kNone) return absl::OkStatus();  // a duration of zero
  return set_duration(text, flag, limit);
}

absl::StatusOr<std::uint64_t> size_of(const std::string& text, const char* flag) {
  if (text == kNone) return 0;
  std::uint64_t bytes = 0;
  if (absl::SimpleAtoi(bytes_text(text), &bytes)) return bytes;
  return usage_error(absl::StrCat(flag, ": \"", text, "\" is no size: write 64MiB, or none"));
}

std::string limit_text(const google::protobuf::Duration& limit) {
  const auto duration = to_nanoseconds(limit);
  return duration.count() == 0 ? "any age" : human_duration(duration);
}

absl::StatusOr<int> set(Context& context, const std::string& name, const PolicyFlags& flags) {
  v1::UpdateChannelRequest request;
  request.set_name(name);
  if (absl::Status status = set_policy(flags, *request.mutable_policy()); !status.ok()) {
    return status;
  }
  if (request.policy().ByteSizeLong() == 0) {
    return usage_error("nothing to set: see zsyncctl channels set --help");
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto channel = (*client)->channels().update(request, *call);
  if (!channel.ok()) return channel.status();
  context.show(*channel, channel->spec().name(), [&] {
    std::vector<std::pair<std::string, std::string>> rows;
    describe_policy(*channel, rows);
    return key_values(rows, context.color());
  });
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_policy_flags(Command& leaf, PolicyFlags& flags) {
  leaf.add_option("--retention-age", flags.retention_age,
                  "Durable: older messages go (default 7d); none: no limit")
      ->type_name("DURATION");
  leaf.add_option("--retention-bytes", flags.retention_bytes,
                  "Durable: the oldest messages go while the log is larger (default 1GiB); none")
      ->type_name("SIZE");
  leaf.add_option("--retention-drops-unsettled", flags.retention_drops,
                  "Durable: also what a group or receiver still has to get (default no)")
      ->one_of({"yes", "no"})
      ->type_name("yes|no");
  leaf.add_option("--dedup-window", flags.dedup_window,
                  "How long ids of messages are remembered (default 2m); none")
      ->type_name("DURATION");
  leaf.add_option("--dedup-ids-max", flags.dedup_ids_max,
                  "How many ids are remembered (default 262144)")
      ->type_name("N");
}

absl::Status set_policy(const PolicyFlags& flags, v1::ChannelPolicy& policy) {
  if (!flags.retention_age.empty()) {
    absl::Status set =
        set_limit(flags.retention_age, "--retention-age", *policy.mutable_retention_age());
    if (!set.ok()) return set;
  }
  if (!flags.retention_bytes.empty()) {
    const auto bytes = size_of(flags.retention_bytes, "--retention-bytes");
    if (!bytes.ok()) return bytes.status();
    policy.set_retention_bytes(*bytes);
  }
  if (!flags.retention_drops.empty()) {
    policy.set_retention_drops_unsettled(flags.retention_drops == "yes");
  }
  if (!flags.dedup_window.empty()) {
    absl::Status set =
        set_limit(flags.dedup_window, "--dedup-window", *policy.mutable_dedup_window());
    if (!set.ok()) return set;
  }
  if (flags.dedup_ids_max != 0) policy.set_dedup_ids_max(flags.dedup_ids_max);
  return absl::OkStatus();
}

void describe_policy(const v1::Channel& channel,
                     std::vector<std::pair<std::string, std::string>>& rows) {
  const v1::ChannelPolicy& policy = channel.spec().policy();
  if (channel.spec().class_() == v1::CHANNEL_CLASS_DURABLE) {
    rows.push_back({"log", absl::StrCat("from ", channel.first_seq(), " on, ",
                                        human_bytes(channel.log_bytes()))});
    rows.push_back(
        {"keeps",
         absl::StrCat(limit_text(policy.retention_age()), ", ",
                      policy.retention_bytes() == 0
                          ? "any size"
                          : absl::StrCat("at most ", human_bytes(policy.retention_bytes())),
                      policy.retention_drops_unsettled() ? "; drops also what is not settled"
                                                         : "; never drops what is not settled")});
  }
  const auto window = to_nanoseconds(policy.dedup_window());
  rows.push_back({"ids", window.count() == 0
                             ? "not remembered"
                             : absl::StrCat("remembered for ", human_duration(window), ", at most ",
                                            policy.dedup_ids_max())});
}

void add_start_flags(Command& leaf, StartFlags& flags, const char* without) {
  auto* from = leaf.add_option("--from", flags.from,
                               absl::StrCat("The first message: start, end, or its number ",
                                            "(default: ", without, ")"))
                   ->type_name("start|end|SEQ");
  leaf.add_option("--from-time", flags.time,
                  "What was sent since: 2026-12-24T18:00:00Z, or 10m for ten minutes ago")
      ->excludes(from)
      ->type_name("TIME");
}

absl::StatusOr<Start> start_of(const StartFlags& flags) {
  Start start;
  if (flags.from == "start") {
    start.start = true;
  } else if (flags.from == "end") {
    start.end = true;
  } else if (!flags.from.empty() && (!absl::SimpleAtoi(flags.from, &start.seq) || start.seq == 0)) {
    return usage_error(absl::StrCat("--from: \"", flags.from,
                                    "\" is none of start, end and the number of a message"));
  }
  if (flags.time.empty()) return start;
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, flags.time, &time, &error)) {
    start.time_unix_nano = absl::ToUnixNanos(time);
  } else if (const auto ago = parse_duration(flags.time); ago.ok()) {
    start.time_unix_nano = absl::ToUnixNanos(absl::Now()) - ago->count();
  } else {
    return usage_error(absl::StrCat("--from-time: \"", flags.time,
                                    "\" is no time: write 2026-12-24T18:00:00Z, or 10m"));
  }
  return start;
}

void add_channel_set(Command& channels, Context& context) {
  auto name = std::make_shared<std::string>();
  auto flags = std::make_shared<PolicyFlags>();
  Command* leaf =
      add_leaf(channels, context, "set", "Change how long a channel keeps messages and their ids",
               [&context, name, flags] { return set(context, *name, *flags); });
  leaf->add_option("NAME", *name, "Name of the channel")->required();
  add_policy_flags(*leaf, *flags);
}

}  // namespace zsync::cli
