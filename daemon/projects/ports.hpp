// Ports of the loopback interface for services that ask for any.
#pragma once

#include <cstdint>
#include <set>

#include "absl/status/statusor.h"

namespace zsync::daemon {

// Nobody listens there, on any interface. It may be another one's a moment later: nothing keeps a
// port for a program that has yet to bind it.
bool port_is_free(uint16_t port);

// One that is free and not among `taken`.
//
// Errors: kResourceExhausted.
absl::StatusOr<uint16_t> free_port(const std::set<uint16_t>& taken);

}  // namespace zsync::daemon
