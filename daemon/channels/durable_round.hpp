// Durable sends that are written together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/channels/channel.hpp"

namespace zsync::daemon {

using Extras = std::vector<MessageExtraPtr>;  // none, or one for each message

// A batch on its way to the disk; lives in its sender's frame, which waits until `done`.
struct DurableSend {
  std::vector<std::string>& messages;
  const std::string& trace;
  const Extras& extras;
  uint64_t from = 0;  // messages before it were accepted earlier
  uint64_t accepted = 0;
  uint64_t last_seq = 0;
  uint64_t duplicates = 0;
  absl::Status stop;  // a final refusal
  bool done = false;
};
// One write to the disk: what is new, and what becomes of every message of the round.
struct Planned {
  bool fresh = false;
  size_t index = 0;         // into Round::messages: this one, or the one it doubles
  uint64_t duplicates = 0;  // seq of the message that it doubles; 0: one of this round, or none
};
struct Round {
  std::vector<DurableSend*> sends;
  std::vector<std::vector<Planned>> plans;  // of each send
  std::vector<Message> messages;
  std::vector<std::string> encoded;
};

}  // namespace zsync::daemon
