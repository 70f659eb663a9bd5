// A client of the zsyncd under test.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "zsync/client.hpp"

namespace zsync::bench {

inline absl::StatusOr<std::unique_ptr<client::Client>> connect(const std::string& socket) {
  client::Options options;
  options.socket = socket;
  return client::Client::connect(options);
}

}  // namespace zsync::bench
