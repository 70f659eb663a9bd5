// ZS_ASSERT: misuse of the library ends the program with the call and the cure.
//
// For bugs of the caller only. What can fail in a correct program is an absl::Status.
#pragma once

namespace zsync::rt {

// Writes one line to stderr and aborts.
[[noreturn]] void assertion_failed(const char* file, int line, const char* condition,
                                   const char* message) noexcept;

}  // namespace zsync::rt

// Always on. `message` names the misused call and says what to do instead.
#define ZS_ASSERT(condition, message) \
  ((condition) ? (void)0 : ::zsync::rt::assertion_failed(__FILE__, __LINE__, #condition, message))
