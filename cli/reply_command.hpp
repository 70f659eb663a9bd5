// Runs a command for one request: its stdin is the request, its stdout the reply.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace zsync::cli {

inline constexpr std::size_t kReplyBytesMax = 1u << 20;

struct ReplyCommand {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // NAME=VALUE over this program's own
  std::chrono::nanoseconds time{};
  std::string* stderr_tail = nullptr;  // null: its stderr is this program's; else the end of it
};

inline constexpr std::size_t kStderrTailBytes = 2048;

// Waits until it has ended; what it does not take of its stdin is not missed.
//
// `stopped` is asked now and then.
//
// Errors: kNotFound when the program cannot be started; kAborted when it ends with another code
// than
//         0; kDeadlineExceeded after `time`, and kCancelled when stopped, and then
//         it is killed with its group; kOutOfRange when
//         it says more than kReplyBytesMax.
absl::StatusOr<std::string> run_for_reply(const ReplyCommand& command, const std::string& body,
                                          const std::function<bool()>& stopped);
absl::StatusOr<std::string> run_for_reply(const std::vector<std::string>& argv,
                                          const std::string& body, std::chrono::nanoseconds time,
                                          const std::function<bool()>& stopped);

}  // namespace zsync::cli
