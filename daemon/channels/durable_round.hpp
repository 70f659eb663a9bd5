// Durable sends that are written together.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "daemon/channels/accepted.hpp"
#include "daemon/channels/channel.hpp"

namespace zsync::daemon {

using Extras = std::vector<MessageExtraPtr>;  // none, or one for each message

// What one sender sends together, and how far that has come.
struct SendBatch {
  std::vector<std::string> messages;
  std::string trace;
  Extras extras;
  Accepted result = {};
};

// A batch on its way to the disk; lives in its sender's frame, which waits until `done`.
struct DurableSend {
  SendBatch& batch;
  const DurableSend* before = nullptr;  // of the same sender: all of that goes before this one
  bool whole = false;                   // nothing is left once this round is on disk
  absl::Status stop;                    // a final refusal
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
