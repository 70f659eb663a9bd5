// SendResult: how a send ended, in one byte.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace zsync::rt {

// What became of a send.
enum class SendResult : uint8_t { kSent, kClosed, kFull, kCancelled };

inline absl::Status to_status(SendResult result) {
  switch (result) {
    case SendResult::kSent:
      return absl::OkStatus();
    case SendResult::kClosed:
      return absl::UnavailableError("");
    case SendResult::kFull:
      return absl::ResourceExhaustedError("");
    case SendResult::kCancelled:
      break;
  }
  return absl::CancelledError();
}

}  // namespace zsync::rt
