// What streams of every kind of socket have in common.
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"
#include "zsync/rt/fd.hpp"
#include "zsync/task.hpp"

namespace zsync::rt {

// Fills `into`. Errors: kOutOfRange when the peer ends before; the system's. Cancel: kCancelled.
Task<absl::Status> read_exact(Fd& from, std::span<std::byte> into);
// Errors: the system's.
absl::Status shutdown_write(const Fd& socket);

}  // namespace zsync::rt
