// Which driver the workers get.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "zsync/config.hpp"
#include "zsync/rt/scheduler.hpp"

namespace zsync::rt {

struct Backing {
  Backend backend = Backend::libuv;
  std::string reason;  // why it is not io_uring, unless libuv was asked for
};

struct Drivers {
  Backing backing;
  std::vector<std::unique_ptr<Driver>> each;
};

// One for each worker, all of one kind.
//
// Errors: kInvalidArgument for an unknown word in ZSYNC_BACKEND; what refuses io_uring when it is
// forced; kResourceExhausted when descriptors run out.
absl::StatusOr<Drivers> make_drivers(const Config& config, size_t count);

// Errors: kResourceExhausted when descriptors run out.
absl::StatusOr<std::unique_ptr<Driver>> make_uv_driver();

// Threads: to be driven by one thread at a time, which may be another one than this.
// Errors: what refuses it, with the cure: kUnimplemented, kPermissionDenied, kResourceExhausted.
absl::StatusOr<std::unique_ptr<Driver>> make_uring_driver();

}  // namespace zsync::rt
