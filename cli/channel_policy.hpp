// What a channel keeps, and from where it is read, as flags and as text.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "cli/command.hpp"
#include "cli/context.hpp"
#include "zsync/v1/channels.pb.h"

namespace zsync::cli {

struct PolicyFlags {
  std::string retention_age, retention_bytes, retention_drops, dedup_window;
  std::uint64_t dedup_ids_max = 0;
};
void add_policy_flags(Command& leaf, PolicyFlags& flags);
// Only what was given is set.
//
// Errors: kInvalidArgument, naming the flag.
absl::Status set_policy(const PolicyFlags& flags, v1::ChannelPolicy& policy);
// Rows of `channels get`.
void describe_policy(const v1::Channel& channel,
                     std::vector<std::pair<std::string, std::string>>& rows);

// Where a reader begins: `--from start|end|SEQ` or `--from-time TIME`.
struct StartFlags {
  std::string from, time;
};
void add_start_flags(Command& leaf, StartFlags& flags, const char* without);
// The parts of a request; all empty: nothing was said.
struct Start {
  std::uint64_t seq = 0;
  bool start = false, end = false;
  std::int64_t time_unix_nano = 0;
};
absl::StatusOr<Start> start_of(const StartFlags& flags);

// `channels set`.
void add_channel_set(Command& channels, Context& context);

}  // namespace zsync::cli
