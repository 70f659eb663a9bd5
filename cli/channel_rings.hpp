// `channels send` and `recv` with --shared-memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/context.hpp"

namespace zsync::cli {

// `messages`, or without any what stdin holds.
absl::StatusOr<int> send_to_ring(Context& context, const std::string& name, bool frames,
                                 const std::vector<std::string>& messages);
// `count` 0: until the channel is closed and drained.
absl::StatusOr<int> receive_from_ring(Context& context, const std::string& name, bool frames,
                                      std::uint64_t count);

}  // namespace zsync::cli
