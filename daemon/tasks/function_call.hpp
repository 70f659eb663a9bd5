// The call of a function: what is asked of a worker, and how it ended. A call is a task whose
// attempts are run by workers, clients that serve the function, instead of shims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace zsync::daemon {

inline constexpr size_t kFunctionPayloadBytesMax = 1 << 20;  // of a call, and of its result
inline constexpr size_t kContentTypeBytesMax = 128;
inline constexpr size_t kErrorCodeBytesMax = 128;
inline constexpr size_t kErrorMessageBytesMax = 4096;
inline constexpr size_t kFunctionsMax = 1000;            // names that are known
inline constexpr uint32_t kWindowMax = 4096;             // calls in one worker's hands
inline constexpr size_t kWorkersMax = 4096;              // of all functions together
inline constexpr uint32_t kLostWorkersMax = 5;           // in a row, that one call may take along
inline constexpr size_t kDirectWaitingMax = 100'000;     // direct calls of one function
inline constexpr size_t kResultInMemoryBytesMax = 4096;  // of an ended call; more is read from disk
inline constexpr char kFunctionsGroup[] = "functions";   // of calls that name none
inline constexpr int64_t kDirectTimeoutNs = 30'000'000'000;
inline constexpr int64_t kDirectTimeoutNsMax = 3600ll * 1'000'000'000;
inline constexpr int64_t kFunctionForgottenNs = 30ll * 24 * 3600 * 1'000'000'000;

struct FunctionCall {
  std::string name;
  std::string payload;  // empty once its task is final
  std::string content_type;
  bool wait_for_worker = false;
  uint64_t payload_bytes = 0;
};

struct FunctionResult {
  std::string content_type;
  std::string payload;
  std::string error_code;  // with a message: the handler failed
  std::string error_message;
  bool failed = false;
  bool permanent = false;
  uint64_t payload_bytes = 0;
  bool payload_here = true;  // false: it is on disk only
};

// Errors: kInvalidArgument with the field, the limit and the cure.
absl::Status validate(const FunctionCall& call);
// What a worker said, brought into its limits: too large a result is a failure.
FunctionResult limited(FunctionResult result);

}  // namespace zsync::daemon
